//! Peers that are told the same.

use super::*;

/// Ids of eBGP peers whose terms are those of beta.
const MANY: std::ops::Range<u32> = 100..110;

/// Alpha and peers like beta, who have read their empty tables.
fn rib_of_many() -> Rib {
    let mut rib = rib(&[ALPHA]);
    for id in MANY.map(PeerId) {
        rib.add_peer(id, PeerConfig { address: ip("192.0.2.2"), ..config(BETA) });
        rib.peer_up(id, PeerUp { router_id: Ipv4Addr::from_bits(id.0), ..up(BETA) });
        assert_eq!(told(&mut rib, id), ["end of ipv4", "end of ipv6"]);
    }
    rib
}

/// Announced and withdrawn prefixes of all that a peer is now told.
fn sums(rib: &mut Rib, id: PeerId) -> (usize, usize) {
    std::iter::from_fn(|| rib.poll_update(id)).fold((0, 0), |(in_, out), update| {
        let announced: usize = update.announced.iter().map(|it| it.prefixes.len()).sum();
        (in_ + announced, out + update.withdrawn.len())
    })
}

#[test]
fn what_alike_peers_are_told_is_packed_once() {
    let mut rib = rib_of_many();
    rib.handle_update(ALPHA, announce("10.1.0.0/16", route(&[64501])));
    let mut packed: Vec<Arc<Packed>> =
        MANY.map(|id| rib.poll_packed(PeerId(id)).unwrap()).collect();
    packed.dedup_by(|a, b| Arc::ptr_eq(a, b));
    assert_eq!(packed.len(), 1);
    assert_eq!(line(packed[0].update()), "10.1.0.0/16: [64500 64501] via 192.0.2.254");
    // One of them sends a better one: it is told that the other is gone, the rest what is better.
    let sender = PeerId(MANY.start);
    let better = Attributes { as_path: AsPath::sequence(&[64502]), ..route(&[64502]) };
    rib.set_import(ALPHA, Policy { rules: vec![Rule::new(Action::Accept).set(Set::Prepend(2))] });
    MANY.map(PeerId).for_each(|id| drop(told(&mut rib, id)));
    rib.handle_update(sender, announce("10.1.0.0/16", better));
    for id in MANY.map(PeerId) {
        let wanted = if id == sender {
            "withdraw 10.1.0.0/16"
        } else {
            "10.1.0.0/16: [64500 64502] via 192.0.2.254"
        };
        assert_eq!(told(&mut rib, id), [wanted], "{id:?}");
    }
}

#[test]
fn one_that_does_not_listen_holds_nobody_up_and_is_told_only_what_is_left() {
    let mut rib = rib_of_many();
    let (slow, fast) = (PeerId(MANY.start), PeerId(MANY.start + 1));
    rib.handle_update(ALPHA, many(60_000));
    for id in MANY.map(PeerId).filter(|id| *id != slow) {
        assert_eq!(sums(&mut rib, id), (60_000, 0), "{id:?}");
    }
    // What came and went meanwhile is no word to it.
    rib.handle_update(ALPHA, Update::withdraw(vec![net("10.0.0.0/24"), net("10.0.1.0/24")]));
    rib.handle_update(ALPHA, announce("10.0.0.0/24", route(&[64501, 64510])));
    assert_eq!(sums(&mut rib, fast), (1, 1));
    assert_eq!(sums(&mut rib, slow), (59_999, 0));
    // It is among the others again.
    rib.handle_update(ALPHA, withdraw("10.0.2.0/24"));
    let same: Vec<Arc<Packed>> =
        [slow, fast].map(|id| rib.poll_packed(id).unwrap()).into_iter().collect();
    assert!(Arc::ptr_eq(&same[0], &same[1]));
    assert_eq!(rib.counts(slow), rib.counts(fast));
}

#[test]
fn one_that_is_far_behind_takes_what_it_must_withdraw_first() {
    let mut rib = rib_of_many();
    let (slow, fast) = (PeerId(MANY.start), PeerId(MANY.start + 1));
    rib.handle_update(ALPHA, many(30_000));
    MANY.map(PeerId).for_each(|id| assert_eq!(sums(&mut rib, id), (30_000, 0)));
    let mut other = many(29_000);
    other.announced[0].attributes = Arc::new(route(&[64501, 64510]));
    rib.handle_update(ALPHA, other);
    assert_eq!(sums(&mut rib, fast), (29_000, 0));
    rib.handle_update(ALPHA, withdraw("10.117.47.0/24"));
    assert_eq!(sums(&mut rib, fast), (0, 1));
    let first = rib.poll_update(slow).unwrap();
    assert_eq!(line(&first), "withdraw 10.117.47.0/24");
    assert_eq!(sums(&mut rib, slow), (29_000, 0));
}

#[test]
fn a_changed_policy_moves_one_of_many_and_tells_it_what_differs() {
    let mut rib = rib_of_many();
    rib.handle_update(ALPHA, many(1000));
    MANY.map(PeerId).for_each(|id| assert_eq!(sums(&mut rib, id), (1000, 0)));
    let (moved, stays) = (PeerId(MANY.start), PeerId(MANY.start + 1));
    let one = Match::Prefix(vec!["10.0.5.0/24".parse().unwrap()]);
    let rules = vec![Rule::new(Action::Reject).when(one), Rule::new(Action::Accept)];
    rib.set_export(moved, Policy { rules });
    assert_eq!(told(&mut rib, moved), ["withdraw 10.0.5.0/24"]);
    assert_eq!(told(&mut rib, stays), NOTHING);
    rib.set_export(moved, Policy::accept_all());
    assert_eq!(told(&mut rib, moved), ["10.0.5.0/24: [64500 64501] via 192.0.2.254"]);
    assert_eq!(told(&mut rib, stays), NOTHING);
}

#[test]
fn nothing_is_kept_of_one_that_went_while_it_was_behind() {
    let mut rib = rib_of_many();
    let slow = PeerId(MANY.start);
    for path in [&[64501][..], &[64501, 64510], &[64501, 64511]] {
        let Update { mut announced, .. } = many(20_000);
        announced[0].attributes = Arc::new(route(path));
        rib.handle_update(ALPHA, Update { announced, ..Update::default() });
        // It reads the first of them, not to the end.
        let reads = path.len() == 1;
        for id in MANY.map(PeerId).filter(|id| *id != slow) {
            sums(&mut rib, id);
        }
        if reads {
            (0..3).for_each(|_| drop(rib.poll_update(slow)));
        }
    }
    rib.peer_down(slow);
    rib.peer_down(ALPHA);
    MANY.map(PeerId).for_each(|id| rib.remove_peer(id));
    fib(&mut rib);
    assert_eq!((rib.sets.len(), rib.table.len()), (0, 0));
}
