//! The world file: from TOML to a checked [`World`], with every problem at once.
//!
//! It is read with the fleet file's reader, so that both files complain alike.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use anycast_bgp::Asn;
use anycast_fleet::problem::{Problem, Problems, Severity, Span, suggestion};
use anycast_fleet::report::{read_toml, render, to_json};
use anycast_fleet::section::{Fault, Places, Section};
use anycast_fleet::{city as cities, value};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use toml::de::{DeTable, DeValue};

use super::{Client, System, World};
use crate::plan::{Implementation, Place, router_name};

/// What a world file that leaves everything out says.
const NAME: &str = "A small Internet";
const LINK_PREFIX_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24);
const LINK_PREFIX_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0), 48);
const LOOPBACK_PREFIX_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 192), 26);
const LOOPBACK_PREFIX_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 0), 64);
const HOLD_TIME: Duration = Duration::from_secs(3);
const STRETCH: f64 = 1.5;

/// What was read, and what is wrong with it.
#[derive(Debug)]
pub struct Report {
    /// The file's name as the user gave it.
    pub file: String,
    /// Its text.
    pub source: String,
    /// There, if nothing is an error.
    pub world: Option<World>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads the text of a world file. `file` is its name as the user gave it.
pub fn parse(file: &str, source: &str) -> Report {
    let (world, problems) = read_toml(source, |table, problems, whole| {
        // Half a file has half its names: only what a table says by itself is worth telling.
        Reader { problems }.world(table).filter(|_| whole)
    });
    let sound = problems.iter().all(|problem| problem.severity != Severity::Error);
    let (file, source) = (file.to_owned(), source.to_owned());
    Report { file, source, world: world.filter(|_| sound), problems }
}

impl Report {
    /// Everything that is wrong, for people; empty if nothing is.
    pub fn render(&self, colour: bool) -> String {
        render(&self.problems, &self.file, &self.source, colour)
    }

    /// Everything that is wrong, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        to_json(&self.problems, &self.file, &self.source)
    }
}

struct Reader<'p> {
    problems: &'p Problems,
}

/// An AS as the file has it: relations are still names.
struct RawSystem {
    name: String,
    places: Places,
    asn: Option<Asn>,
    /// `None`: the city is not known, which has been said.
    cities: Vec<Place>,
    providers: Vec<String>,
    peers: Vec<String>,
    implementation: Implementation,
    prefix_v4: Option<Ipv4Net>,
    prefix_v6: Option<Ipv6Net>,
}

struct RawClient {
    name: String,
    places: Places,
    system: Option<String>,
    city: Option<String>,
}

