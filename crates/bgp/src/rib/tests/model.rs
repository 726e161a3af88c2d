//! Whatever happened before, the tables say what a new speaker would say that was given only the
//! state at the end.

use proptest::prelude::*;

use super::*;
use crate::FamilySet;
use crate::policy::PrefixPattern;

const PEERS: [PeerId; 4] = [ALPHA, BETA, CORE, EDGE];
const PREFIXES: [&str; 4] = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "2001:db8:1::/48"];

#[derive(Clone, Debug)]
enum Step {
    Announce {
        peer: usize,
        prefix: usize,
        path: u32,
        variant: usize,
    },
    Withdraw {
        peer: usize,
        prefix: usize,
        path: u32,
    },
    /// It takes so many paths; 0: the best without a number.
    Up {
        peer: usize,
        paths: usize,
    },
    Down {
        peer: usize,
    },
    SetImport {
        peer: usize,
        policy: usize,
    },
    SetExport {
        peer: usize,
        policy: usize,
    },
    Originate {
        prefix: usize,
        variant: usize,
    },
    WithdrawLocal {
        prefix: usize,
    },
    SetIgp {
        interior: usize,
    },
    SetClient {
        peer: usize,
        client: bool,
    },
    Refresh {
        peer: usize,
        family: usize,
    },
    /// Its routes of some families stay: of none, IPv4, IPv6, both.
    Lost {
        peer: usize,
        keep: usize,
    },
    MarkStale {
        peer: usize,
        family: usize,
    },
    DropStale {
        peer: usize,
        family: usize,
    },
    LongLived {
        peer: usize,
        family: usize,
    },
    PollUpdate {
        peer: usize,
    },
    PollFib,
    SetMultipath {
        paths: usize,
        across_as: bool,
    },
}

/// Whether a peer stands by what it has sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mark {
    Fresh,
    Stale,
    LastResort,
}

const KEEP: [&[Family]; 4] = [&[], &[Family::Ipv4Unicast], &[Family::Ipv6Unicast], &Family::ALL];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (peer, prefix, variant) = (0..PEERS.len(), 0..PREFIXES.len(), 0..VARIANTS);
    let path = prop::sample::select(vec![0, 0, 0, 1, 2, 7]);
    let step = prop_oneof![
        8 => (peer.clone(), prefix.clone(), path.clone(), variant.clone()).prop_map(
            |(peer, prefix, path, variant)| Step::Announce { peer, prefix, path, variant }
        ),
        4 => (peer.clone(), prefix.clone(), path)
            .prop_map(|(peer, prefix, path)| Step::Withdraw { peer, prefix, path }),
        1 => (peer.clone(), 0..4_usize).prop_map(|(peer, paths)| Step::Up { peer, paths }),
        1 => (1..4_usize, any::<bool>())
            .prop_map(|(paths, across_as)| Step::SetMultipath { paths, across_as }),
        1 => peer.clone().prop_map(|peer| Step::Down { peer }),
        1 => (peer.clone(), 0..4_usize)
            .prop_map(|(peer, policy)| Step::SetImport { peer, policy }),
        1 => (peer.clone(), 0..4_usize)
            .prop_map(|(peer, policy)| Step::SetExport { peer, policy }),
        2 => (prefix.clone(), variant)
            .prop_map(|(prefix, variant)| Step::Originate { prefix, variant }),
        2 => prefix.prop_map(|prefix| Step::WithdrawLocal { prefix }),
        1 => (0..4_usize).prop_map(|interior| Step::SetIgp { interior }),
        1 => (peer.clone(), any::<bool>())
            .prop_map(|(peer, client)| Step::SetClient { peer, client }),
        1 => (peer.clone(), 0..2_usize).prop_map(|(peer, family)| Step::Refresh { peer, family }),
        2 => (peer.clone(), 0..4_usize).prop_map(|(peer, keep)| Step::Lost { peer, keep }),
        1 => (peer.clone(), 0..2_usize).prop_map(|(peer, family)| Step::MarkStale { peer, family }),
        1 => (peer.clone(), 0..2_usize).prop_map(|(peer, family)| Step::DropStale { peer, family }),
        1 => (peer.clone(), 0..2_usize).prop_map(|(peer, family)| Step::LongLived { peer, family }),
        4 => peer.prop_map(|peer| Step::PollUpdate { peer }),
        4 => Just(Step::PollFib),
    ];
    proptest::collection::vec(step, 1..60)
}

const VARIANTS: usize = 7;

