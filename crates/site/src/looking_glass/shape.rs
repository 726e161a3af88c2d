//! The JSON that Alice-LG reads from a birdwatcher, field by field.
//!
//! Sources: birdwatcher's `docs/schema.md` and parser, and `pkg/sources/birdwatcher` of Alice-LG,
//! which is what reads it. Where BIRD knows something that we do not, the field is left out rather
//! than made up; Alice-LG then shows its default. Times are UTC, as BIRD's `iso long`.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anycast_bgp::as_path::SegmentKind;
use anycast_bgp::decision::DEFAULT_LOCAL_PREF;
use anycast_bgp::{AsPath, Attributes, ExtendedCommunity, Origin};
use anycast_speaker::{FoundRoute, NeighborStatus};
use serde_json::{Map, Value, json};

/// The protocol of our own routes; no neighbor can be called so.
pub(super) const OURSELVES: &str = "(this site)";
/// The tables that there are, by the names that BIRD gives them; `master` is both.
pub(super) const TABLES: [&str; 3] = ["master", "master4", "master6"];
/// What BIRD prefers routes of a protocol by: its numbers for BGP and for static routes.
const PREFERENCE_BGP: u32 = 100;
const PREFERENCE_STATIC: u32 = 200;

/// Seconds since 1970.
pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// The numbers of a date and time, UTC: year, month, day, hour, minute, second.
fn civil(unix: f64) -> (u64, u64, u64, u64, u64, u64) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times after 1970 and before the year 292 million"
    )]
    let seconds = unix.max(0.0) as u64;
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // In 400 years there are always as many days.
    let mut year = 1970 + 400 * (days / 146_097);
    days %= 146_097;
    while days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1, second / 3600, second / 60 % 60, second % 60)
}

/// `2026-11-22 23:00:00`: what Alice-LG calls `servertime_short` and `servertime_ext`.
pub(super) fn iso_long(unix: f64) -> String {
    let (year, month, day, hour, minute, second) = civil(unix);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// `2026-11-22T23:00:00Z` (RFC 3339): what Alice-LG calls `servertime`.
fn rfc3339(unix: f64) -> String {
    iso_long(unix).replace(' ', "T") + "Z"
}

/// What stands in front of every answer: nothing is cached here.
pub(super) fn envelope(now: f64) -> Map<String, Value> {
    let date = rfc3339(now);
    let version = concat!("anycast ", env!("CARGO_PKG_VERSION"));
    let envelope = json!({
        "api": {
            "Version": version,
            "version": version,
            "result_from_cache": false,
            "cache_status": {
                "cached_at": { "date": date, "timezone_type": "UTC", "timezone": "UTC" },
            },
        },
        "cached_at": date,
        "ttl": date,
    });
    match envelope {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `/status`.
pub(super) fn status(router_id: Option<Ipv4Addr>, started: f64, now: f64) -> Value {
    json!({
        "router_id": router_id.map(|id| id.to_string()),
        "current_server": iso_long(now),
        "last_reboot": iso_long(started),
        "last_reconfig": iso_long(started),
        "message": "Daemon is up and running",
        "version": concat!("anycast ", env!("CARGO_PKG_VERSION")),
    })
}

/// What BIRD calls the state of a protocol.
fn state(neighbor: &NeighborStatus) -> &'static str {
    match neighbor.state.as_str() {
        "Established" => "up",
        _ if neighbor.enabled => "start",
        _ => "down",
    }
}

/// The table of a neighbor: that of its first family.
fn table(neighbor: &NeighborStatus) -> &'static str {
    let families =
        if neighbor.families.is_empty() { &neighbor.families_offered } else { &neighbor.families };
    match families.first().map(String::as_str) {
        Some("ipv6") => "master6",
        _ => "master4",
    }
}

/// One of `/protocols/bgp`.
pub(super) fn protocol(neighbor: &NeighborStatus, preferred: usize, now: f64) -> Value {
    let counters = &neighbor.counters;
    let mut protocol = json!({
        "protocol": neighbor.name,
        "bird_protocol": "BGP",
        "table": table(neighbor),
        "state": state(neighbor),
        "state_changed": iso_long(now - neighbor.since_seconds),
        "connection": neighbor.state,
        "bgp_state": neighbor.state,
        "description": neighbor.name,
        "neighbor_address": neighbor.address.to_string(),
        "neighbor_as": neighbor.asn.0,
        "local_as": neighbor.local_asn.0,
        "routes": {
            "imported": neighbor.accepted,
            "accepted": neighbor.accepted,
            "filtered": neighbor.received.saturating_sub(neighbor.accepted),
            "exported": neighbor.advertised,
            "preferred": preferred,
        },
        "route_changes": {
            "import_updates": { "received": counters.updates_in },
            "export_updates": { "accepted": counters.updates_out },
        },
    });
    let optional = [
        ("neighbor_id", neighbor.router_id.map(|id| json!(id.to_string()))),
        ("source_address", neighbor.local_address.map(|address| json!(address.to_string()))),
        ("last_error", neighbor.last_down.as_ref().map(|why| json!(why))),
        ("import_limit", neighbor.limits.prefixes.map(|limit| json!(limit))),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            protocol[field] = value;
        }
    }
    protocol
}

