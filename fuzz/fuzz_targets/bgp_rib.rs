//! Any sequence of sessions, routes, policies, VRPs and looks: what each peer was told is what the
//! tables say that it was told, counts are what is there, and nothing is left at the end.
//!
//! `cargo fuzz run bgp_rib` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anycast_bgp::message::Update;
use anycast_bgp::policy::{Action, Match, Policy, Rule, Set};
use anycast_bgp::rib::{Agreed, Limits, PeerConfig, PeerId, PeerUp, Rib, SendPaths};
use anycast_bgp::rov::{Validity, Vrp, VrpTable};
use anycast_bgp::{AsPath, Asn, Attributes, Community, Family, IpNet};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

const PEERS: u32 = 4;
const PREFIXES: [&str; 8] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "224.0.0.0/4",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
];

fuzz_target!(|input: &[u8]| {
    let mut world = World::new();
    // Out of input is the end of the play.
    let _ = world.play(&mut Unstructured::new(input));
    world.end();
});

/// The tables, and what each peer knows from them.
struct World {
    rib: Rib,
    told: BTreeMap<PeerId, BTreeMap<IpNet, Arc<Attributes>>>,
}

fn address(peer: PeerId) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(peer.0 + 1).expect("few")).into()
}

fn prefix(input: &mut Unstructured<'_>) -> Result<IpNet> {
    Ok(input.choose(&PREFIXES)?.parse().expect("a prefix"))
}

fn attributes(input: &mut Unstructured<'_>, peer: Option<PeerId>) -> Result<Attributes> {
    let choice: u8 = input.arbitrary()?;
    let hop = if choice & 1 == 0 {
        peer.map_or(Ipv4Addr::LOCALHOST.into(), address)
    } else {
        Ipv4Addr::from(input.arbitrary::<[u8; 4]>()?).into()
    };
    let mut path = Vec::new();
    if let Some(peer) = peer.filter(|peer| peer.0 < 2) {
        path.push(64501 + peer.0);
    }
    path.extend((0..choice >> 6).map(|at| 64498 + u32::from(at)));
    Ok(Attributes {
        as_path: AsPath::sequence(&path),
        med: (choice & 2 != 0).then_some(u32::from(choice)),
        local_pref: (choice & 4 != 0).then_some(u32::from(choice)),
        communities: if choice & 8 != 0 { vec![Community::NO_EXPORT] } else { Vec::new() },
        originator_id: (choice & 16 != 0).then_some(Ipv4Addr::new(10, 0, 0, choice >> 5)),
        otc: (choice & 32 != 0).then_some(Asn(64501)),
        ..Attributes::new(hop)
    })
}

/// One VRP or two for each prefix, or none.
fn vrps(input: &mut Unstructured<'_>) -> Result<Arc<VrpTable>> {
    let mut list = Vec::new();
    for prefix in PREFIXES {
        for asn in [64499, 64501] {
            let net: IpNet = prefix.parse().expect("a prefix");
            if input.arbitrary()? {
                list.extend(Vrp::new(net, net.prefix_len(), Asn(asn)));
            }
        }
    }
    Ok(Arc::new(list.into_iter().collect()))
}

fn policy(input: &mut Unstructured<'_>) -> Result<Policy> {
    Ok(match input.int_in_range(0..=4)? {
        0 => Policy::reject_all(),
        1 => {
            let one = PREFIXES[1].parse().expect("a pattern");
            let reject = Rule::new(Action::Reject).when(Match::Prefix(vec![one]));
            Policy { rules: vec![reject, Rule::new(Action::Accept).set(Set::Prepend(1))] }
        }
        2 => {
            let rule = Rule::new(Action::Accept).when(Match::Family(Family::Ipv4Unicast));
            Policy { rules: vec![rule.set(Set::LocalPref(input.arbitrary()?))] }
        }
        3 => {
            let invalid = Rule::new(Action::Reject).when(Match::Rpki(Validity::Invalid));
            Policy { rules: vec![invalid, Rule::new(Action::Accept)] }
        }
        _ => Policy::accept_all(),
    })
}

impl World {
    fn new() -> Self {
        let mut rib = Rib::new(Asn(64500), Ipv4Addr::new(10, 0, 0, 1));
        for peer in (0..PEERS).map(PeerId) {
            rib.add_peer(
                peer,
                PeerConfig {
                    name: peer.0.to_string(),
                    asn: if peer.0 < 2 { Asn(64501 + peer.0) } else { Asn(64500) },
                    address: address(peer),
                    import: Policy::accept_all(),
                    export: Policy::accept_all(),
                    next_hop_self: peer.0 == 3,
                    enforce_first_as: peer.0 == 0,
                    role: None,
                },
            );
        }
        Self { rib, told: BTreeMap::new() }
    }

