//! Only to Customer: route leaks found and kept in (RFC 9234 §5).
//!
//! For eBGP sessions and unicast routes only; `role` is always our own on the session, whether
//! the neighbor sent its role or not.

use crate::role::Role;
use crate::{Asn, Attributes};

/// What becomes of a route that came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ingress {
    /// It is not eligible: the neighbor should not have sent it to us.
    Leak(&'static str),
    /// It carries this OTC value from now on, if any.
    Take(Option<Asn>),
}

/// What becomes of a route that would go out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Egress {
    /// It stays in: the neighbor is no customer, and the route is for customers only.
    Keep,
    /// It goes with this OTC value, if any.
    Send(Option<Asn>),
}

/// A route from a neighbor, in the order of RFC 9234 §5:
/// 1. with OTC from a customer or a client of our route server: a leak;
/// 2. with OTC of another AS than the neighbor's from a peer: a leak;
/// 3. without OTC from a provider, a peer or a route server: it gets the neighbor's ASN.
#[must_use]
pub fn ingress(role: Role, peer_asn: Asn, attributes: &Attributes) -> Ingress {
    match (role.counterpart(), attributes.otc) {
        (Role::Customer | Role::RouteServerClient, Some(_)) => {
            Ingress::Leak("a customer or client sent a route that is for customers only")
        }
        (Role::Peer, Some(otc)) if otc != peer_asn => {
            Ingress::Leak("a peer sent a route of another AS that is for customers only")
        }
        (Role::Provider | Role::Peer | Role::RouteServer, None) => Ingress::Take(Some(peer_asn)),
        (_, otc) => Ingress::Take(otc),
    }
}

/// A route to a neighbor, as it is after [`ingress`] and before our own ASN is put in its path:
/// 1. with OTC it goes to no provider, peer or route server;
/// 2. without OTC to a customer, a peer or a client of our route server: it gets our ASN.
#[must_use]
pub fn egress(role: Role, local_asn: Asn, attributes: &Attributes) -> Egress {
    match (role.counterpart(), attributes.otc) {
        (Role::Provider | Role::Peer | Role::RouteServer, Some(_)) => Egress::Keep,
        (Role::Customer | Role::Peer | Role::RouteServerClient, None) => {
            Egress::Send(Some(local_asn))
        }
        (_, otc) => Egress::Send(otc),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const OURS: Asn = Asn(64500);
    const THEIRS: Asn = Asn(64501);
    const FAR: Asn = Asn(64502);

    fn with(otc: Option<Asn>) -> Attributes {
        Attributes { otc, ..Attributes::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))) }
    }

    /// Each role of ours, each OTC: the whole of RFC 9234 §5.
    #[test]
    fn leaks_are_found_where_they_come_in() {
        use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
        // (our role, what becomes of a route without OTC, with the neighbor's, with another's);
        // `None`: a leak
        let table = [
            (Provider, Some(None), None, None),
            (RouteServer, Some(None), None, None),
            (RouteServerClient, Some(Some(THEIRS)), Some(Some(THEIRS)), Some(Some(FAR))),
            (Customer, Some(Some(THEIRS)), Some(Some(THEIRS)), Some(Some(FAR))),
            (Peer, Some(Some(THEIRS)), Some(Some(THEIRS)), None),
        ];
        for (role, without, theirs, far) in table {
            for (otc, want) in [(None, without), (Some(THEIRS), theirs), (Some(FAR), far)] {
                let got = match ingress(role, THEIRS, &with(otc)) {
                    Ingress::Take(otc) => Some(otc),
                    Ingress::Leak(_) => None,
                };
                assert_eq!(got, want, "{role} gets {otc:?}");
            }
        }
    }

    #[test]
    fn routes_for_customers_go_to_customers_only() {
        use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
        // (our role, what becomes of a route without OTC, and of one with it); `None`: kept in
        let table = [
            (Provider, Some(Some(OURS)), Some(Some(FAR))),
            (RouteServer, Some(Some(OURS)), Some(Some(FAR))),
            (RouteServerClient, Some(None), None),
            (Customer, Some(None), None),
            (Peer, Some(Some(OURS)), None),
        ];
        for (role, without, far) in table {
            for (otc, want) in [(None, without), (Some(FAR), far)] {
                let got = match egress(role, OURS, &with(otc)) {
                    Egress::Send(otc) => Some(otc),
                    Egress::Keep => None,
                };
                assert_eq!(got, want, "{role} sends {otc:?}");
            }
        }
    }

    /// Two roles that fit: what one end lets out, the other end never takes for a leak.
    #[test]
    fn what_one_end_sends_the_other_end_takes() {
        for role in Role::ALL {
            for otc in [None, Some(OURS), Some(FAR)] {
                if let Egress::Send(otc) = egress(role, OURS, &with(otc)) {
                    let taken = ingress(role.counterpart(), OURS, &with(otc));
                    assert!(matches!(taken, Ingress::Take(_)), "{role} sends {otc:?}");
                }
            }
        }
    }
}
