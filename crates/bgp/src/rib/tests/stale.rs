//! Routes by which their peer does not stand at the moment.

use super::*;
use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};

const NET: &str = "10.1.0.0/16";
const OTHER: &str = "10.2.0.0/16";
const SIX: &str = "2001:db8:1::/48";

fn up_with(id: PeerId, agreed: Agreed) -> PeerUp {
    PeerUp { agreed, ..up(id) }
}

fn counts(received: usize, stale: usize) -> Counts {
    Counts { received, accepted: received, advertised: 0, stale }
}

/// Alpha has sent two IPv4 prefixes and one of IPv6; beta knows them.
fn told_of_three() -> Rib {
    let mut rib = rib(&[ALPHA, BETA]);
    for prefix in [NET, OTHER, SIX] {
        rib.handle_update(ALPHA, announce(prefix, route(&[64501])));
    }
    assert_eq!(told(&mut rib, BETA).len(), 2);
    fib(&mut rib);
    rib
}

fn stale(rib: &Rib) -> Vec<String> {
    rib.routes().filter(|it| it.stale).map(|it| it.prefix.to_string()).collect()
}

#[test]
fn what_is_kept_goes_on_as_before_and_the_rest_goes() {
    let mut rib = told_of_three();
    rib.peer_lost(ALPHA, &[V4]);
    assert_eq!(told(&mut rib, BETA), [format!("withdraw {SIX}")]);
    assert_eq!(fib(&mut rib), [format!("{SIX} gone")]);
    assert_eq!(stale(&rib), [NET, OTHER]);
    assert_eq!(rib.counts(ALPHA), counts(2, 2));
    assert!(explanation(&rib, NET).contains("alpha"), "a stale route can be explained");
    rib.handle_update(ALPHA, announce(NET, route(&[64501, 64510])));
    assert_eq!(stale(&rib), [NET, OTHER], "who is down says nothing");
}

#[test]
fn what_is_sent_again_is_fresh_and_the_rest_goes_when_it_is_dropped() {
    let mut rib = told_of_three();
    rib.peer_lost(ALPHA, &[V4, V6]);
    rib.peer_up(ALPHA, up(ALPHA));
    assert_eq!(told(&mut rib, ALPHA), ["end of ipv4", "end of ipv6"]);
    rib.handle_update(ALPHA, announce(NET, route(&[64501])));
    assert_eq!((stale(&rib), rib.counts(ALPHA)), (vec![OTHER.into(), SIX.into()], counts(3, 2)));
    assert_eq!(told(&mut rib, BETA), NOTHING, "a restart that changes nothing is not told");
    rib.drop_stale(ALPHA, V4);
    assert_eq!(told(&mut rib, BETA), [format!("withdraw {OTHER}")]);
    assert_eq!(rib.counts(ALPHA), counts(2, 1));
    rib.handle_update(ALPHA, withdraw(SIX));
    assert_eq!(rib.counts(ALPHA), counts(1, 0));
}

#[test]
fn a_peer_that_goes_for_good_leaves_nothing() {
    let mut rib = told_of_three();
    rib.peer_lost(ALPHA, &[V4, V6]);
    rib.peer_down(ALPHA);
    assert_eq!((rib.routes().count(), rib.counts(ALPHA)), (0, Counts::default()));
    assert_eq!(told(&mut rib, BETA).len(), 2, "withdrawn, by family");
}

#[test]
fn a_family_that_is_spoken_no_more_goes_when_the_peer_is_back() {
    let mut rib = told_of_three();
    rib.peer_lost(ALPHA, &[V4, V6]);
    rib.peer_up(ALPHA, PeerUp { families: vec![V4], ..up(ALPHA) });
    assert_eq!(told(&mut rib, BETA), [format!("withdraw {SIX}")]);
}