    fn play(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        while !input.is_empty() {
            let peer = PeerId(input.int_in_range(0..=PEERS - 1)?);
            match input.int_in_range(0..=18)? {
                0 => {
                    let both: bool = input.arbitrary()?;
                    self.rib.peer_up(
                        peer,
                        PeerUp {
                            router_id: Ipv4Addr::from(peer.0 + 1),
                            local_address: Ipv4Addr::new(192, 0, 2, 254).into(),
                            next_hop_other: "2001:db8::fe".parse().ok(),
                            families: Family::ALL[..1 + usize::from(both)].to_vec(),
                            send_paths: SendPaths::default(),
                            agreed: Agreed::default(),
                        },
                    );
                    self.told.insert(peer, BTreeMap::new());
                }
                1 => {
                    self.rib.peer_down(peer);
                    self.told.remove(&peer);
                }
                2..=5 => {
                    let attributes = attributes(input, Some(peer))?;
                    let prefixes = [prefix(input)?, prefix(input)?];
                    self.rib.handle_update(peer, Update::announce(Arc::new(attributes), prefixes));
                }
                6 if input.arbitrary()? => {
                    let attributes = Arc::new(attributes(input, Some(peer))?);
                    let prefixes = [prefix(input)?, prefix(input)?];
                    let update = Update::announce(attributes, prefixes);
                    let withdrawn = vec![prefix(input)?.into()];
                    self.rib.handle_update(peer, Update { withdrawn, ..update });
                }
                6 => self.rib.handle_update(peer, Update::withdraw([prefix(input)?])),
                7 => self.rib.originate(prefix(input)?, attributes(input, None)?),
                8 => self.rib.withdraw_local(&prefix(input)?),
                9 => self.rib.set_import(peer, policy(input)?),
                10 => self.rib.set_export(peer, policy(input)?),
                11 => self.rib.set_client(peer, input.arbitrary()?),
                12 => {
                    let limits = Limits {
                        warn_at: Some(input.int_in_range(0..=4)?),
                        prefixes: Some(input.int_in_range(0..=8)?),
                        as_path_length: Some(input.int_in_range(0..=4)?),
                    };
                    self.rib.set_limits(peer, limits);
                }
                13 => {
                    let ours = "192.0.2.254/24".parse().expect("an address");
                    self.rib.set_on_link(peer, vec![ours]);
                }
                14 => self.rib.await_vrps(),
                15 => self.rib.give_up_vrps(),
                16 => {
                    let some: bool = input.arbitrary()?;
                    let vrps = if some { Some(vrps(input)?) } else { None };
                    self.rib.set_vrps(vrps);
                }
                _ => self.listen(peer),
            }
            while self.rib.poll_origins() {}
            while self.rib.poll_event().is_some() {}
            let received = self.rib.received(peer);
            let (mut all, mut eligible) = (0, 0);
            for route in received {
                all += 1;
                eligible += usize::from(route.ineligible.is_none());
            }
            let counts = self.rib.counts(peer);
            assert_eq!((counts.received, counts.accepted), (all, eligible));
            // What others of its group have read already is listed as told, and not yet counted.
            if self.rib.is_settled(peer) {
                assert_eq!(counts.advertised, self.rib.advertised(peer).count());
            }
        }
        Ok(())
    }

    /// The peer reads all that it is to be told, and then knows what the tables say it does.
    fn listen(&mut self, peer: PeerId) {
        let told = self.told.entry(peer).or_default();
        while let Some(update) = self.rib.poll_update(peer) {
            for nlri in update.withdrawn {
                assert!(told.remove(&nlri.prefix).is_some(), "{nlri} was never announced");
            }
            for announcement in update.announced {
                for nlri in announcement.prefixes {
                    told.insert(nlri.prefix, Arc::clone(&announcement.attributes));
                }
            }
        }
        let known: BTreeMap<IpNet, &Attributes> =
            self.rib.advertised(peer).map(|route| (route.prefix, &**route.attributes)).collect();
        let heard: BTreeMap<IpNet, &Attributes> =
            told.iter().map(|(prefix, attributes)| (*prefix, &**attributes)).collect();
        assert_eq!(known, heard);
        assert_eq!(self.rib.counts(peer).advertised, heard.len());
    }

    fn end(&mut self) {
        while self.rib.poll_fib().is_some() {}
        for peer in (0..PEERS).map(PeerId) {
            self.listen(peer);
            self.rib.peer_down(peer);
            assert_eq!(self.rib.received(peer).count(), 0);
        }
        for prefix in PREFIXES {
            self.rib.withdraw_local(&prefix.parse().expect("a prefix"));
        }
        assert!(self.rib.routes().next().is_none(), "nothing is left");
        while self.rib.poll_fib().is_some() {}
        assert_eq!(self.rib.count_best(), 0);
    }
}
