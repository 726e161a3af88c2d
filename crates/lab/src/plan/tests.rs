//! The shipped world with the shipped fleet, and what a plan must keep whatever the files say.
//! BGP itself is played through with the real tables of `anycast_bgp`, wired in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anycast_bgp::Attributes;
use anycast_bgp::policy::relation::{export_policy, import_policy};
use anycast_bgp::policy::{Action, Policy, Rule, Set};
use anycast_bgp::rib::{Agreed, PeerConfig, PeerId, PeerUp, Rib, SendPaths};
use anycast_fleet::Fleet;

use super::*;
use crate::world::{self, World};

const FLEET: &str = include_str!("../../../../examples/fleet.toml");

fn default_world() -> World {
    let report = world::parse("world.toml", world::DEFAULT);
    assert!(report.problems.is_empty(), "{}", report.render(false));
    report.world.unwrap()
}

fn fleet(source: &str) -> Fleet {
    let report = anycast_fleet::parse("fleet.toml", source);
    report.fleet.clone().unwrap_or_else(|| panic!("{}", report.render(false)))
}

fn default_plan() -> Plan {
    build(&default_world(), &fleet(FLEET)).unwrap()
}

/// Every router and site of a plan with its tables, updates carried until nobody has any.
struct Internet<'a> {
    plan: &'a Plan,
    ribs: BTreeMap<usize, Rib>,
    /// Node and session there → node and session at the other end.
    wires: HashMap<(usize, PeerId), (usize, PeerId)>,
}

impl<'a> Internet<'a> {
    /// `prepend`: how many times each site prepends.
    fn new(plan: &'a Plan, anycast: IpNet, prepend: &HashMap<&str, u8>) -> Self {
        let mut net = Self { plan, ribs: BTreeMap::new(), wires: HashMap::new() };
        for (index, _, router) in plan.routers() {
            let mut rib = Rib::new(router.asn, router.router_id);
            let costs = igp(plan, &router.as_name, &HashSet::new());
            let costs = costs[&index].iter().map(|(net, way)| (net.addr(), way.cost));
            rib.set_igp(Some(costs.collect()));
            for net in &router.originates {
                let mut attributes = Attributes::new(IpAddr::V4(router.router_id));
                attributes.large_communities.push(Relation::Customer.tag(router.asn));
                rib.originate(*net, attributes);
            }
            net.ribs.insert(index, rib);
        }
        let mut sessions: HashMap<(usize, IpAddr, IpAddr), PeerId> = HashMap::new();
        let mut site_asns = HashMap::new();
        for (index, _, router) in plan.routers() {
            for (number, neighbor) in (0..).zip(&router.neighbors) {
                let id = PeerId(number);
                sessions.insert((index, neighbor.local_address, neighbor.address), id);
                let (import, export) = match neighbor.relation {
                    Some(relation) => {
                        (import_policy(relation, router.asn), export_policy(relation, router.asn))
                    }
                    None => (Policy::accept_all(), Policy::accept_all()),
                };
                net.add_peer(index, id, neighbor, neighbor.asn, (import, export), |n| {
                    (n.address, n.local_address)
                });
                if let NodeKind::Site(_) = plan.nodes[neighbor.node].kind {
                    site_asns.insert(neighbor.node, neighbor.asn);
                }
            }
        }
        for (&site, &asn) in &site_asns {
            let mut rib = Rib::new(asn, Ipv4Addr::from(u32::try_from(site).unwrap()));
            rib.originate(anycast, Attributes::new(IpAddr::V4(Ipv4Addr::LOCALHOST)));
            net.ribs.insert(site, rib);
        }
        for (index, _, router) in plan.routers() {
            for (number, neighbor) in (0..).zip(&router.neighbors) {
                let here = (index, PeerId(number));
                if let NodeKind::Site(site) = &plan.nodes[neighbor.node].kind {
                    // Ids at a site: unique among all its sessions.
                    let id = PeerId(u32::try_from(index).unwrap() * 1000 + number);
                    let times = prepend.get(site.site.as_str()).copied().unwrap_or(0);
                    let export =
                        Policy { rules: vec![Rule::new(Action::Accept).set(Set::Prepend(times))] };
                    let policies = (Policy::reject_all(), export);
                    net.add_peer(neighbor.node, id, neighbor, router.asn, policies, |n| {
                        (n.local_address, n.address)
                    });
                    net.wires.insert(here, (neighbor.node, id));
                    net.wires.insert((neighbor.node, id), here);
                } else {
                    let other = (neighbor.node, neighbor.address, neighbor.local_address);
                    net.wires.insert(here, (neighbor.node, sessions[&other]));
                }
            }
        }
        net.settle();
        net
    }