/// All of `/protocols/bgp`, by name.
pub(super) fn protocols(
    neighbors: &[NeighborStatus],
    preferred: &HashMap<String, usize>,
    now: f64,
) -> Value {
    let entry = |neighbor: &NeighborStatus| {
        let preferred = preferred.get(&neighbor.name).copied().unwrap_or_default();
        (neighbor.name.clone(), protocol(neighbor, preferred, now))
    };
    Value::Object(neighbors.iter().map(entry).collect())
}

/// All of `/protocols/short`, by name.
pub(super) fn protocols_short(neighbors: &[NeighborStatus], now: f64) -> Value {
    let entry = |neighbor: &NeighborStatus| {
        let short = json!({
            "proto": "BGP",
            "table": "---",
            "state": state(neighbor),
            "since": iso_long(now - neighbor.since_seconds),
            "info": neighbor.state,
        });
        (neighbor.name.clone(), short)
    };
    Value::Object(neighbors.iter().map(entry).collect())
}

/// One route.
pub(super) fn route(route: &FoundRoute, now: f64) -> Value {
    let mut shape = json!({
        "network": route.prefix.to_string(),
        "from_protocol": route.neighbor.as_deref().unwrap_or(OURSELVES),
        "age": iso_long(now - route.since_seconds),
        "learnt_from": route.neighbor_address.map(|address| address.to_string()).unwrap_or_default(),
        "gateway": route.next_hop.map(|address| address.to_string()).unwrap_or_default(),
        "interface": "",
        "primary": route.best,
        "metric": if route.neighbor.is_some() { PREFERENCE_BGP } else { PREFERENCE_STATIC },
        "type": [if route.neighbor.is_some() { "BGP" } else { "static" }, "univ"],
        "bgp": bgp(&route.attributes),
    });
    if let Some(address) = route.next_hop {
        shape["bgp"]["next_hop"] = json!(address.to_string());
    }
    if let Some(why) = route.ineligible {
        shape["details"] = json!(why.to_string());
    }
    shape
}

/// The attributes; BIRD writes numbers as text here.
fn bgp(attributes: &Attributes) -> Value {
    let communities = attributes.communities.iter().map(|it| json!([it.0 >> 16, it.0 & 0xffff]));
    let large = attributes.large_communities.iter();
    let large = large.map(|it| json!([it.global, it.local1, it.local2]));
    let extended = attributes.extended_communities.iter().copied().map(extended);
    let mut bgp = json!({
        "origin": match attributes.origin {
            Origin::Igp => "IGP",
            Origin::Egp => "EGP",
            Origin::Incomplete => "Incomplete",
        },
        "as_path": as_path(&attributes.as_path),
        "local_pref": attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF).to_string(),
        "communities": communities.collect::<Vec<_>>(),
        "large_communities": large.collect::<Vec<_>>(),
        "ext_communities": extended.collect::<Vec<_>>(),
    });
    if let Some(med) = attributes.med {
        bgp["med"] = json!(med.to_string());
    }
    if let Some(otc) = attributes.otc {
        bgp["otc"] = json!(otc.to_string());
    }
    bgp
}