fn variant(peer: Option<PeerId>, variant: usize) -> Attributes {
    let asn = match peer {
        Some(ALPHA) => vec![64501],
        Some(BETA) => vec![64502],
        _ => vec![],
    };
    let path = |rest: &[u32]| [&asn[..], rest].concat();
    let base = route(&path(&[64510]));
    let base = Attributes {
        next_hop: peer.map_or(ip("10.0.0.9"), |id| config(id).address).into(),
        ..base
    };
    match variant {
        0 => base,
        1 => Attributes { med: Some(7), local_pref: Some(120), ..base },
        2 => Attributes { as_path: AsPath::sequence(&path(&[64511, 64512])), ..base },
        3 => Attributes { as_path: AsPath::sequence(&path(&[64510, 64500])), ..base },
        4 => Attributes { communities: vec![Community::NO_EXPORT], ..base },
        5 => Attributes { communities: vec![Community::NO_LLGR], ..base },
        _ => Attributes { next_hop: ip("192.0.2.254").into(), ..base },
    }
}

fn policy(policy: usize) -> Policy {
    let some: PrefixPattern = "10.0.0.0/8 ge 16 le 16".parse().unwrap();
    let one: PrefixPattern = "10.2.0.0/16".parse().unwrap();
    let rule = Rule::new(Action::Accept);
    match policy {
        0 => Policy::accept_all(),
        1 => Policy::reject_all(),
        2 => Policy { rules: vec![rule.when(Match::Prefix(vec![some])).set(Set::LocalPref(90))] },
        _ => Policy {
            rules: vec![
                Rule::new(Action::Reject).when(Match::Prefix(vec![one])),
                rule.set(Set::Prepend(1)).set(Set::Med(Some(3))),
            ],
        },
    }
}

fn interior(interior: usize) -> Option<HashMap<IpAddr, u32>> {
    let (core, edge) = (ip("10.0.0.3"), ip("10.0.0.4"));
    match interior {
        0 => None,
        1 => Some(HashMap::from([(core, 20), (edge, 10)])),
        2 => Some(HashMap::from([(core, 20)])),
        _ => Some(HashMap::new()),
    }
}

/// The other end of a session: it knows what it was told since it came up.
#[derive(Default)]
struct Receiver {
    routes: BTreeMap<Nlri, Arc<Attributes>>,
    /// It asked for all again, so that it may be told what it knows.
    refreshed: bool,
}

impl Receiver {
    fn read(&mut self, update: &Update) {
        for nlri in &update.withdrawn {
            assert!(self.routes.remove(nlri).is_some(), "{nlri} was never announced");
        }
        for Announcement { attributes, prefixes } in &update.announced {
            for nlri in prefixes {
                let known = self.routes.insert(*nlri, Arc::clone(attributes));
                assert!(
                    self.refreshed || known.as_ref() != Some(attributes),
                    "{nlri} is told twice"
                );
            }
        }
    }
}

impl Receiver {
    /// What it knows, whatever the paths are called.
    fn known(&self) -> Vec<(IpNet, String)> {
        let words = |(nlri, attributes): (&Nlri, _)| (nlri.prefix, format!("{attributes:?}"));
        let mut known: Vec<_> = self.routes.iter().map(words).collect();
        known.sort();
        known
    }
}

fn nlri(route: &RouteView<'_>) -> Nlri {
    Nlri::new(route.prefix, route.path_id)
}

/// A speaker, all that it was given and all that it gave out.
struct World {
    rib: Rib,
    up: [bool; 4],
    paths: [usize; 4],
    multipath: Multipath,
    sent: [BTreeMap<Nlri, (Attributes, Mark)>; 4],
    policies: [(usize, usize); 4],
    clients: [bool; 4],
    local: BTreeMap<IpNet, Attributes>,
    interior: usize,
    receivers: [Receiver; 4],
    fib: BTreeMap<IpNet, FibRoute>,
}