impl Reader<'_> {
    fn world(&self, table: &DeTable<'_>) -> Option<World> {
        let mut root = Section::root(self.problems, table);
        let header = root.table("world");
        let systems: Vec<RawSystem> = root
            .tables("as")
            .into_iter()
            .map(|(name, section)| self.system(name, section))
            .collect();
        let clients: Vec<RawClient> = root
            .tables("client")
            .into_iter()
            .map(|(name, section)| self.client(name, section))
            .collect();
        root.finish();
        let mut world = Self::header(header);
        if systems.is_empty() {
            self.problems.add(
                Problem::error("missing-key", 0..0, "the world has no AS")
                    .help("Add at least one: `[as.NAME]` with `asn` and `cities`."),
            );
            return None;
        }
        self.check_numbers(&systems);
        self.check_prefixes(&world, &systems);
        let by_name: HashMap<&str, usize> =
            systems.iter().enumerate().map(|(i, system)| (system.name.as_str(), i)).collect();
        world.systems = systems.iter().map(|raw| self.resolve(raw, &systems, &by_name)).collect();
        self.settle_peers(&mut world.systems, &systems);
        self.check_programs(&world.systems, &systems);
        self.check_ways_up(&world.systems, &systems);
        world.clients = clients
            .iter()
            .filter_map(|raw| self.resolve_client(raw, &systems, &world.systems, &by_name))
            .collect();
        self.check_names(&world, &systems, &clients);
        Some(world)
    }

    fn header(section: Option<Section<'_>>) -> World {
        let mut world = World {
            name: NAME.to_owned(),
            link_prefix_v4: LINK_PREFIX_V4,
            link_prefix_v6: LINK_PREFIX_V6,
            loopback_prefix_v4: LOOPBACK_PREFIX_V4,
            loopback_prefix_v6: LOOPBACK_PREFIX_V6,
            hold_time: HOLD_TIME,
            stretch: STRETCH,
            systems: Vec::new(),
            clients: Vec::new(),
        };
        let Some(mut section) = section else { return world };
        let v4 = prefix::<Ipv4Net>("an IPv4 prefix", "198.51.100.0/24");
        let v6 = prefix::<Ipv6Net>("an IPv6 prefix", "2001:db8:ffff::/48");
        let set = &mut world;
        set.name = section.get("name", value::text).unwrap_or(NAME.to_owned());
        set.link_prefix_v4 = section.get("link-prefix-v4", v4).unwrap_or(LINK_PREFIX_V4);
        set.link_prefix_v6 = section.get("link-prefix-v6", v6).unwrap_or(LINK_PREFIX_V6);
        set.loopback_prefix_v4 =
            section.get("loopback-prefix-v4", v4).unwrap_or(LOOPBACK_PREFIX_V4);
        set.loopback_prefix_v6 =
            section.get("loopback-prefix-v6", v6).unwrap_or(LOOPBACK_PREFIX_V6);
        set.hold_time = section.get("hold-time", hold_time).unwrap_or(HOLD_TIME);
        set.stretch = section.get("stretch", stretch).unwrap_or(STRETCH);
        section.finish();
        world
    }

    fn system(&self, name: String, mut section: Section<'_>) -> RawSystem {
        self.check_name(&name, section.places().name());
        let asn = section.require("asn", "64496", value::asn);
        let cities = section.get_list("cities", city);
        if !section.places().has("cities") {
            section.missing("cities", "[\"London\"]");
        } else if let Some(cities) = &cities {
            let mut seen = HashSet::new();
            for (i, place) in cities.iter().enumerate() {
                if !seen.insert(&place.city) {
                    let span = section.places().item("cities", i);
                    let message = format!("`{name}` has two routers in {}", place.city);
                    section.problem(
                        Problem::error("duplicate", span, message)
                            .help("An AS has one router in a city: write each city once."),
                    );
                }
            }
            let places = section.places();
            if places.is_empty_list("cities") {
                section.problem(
                    Problem::error(
                        "missing-key",
                        places.of("cities"),
                        format!("`{name}` is nowhere"),
                    )
                    .help("Write at least one good city."),
                );
            }
        }
        let providers = section.get_list("providers", value::text).unwrap_or_default();
        let peers = section.get_list("peers", value::text).unwrap_or_default();
        let implementation =
            section.get("router", value::word(&Implementation::NAMES)).unwrap_or_default();
        let prefix_v4 =
            section.get("prefix-v4", prefix::<Ipv4Net>("an IPv4 prefix", "203.0.113.0/29"));
        let prefix_v6 =
            section.get("prefix-v6", prefix::<Ipv6Net>("an IPv6 prefix", "2001:db8:1::/64"));
        RawSystem {
            name,
            places: section.finish(),
            asn,
            cities: cities.unwrap_or_default(),
            providers,
            peers,
            implementation,
            prefix_v4,
            prefix_v6,
        }
    }

    fn client(&self, name: String, mut section: Section<'_>) -> RawClient {
        self.check_name(&name, section.places().name());
        let system = section.require("as", "\"NAME\"", value::text);
        let city = section.get("city", value::text);
        RawClient { name, places: section.finish(), system, city }
    }

    fn check_name(&self, name: &str, span: Span) {
        let fault = value::check_name(name).err().or_else(|| {
            name.contains("--").then(|| "has `--` in it, which is how links are written".to_owned())
        });
        if let Some(fault) = fault {
            self.problems.add(
                Problem::error("bad-name", span, format!("the name `{name}` {fault}"))
                    .help("Use letters, digits and single `-`."),
            );
        }
    }

    fn check_numbers(&self, systems: &[RawSystem]) {
        let mut seen: HashMap<Asn, &RawSystem> = HashMap::new();
        for system in systems {
            let Some(asn) = system.asn else { continue };
            if let Some(other) = seen.get(&asn) {
                let message = format!("AS {asn} is `{}` already", other.name);
                self.problems.add(
                    Problem::error("duplicate", system.places.of("asn"), message)
                        .also(other.places.of("asn"), "first here")
                        .help("Give each AS a number of its own."),
                );
            } else {
                seen.insert(asn, system);
            }
        }
    }

    /// No two networks may overlap: the kernel would send packets the wrong way.
    fn check_prefixes(&self, world: &World, systems: &[RawSystem]) {
        let pools = [
            ("link-prefix-v4", IpNet::from(world.link_prefix_v4)),
            ("link-prefix-v6", world.link_prefix_v6.into()),
            ("loopback-prefix-v4", world.loopback_prefix_v4.into()),
            ("loopback-prefix-v6", world.loopback_prefix_v6.into()),
        ];
        let mut seen: Vec<(IpNet, String)> =
            pools.iter().map(|(key, net)| (*net, format!("`{key}`, {net}"))).collect();
        for system in systems {
            for (key, net) in [
                ("prefix-v4", system.prefix_v4.map(IpNet::from)),
                ("prefix-v6", system.prefix_v6.map(IpNet::from)),
            ] {
                let Some(net) = net else { continue };
                let overlap =
                    seen.iter().find(|(other, _)| other.contains(&net) || net.contains(other));
                if let Some((_, whose)) = overlap {
                    let message = format!("{net} overlaps with {whose}");
                    self.problems.add(
                        Problem::error("overlap", system.places.of(key), message)
                            .help("Give each AS a network of its own."),
                    );
                }
                seen.push((net, format!("the network {net} of `{}`", system.name)));
            }
        }
    }

    fn resolve(
        &self,
        raw: &RawSystem,
        systems: &[RawSystem],
        by_name: &HashMap<&str, usize>,
    ) -> System {
        let known: Vec<&str> = systems.iter().map(|system| system.name.as_str()).collect();
        let resolve = |key: &'static str, names: &[String]| {
            let mut found = Vec::new();
            for (i, name) in names.iter().enumerate() {
                let span = raw.places.item(key, i);
                let problem = match by_name.get(name.as_str()) {
                    None => {
                        Problem::error("unknown-name", span, format!("there is no AS `{name}`"))
                            .help(suggestion(name, &known, "Write one of"))
                    }
                    Some(_) if *name == raw.name => Problem::error(
                        "bad-value",
                        span,
                        format!("`{name}` cannot do business with itself"),
                    )
                    .help("Remove it."),
                    Some(index) if found.contains(index) => {
                        Problem::error("duplicate", span, format!("`{name}` is there twice"))
                            .help("Write it once: a link is made in every city that both have.")
                    }
                    Some(index) => {
                        found.push(*index);
                        continue;
                    }
                };
                self.problems.add(problem);
            }
            found
        };
        System {
            name: raw.name.clone(),
            asn: raw.asn.unwrap_or_default(),
            cities: raw.cities.clone(),
            providers: resolve("providers", &raw.providers),
            peers: resolve("peers", &raw.peers),
            implementation: raw.implementation,
            prefix_v4: raw.prefix_v4,
            prefix_v6: raw.prefix_v6,
        }
    }

    /// Two ASes have one relation. Peers may say so at both ends: then the later one is dropped.
    fn settle_peers(&self, systems: &mut [System], raw: &[RawSystem]) {
        for a in 0..systems.len() {
            let mut peers = systems[a].peers.clone();
            peers.retain(|&b| b > a || !systems[b].peers.contains(&a));
            for &b in &peers {
                if systems[a].providers.contains(&b) || systems[b].providers.contains(&a) {
                    let (name, other) = (&raw[a].name, &raw[b].name);
                    let message = format!(
                        "`{name}` and `{other}` are peers as well as customer and provider"
                    );
                    self.problems.add(
                        Problem::error("contradiction", raw[a].places.of("peers"), message)
                            .help("Two ASes have one relation: keep one of the two."),
                    );
                }
            }
            systems[a].peers = peers;
        }
    }

    /// What other programs than ours can be used for.
    fn check_programs(&self, systems: &[System], all: &[RawSystem]) {
        for (index, (system, raw)) in systems.iter().zip(all).enumerate() {
            let program = system.implementation.name();
            if system.implementation != Implementation::Anycast && system.cities.len() > 1 {
                let message =
                    format!("`{}` has {} cities and runs {program}", raw.name, system.cities.len());
                self.problems.add(
                    Problem::error("bad-router", raw.places.of("router"), message).help(
                        "Only an AS of one city can run another program: the IGP of the lab \
                         speaks to our own routers only. Keep one city, or `router = \"anycast\"`.",
                    ),
                );
            }
            let customer = systems.iter().position(|other| other.providers.contains(&index));
            if let Some(customer) = customer.filter(|_| !system.implementation.forwards()) {
                let message = format!("`{}` runs {program} and has customers", raw.name);
                self.problems.add(
                    Problem::error("bad-router", raw.places.of("router"), message)
                        .also(all[customer].places.of("providers"), "this one pays it")
                        .help(format!(
                            "{program} puts no routes into the kernel, so it can only be a leaf: \
                             use anycast, bird or frr, or give `{}` another provider.",
                            systems[customer].name
                        )),
                );
            }
        }
    }

    /// Every AS must reach every other without anybody carrying packets for nothing: each has a
    /// chain of providers up to one that pays nobody, and those are all peers of each other.
    fn check_ways_up(&self, systems: &[System], raw: &[RawSystem]) {
        if let Some(cycle) = provider_cycle(systems) {
            let names: Vec<&str> = cycle.iter().map(|&i| systems[i].name.as_str()).collect();
            let message =
                format!("each is the next one's customer, in a circle: {}", names.join(" → "));
            self.problems.add(
                Problem::error("contradiction", raw[cycle[0]].places.of("providers"), message)
                    .help("Nobody can be the provider of its own provider: remove one of these."),
            );
            return;
        }
        let tops: Vec<usize> =
            (0..systems.len()).filter(|&i| !raw[i].places.has("providers")).collect();
        for (i, &late) in tops.iter().enumerate() {
            let strangers: Vec<usize> = tops[..i]
                .iter()
                .copied()
                .filter(|&early| {
                    !systems[early].peers.contains(&late) && !systems[late].peers.contains(&early)
                })
                .collect();
            let Some(&first) = strangers.first() else { continue };
            let names: Vec<String> =
                strangers.iter().map(|&i| format!("`{}`", systems[i].name)).collect();
            let name = &systems[late].name;
            let message =
                format!("`{name}` pays nobody, and is no peer of {}", names.join(", nor of "));
            self.problems.add(
                Problem::warning("unreachable", raw[late].places.name(), message)
                    .also(raw[first].places.name(), "pays nobody either")
                    .help(
                        "What is behind one cannot reach what is behind the other: make them \
                         peers, or give one a provider.",
                    ),
            );
        }
    }

    fn resolve_client(
        &self,
        raw: &RawClient,
        all: &[RawSystem],
        systems: &[System],
        by_name: &HashMap<&str, usize>,
    ) -> Option<Client> {
        let name = raw.system.as_ref()?;
        let Some(&index) = by_name.get(name.as_str()) else {
            let known: Vec<&str> = systems.iter().map(|system| system.name.as_str()).collect();
            self.problems.add(
                Problem::error(
                    "unknown-name",
                    raw.places.of("as"),
                    format!("there is no AS `{name}`"),
                )
                .help(suggestion(name, &known, "Write one of")),
            );
            return None;
        };
        let system = &systems[index];
        let at = &all[index].places;
        if !at.has("prefix-v4") && !at.has("prefix-v6") {
            let message = format!("client `{}` is in `{name}`, which has no network", raw.name);
            self.problems.add(
                Problem::error("missing-key", raw.places.of("as"), message)
                    .help(format!("Add `prefix-v4` or `prefix-v6` to `[as.{name}]`.")),
            );
        }
        let cities: Vec<&str> = system.cities.iter().map(|place| place.city.as_str()).collect();
        let city = match &raw.city {
            None if cities.len() == 1 => 0,
            None => {
                let message = format!("client `{}` does not say in which city it is", raw.name);
                self.problems.add(Problem::error("missing-key", raw.places.name(), message).help(
                    suggestion(
                        "",
                        &cities,
                        &format!("`{name}` has several; add `city` with one of"),
                    ),
                ));
                return None;
            }
            Some(city) => {
                let wanted = cities::find(city).map_or(city.as_str(), |found| found.name);
                let Some(found) = cities.iter().position(|known| *known == wanted) else {
                    let message = format!("`{name}` has no router in {city}");
                    self.problems.add(
                        Problem::error("unknown-name", raw.places.of("city"), message)
                            .help(suggestion(city, &cities, "Write one of")),
                    );
                    return None;
                };
                found
            }
        };
        Some(Client { name: raw.name.clone(), system: index, city })
    }

    /// A user types node names, so no two nodes may share one.
    fn check_names(&self, world: &World, systems: &[RawSystem], clients: &[RawClient]) {
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        let routers = world.systems.iter().zip(systems).flat_map(|(system, raw)| {
            system.cities.iter().map(|city| (router_name(system, city), raw.places.name()))
        });
        let clients = clients.iter().map(|raw| (raw.name.clone(), raw.places.name()));
        for (name, span) in routers.chain(clients) {
            if let Some(first) = seen.get(&name).filter(|first| **first != span) {
                self.problems.add(
                    Problem::error("duplicate", span, format!("two nodes are called `{name}`"))
                        .also(first.clone(), "the other")
                        .help(
                            "Rename one. A router is called after its AS, or `as-city` if the AS \
                             has several.",
                        ),
                );
            } else {
                seen.insert(name, span);
            }
        }
    }
}