#[test]
fn a_new_policy_judges_stale_routes_too_and_they_stay_stale() {
    let mut rib = told_of_three();
    rib.peer_lost(ALPHA, &[V4]);
    let rule = Rule::new(Action::Accept).set(Set::Prepend(1));
    rib.set_import(ALPHA, Policy { rules: vec![rule] });
    assert_eq!((stale(&rib), rib.counts(ALPHA)), (vec![NET.into(), OTHER.into()], counts(2, 2)));
}

/// RFC 9494 §4.2, §4.3.
#[test]
fn a_last_resort_loses_to_every_other_route() {
    let mut rib = rib(&[ALPHA, BETA]);
    let good = Attributes { communities: vec![Community(1)], ..route(&[64501]) };
    rib.handle_update(ALPHA, announce(NET, good));
    rib.handle_update(BETA, announce(NET, route(&[64502, 64510, 64511])));
    rib.handle_update(ALPHA, announce(OTHER, route(&[64501])));
    assert_eq!(rib.best(&net(NET)).unwrap().peer, Some(ALPHA));
    rib.peer_lost(ALPHA, &[V4]);
    assert_eq!(rib.best(&net(NET)).unwrap().peer, Some(ALPHA), "stale, but no worse yet");
    rib.long_lived_stale(ALPHA, V4);
    assert_eq!(rib.best(&net(NET)).unwrap().peer, Some(BETA));
    assert_eq!(rib.best(&net(OTHER)).unwrap().peer, Some(ALPHA), "there is no other");
    let explained = explanation(&rib, NET);
    assert!(explained.contains("by last resort: long-lived stale against fresh"), "{explained}");
    rib.peer_up(ALPHA, up(ALPHA));
    rib.handle_update(ALPHA, announce(NET, route(&[64501])));
    assert_eq!(rib.best(&net(NET)).unwrap().peer, Some(ALPHA), "fresh, it is as good as ever");
}

#[test]
fn a_last_resort_goes_to_those_only_who_know_what_it_is() {
    let mut rib = told_of_three();
    rib.add_peer(CORE, config(CORE));
    rib.peer_up(CORE, up_with(CORE, Agreed { long_lived: true, ..Agreed::default() }));
    told(&mut rib, CORE);
    rib.peer_lost(ALPHA, &[V4]);
    rib.long_lived_stale(ALPHA, V4);
    assert_eq!(
        told(&mut rib, BETA),
        [format!("withdraw {NET} {OTHER}"), format!("withdraw {SIX}")]
    );
    assert_eq!(
        told(&mut rib, CORE),
        [
            format!("withdraw {SIX}"),
            format!("{NET} {OTHER}: [64501] via 192.0.2.1 pref 100 llgr-stale")
        ]
    );
}

#[test]
fn a_route_that_says_so_is_not_kept_for_long() {
    let mut rib = told_of_three();
    let briefly = Attributes { communities: vec![Community::NO_LLGR], ..route(&[64501]) };
    rib.handle_update(ALPHA, announce(NET, briefly));
    rib.peer_lost(ALPHA, &[V4]);
    assert_eq!(stale(&rib), [NET, OTHER]);
    rib.long_lived_stale(ALPHA, V4);
    assert_eq!((stale(&rib), rib.counts(ALPHA)), (vec![OTHER.into()], counts(1, 1)));
}

#[test]
fn no_policy_makes_a_last_resort_a_good_route() {
    let mut rib = rib(&[ALPHA, BETA]);
    let rule = Rule::new(Action::Accept).set(Set::DeleteCommunity("llgr-stale".parse().unwrap()));
    rib.set_import(ALPHA, Policy { rules: vec![rule.set(Set::LocalPref(500))] });
    let communities = vec![Community::LLGR_STALE];
    rib.handle_update(ALPHA, announce(NET, Attributes { communities, ..route(&[64501]) }));
    rib.handle_update(BETA, announce(NET, route(&[64502, 64510])));
    assert_eq!(rib.best(&net(NET)).unwrap().peer, Some(BETA));
}

