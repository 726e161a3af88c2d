//! `[drain]`: how what is drained is announced before it is withdrawn.

use std::time::Duration;

use anycast_bgp::Community;
use anycast_steer::{Leaving, Manner};

use super::without_repeats;
use crate::problem::Problem;
use crate::section::Section;
use crate::value;

/// How long connections that run on are waited for.
const CONNECTIONS_WAIT: Duration = Duration::from_secs(600);

/// Without the table.
pub(super) fn usual() -> (Leaving, Duration) {
    (Leaving::default(), CONNECTIONS_WAIT)
}

pub(super) fn read(mut section: Section<'_>) -> (Leaving, Duration) {
    let (usual, connections) = usual();
    let community = value::parsed::<Community>("a community", "65535:0");
    let wait = section.get("wait", value::duration).unwrap_or(usual.wait);
    let connections = section.get("connections-wait", value::duration).unwrap_or(connections);
    let prepend = section.get("prepend", value::number(0..=50_u8)).unwrap_or(usual.manner.prepend);
    let communities = section.get_list("communities", community);
    let communities = communities.map(|listed| {
        let once = without_repeats(&section, "communities", listed);
        let mut numbers: Vec<u32> = once.into_iter().map(|it| it.0).collect();
        numbers.sort_unstable();
        numbers
    });
    let communities = communities.unwrap_or(usual.manner.communities);
    let manner = Manner { prepend, med: None, communities };
    if manner.is_plain() && !wait.is_zero() {
        let span = section.places().name();
        let message = "`drain` leads no traffic away: there is neither a prepend nor a community";
        section.problem(Problem::warning("drain-leads-nowhere", span, message).help(
            "Keep one of `prepend` and `communities`, or write `wait = \"0s\"` to withdraw at once.",
        ));
    }
    section.finish();
    (Leaving { manner, wait }, connections)
}
