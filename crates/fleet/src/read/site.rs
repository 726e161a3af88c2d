//! `[site.NAME]` and its `[site.NAME.neighbor.NAME]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use anycast_bgp::policy::relation::Relation;
use anycast_bgp::{Asn, Community, Family, LargeCommunity};
use toml::de::{DeTable, DeValue};

use super::policy::FAMILIES;
use super::{Placed, SiteDraft, listen as listeners, named, without_repeats};
use crate::city;
use crate::problem::{Problem, Problems};
use crate::section::{Fault, Section};
use crate::value;
use crate::{Bfd, Coordinates, ExportPolicy, ImportPolicy, Neighbor, Site};

/// The port that IANA assigned to BGP.
const BGP_PORT: u16 = 179;
/// RFC 4271 §10 suggests it.
const HOLD_TIME: Duration = Duration::from_secs(90);
const CONNECT_RETRY: Duration = Duration::from_secs(1);
const STOP_WAIT: Duration = Duration::from_secs(1);
/// More than any site has ways out.
const MULTIPATH_MOST: u8 = 64;
const BFD_INTERVAL: Duration = Duration::from_millis(300);
const BFD_MULTIPLIER: NonZeroU8 = NonZeroU8::new(3).expect("three is not zero");
/// Less cannot be kept by a daemon that shares its machine.
const BFD_INTERVAL_MIN: Duration = Duration::from_millis(10);

const RELATIONS: &[(&str, Relation)] =
    &[("provider", Relation::Provider), ("peer", Relation::Peer), ("customer", Relation::Customer)];

/// `[neighbor-defaults]`: what neighbors have that say nothing else. Its values are checked where
/// neighbors take them, but keys that no neighbor takes, and values that each has of its own, are
/// not seen there.
pub(super) fn read_defaults<'a>(
    problems: &Problems,
    root: &mut Section<'a>,
) -> Option<&'a DeTable<'a>> {
    let table = root.table("neighbor-defaults")?.raw_table();
    let found = Problems::default();
    let span = root.places().of("neighbor-defaults");
    let section = Section::new(&found, "neighbor-defaults".to_owned(), span, table);
    read_neighbor(String::new(), section, Asn(0));
    for problem in found.into_sorted() {
        if problem.code != "missing-key" {
            problems.add(problem);
        }
    }
    Some(table)
}

pub(super) fn read<'a>(
    name: String,
    mut section: Section<'a>,
    fleet_asn: Asn,
    defaults: Option<&'a DeTable<'a>>,
) -> SiteDraft {
    let (city, location) = read_location(&mut section);
    let region = section.get("region", value::text);
    let capacity = section.get("capacity", value::bit_rate);
    let asn = section.get("asn", value::asn).unwrap_or(fleet_asn);
    let own_id = section.get("router-id", router_id);
    let bgp_port = section.get("bgp-port", value::port).unwrap_or(BGP_PORT);
    let listen = section.get("listen", value::boolean).unwrap_or(true);
    let kernel_routes = section.get("kernel-routes", value::boolean).unwrap_or(true);
    let router = section.get("router", value::boolean).unwrap_or(false);
    let cluster_id = section.get("cluster-id", router_id);
    let multipath = section.get("multipath", value::number(1..=MULTIPATH_MOST)).unwrap_or(1);
    let multipath_across_as = section.get("multipath-across-as", value::boolean).unwrap_or(false);
    let stop_wait = section.get("stop-wait", value::duration).unwrap_or(STOP_WAIT);
    let start_drained = section.get("start-drained", value::boolean).unwrap_or(false);
    let state_dir = section.get("state-dir", value::text).map(PathBuf::from);
    let listeners = listeners::read(&mut section);
    let api = section.table("api").map(super::api::read_of_site);
    let neighbors = named(&mut section, "neighbor", |name, section| {
        read_neighbor(name, section.with_defaults(defaults), asn)
    });
    let rpki = section.table("rpki").map(super::rpki::read_of_site);
    let affinity = section.table("affinity").map(super::affinity::read_of_site);
    let count = neighbors.len();
    let neighbors: Vec<_> = neighbors.into_iter().flatten().collect();
    let has_bad_neighbors = neighbors.len() < count;
    let derived = || {
        neighbors.iter().find_map(|neighbor| match neighbor.value.local_address {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        })
    };
    let router_id = own_id.or_else(derived).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let site = Site {
        name,
        city,
        location,
        region,
        capacity,
        asn,
        router_id,
        bgp_port,
        listen,
        kernel_routes,
        multipath,
        multipath_across_as,
        stop_wait,
        start_drained,
        state_dir,
        looking_glass: None,
        metrics: None,
        api: None,
        router,
        cluster_id,
        neighbors: Vec::new(),
        rpki: None,
        affinity: None,
    };
    let at = section.finish();
    SiteDraft { site, at, neighbors, has_bad_neighbors, rpki, listeners, api, affinity }
}