/// A city of the table, or a problem.
fn city(value: &DeValue<'_>) -> Result<Place, Fault> {
    let name = value::text(value)?;
    locate(&name).ok_or_else(|| Fault {
        code: "unknown-city",
        message: format!("has a city that is not in the table: {name:?}"),
        help: match cities::suggest(&name).first() {
            Some(city) => format!("Did you mean {:?}?", city.name),
            None => "Write the next big city, by its English name.".to_owned(),
        },
    })
}

/// A network without host bits.
fn prefix<T>(
    what: &'static str,
    example: &'static str,
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> + Copy
where
    T: FromStr + Into<IpNet> + Copy + Display,
{
    move |value| {
        let net: T = value::parsed(what, example)(value)?;
        let whole: IpNet = net.into();
        if whole.addr() == whole.network() {
            return Ok(net);
        }
        Err(Fault::value(
            format!("has host bits set: {net}"),
            format!("Write \"{}\".", whole.trunc()),
        ))
    }
}

/// Zero or at least three seconds, in whole seconds (RFC 4271 §4.2).
fn hold_time(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let time = value::duration(value)?;
    let fits = time.is_zero() || (3..=u64::from(u16::MAX)).contains(&time.as_secs());
    if fits && time.subsec_nanos() == 0 {
        return Ok(time);
    }
    Err(Fault::value(
        "must be \"0s\" (never) or from \"3s\" on in whole seconds",
        "RFC 4271 §4.2 forbids hold times of one and two seconds; write \"3s\".",
    ))
}

fn stretch(value: &DeValue<'_>) -> Result<f64, Fault> {
    value::degrees(10.0)(value).ok().filter(|stretch| *stretch >= 0.0).ok_or_else(|| {
        Fault::value(
            "must be a number from 0 to 10",
            "1 is the great circle, 1.5 what fibre usually takes, 0 no latency at all.",
        )
    })
}

/// A chain of customers that comes back to where it began.
fn provider_cycle(systems: &[System]) -> Option<Vec<usize>> {
    // Whoever has no provider left is no part of a circle; so is then whoever has only those.
    let mut left: HashSet<usize> = (0..systems.len()).collect();
    loop {
        let before = left.len();
        let free: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&i| systems[i].providers.iter().all(|provider| !left.contains(provider)))
            .collect();
        for i in free {
            left.remove(&i);
        }
        if left.len() == before {
            break;
        }
    }
    let mut walk = vec![left.iter().copied().min()?];
    loop {
        let last = walk[walk.len() - 1];
        let next = systems[last].providers.iter().copied().find(|i| left.contains(i))?;
        if let Some(start) = walk.iter().position(|&i| i == next) {
            walk.drain(..start);
            walk.push(next);
            return Some(walk);
        }
        walk.push(next);
    }
}

fn locate(name: &str) -> Option<Place> {
    let city = cities::find(name)?;
    let at = city.coordinates();
    Some(Place { city: city.name.to_owned(), latitude: at.lat, longitude: at.lon })
}
