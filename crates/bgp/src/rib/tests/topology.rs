//! Several speakers wired together, each a whole AS, with policies by business relation.

use proptest::prelude::*;

use super::*;
use crate::policy::relation::{Relation, export_policy, import_policy};

/// Speakers by ASN; a peer's id is its ASN.
struct Internet {
    speakers: BTreeMap<u32, Rib>,
    /// What the second is to the first.
    relations: BTreeMap<(u32, u32), Relation>,
}

fn address(asn: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | asn)
}

fn home(asn: u32) -> IpNet {
    IpNet::new(Ipv4Addr::from_bits(0xac10_0000 | (asn & 0xff) << 8).into(), 24).unwrap()
}

impl Internet {
    /// An Internet of these links: (an AS, what its neighbor is to it, the neighbor). Each AS
    /// originates its home prefix.
    fn new(links: &[(u32, Relation, u32)]) -> Self {
        let mut internet = Self { speakers: BTreeMap::new(), relations: BTreeMap::new() };
        for &(a, relation, b) in links {
            let reverse = match relation {
                Relation::Customer => Relation::Provider,
                Relation::Peer => Relation::Peer,
                Relation::Provider => Relation::Customer,
            };
            internet.end(a, relation, b);
            internet.end(b, reverse, a);
        }
        internet
    }

    fn end(&mut self, asn: u32, relation: Relation, neighbor: u32) {
        let rib = self.speakers.entry(asn).or_insert_with(|| {
            let mut rib = Rib::new(Asn(asn), address(asn));
            rib.originate(home(asn), Attributes::new(IpAddr::V4(address(asn))));
            rib
        });
        let config = PeerConfig {
            name: neighbor.to_string(),
            asn: Asn(neighbor),
            address: address(neighbor).into(),
            import: import_policy(relation, Asn(asn)),
            export: export_policy(relation, Asn(asn)),
            next_hop_self: false,
            enforce_first_as: true,
            role: None,
        };
        rib.add_peer(PeerId(neighbor), config);
        rib.peer_up(PeerId(neighbor), Self::up(asn, neighbor));
        self.relations.insert((asn, neighbor), relation);
    }

    fn up(asn: u32, neighbor: u32) -> PeerUp {
        PeerUp {
            router_id: address(neighbor),
            local_address: address(asn).into(),
            next_hop_other: None,
            families: vec![Family::Ipv4Unicast],
            send_paths: SendPaths::default(),
            agreed: Agreed::default(),
        }
    }

    fn rib(&mut self, asn: u32) -> &mut Rib {
        self.speakers.get_mut(&asn).unwrap()
    }

    fn cut(&mut self, a: u32, b: u32) {
        self.rib(a).peer_down(PeerId(b));
        self.rib(b).peer_down(PeerId(a));
    }

    fn mend(&mut self, a: u32, b: u32) {
        self.rib(a).peer_up(PeerId(b), Self::up(a, b));
        self.rib(b).peer_up(PeerId(a), Self::up(b, a));
    }

