//! `anycast show events`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anycast_site::client::{Client, ClientError};
use anycast_site::events::SiteEvent;
use serde_json::Value;

use super::utc;
use crate::cli::EventsArguments;
use crate::table::{self, span};

pub(super) async fn fetch(
    wanted: &EventsArguments,
    json: bool,
    client: &Client,
) -> Result<(), ClientError> {
    let after = wanted.after.map(|after| format!("?after={after}")).unwrap_or_default();
    if wanted.follow {
        let mut garbled = None;
        let each = |line: &str| {
            // Of a server-sent event all is in its data.
            let Some(data) = line.strip_prefix("data:").map(str::trim_start) else { return };
            if json {
                println!("{data}");
                return;
            }
            match serde_json::from_str(data) {
                Ok(event) => println!("{}", line_of(&event)),
                Err(error) => garbled = Some(error.to_string()),
            }
        };
        client.get_lines(&format!("/v1/events/stream{after}"), each).await?;
        return Err(match garbled {
            Some(words) => ClientError::Garbled(words),
            None => ClientError::BrokenOff,
        });
    }
    let target = format!("/v1/events{after}");
    if json {
        println!("{:#}", client.get::<Value>(&target).await?);
    } else {
        print(&client.get::<Vec<SiteEvent>>(&target).await?);
    }
    Ok(())
}

fn print(events: &[SiteEvent]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let rows = events.iter().map(|event| {
        vec![
            event.number.to_string(),
            utc(event.unix_time),
            format!("{} ago", span((now - event.unix_time).max(0.0))),
            event.kind.clone(),
            event.subject.clone(),
            event.cause.map(|cause| cause.to_string()).unwrap_or_default(),
            table::plain(&detail(event)),
        ]
    });
    table::print(&["NO", "TIME (UTC)", "AGO", "EVENT", "OF", "AFTER", "DETAIL"], rows.collect());
}

fn detail(event: &SiteEvent) -> String {
    match (&event.by, event.detail.is_empty()) {
        (None, _) => event.detail.clone(),
        (Some(by), true) => format!("by {by}"),
        (Some(by), false) => format!("{}, by {by}", event.detail),
    }
}

/// One event on a line of its own, in columns that the next may not know the width of.
pub(super) fn line_of(event: &SiteEvent) -> String {
    let cause = event.cause.map(|cause| format!("after {cause}")).unwrap_or_default();
    let SiteEvent { number, kind, subject, .. } = event;
    let time = utc(event.unix_time);
    let line =
        format!("{number:<6} {time}  {kind:<18} {subject:<20} {cause:<12} {}", detail(event));
    table::plain(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_cause_and_who_ordered_it() {
        let mut event = SiteEvent {
            number: 7,
            unix_time: 1.5,
            kind: "withdraw".to_owned(),
            subject: "192.0.2.0/24".to_owned(),
            detail: "service whoami: killed".to_owned(),
            cause: Some(6),
            by: None,
        };
        let line = "7      00:00:01.500  withdraw           192.0.2.0/24         after 6      \
                    service whoami: killed";
        assert_eq!(line_of(&event), line);
        event.by = Some("root".to_owned());
        assert!(line_of(&event).ends_with("service whoami: killed, by root"));
        event.detail = String::new();
        assert!(line_of(&event).ends_with("after 6      by root"));
        (event.by, event.cause) = (None, None);
        assert!(line_of(&event).ends_with(" 192.0.2.0/24"));
    }
}