impl World {
    fn new() -> Self {
        let mut rib = Rib::new(US, Ipv4Addr::new(10, 0, 0, 254));
        for id in PEERS {
            rib.add_peer(id, config(id));
        }
        Self {
            rib,
            up: [false; 4],
            paths: [0; 4],
            multipath: Multipath::default(),
            sent: Default::default(),
            policies: [(0, 0); 4],
            clients: [false; 4],
            local: BTreeMap::new(),
            interior: 0,
            receivers: Default::default(),
            fib: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Announce { peer, prefix, path, variant: which } => {
                let attributes = variant(Some(PEERS[peer]), which);
                let nlri = Nlri::new(net(PREFIXES[prefix]), PathId(path));
                if self.up[peer] {
                    self.sent[peer].insert(nlri, (attributes.clone(), Mark::Fresh));
                }
                let update = Update::announce(Arc::new(attributes), [nlri]);
                self.rib.handle_update(PEERS[peer], update);
            }
            Step::Withdraw { peer, prefix, path } => {
                let nlri = Nlri::new(net(PREFIXES[prefix]), PathId(path));
                if self.up[peer] {
                    self.sent[peer].remove(&nlri);
                }
                self.rib.handle_update(PEERS[peer], Update::withdraw([nlri]));
            }
            Step::SetMultipath { paths, across_as } => {
                self.multipath = Multipath { paths, across_as };
                self.rib.set_multipath(self.multipath);
            }
            Step::Up { peer, paths } => {
                // What was kept while it was down stays.
                if self.up[peer] {
                    self.sent[peer].clear();
                }
                self.up[peer] = true;
                self.paths[peer] = paths;
                self.receivers[peer] = Receiver::default();
                let families = if paths == 0 { FamilySet::NONE } else { FamilySet::ALL };
                let send_paths = SendPaths { families, most: paths };
                self.rib.peer_up(PEERS[peer], PeerUp { send_paths, ..up(PEERS[peer]) });
            }
            Step::Down { peer } => {
                self.up[peer] = false;
                self.sent[peer].clear();
                self.receivers[peer] = Receiver::default();
                self.rib.peer_down(PEERS[peer]);
            }
            Step::SetImport { peer, policy: which } => {
                self.policies[peer].0 = which;
                self.rib.set_import(PEERS[peer], policy(which));
            }
            Step::SetExport { peer, policy: which } => {
                self.policies[peer].1 = which;
                self.rib.set_export(PEERS[peer], policy(which));
            }
            Step::Originate { prefix, variant: which } => {
                let attributes = variant(None, which);
                self.local.insert(net(PREFIXES[prefix]), attributes.clone());
                self.rib.originate(net(PREFIXES[prefix]), attributes);
            }
            Step::WithdrawLocal { prefix } => {
                self.local.remove(&net(PREFIXES[prefix]));
                self.rib.withdraw_local(&net(PREFIXES[prefix]));
            }
            Step::SetIgp { interior: which } => {
                self.interior = which;
                self.rib.set_igp(interior(which));
            }
            Step::SetClient { peer, client } => {
                self.clients[peer] = client;
                self.rib.set_client(PEERS[peer], client);
            }
            Step::Refresh { peer, family } => {
                self.receivers[peer].refreshed = true;
                let family = [Family::Ipv4Unicast, Family::Ipv6Unicast][family];
                self.rib.handle_refresh(PEERS[peer], family);
            }
            Step::Lost { peer, keep } => {
                let keep = if self.up[peer] { KEEP[keep] } else { &[] };
                self.up[peer] = false;
                self.sent[peer].retain(|nlri, _| keep.contains(&nlri.family()));
                self.mark(peer, keep, Mark::Stale);
                self.receivers[peer] = Receiver::default();
                self.rib.peer_lost(PEERS[peer], keep);
            }
            Step::MarkStale { peer, family } => {
                self.mark(peer, &[Family::ALL[family]], Mark::Stale);
                self.rib.mark_stale(PEERS[peer], Family::ALL[family]);
            }
            Step::DropStale { peer, family } => {
                let family = Family::ALL[family];
                self.sent[peer]
                    .retain(|nlri, (_, mark)| *mark == Mark::Fresh || nlri.family() != family);
                self.rib.drop_stale(PEERS[peer], family);
            }
            Step::LongLived { peer, family } => {
                let family = Family::ALL[family];
                self.sent[peer].retain(|nlri, (attributes, mark)| {
                    let concerned = *mark != Mark::Fresh && nlri.family() == family;
                    if concerned {
                        *mark = Mark::LastResort;
                    }
                    !(concerned && attributes.has_community(Community::NO_LLGR))
                });
                self.rib.long_lived_stale(PEERS[peer], family);
            }
            Step::PollUpdate { peer } => {
                self.poll_update(peer);
            }
            Step::PollFib => {
                self.poll_fib();
            }
        }
    }

    /// What is fresh of these families gets another mark.
    fn mark(&mut self, peer: usize, families: &[Family], with: Mark) {
        for (nlri, (_, mark)) in &mut self.sent[peer] {
            if *mark == Mark::Fresh && families.contains(&nlri.family()) {
                *mark = with;
            }
        }
    }

    fn poll_update(&mut self, peer: usize) -> bool {
        let Some(update) = self.rib.poll_update(PEERS[peer]) else { return false };
        self.receivers[peer].read(&update);
        true
    }

    fn poll_fib(&mut self) -> bool {
        let Some(FibChange { prefix, route }) = self.rib.poll_fib() else { return false };
        let known = match route.clone() {
            Some(route) => self.fib.insert(prefix, route),
            None => self.fib.remove(&prefix),
        };
        assert_ne!(known, route, "{prefix} is told twice");
        true
    }

    fn settle(&mut self) {
        for peer in 0..PEERS.len() {
            while self.poll_update(peer) {}
        }
        while self.poll_fib() {}
    }