/// The city's name and the place: what the file says, else what the table of cities says.
fn read_location(section: &mut Section<'_>) -> (Option<String>, Option<Coordinates>) {
    let name = section.get("city", value::text);
    let lat = section.get("latitude", value::degrees(90.0));
    let lon = section.get("longitude", value::degrees(180.0));
    let at = section.places();
    for (there, other) in [("latitude", "longitude"), ("longitude", "latitude")] {
        if at.has(there) && !at.has(other) {
            let message = format!("`{there}` is no place without `{other}`");
            let problem = Problem::error("missing-key", at.of(there), message);
            section.problem(problem.help(format!("Add `{other} = …`, in degrees.")));
        }
    }
    let given = lat.zip(lon).map(|(lat, lon)| Coordinates { lat, lon });
    let city = name.as_deref().and_then(city::find);
    if let (Some(name), None, false) = (&name, city, at.has("latitude") || at.has("longitude")) {
        let help = match city::suggest(name).as_slice() {
            [] => "Name the next big city, or give `latitude` and `longitude`.".to_owned(),
            near => format!(
                "Did you mean {}? If not, give `latitude` and `longitude` too.",
                near.iter().map(|city| format!("{:?}", city.name)).collect::<Vec<_>>().join(" or ")
            ),
        };
        let message = format!("nothing is known of a city called {name:?}");
        section.problem(Problem::error("unknown-city", at.of("city"), message).help(help));
    }
    let location = given.or_else(|| city.map(city::City::coordinates));
    (city.map(|city| city.name.to_owned()).or(name), location)
}

/// `None` if its address or its number cannot be read.
fn read_neighbor(name: String, mut section: Section<'_>, own: Asn) -> Option<Placed<Neighbor>> {
    let community = value::parsed::<Community>("a community", "64500:120");
    let large = value::parsed::<LargeCommunity>("a large community", "64500:1:2");

    let address = section.require("address", "\"198.51.100.0\"", value::address);
    let port = section.get("port", value::port).unwrap_or(BGP_PORT);
    let asn = section.require("asn", "64501", value::asn);
    let local_address = section.get("local-address", value::address);
    let relation = section.get("relation", value::word(RELATIONS));
    let import = section.get("import", import).unwrap_or_default();
    let export = section.get("export", export).unwrap_or_default();
    let prepend = section.get("prepend", value::number(0..=u8::MAX)).unwrap_or(0);
    let med = section.get("med", value::number(0..=u32::MAX));
    let communities = section.get_list("communities", community).unwrap_or_default();
    let communities = without_repeats(&section, "communities", communities);
    let large_communities = section.get_list("large-communities", large).unwrap_or_default();
    let large_communities = without_repeats(&section, "large-communities", large_communities);
    let hold_time = section.get("hold-time", hold_time).unwrap_or(HOLD_TIME);
    let connect_retry = section.get("connect-retry", value::some_duration);
    let families = read_families(&mut section, address);
    let next_hop_v4 = section.get("next-hop-v4", next_hop_v4);
    let next_hop_v6 = section.get("next-hop-v6", next_hop_v6);
    let multihop = section.get("multihop", value::number(1..=u8::MAX));
    let ttl_security = section.get("ttl-security", value::boolean).unwrap_or(false);
    let password_file = section.get("password-file", value::text).map(PathBuf::from);
    let passive = section.get("passive", value::boolean).unwrap_or(false);
    let bfd = read_bfd(&mut section);
    let offers = super::offers::read(&mut section);
    let limits = super::limits::read(&mut section);
    let delay_open = section.get("delay-open", value::duration).unwrap_or(Duration::ZERO);
    let interface = section.get("interface", super::transport::interface);
    let tcp_ao = super::transport::read_ao(&mut section);
    let next_hop_self = section.get("next-hop-self", value::boolean).unwrap_or(true);
    let client = section.get("route-reflector-client", value::boolean).unwrap_or(false);

    // iBGP peers need not be on a common link, unless their addresses are of one, and nothing
    // limits how far they are.
    let on_link = matches!(address, Some(IpAddr::V6(it)) if it.is_unicast_link_local());
    let far = asn == Some(own) && !ttl_security && !on_link;
    let neighbor = address.zip(asn).map(|(address, asn)| Neighbor {
        name,
        address,
        port,
        asn,
        local_address,
        relation,
        import,
        export,
        prepend,
        med,
        communities,
        large_communities,
        hold_time,
        connect_retry: connect_retry.unwrap_or(CONNECT_RETRY),
        families,
        next_hop_v4,
        next_hop_v6,
        hops: multihop.unwrap_or(if far { u8::MAX } else { 1 }),
        ttl_security,
        password_file,
        passive,
        bfd,
        offers,
        limits,
        delay_open,
        interface,
        tcp_ao,
        next_hop_self,
        reflector_client: client,
    });
    let at = section.finish();
    neighbor.map(|value| Placed { value, at })
}