    /// Carries messages until nobody has anything to say.
    fn converge(&mut self) {
        let links: Vec<(u32, u32)> = self.relations.keys().copied().collect();
        for _round in 0..100 {
            let mut quiet = true;
            for &(from, to) in &links {
                while let Some(update) = self.rib(from).poll_update(PeerId(to)) {
                    quiet = false;
                    self.rib(to).handle_update(PeerId(from), update);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("they talk for ever");
    }

    /// The path from an AS to another's home, written as a looking glass does.
    fn path(&self, from: u32, to: u32) -> Option<String> {
        Some(self.speakers[&from].best(&home(to))?.attributes.as_path.to_string())
    }

    /// Every path is valley-free: it climbs from customer to provider, crosses at most one link
    /// between peers, and descends from provider to customer.
    fn assert_valley_free(&self) {
        for (asn, rib) in &self.speakers {
            for route in rib.routes().filter(|route| route.best) {
                let hops: Vec<u32> = std::iter::once(*asn)
                    .chain(route.attributes.as_path.asns().map(|it| it.0))
                    .collect();
                let mut climbing = true;
                for hop in hops.windows(2) {
                    let relation = self.relations[&(hop[0], hop[1])];
                    assert!(climbing || relation == Relation::Customer, "{hops:?}");
                    climbing &= relation == Relation::Provider;
                }
            }
        }
    }

    /// Where packets from an AS to another's home go, hop by hop, is the path that it was told.
    fn assert_packets_follow_paths(&self) {
        for from in self.speakers.keys() {
            for to in self.speakers.keys() {
                let Some(path) = self.path(*from, *to) else { continue };
                let mut hops = Vec::new();
                let mut at = *from;
                while let Some(PeerId(next)) =
                    self.speakers[&at].best(&home(*to)).expect("the next hop has it").peer
                {
                    hops.push(next.to_string());
                    at = next;
                }
                assert_eq!((hops.join(" "), at), (path, *to));
            }
        }
    }
}

#[test]
fn nobody_carries_packets_between_a_peer_and_a_provider_for_nothing() {
    use Relation::{Customer, Peer, Provider};
    // 2 and 3 are peers; 1 is the provider of 2, 4 the customer of 3.
    let mut internet = Internet::new(&[(2, Provider, 1), (2, Peer, 3), (3, Customer, 4)]);
    internet.converge();
    internet.assert_valley_free();
    for (from, to, path) in [
        (2, 1, Some("1")),
        (2, 4, Some("3 4")),
        (4, 2, Some("3 2")),
        (1, 2, Some("2")),
        (3, 1, None),
        (4, 1, None),
        (1, 3, None),
        (1, 4, None),
    ] {
        assert_eq!(internet.path(from, to).as_deref(), path, "{from} → {to}");
    }
}

#[test]
fn money_goes_before_distance_and_a_cut_link_is_routed_around() {
    use Relation::{Customer, Peer};
    // 1 and 2 are peers at the top; 3, 4 and 5 a chain of customers below 1; 5 is also below 2.
    let mut internet = Internet::new(&[
        (1, Peer, 2),
        (1, Customer, 3),
        (3, Customer, 4),
        (4, Customer, 5),
        (2, Customer, 5),
    ]);
    internet.converge();
    internet.assert_valley_free();
    internet.assert_packets_follow_paths();
    assert_eq!(internet.path(1, 5).as_deref(), Some("3 4 5"), "not the shorter way by the peer");
    assert_eq!(internet.path(2, 3).as_deref(), Some("1 3"));
    for (asn, rib) in &internet.speakers {
        for route in rib.routes().filter(|route| route.best && route.peer.is_some()) {
            let tags = &route.attributes.large_communities;
            assert!(tags.len() == 1 && tags[0].global == *asn, "only its own tag: {tags:?}");
        }
    }

    internet.cut(4, 5);
    internet.converge();
    internet.assert_valley_free();
    internet.assert_packets_follow_paths();
    assert_eq!(internet.path(1, 5).as_deref(), Some("2 5"));
    assert_eq!(internet.path(5, 4).as_deref(), Some("2 1 3 4"));

    internet.mend(4, 5);
    internet.converge();
    assert_eq!(internet.path(1, 5).as_deref(), Some("3 4 5"));
}

/// Random links in which a provider has the lower ASN, so that nobody pays himself.
fn links() -> impl Strategy<Value = Vec<(u32, Relation, u32)>> {
    let pairs = (1..9_u32).flat_map(|low| (low + 1..9).map(move |high| (low, high)));
    let pairs: Vec<(u32, u32)> = pairs.collect();
    let kinds = proptest::collection::vec(0..5_u8, pairs.len());
    kinds.prop_map(move |kinds| {
        let linked = |(&(low, high), kind): (&(u32, u32), &u8)| match kind {
            0 => Some((low, Relation::Peer, high)),
            1 => Some((low, Relation::Customer, high)),
            _ => None,
        };
        pairs.iter().zip(&kinds).filter_map(linked).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_internet_converges_valley_free(links in links(), cut in any::<prop::sample::Index>()) {
        prop_assume!(!links.is_empty());
        let mut internet = Internet::new(&links);
        internet.converge();
        internet.assert_valley_free();
        internet.assert_packets_follow_paths();
        let (a, _, b) = links[cut.index(links.len())];
        internet.cut(a, b);
        internet.converge();
        internet.assert_valley_free();
        internet.assert_packets_follow_paths();
    }
}