    /// A new speaker that is given only the state at the end.
    fn reborn(&self) -> Self {
        let mut world = Self::new();
        world.step(&Step::SetIgp { interior: self.interior });
        let Multipath { paths, across_as } = self.multipath;
        world.step(&Step::SetMultipath { paths, across_as });
        for (prefix, attributes) in &self.local {
            world.rib.originate(*prefix, attributes.clone());
        }
        for (peer, id) in PEERS.into_iter().enumerate() {
            let (import, export) = self.policies[peer];
            world.step(&Step::SetImport { peer, policy: import });
            world.step(&Step::SetExport { peer, policy: export });
            world.step(&Step::SetClient { peer, client: self.clients[peer] });
            world.step(&Step::Up { peer, paths: self.paths[peer] });
            for wanted in [Mark::LastResort, Mark::Stale, Mark::Fresh] {
                for (nlri, (attributes, mark)) in &self.sent[peer] {
                    if *mark == wanted {
                        let update = Update::announce(Arc::new(attributes.clone()), [*nlri]);
                        world.rib.handle_update(id, update);
                    }
                }
                for family in Family::ALL {
                    if wanted != Mark::Fresh {
                        world.rib.mark_stale(id, family);
                    }
                    if wanted == Mark::LastResort {
                        world.rib.long_lived_stale(id, family);
                    }
                }
            }
            if !self.up[peer] {
                world.step(&Step::Lost { peer, keep: 3 });
            }
        }
        world.settle();
        world
    }

    fn assert_same_as(&self, other: &Self) {
        assert_eq!(self.fib, other.fib);
        for (id, (here, there)) in PEERS.iter().zip(self.receivers.iter().zip(&other.receivers)) {
            assert_eq!(here.known(), there.known(), "what {id:?} knows");
            assert_eq!(self.rib.counts(*id), other.rib.counts(*id), "counts of {id:?}");
        }
        for prefix in PREFIXES.map(net) {
            assert_eq!(self.rib.explain(&prefix), other.rib.explain(&prefix));
        }
        assert_eq!(self.rib.routes().collect::<Vec<_>>(), other.rib.routes().collect::<Vec<_>>());
    }

    /// The views, the counts and what went out say the same.
    fn assert_coherent(&self) {
        for (at, (id, receiver)) in PEERS.iter().zip(&self.receivers).enumerate() {
            let advertised: BTreeMap<_, _> =
                self.rib.advertised(*id).map(|it| (nlri(&it), Arc::clone(it.attributes))).collect();
            assert_eq!(advertised, receiver.routes);
            let most = self.paths[at].max(1);
            for prefix in PREFIXES.map(net) {
                let paths = receiver.routes.keys().filter(|nlri| nlri.prefix == prefix);
                assert!(paths.count() <= most, "{prefix} for {id:?}");
            }
            let received: Vec<_> = self.rib.received(*id).collect();
            let passed =
                |why: Option<Ineligible>| why.is_none_or(|why| why == Ineligible::Unreachable);
            let counts = Counts {
                received: received.len(),
                accepted: received.iter().filter(|it| passed(it.ineligible)).count(),
                advertised: receiver.routes.len(),
                stale: received.iter().filter(|it| it.stale).count(),
            };
            assert_eq!(self.rib.counts(*id), counts);
        }
        let best = self.rib.routes().filter(|route| route.best && route.peer.is_some());
        let wanted: BTreeMap<_, _> =
            best.map(|it| (it.prefix, (it.attributes.next_hop, it.peer.unwrap()))).collect();
        let installed: BTreeMap<_, _> = self
            .fib
            .iter()
            .map(|(prefix, it)| (*prefix, (it.best.next_hop, it.best.peer)))
            .collect();
        assert_eq!(installed, wanted);
        for (prefix, route) in &self.fib {
            let shares = self.rib.look(View::Table, prefix).iter().filter(|it| it.shares).count();
            assert_eq!(shares, if route.others.is_empty() { 0 } else { 1 + route.others.len() });
            assert_eq!(self.rib.fib_route(prefix).as_ref(), Some(route));
        }
        for prefix in PREFIXES.map(net) {
            let explained = self.rib.explain(&prefix).map(|it| it.routes[0].clone());
            let explained = explained.filter(|route| route.outcome == Outcome::Best);
            let best = self.rib.best(&prefix);
            assert_eq!(best.map(|it| it.peer), explained.map(|it| it.peer));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_tables_depend_on_the_state_and_not_on_the_way_there(steps in steps()) {
        let mut world = World::new();
        // Every world starts with all peers up, so that most steps bite.
        for peer in 0..PEERS.len() {
            world.step(&Step::Up { peer, paths: 0 });
        }
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.assert_coherent();
        world.assert_same_as(&world.reborn());
    }
}
