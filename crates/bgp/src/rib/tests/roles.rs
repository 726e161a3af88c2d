//! Only to Customer in the tables (RFC 9234 §5).

use super::*;
use crate::Role;

const FAR: Asn = Asn(64509);

fn with_roles(alpha: Option<Role>, beta: Option<Role>) -> Rib {
    let mut rib = rib(&[ALPHA, BETA, CORE]);
    for (id, role) in [(ALPHA, alpha), (BETA, beta)] {
        rib.add_peer(id, PeerConfig { role, ..config(id) });
        rib.peer_up(id, up(id));
        told(&mut rib, id);
    }
    rib
}

/// Every pair of roles, each OTC of a route from alpha: what beta, and what another of ours, is
/// told of it.
#[test]
fn a_route_for_customers_goes_to_customers_only_and_a_leak_nowhere() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    let upwards = |role| matches!(role, Customer | Peer | RouteServerClient);
    for from in Role::ALL {
        for to in Role::ALL {
            for otc in [None, Some(Asn(64501)), Some(FAR)] {
                let mut rib = with_roles(Some(from), Some(to));
                let attributes = Attributes { otc, ..route(&[64501]) };
                rib.handle_update(ALPHA, announce("10.1.0.0/16", attributes));
                let leak = match from {
                    Provider | RouteServer => otc.is_some(),
                    Peer => otc == Some(FAR),
                    Customer | RouteServerClient => false,
                };
                // From above it is marked where it comes in.
                let kept = otc.or_else(|| upwards(from).then_some(Asn(64501)));
                let mark = |otc: Option<Asn>| otc.map(|otc| format!(" otc {otc}"));
                let what = format!("{from} to {to}, {otc:?}");
                let within = format!(
                    "10.1.0.0/16: [64501] via 192.0.2.1{} pref 100",
                    mark(kept).unwrap_or_default()
                );
                assert_eq!(
                    told(&mut rib, CORE),
                    Vec::from_iter((!leak).then_some(within)),
                    "{what}"
                );
                let goes = !leak && (kept.is_none() || matches!(to, Provider | RouteServer));
                let sent = match to {
                    Provider | RouteServer | Peer => kept.or(Some(US)),
                    Customer | RouteServerClient => kept,
                };
                let beyond = format!(
                    "10.1.0.0/16: [64500 64501] via 192.0.2.254{}",
                    mark(sent).unwrap_or_default()
                );
                assert_eq!(told(&mut rib, BETA), Vec::from_iter(goes.then_some(beyond)), "{what}");
                let explained = explanation(&rib, "10.1.0.0/16");
                assert_eq!(explained.contains("a route leak"), leak, "{what}: {explained}");
            }
        }
    }
}

#[test]
fn our_own_prefixes_are_marked_for_peers_and_customers_and_not_for_providers() {
    for (role, marked) in [
        (None, false),
        (Some(Role::Customer), false),
        (Some(Role::RouteServerClient), false),
        (Some(Role::Peer), true),
        (Some(Role::Provider), true),
        (Some(Role::RouteServer), true),
    ] {
        let mut rib = with_roles(None, role);
        rib.originate(net("10.9.0.0/16"), route(&[]));
        let mark = if marked { " otc 64500" } else { "" };
        assert_eq!(
            told(&mut rib, BETA),
            [format!("10.9.0.0/16: [64500] via 192.0.2.254{mark}")],
            "{role:?}"
        );
    }
}

#[test]
fn without_a_role_and_within_an_as_only_to_customer_passes_untouched() {
    let mut rib = with_roles(None, None);
    rib.add_peer(CORE, PeerConfig { role: Some(Role::Provider), ..config(CORE) });
    rib.peer_up(CORE, up(CORE));
    told(&mut rib, CORE);
    let attributes = Attributes { otc: Some(FAR), ..route(&[64501]) };
    rib.handle_update(ALPHA, announce("10.1.0.0/16", attributes));
    rib.handle_update(CORE, announce("10.2.0.0/16", Attributes { otc: Some(FAR), ..route(&[]) }));
    assert_eq!(
        told(&mut rib, BETA),
        [
            "10.1.0.0/16: [64500 64501] via 192.0.2.254 otc 64509",
            "10.2.0.0/16: [64500] via 192.0.2.254 otc 64509"
        ]
    );
    assert_eq!(told(&mut rib, CORE), ["10.1.0.0/16: [64501] via 192.0.2.1 otc 64509 pref 100"]);
}
