//! What the steering does besides announcing, as events; and how its words are said.

use std::collections::HashMap;

use anycast_fleet::{Fleet, Site};
use anycast_steer::{Action, Change, Manner};

use crate::events::{EventLog, Happening};

/// How neighbors are told of a prefix, and why. That it is announced plainly, to all and as the fleet
/// file has it, goes without saying; that it is so again does not.
pub(crate) fn told_in_words(
    site: &Site,
    told: &[Option<Manner>],
    change: Change,
    why: &str,
) -> String {
    let same = told.windows(2).all(|two| two[0] == two[1]);
    let how = match told {
        [Some(manner), ..] if same && manner.is_plain() => {
            if change == Change::Announce {
                String::new()
            } else {
                "plainly".to_owned()
            }
        }
        [Some(manner), ..] if same => manner.to_string(),
        _ => {
            let each = site.neighbors.iter().zip(told).map(|(neighbor, manner)| match manner {
                Some(manner) => format!("{} {manner}", neighbor.name),
                None => format!("{} not", neighbor.name),
            });
            each.collect::<Vec<_>>().join(", ")
        }
    };
    [how.as_str(), why].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Writes down an action that changes nothing outside, as the effect of event `cause`; returns the
/// number of its own event.
pub(crate) fn record(
    action: &Action,
    fleet: &Fleet,
    events: &mut EventLog,
    cause: Option<u64>,
) -> Option<u64> {
    let service = |index: &usize| fleet.services[*index].name.clone();
    let (kind, subject, detail) = match action {
        Action::ServiceUp { service: index } => ("service-up", service(index), String::new()),
        Action::ServiceDown { service: index, why } => {
            ("service-down", service(index), why.clone())
        }
        Action::Held { prefix, why } => ("held", prefix.to_string(), why.clone()),
        Action::Freed { prefix } => ("freed", prefix.to_string(), String::new()),
        Action::Damped { what, rest } => {
            ("damped", what.clone(), format!("for {} s", rest.as_secs()))
        }
        Action::Undamped { what } => ("undamped", what.clone(), String::new()),
        Action::Shed { prefix, why, .. } => ("shed", prefix.to_string(), why.clone()),
        Action::ShedRefused { prefix, why } => ("shed-refused", prefix.to_string(), why.clone()),
        Action::Drain { target, stage, why } => (stage.word(), target.to_string(), why.clone()),
        Action::Undrain { target, why } => ("undrained", target.to_string(), why.clone()),
        Action::Tell { .. } | Action::Ask { .. } | Action::Release { .. } => return None,
    };
    let loud =
        matches!(action, Action::Held { .. } | Action::Damped { .. } | Action::ShedRefused { .. });
    let (subject, detail) = (&*subject, &*detail);
    Some(events.record(Happening { kind, subject, detail, cause, loud, ..Happening::default() }))
}

/// Each prefix's floor in words.
pub(crate) fn floors(fleet: &Fleet) -> HashMap<String, String> {
    let floors = fleet
        .prefixes
        .iter()
        .filter_map(|prefix| Some((prefix.prefix.to_string(), prefix.floor.as_ref()?.to_string())));
    floors.collect()
}