fn marked(rib: &mut Rib, id: PeerId) -> Vec<String> {
    let mut pieces = Vec::new();
    loop {
        match rib.poll_refresh_mark(id) {
            Some(RefreshMark::Beginning(family)) => pieces.push(format!("begin {family}")),
            Some(RefreshMark::End(family)) => pieces.push(format!("end {family}")),
            None => match rib.poll_update(id) {
                Some(update) if update == Update::default() => {}
                Some(update) => pieces.push(line(&update)),
                None => return pieces,
            },
        }
    }
}

/// RFC 7313 §4.
#[test]
fn the_answer_to_a_refresh_has_a_beginning_and_an_end() {
    let mut rib = told_of_three();
    rib.add_peer(CORE, config(CORE));
    let agreed = Agreed { enhanced_route_refresh: true, ..Agreed::default() };
    rib.peer_up(CORE, up_with(CORE, agreed));
    // Asked for before the first table is told: that comes first, with its End-of-RIB.
    rib.handle_refresh(CORE, V4);
    let four = format!("{NET} {OTHER}: [64501] via 192.0.2.1 pref 100");
    let six = format!("{SIX}: [64501] via 192.0.2.1 pref 100");
    assert_eq!(
        marked(&mut rib, CORE),
        [&*four, "end of ipv4", &*six, "end of ipv6", "begin ipv4", &*four, "end ipv4"]
    );
    // Twice is once, as long as it has not begun; a change meanwhile comes before.
    rib.handle_refresh(CORE, V6);
    rib.handle_refresh(CORE, V6);
    rib.handle_update(ALPHA, withdraw(NET));
    let withdrawn = format!("withdraw {NET}");
    assert_eq!(marked(&mut rib, CORE), [&*withdrawn, "begin ipv6", &*six, "end ipv6"]);
    // Who did not agree on it gets none.
    rib.handle_refresh(BETA, V6);
    assert_eq!(marked(&mut rib, BETA).len(), 2);
}

/// What one speaker sends between a beginning and an end is all that another keeps.
#[test]
fn after_a_refresh_the_other_end_has_what_this_one_has() {
    let agreed = Agreed { enhanced_route_refresh: true, ..Agreed::default() };
    let mut sender = rib(&[CORE]);
    sender.peer_up(CORE, up_with(CORE, agreed));
    for number in 0..20_000_u32 {
        let prefix = Ipv4Addr::from_bits(0x0a00_0000 | number << 8);
        sender.originate(net(&format!("{prefix}/24")), route(&[]));
    }
    let mut receiver = Rib::new(US, Ipv4Addr::new(10, 0, 0, 253));
    receiver.add_peer(EDGE, config(EDGE));
    receiver.peer_up(EDGE, PeerUp { local_address: ip("10.0.0.253"), ..up(EDGE) });
    for round in 0..3 {
        if round > 0 {
            sender.handle_refresh(CORE, V4);
        }
        // Something the sender does not have, as after a lost withdrawal.
        receiver.handle_update(EDGE, announce("203.0.113.0/24", route(&[])));
        let mut added = false;
        loop {
            match sender.poll_refresh_mark(CORE) {
                Some(RefreshMark::Beginning(family)) => {
                    receiver.mark_stale(EDGE, family);
                    continue;
                }
                Some(RefreshMark::End(family)) => {
                    receiver.drop_stale(EDGE, family);
                    continue;
                }
                None => {}
            }
            let Some(update) = sender.poll_update(CORE) else { break };
            receiver.handle_update(EDGE, update);
            if !added {
                added = true;
                sender.originate(net(&format!("198.51.{round}.0/24")), route(&[]));
                sender.withdraw_local(&net(&format!("10.0.{round}.0/24")));
            }
        }
        let sent: Vec<IpNet> = sender.advertised(CORE).map(|it| it.prefix).collect();
        let mut has: Vec<IpNet> = receiver.received(EDGE).map(|it| it.prefix).collect();
        if round == 0 {
            has.retain(|prefix| *prefix != net("203.0.113.0/24"));
        }
        assert_eq!(sent, has, "round {round}");
        assert_eq!(receiver.counts(EDGE).stale, 0);
    }
}