/// Each number by itself; those of a set between brackets, which Alice-LG passes over.
fn as_path(path: &AsPath) -> Vec<String> {
    let segments = path.segments().flat_map(|segment| {
        let (open, close) = match segment.kind {
            SegmentKind::AsSequence => (None, None),
            SegmentKind::AsSet => (Some("{"), Some("}")),
            SegmentKind::AsConfedSequence => (Some("("), Some(")")),
            SegmentKind::AsConfedSet => (Some("({"), Some("})")),
        };
        let asns = segment.asns.iter().map(ToString::to_string);
        let open = open.map(ToOwned::to_owned).into_iter();
        open.chain(asns).chain(close.map(ToOwned::to_owned))
    });
    segments.collect()
}

/// Three texts: what it is, who says it, what. Route targets and origins (RFC 4360 §§4, 5, RFC
/// 5668) are told apart; of all others BIRD gives the octets.
fn extended(ExtendedCommunity(octets): ExtendedCommunity) -> Value {
    let [kind, sub, ..] = octets;
    let short = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
    let long = |at: usize| u32::from(short(at)) << 16 | u32::from(short(at + 2));
    let name = match sub {
        0x02 => Some("rt"),
        0x03 => Some("ro"),
        _ => None,
    };
    match (kind, name) {
        (0x00, Some(name)) => json!([name, short(2).to_string(), long(4).to_string()]),
        (0x01, Some(name)) => {
            json!([name, Ipv4Addr::from(long(2)).to_string(), short(6).to_string()])
        }
        (0x02, Some(name)) => json!([name, long(2).to_string(), short(6).to_string()]),
        _ => json!(["generic", format!("{:#x}", long(0)), format!("{:#x}", long(4))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_bird_writes_it() {
        for (unix, want) in [
            (0.0, "1970-01-01 00:00:00"),
            (951_782_399.9, "2000-02-28 23:59:59"),
            (951_782_400.0, "2000-02-29 00:00:00"),
            (951_868_800.0, "2000-03-01 00:00:00"),
            (1_709_164_800.0, "2024-02-29 00:00:00"),
            (1_795_388_400.0, "2026-11-22 23:00:00"),
            (1_798_761_599.0, "2026-12-31 23:59:59"),
            (4_107_542_400.0, "2100-03-01 00:00:00"),
            (13_574_649_599.0, "2400-02-29 23:59:59"),
            (-1.0, "1970-01-01 00:00:00"),
        ] {
            assert_eq!(iso_long(unix), want, "{unix}");
        }
        assert_eq!(rfc3339(1_795_388_400.5), "2026-11-22T23:00:00Z");
    }

    #[test]
    fn extended_communities_are_three_texts() {
        for (octets, want) in [
            ([0x00, 0x02, 0xfb, 0xf4, 0, 0, 0, 9], json!(["rt", "64500", "9"])),
            ([0x00, 0x03, 0xfb, 0xf4, 0, 1, 0, 0], json!(["ro", "64500", "65536"])),
            ([0x01, 0x02, 192, 0, 2, 1, 0, 7], json!(["rt", "192.0.2.1", "7"])),
            ([0x02, 0x02, 0, 1, 0, 0, 0, 7], json!(["rt", "65536", "7"])),
            ([0x43, 0x00, 0, 0, 0, 0, 0, 1], json!(["generic", "0x43000000", "0x1"])),
        ] {
            assert_eq!(extended(ExtendedCommunity(octets)), want, "{octets:?}");
        }
    }
}