/// `bfd = true`, or a table that says how.
fn read_bfd(section: &mut Section<'_>) -> Option<Bfd> {
    let defaults = Bfd { interval: BFD_INTERVAL, multiplier: BFD_MULTIPLIER };
    // The outer `None`: a table.
    let switch = section.get("bfd", |value| match value {
        DeValue::Boolean(on) => Ok(Some(*on)),
        DeValue::Table(_) => Ok(None),
        other => Err(Fault::wrong_type("true, false or a table", other)),
    })?;
    if let Some(on) = switch {
        return on.then_some(defaults);
    }
    let mut table = section.table("bfd")?;
    let interval = table.get("interval", bfd_interval).unwrap_or(defaults.interval);
    let multiplier = table.get("multiplier", value::number(1..=u8::MAX));
    let multiplier = multiplier.and_then(NonZeroU8::new).unwrap_or(defaults.multiplier);
    table.finish();
    Some(Bfd { interval, multiplier })
}

fn bfd_interval(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let interval = value::duration(value)?;
    if interval < BFD_INTERVAL_MIN {
        let help = "Write at least \"10ms\": with a multiplier of 3 that finds a dead neighbor in \
                    30 ms.";
        return Err(Fault::value("is shorter than can be kept", help));
    }
    Ok(interval)
}

/// What the file says, else the family of the session's own addresses.
fn read_families(section: &mut Section<'_>, address: Option<IpAddr>) -> Vec<Family> {
    let families = section.get_list("families", value::word(FAMILIES));
    match families {
        Some(families) if families.is_empty() => {
            let span = section.places().of("families");
            let problem = Problem::error("bad-value", span, "`families` must not be empty");
            section.problem(problem.help("Leave it out for the family of `address`."));
            families
        }
        Some(families) => without_repeats(section, "families", families),
        None => address.iter().map(|address| family_of(*address)).collect(),
    }
}

pub(crate) fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Ipv4Unicast,
        IpAddr::V6(_) => Family::Ipv6Unicast,
    }
}

fn router_id(value: &DeValue<'_>) -> Result<Ipv4Addr, Fault> {
    let id: Ipv4Addr =
        value::parsed("a router id, written as an IPv4 address", "192.0.2.201")(value)?;
    // RFC 6286 §2.1: any number but zero.
    if id.is_unspecified() {
        return Err(Fault::value(
            "must not be 0.0.0.0",
            "Write any other; unique in your network.",
        ));
    }
    Ok(id)
}

fn import(value: &DeValue<'_>) -> Result<ImportPolicy, Fault> {
    Ok(match value::text(value)?.as_str() {
        "nothing" => ImportPolicy::Nothing,
        "default-route" => ImportPolicy::DefaultRoute,
        "everything" => ImportPolicy::Everything,
        "fleet" => ImportPolicy::Fleet,
        name => ImportPolicy::Named(name.to_owned()),
    })
}

fn export(value: &DeValue<'_>) -> Result<ExportPolicy, Fault> {
    Ok(match value::text(value)?.as_str() {
        "nothing" => ExportPolicy::Nothing,
        "fleet" => ExportPolicy::Fleet,
        name => ExportPolicy::Named(name.to_owned()),
    })
}

/// Zero or at least three seconds (RFC 4271 §4.2), in 16 bits.
fn hold_time(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let fault = |message: &str, help: &str| {
        Err(Fault { code: "hold-time", message: message.to_owned(), help: help.to_owned() })
    };
    let time = value::duration(value)?;
    match time.as_secs() {
        _ if time.subsec_nanos() != 0 => {
            fault("must be whole seconds", "BGP knows no fractions: write \"3s\" or more.")
        }
        1 | 2 => fault(
            "is shorter than BGP allows",
            "Write at least \"3s\", or \"0s\" for a session without keepalives (RFC 4271 §4.2).",
        ),
        65536.. => fault("is longer than BGP can say", "Write at most \"65535s\"."),
        _ => Ok(time),
    }
}

fn next_hop_v4(value: &DeValue<'_>) -> Result<Ipv4Addr, Fault> {
    match value::address(value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Fault::value(
            "must be an IPv4 address",
            "Write the address at which the neighbor reaches this site over IPv4.",
        )),
    }
}

fn next_hop_v6(value: &DeValue<'_>) -> Result<Ipv6Addr, Fault> {
    match value::address(value)? {
        IpAddr::V6(address) => Ok(address),
        IpAddr::V4(_) => Err(Fault::value(
            "must be an IPv6 address",
            "Write the address at which the neighbor reaches this site over IPv6.",
        )),
    }
}