    fn add_peer(
        &mut self,
        node: usize,
        id: PeerId,
        neighbor: &NeighborPlan,
        asn: Asn,
        (import, export): (Policy, Policy),
        ends: impl Fn(&NeighborPlan) -> (IpAddr, IpAddr),
    ) {
        let (address, local_address) = ends(neighbor);
        // Of the family that the session's own addresses are not of: any but another node's.
        let number = u16::try_from(node).unwrap();
        let next_hop_other = if local_address.is_ipv4() {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number])
        } else {
            IpAddr::from(u32::from(number).to_be_bytes())
        };
        let router_id = match &self.plan.nodes[neighbor.node].kind {
            NodeKind::Router(router) if asn == router.asn => router.router_id,
            _ => Ipv4Addr::new(192, 0, 2, 200),
        };
        let rib = self.ribs.get_mut(&node).unwrap();
        rib.add_peer(
            id,
            PeerConfig {
                name: neighbor.name.clone(),
                asn,
                address,
                import,
                export,
                next_hop_self: neighbor.next_hop_self,
                enforce_first_as: true,
                role: None,
            },
        );
        rib.peer_up(
            id,
            PeerUp {
                router_id,
                local_address,
                next_hop_other: Some(next_hop_other),
                families: neighbor.families.clone(),
                send_paths: SendPaths::default(),
                agreed: Agreed::default(),
            },
        );
    }

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100, "the routers never agree");
            let mut quiet = true;
            for (&(node, id), &(to, at)) in &self.wires {
                while let Some(update) = self.ribs.get_mut(&node).unwrap().poll_update(id) {
                    quiet = false;
                    self.ribs.get_mut(&to).unwrap().handle_update(at, update);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Where packets of a router to `prefix` end, hop by hop as each router would send them.
    fn walk(&self, from: usize, prefix: &IpNet) -> Option<usize> {
        let mut at = from;
        for _ in 0..64 {
            let best = self.ribs.get(&at)?.best(prefix)?;
            let Some(peer) = best.peer else { return Some(at) };
            // Through an iBGP neighbor: that router's eBGP neighbor is next.
            at = self.wires[&(at, peer)].0;
        }
        panic!("packets to {prefix} go round in circles from {}", self.plan.nodes[from].name);
    }

    /// Client → site.
    fn catchment(&self, anycast: &IpNet) -> BTreeMap<&'a str, &'a str> {
        self.plan
            .clients()
            .map(|(_, node, client)| {
                let gateway = self.plan.links[client.segment].ends[0].node;
                let end = self.walk(gateway, anycast).unwrap_or_else(|| panic!("{}", node.name));
                (node.name.as_str(), self.plan.nodes[end].name.as_str())
            })
            .collect()
    }
}

fn prefixes() -> [IpNet; 2] {
    ["192.0.2.0/24".parse().unwrap(), "2001:db8:ac::/48".parse().unwrap()]
}

#[test]
fn every_client_of_the_shipped_world_reaches_a_site_and_mostly_that_of_its_continent() {
    let plan = default_plan();
    let [v4, v6] = prefixes();
    let net = Internet::new(&plan, v4, &HashMap::new());
    let catchment = net.catchment(&v4);
    let mut by_site: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (client, site) in &catchment {
        by_site.entry(site).or_default().push(client);
    }
    let expected: &[(&str, &[&str])] = &[
        (
            "fra",
            &[
                "istanbul",
                "lagos",
                "london",
                "london-2",
                "london-3",
                "nairobi",
                "paris",
                "paris-2",
                "stockholm",
                "warsaw",
            ],
        ),
        ("gru", &["bogota", "buenos-aires", "cape-town", "lima", "lisbon"]),
        ("nrt", &["bangkok", "bangkok-2", "mumbai", "seoul", "tokyo", "tokyo-2", "tokyo-3"]),
        ("nyc", &["dallas", "mexico-city", "san-francisco", "toronto"]),
        ("syd", &["auckland", "perth"]),
    ];
    let expected: BTreeMap<&str, Vec<&str>> =
        expected.iter().map(|(site, clients)| (*site, clients.to_vec())).collect();
    assert_eq!(by_site, expected);
    assert_eq!(Internet::new(&plan, v6, &HashMap::new()).catchment(&v6), catchment, "IPv6");
}

#[test]
fn prepending_at_a_site_moves_some_of_its_clients_and_not_all_away() {
    let plan = default_plan();
    let [v4, _] = prefixes();
    let before = Internet::new(&plan, v4, &HashMap::new()).catchment(&v4);
    for (_, _, site) in plan.sites() {
        let prepend = HashMap::from([(site.site.as_str(), 3)]);
        let after = Internet::new(&plan, v4, &prepend).catchment(&v4);
        let moved: Vec<_> = after.iter().filter(|(client, to)| before[*client] != **to).collect();
        println!("{}: {moved:?}", site.site);
        if site.site == "fra" || site.site == "nyc" {
            assert!(!moved.is_empty(), "{}", site.site);
        }
        assert!(moved.iter().all(|(client, _)| before[*client] == site.site));
    }
}

#[test]
fn every_client_of_the_shipped_world_can_be_reached_by_every_other() {
    let plan = default_plan();
    let [v4, _] = prefixes();
    let net = Internet::new(&plan, v4, &HashMap::new());
    for (_, from, client) in plan.clients() {
        let gateway = plan.links[client.segment].ends[0].node;
        for (_, _, router) in plan.routers() {
            for prefix in &router.originates {
                let end = net.walk(gateway, prefix);
                let end = end.unwrap_or_else(|| panic!("{} cannot reach {prefix}", from.name));
                let NodeKind::Router(end) = &plan.nodes[end].kind else { panic!("not a router") };
                assert_eq!(end.as_name, router.as_name, "{} to {prefix}", from.name);
            }
        }
    }
}

#[test]
fn the_shipped_world_is_as_large_as_promised() {
    let world = default_world();
    let plan = default_plan();
    let cities: BTreeSet<&str> =
        plan.clients().map(|(_, node, _)| node.place.city.as_str()).collect();
    let counts = [
        world.systems.len(),
        plan.clients().count(),
        cities.len(),
        plan.links.len(),
        plan.nodes.len(),
    ];
    println!("ASes, clients, their cities, links, nodes: {counts:?}");
    assert!((24..=30).contains(&counts[0]) && counts[1] >= 20 && counts[2] >= 20);
    assert!(counts[3] <= 110);
    assert!(world.systems.iter().all(|system| system.asn.is_documentation()));
    assert_eq!(plan.notes, [""; 0]);
}

#[test]
fn the_files_speak_of_links_that_are_there() {
    let plan = default_plan();
    let named = world::DEFAULT.split('`').find_map(|word| word.strip_prefix("anycast lab cut "));
    assert!(plan.link(named.unwrap()).is_some());
    let reference = include_str!("../../../../docs/world.md");
    let example = reference.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let report = world::parse("docs/world.md", example);
    assert!(report.problems.is_empty(), "{}", report.render(false));
    for name in ["zenith-tokyo--kanto", "kanto--lan"] {
        assert!(reference.contains(name) && plan.link(name).is_some(), "{name}");
    }
}

#[test]
fn a_plan_is_the_same_every_time_and_contradicts_itself_nowhere() {
    let plan = default_plan();
    let json = |plan: &Plan| serde_json::to_string(plan).unwrap();
    assert_eq!(json(&plan), json(&default_plan()));

    let mut names = HashSet::new();
    assert!(plan.nodes.iter().all(|node| names.insert(&node.name)));
    let mut names = HashSet::new();
    assert!(plan.links.iter().all(|link| names.insert(&link.name)));
    let mut interfaces = HashSet::new();
    let mut addresses = HashSet::new();
    for end in plan.links.iter().flat_map(|link| &link.ends) {
        assert!(end.ifname.len() <= 15, "{}", end.ifname);
        assert!(interfaces.insert((end.node, &end.ifname)), "{}", end.ifname);
        for net in &end.addresses {
            assert!(addresses.insert(net.addr()), "{net} twice");
        }
    }
    for (_, _, router) in plan.routers() {
        for address in &router.loopbacks {
            assert!(addresses.insert(*address), "{address} twice");
        }
    }
    for (index, node, router) in plan.routers() {
        let mut sessions = HashSet::new();
        for neighbor in &router.neighbors {
            assert!(sessions.insert(&neighbor.name), "{}: {}", node.name, neighbor.name);
            let Some(link) = neighbor.link else { continue };
            let own = |of: usize, address: IpAddr| {
                let end = plan.links[link].ends.iter().find(|end| end.node == of).unwrap();
                end.addresses.iter().any(|net| net.addr() == address)
            };
            assert!(own(index, neighbor.local_address), "{}: {}", node.name, neighbor.name);
            assert!(own(neighbor.node, neighbor.address), "{}: {}", node.name, neighbor.name);
        }
    }
}

#[test]
fn the_sites_of_the_shipped_fleet_have_the_addresses_of_its_file() {
    let (plan, fleet) = (default_plan(), fleet(FLEET));
    for site in &fleet.sites {
        let node = plan.node(&site.name).unwrap();
        let own: HashSet<IpAddr> = plan
            .links
            .iter()
            .flat_map(|link| &link.ends)
            .filter(|end| end.node == node)
            .flat_map(|end| end.addresses.iter().map(IpNet::addr))
            .collect();
        for neighbor in &site.neighbors {
            assert!(own.contains(&neighbor.local_address.unwrap()), "{}", site.name);
            assert!(own.contains(&neighbor.next_hop_v6.unwrap().into()), "{}", site.name);
            let (_, _, router) = plan
                .routers()
                .find(|(_, _, router)| {
                    router.neighbors.iter().any(|n| n.local_address == neighbor.address)
                })
                .unwrap();
            assert_eq!(router.asn, neighbor.asn, "{}", site.name);
        }
        let NodeKind::Site(plan) = &plan.nodes[node].kind else {
            panic!("{} is no site", site.name)
        };
        assert_eq!(plan.routes, [], "{} learns its routes by BGP", site.name);
    }
}

#[test]
fn a_site_that_imports_less_than_everything_has_default_routes_its_first_neighbor_first() {
    for import in ["", "default-route"] {
        let line = if import.is_empty() { "" } else { "import = \"default-route\"" };
        let fleet = fleet(&FLEET.replace("import = \"everything\"", line));
        let plan = build(&default_world(), &fleet).unwrap();
        for (_, node, site) in plan.sites() {
            let routes: Vec<String> = site
                .routes
                .iter()
                .map(|route| format!("{} {}", route.prefix, route.metric))
                .collect();
            let wanted = ["0.0.0.0/0 100", "::/0 100", "0.0.0.0/0 101", "::/0 101"];
            assert_eq!(routes, wanted, "{}", node.name);
        }
    }
}

/// A world of one transit AS and one access network with two clients in one city, one in another.
const SMALL: &str = r#"
    [as.top]
    asn = 64496
    cities = ["London", "Frankfurt", "New York"]
    [as.access]
    asn = 64497
    cities = ["London", "Paris"]
    providers = ["top"]
    prefix-v4 = "203.0.113.0/28"
    prefix-v6 = "2001:db8:1::/48"
    [client.a]
    as = "access"
    city = "London"
    [client.b]
    as = "access"
    city = "London"
    [client.c]
    as = "access"
    city = "Paris"
"#;

fn small_fleet(neighbor: &str) -> Fleet {
    fleet(&format!(
        r#"
        [fleet]
        name = "small"
        asn = 64500
        [prefix."192.0.2.0/24"]
        services = ["whoami"]
        [service.whoami]
        addresses = ["192.0.2.1"]
        builtin = "whoami"
        [site.fra]
        city = "Frankfurt"
        router-id = "192.0.2.200"
        {neighbor}
        "#
    ))
}

fn small_plan(neighbor: &str) -> Result<Plan, Vec<PlanError>> {
    let report = world::parse("small.toml", SMALL);
    build(&report.world.unwrap(), &small_fleet(neighbor))
}

/// All of a link in one line.
fn line(plan: &Plan, link: &Link) -> String {
    let ends = link.ends.iter().map(|end| {
        let addresses: Vec<_> = end.addresses.iter().map(ToString::to_string).collect();
        format!("{} {} {}", plan.nodes[end.node].name, end.ifname, addresses.join(" "))
    });
    format!("{}: {}", link.name, ends.collect::<Vec<_>>().join(", "))
}

#[test]
fn links_are_laid_where_cities_are_shared_and_segments_share_the_network() {
    let plan = small_plan(
        r#"
        [site.fra.neighbor.up]
        address = "198.51.100.1"
        local-address = "198.51.100.2"
        asn = 64496
        relation = "provider"
        export = "fleet"
        "#,
    )
    .unwrap();
    let lines: Vec<String> = plan.links.iter().map(|link| line(&plan, link)).collect();
    assert_eq!(
        lines,
        [
            "top-london--top-frankfurt: top-london to-top-fra 198.51.100.4/31 2001:db8:ffff::1/64, \
             top-frankfurt to-top-lon 198.51.100.5/31 2001:db8:ffff::2/64",
            "top-london--top-new-york: top-london to-top-nyc 198.51.100.6/31 \
             2001:db8:ffff:1::1/64, top-new-york to-top-lon 198.51.100.7/31 \
             2001:db8:ffff:1::2/64",
            "access-london--access-paris: access-london to-access-par 198.51.100.8/31 \
             2001:db8:ffff:2::1/64, access-paris to-access-lon 198.51.100.9/31 \
             2001:db8:ffff:2::2/64",
            "top-london--access-london: top-london to-access-lon 198.51.100.10/31 \
             2001:db8:ffff:3::1/64, access-london to-top-lon 198.51.100.11/31 \
             2001:db8:ffff:3::2/64",
            "top-frankfurt--fra: top-frankfurt to-fra 198.51.100.1/30, fra to-top-fra \
             198.51.100.2/30",
            "access-london--lan: access-london lan 203.0.113.1/29 2001:db8:1::1/64, a eth0 \
             203.0.113.2/29 2001:db8:1::2/64, b eth0 203.0.113.3/29 2001:db8:1::3/64",
            "access-paris--lan: access-paris lan 203.0.113.9/29 2001:db8:1:1::1/64, c eth0 \
             203.0.113.10/29 2001:db8:1:1::2/64",
        ]
    );
    assert_eq!(plan.link("access-london--top-london"), plan.link("top-london--access-london"));
}

#[test]
fn a_multihop_neighbor_is_reached_over_a_transfer_link() {
    let plan = small_plan(
        r#"
        [site.fra.neighbor.host]
        address = "169.254.169.254"
        local-address = "203.0.113.222"
        asn = 64511
        multihop = 2
        relation = "provider"
        export = "fleet"
        "#,
    )
    .unwrap();
    assert_eq!(
        plan.notes,
        [
            "AS 64511 is in the fleet file but not in the world: added as `as64511`, a customer of top"
        ]
    );
    let link = &plan.links[plan.link("as64511--fra").unwrap()];
    assert_eq!(
        line(&plan, link),
        "as64511--fra: as64511 to-fra 198.51.100.10/31, fra to-as64511 198.51.100.11/31 \
         203.0.113.222/32"
    );
    let node = plan.node("as64511").unwrap();
    let NodeKind::Router(router) = &plan.nodes[node].kind else { panic!("not a router") };
    assert_eq!(router.extra_addresses, ["169.254.169.254".parse::<IpAddr>().unwrap()]);
    let route = |prefix: &str, gateway: &str, ifname: &str, metric| StaticRoute {
        prefix: prefix.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        ifname: ifname.to_owned(),
        metric,
    };
    assert_eq!(router.static_routes, [route("203.0.113.222/32", "198.51.100.11", "to-fra", 10)]);
    let session = router.neighbors.last().unwrap();
    assert_eq!(
        (session.address.to_string(), session.local_address.to_string(), session.multihop),
        ("203.0.113.222".to_owned(), "169.254.169.254".to_owned(), Some(2))
    );
    let (_, _, site) = plan.sites().next().unwrap();
    assert_eq!(
        site.routes,
        [
            route("169.254.169.254/32", "198.51.100.10", "to-as64511", 10),
            route("0.0.0.0/0", "198.51.100.10", "to-as64511", 100),
        ]
    );
}

#[test]
fn the_igp_goes_round_a_cut() {
    let plan = default_plan();
    let node = |name: &str| plan.node(name).unwrap();
    let (tokyo, sydney) = (node("zenith-tokyo"), node("zenith-sydney"));
    let NodeKind::Router(router) = &plan.nodes[sydney].kind else { panic!("not a router") };
    let loopback = IpNet::from(IpAddr::from(router.router_id));
    let mut down = HashSet::new();
    let mut cost = 0;
    // Cut whatever the route takes first, until there is none.
    for cuts in 0.. {
        let routes = igp(&plan, "zenith", &down);
        let Some(route) = routes[&tokyo].get(&loopback) else {
            assert!(cuts >= 2, "zenith has two ways out of Tokyo");
            break;
        };
        assert!(route.cost > cost, "a detour is longer");
        cost = route.cost;
        let link = plan.links.iter().position(|link| {
            link.ends.iter().any(|end| end.node == tokyo && end.ifname == route.ifname)
        });
        let link = link.unwrap();
        let other = plan.links[link].ends.iter().find(|end| end.node != tokyo).unwrap();
        assert!(other.addresses.iter().any(|net| net.addr() == route.gateway));
        assert!(down.insert(link));
    }
}

#[test]
fn a_multicast_tree_branches_late_and_brings_each_packet_once() {
    let plan = default_plan();
    let segment = |client: &str| match &plan.nodes[plan.node(client).unwrap()].kind {
        NodeKind::Client(client) => client.segment,
        _ => panic!("{client} is no client"),
    };
    let source = plan.node("london").unwrap();
    let receivers = [segment("london-2"), segment("paris"), segment("tokyo"), segment("perth")];
    let tree = multicast_tree(&plan, source, &receivers, &HashSet::new());
    // Every link of the tree has one router that sends into it, and the receivers' segments are
    // among them, but for the source's own.
    let mut fed = HashSet::new();
    for hop in tree.values() {
        assert!(!hop.oifs.contains(&hop.iif));
        for oif in &hop.oifs {
            assert!(fed.insert(*oif), "{} twice", plan.links[*oif].name);
        }
    }
    assert!(receivers[1..].iter().all(|segment| fed.contains(segment)));
    assert!(!fed.contains(&receivers[0]));
    let first = &tree[&plan.links[receivers[0]].ends[0].node];
    assert_eq!(first.iif, receivers[0]);
    for (router, hop) in &tree {
        assert!(hop.iif == receivers[0] || fed.contains(&hop.iif));
        assert!(plan.links[hop.iif].ends.iter().any(|end| end.node == *router));
    }
    let alone = multicast_tree(&plan, source, &receivers[..1], &HashSet::new());
    assert!(alone.is_empty(), "a segment needs no router for itself");
    let down = HashSet::from([receivers[3]]);
    let without = multicast_tree(&plan, source, &receivers, &down);
    assert!(without.len() < tree.len());
}

#[test]
fn what_does_not_fit_together_is_said() {
    let neighbor = |asn: u32, address: &str| {
        format!(
            "[site.fra.neighbor.n]\naddress = \"{address}\"\nlocal-address = \"198.51.100.2\"\n\
             asn = {asn}\nrelation = \"provider\"\nexport = \"fleet\"\n"
        )
    };
    for (name, world, site, want) in [
        ("a name", SMALL.replace("client.c", "client.fra"), neighbor(64496, "198.51.100.1"), "fra"),
        ("a number", SMALL.replace("64497", "64500"), neighbor(64496, "198.51.100.1"), "64500"),
        (
            "a network",
            SMALL.replace("203.0.113.0/28", "203.0.113.0/30"),
            neighbor(64496, "198.51.100.1"),
            "203.0.113.0/30",
        ),
        (
            "a pool",
            format!("[world]\nlink-prefix-v4 = \"198.51.100.0/29\"\n{SMALL}"),
            neighbor(64496, "198.51.100.1"),
            "link-prefix-v4",
        ),
        (
            "loopbacks",
            format!("[world]\nloopback-prefix-v4 = \"203.0.113.192/30\"\n{SMALL}"),
            neighbor(64496, "198.51.100.1"),
            "loopback-prefix-v4",
        ),
    ] {
        let report = world::parse("test.toml", &world);
        let world = report.world.clone().unwrap_or_else(|| panic!("{}", report.render(false)));
        let errors = build(&world, &small_fleet(&site)).map(|_| ()).unwrap_err();
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|line| line.contains(want)), "{name}: {text:?}");
    }
}
