//! What communities and unknown attributes mean for where a route goes.

use super::*;

#[test]
fn well_known_communities_keep_a_route_in() {
    // (community, does it go to eBGP, does it go to iBGP)
    for (community, ebgp, ibgp) in [
        (Community(64501 << 16), true, true),
        (Community::NO_EXPORT, false, true),
        (Community::NO_EXPORT_SUBCONFED, false, true),
        (Community::NO_ADVERTISE, false, false),
        (Community::BLACKHOLE, false, true),
        (Community::GRACEFUL_SHUTDOWN, true, true),
    ] {
        let mut rib = rib(&[ALPHA, BETA, CORE]);
        let attributes = Attributes { communities: vec![community], ..route(&[64501]) };
        rib.handle_update(ALPHA, announce("10.1.0.0/16", attributes));
        assert_eq!(told(&mut rib, BETA).len(), usize::from(ebgp), "{community} to eBGP");
        assert_eq!(told(&mut rib, CORE).len(), usize::from(ibgp), "{community} to iBGP");
    }
}

/// RFC 7999 §3.2: a learnt one stays in, whatever policy makes of its communities; our own goes to
/// those who are to drop for us.
#[test]
fn a_blackhole_is_for_the_neighbor_it_was_sent_to() {
    let mut rib = rib(&[ALPHA, BETA]);
    let communities = vec![Community::BLACKHOLE];
    let attributes = Attributes { communities: communities.clone(), ..route(&[64501]) };
    rib.handle_update(ALPHA, announce("10.1.0.1/32", attributes));
    rib.originate(net("10.9.0.1/32"), Attributes { communities, ..route(&[]) });
    assert_eq!(told(&mut rib, BETA), ["10.9.0.1/32: [64500] via 192.0.2.254 blackhole"]);
    assert_eq!(fib(&mut rib), ["10.1.0.1/32 via 192.0.2.1 eBGP 1"]);
}

#[test]
fn a_community_that_export_policy_adds_is_for_the_peer() {
    let mut rib = rib(&[ALPHA]);
    let rule = Rule::new(Action::Accept).set(Set::AddCommunity(Community::NO_EXPORT));
    rib.set_export(ALPHA, Policy { rules: vec![rule.set(Set::Med(Some(3))).set(Set::Prepend(2))] });
    rib.originate(net("10.9.0.0/16"), route(&[]));
    assert_eq!(
        told(&mut rib, ALPHA),
        ["10.9.0.0/16: [64500 64500 64500] via 192.0.2.254 med 3 no-export"]
    );
}

#[test]
fn unknown_attributes_pass_with_the_partial_bit() {
    let mut rib = rib(&[ALPHA, BETA]);
    let unknown = vec![UnknownAttribute { flags: 0xc0, code: 99, value: vec![1, 2] }];
    let attributes = Attributes { unknown: unknown.into(), ..route(&[64501]) };
    rib.handle_update(ALPHA, announce("10.1.0.0/16", attributes));
    assert_eq!(told(&mut rib, BETA), ["10.1.0.0/16: [64500 64501] via 192.0.2.254 0xe0/99"]);
}
