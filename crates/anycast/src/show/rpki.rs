//! `anycast show rpki`, for people.

use std::fmt::Write;

use anycast_site::rpki::RpkiReport;

use crate::table::{render, span};

pub(super) fn text(report: &RpkiReport) -> String {
    if !report.configured {
        return "The fleet file has no `[rpki]` for this site: nothing is validated.\n".to_owned();
    }
    let mut text = String::new();
    let number = |number: Option<String>| number.unwrap_or_default();
    let rows = report.sources.iter().map(|source| {
        vec![
            if source.in_use { format!("{} *", source.name) } else { source.name.clone() },
            source.state.clone(),
            number(source.version.map(|it| it.to_string())),
            number(source.session.map(|it| it.to_string())),
            number(source.serial.map(|it| it.to_string())),
            number(source.vrps.map(|it| it.to_string())),
            number(source.updated_seconds.map(|it| format!("{} ago", span(it)))),
            number(source.expires_seconds.map(|it| format!("in {}", span(it)))),
            source.trouble.clone().unwrap_or_default(),
        ]
    });
    let headings = [
        "SOURCE",
        "STATE",
        "VERSION",
        "SESSION",
        "SERIAL",
        "VRPS",
        "UPDATED",
        "EXPIRES",
        "LAST ERROR",
    ];
    add(&mut text, &render(&headings, rows.collect()));
    add(
        &mut text,
        &match (report.vrps_v4, report.vrps_v6) {
            (Some(v4), Some(v6)) => format!("* in use: {v4} VRPs of IPv4, {v6} of IPv6"),
            _ => "No VRPs: every route is not-found.".to_owned(),
        },
    );
    text.push('\n');
    let rows = report.prefixes.iter().map(|own| {
        vec![
            own.prefix.to_string(),
            format!("AS{}", own.origin),
            if own.announced { "announced" } else { "withdrawn" }.to_owned(),
            own.state.clone().unwrap_or_default(),
            own.covering.join(", "),
            own.why.clone().unwrap_or_default(),
        ]
    });
    let headings = ["OUR PREFIX", "FROM", "STATE", "RPKI", "COVERED BY", "WHY"];
    add(&mut text, &render(&headings, rows.collect()));
    if !report.neighbors.is_empty() {
        text.push('\n');
        let rows = report.neighbors.iter().map(|counts| {
            let numbers = [counts.valid, counts.not_found, counts.invalid];
            let numbers = numbers.iter().map(ToString::to_string);
            std::iter::once(counts.neighbor.clone()).chain(numbers).collect()
        });
        let headings = ["ROUTES FROM", "VALID", "NOT FOUND", "INVALID"];
        add(&mut text, &render(&headings, rows.collect()));
    }
    text
}

fn add(text: &mut String, block: &str) {
    let _ = writeln!(text, "{block}");
}

#[cfg(test)]
mod tests {
    use anycast_bgp::Asn;
    use anycast_site::rpki::{OriginCounts, OwnPrefix, RpkiSource};

    use super::*;

    #[test]
    fn sources_our_prefixes_and_received_routes_each_have_a_table() {
        let source = RpkiSource {
            name: "192.0.2.10:323".to_owned(),
            kind: "cache".to_owned(),
            state: "up to date".to_owned(),
            in_use: true,
            version: Some(2),
            session: Some(7),
            serial: Some(3),
            vrps: Some(5),
            updated_seconds: Some(3.0),
            expires_seconds: Some(7197.0),
            trouble: None,
        };
        let own = OwnPrefix {
            prefix: "192.0.2.0/24".parse().unwrap(),
            origin: Asn(64500),
            announced: true,
            state: Some("invalid".to_owned()),
            why: Some("AS64500 may not announce it, only AS64501".to_owned()),
            covering: vec!["192.0.2.0/24 AS64501".to_owned()],
        };
        let counts =
            OriginCounts { neighbor: "transit".to_owned(), valid: 1, not_found: 2, invalid: 3 };
        let report = RpkiReport {
            configured: true,
            sources: vec![source],
            vrps_v4: Some(4),
            vrps_v6: Some(1),
            prefixes: vec![own],
            neighbors: vec![counts],
        };
        let shown = text(&report);
        let words = |line: usize| {
            shown.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(words(1).starts_with("192.0.2.10:323 * up to date 2 7 3 5 "), "{shown}");
        assert_eq!(words(2), "* in use: 4 VRPs of IPv4, 1 of IPv6");
        assert_eq!(
            words(5),
            "192.0.2.0/24 AS64500 announced invalid 192.0.2.0/24 AS64501 AS64500 may not announce \
             it, only AS64501"
        );
        assert_eq!(words(8), "transit 1 2 3");
        let without = text(&RpkiReport { configured: false, ..report });
        assert!(without.contains("no `[rpki]`"), "{without}");
    }
}
