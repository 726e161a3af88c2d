//! OPENs that fit and OPENs that do not.

use super::*;

use Connection::Dialled;
use Family::{Ipv4Unicast, Ipv6Unicast};

fn capabilities(families: Option<&[Family]>) -> Capabilities {
    Capabilities { families: families.map(<[Family]>::to_vec), ..open().capabilities }
}

#[test]
fn opens_that_do_not_fit_are_refused() {
    let ibgp = Config { peer_asn: LOCAL, ..config() };
    let ipv6_only = Config { families: vec![Ipv6Unicast], ..config() };
    let table = [
        ("a stranger's ASN", config(), Open { asn: Asn(64502), ..open() }, (2, 2, vec![])),
        (
            "our own identifier inside our AS",
            ibgp.clone(),
            Open { asn: LOCAL, router_id: ibgp.router_id, ..open() },
            (2, 3, vec![]),
        ),
        (
            "no common family",
            ipv6_only.clone(),
            Open { capabilities: capabilities(Some(&[Ipv4Unicast])), ..open() },
            (2, 7, vec![1, 4, 0, 2, 0, 1]),
        ),
        (
            "a peer without the capability speaks IPv4 alone",
            ipv6_only,
            Open { capabilities: capabilities(None), ..open() },
            (2, 7, vec![1, 4, 0, 2, 0, 1]),
        ),
    ];
    for (name, config, open, (code, subcode, data)) in table {
        let mut session = Session::new(config);
        session.handle_start(Instant::START);
        session.handle_connected(Instant::START, Dialled);
        session.handle_octets(Instant::START, Dialled, &emit(&Message::Open(open)));
        let want = DownReason::Sent(Notification { code, subcode, data });
        assert_eq!(session.last_error(), Some(&want), "{name}");
        assert_eq!(session.state(), StateName::Idle, "{name}");
    }
}

#[test]
fn what_both_offer_is_agreed_on() {
    let same_id = Open { router_id: config().router_id, ..open() };
    assert_eq!(established(config(), &same_id).state(), StateName::Established, "RFC 6286");
    let table = [
        ("both", Some(&[Ipv6Unicast, Ipv4Unicast][..]), &[Ipv4Unicast, Ipv6Unicast][..]),
        ("IPv6", Some(&[Ipv6Unicast]), &[Ipv6Unicast]),
        ("IPv4", Some(&[Ipv4Unicast]), &[Ipv4Unicast]),
        ("an old peer", None, &[Ipv4Unicast]),
    ];
    for (name, offered, want) in table {
        let open = Open { capabilities: capabilities(offered), ..open() };
        let session = established(config(), &open);
        assert_eq!(session.negotiated().unwrap().families, want, "{name}");
    }
}

#[test]
fn a_peer_with_two_octet_numbers_is_written_to_in_two_octets() {
    let old = Capabilities { four_octet_asn: false, route_refresh: false, ..capabilities(None) };
    let mut session = established(config(), &Open { capabilities: old, ..open() });
    let link = session.negotiated().unwrap().clone();
    assert!(!link.context.four_octet_asn);
    session.send_update(at(1), &update());
    let octets = Message::Update(update()).emit(&link.context);
    assert_eq!(drain(&mut session), [Action::Send(Dialled, octets)]);
    session.send_route_refresh(at(1), Ipv4Unicast);
    assert_eq!(drain(&mut session), [], "it does not know ROUTE-REFRESH");
}

#[test]
fn route_refresh_is_asked_for_agreed_families_alone() {
    let open = Open { capabilities: capabilities(Some(&[Ipv4Unicast])), ..open() };
    let mut session = established(config(), &open);
    session.send_route_refresh(at(1), Ipv6Unicast);
    assert_eq!(drain(&mut session), []);
    session.send_route_refresh(at(1), Ipv4Unicast);
    let want = emit(&Message::RouteRefresh(Ipv4Unicast));
    assert_eq!(drain(&mut session), [Action::Send(Dialled, want)]);
    session.handle_octets(at(2), Dialled, &emit(&Message::RouteRefresh(Ipv6Unicast)));
    assert_eq!(drain(&mut session), []);
    session.handle_octets(at(2), Dialled, &emit(&Message::RouteRefresh(Ipv4Unicast)));
    assert_eq!(drain(&mut session), [Action::RouteRefresh(Ipv4Unicast)]);
}

#[test]
fn routes_of_a_family_that_was_not_agreed_on_are_read_over() {
    let open = Open { capabilities: capabilities(Some(&[Ipv6Unicast])), ..open() };
    let mut session = established(config(), &open);
    session.handle_octets(at(1), Dialled, &emit(&Message::Update(update())));
    assert_eq!(drain(&mut session), [Action::Update(Update::default())]);
}
