//! What is offered beyond families, and what comes of it.

use super::*;

use crate::FamilySet;
use crate::message::{AddPath, EXTENDED_MAX_LEN, GracefulRestart, LongLived, PathId};

use Connection::Dialled;
use Family::{Ipv4Unicast, Ipv6Unicast};

/// A session that has dialled and sent its OPEN.
fn dialled(config: Config) -> (Session, Open) {
    let mut session = Session::new(config);
    session.handle_start(Instant::START);
    let open = dial(&mut session, Instant::START);
    (session, open)
}

/// The connection comes up: the OPEN that is sent on it.
fn dial(session: &mut Session, now: Instant) -> Open {
    drain(session);
    session.handle_connected(now, Dialled);
    let [Action::Send(Dialled, octets)] = &drain(session)[..] else { panic!("one OPEN") };
    let Ok(Message::Open(open)) = Message::parse(octets, &context()) else { panic!("an OPEN") };
    open
}

fn offering(offer: Offer) -> Config {
    Config { offer, ..config() }
}

fn with(change: impl FnOnce(&mut Capabilities)) -> Open {
    let mut open = open();
    change(&mut open.capabilities);
    open
}

fn hear(session: &mut Session, message: &Message) -> Vec<Action> {
    session.handle_octets(at(1), Dialled, &emit(message));
    drain(session)
}

#[test]
fn an_open_says_what_is_configured() {
    let all = Offer {
        role: Some(Role::Customer),
        strict_role: true,
        extended_message: true,
        extended_next_hop: true,
        enhanced_route_refresh: true,
        receive_paths: true,
        send_paths: 4,
        graceful_restart: Some(Limits::default()),
    };
    let none = Offer { extended_message: false, ..PLAIN };
    let ibgp = Config { peer_asn: LOCAL, ..offering(all) };
    let ipv6 = Config { families: vec![Ipv6Unicast], ..offering(all) };
    let table = [
        ("the default", offering(Offer::default()), &[1, 2, 6, 64, 65, 70, 71][..]),
        ("nothing", offering(none), &[1, 2, 65]),
        ("all", offering(all), &[1, 2, 5, 6, 9, 64, 65, 69, 70, 71]),
        ("no role within an AS", ibgp, &[1, 2, 5, 6, 64, 65, 69, 70, 71]),
        ("no IPv4, no other next hop for it", ipv6, &[1, 2, 6, 9, 64, 65, 69, 70, 71]),
    ];
    for (name, config, codes) in table {
        let (_, open) = dialled(config);
        assert_eq!(open.capabilities.codes, codes, "{name}");
    }
    let (_, open) = dialled(offering(all));
    assert_eq!(open.capabilities.role, Some(Role::Customer.code()));
    let helper = GracefulRestart { notification: true, ..GracefulRestart::default() };
    assert_eq!(open.capabilities.graceful_restart, Some(helper), "nobody is to keep our routes");
    assert_eq!(open.capabilities.long_lived_graceful_restart, Some(vec![]), "nor for long");
}

/// RFC 9234 §4.2 in full: each role of ours, each of theirs.
#[test]
fn roles_that_do_not_fit_end_the_session_with_role_mismatch() {
    let ours = [None].into_iter().chain(Role::ALL.map(Some));
    for (role, strict_role) in ours.flat_map(|role| [(role, false), (role, true)]) {
        for theirs in [None].into_iter().chain((0..=5).map(Some)) {
            let config = offering(Offer { role, strict_role, ..PLAIN });
            let mut session = Session::new(config);
            session.handle_start(Instant::START);
            session.handle_connected(Instant::START, Dialled);
            let open = with(|capabilities| capabilities.role = theirs);
            hear(&mut session, &Message::Open(open));
            hear(&mut session, &Message::Keepalive);
            // Table 2 of the RFC, by their values.
            let pairs = [(0, 3), (1, 2), (2, 1), (3, 0), (4, 4)];
            let fits = match (role, theirs) {
                (None, _) => true,
                (Some(_), None) => !strict_role,
                (Some(role), Some(theirs)) => pairs.contains(&(role.code(), theirs)),
            };
            let what = format!("{role:?}, strict: {strict_role}, theirs: {theirs:?}");
            if fits {
                let link = session.negotiated().expect(&what);
                assert_eq!(link.peer_role, theirs.and_then(Role::from_code), "{what}");
            } else {
                let want = DownReason::Sent(Notification::new(2, 11));
                assert_eq!(session.last_error(), Some(&want), "{what}");
            }
        }
    }
}

#[test]
fn long_messages_are_for_those_who_both_offered_them() {
    let many = {
        let mut update = update();
        update.announced[0].prefixes = (0..1200u32)
            .map(|i| crate::IpNet::new((i << 8).to_be_bytes().into(), 24).unwrap().into())
            .collect();
        update
    };
    let long = Context { max_len: EXTENDED_MAX_LEN, ..context() };
    let octets = many.emit(&long);
    assert!(octets.len() == 1 && octets[0].len() > MAX_LEN);
    for (ours, theirs) in [(false, false), (false, true), (true, false), (true, true)] {
        let config = offering(Offer { extended_message: ours, ..PLAIN });
        let open = with(|capabilities| capabilities.extended_message = theirs);
        let mut session = established(config, &open);
        let both = ours && theirs;
        let max_len = if both { EXTENDED_MAX_LEN } else { MAX_LEN };
        assert_eq!(session.negotiated().unwrap().context.max_len, max_len);
        session.send_update(at(1), &many);
        assert_eq!(drain(&mut session).len(), if both { 1 } else { 2 }, "{ours} {theirs}");
        session.handle_octets(at(1), Dialled, &octets[0]);
        let up = session.state() == StateName::Established;
        assert_eq!(up, both, "{ours} {theirs}");
        if !both {
            let Some(DownReason::Sent(sent)) = session.last_error() else { panic!("{ours}") };
            assert_eq!((sent.code, sent.subcode), (1, 2), "Bad Message Length");
        }
    }
}

#[test]
fn ipv4_routes_over_ipv6_next_hops_are_for_those_who_both_offered_them() {
    let mut over_ipv6 = update();
    let mut attributes = (*over_ipv6.announced[0].attributes).clone();
    attributes.next_hop = "2001:db8::1".parse::<IpAddr>().unwrap().into();
    over_ipv6.announced[0].attributes = Arc::new(attributes);
    let agreed = Context { extended_next_hop: true, ..context() };
    let octets = Message::Update(over_ipv6.clone()).emit(&agreed);
    for (ours, theirs) in [(false, false), (false, true), (true, false), (true, true)] {
        let config = offering(Offer { extended_next_hop: ours, ..PLAIN });
        let open = with(|capabilities| capabilities.extended_next_hop = theirs);
        let mut session = established(config, &open);
        session.handle_octets(at(1), Dialled, &octets);
        let took = drain(&mut session) == [Action::Update(over_ipv6.clone())];
        assert_eq!(took, ours && theirs, "{ours} {theirs}");
    }
}

/// RFC 7911 §4: what the one receives and the other sends, of each family and in each direction.
#[test]
fn several_paths_go_where_one_end_sends_them_and_the_other_receives_them() {
    for (receive, send, theirs) in (0..16_u8).map(|n| (n & 1 != 0, n & 2 != 0, n >> 2)) {
        let offer =
            Offer { receive_paths: receive, send_paths: u8::from(send) * 3, ..Offer::default() };
        // They offer it of IPv4, and of a family that is not agreed on.
        let (they_receive, they_send) = (theirs & 1 != 0, theirs & 2 != 0);
        let open = with(|capabilities| {
            let of = |family| AddPath { family, receive: they_receive, send: they_send };
            capabilities.add_path = vec![of(Ipv4Unicast), of(Ipv6Unicast)];
        });
        let families = vec![Ipv4Unicast];
        let mut session = established(Config { families, ..offering(offer) }, &open);
        let context = session.negotiated().unwrap().context;
        let ipv4_if = |agreed| {
            let none = FamilySet::NONE;
            if agreed { none.with(Ipv4Unicast) } else { none }
        };
        let what = format!("{receive} {send}, theirs: {they_receive} {they_send}");
        assert_eq!(context.path_ids_in, ipv4_if(receive && they_send), "{what}");
        assert_eq!(context.path_ids_out, ipv4_if(send && they_receive), "{what}");
        // On the wire: what is sent, and what is taken in.
        let mut paths = update();
        paths.announced[0].prefixes[0].path_id = PathId(7);
        session.send_update(at(1), &paths);
        let [Action::Send(_, sent)] = &drain(&mut session)[..] else { panic!("{what}") };
        let numbered = Context {
            path_ids_in: FamilySet::ALL,
            path_ids_out: FamilySet::ALL,
            ..self::context()
        };
        let plain = if send && they_receive { &numbered } else { &self::context() };
        assert_eq!(*sent, Message::Update(paths.clone()).emit(plain), "{what}");
        if receive && they_send {
            let octets = Message::Update(paths.clone()).emit(&numbered);
            session.handle_octets(at(1), Dialled, &octets);
            assert_eq!(drain(&mut session), [Action::Update(paths)], "{what}");
        } else {
            assert_eq!(hear(&mut session, &Message::Update(update())), [Action::Update(update())]);
        }
    }
}

#[test]
fn the_beginning_and_end_of_a_refresh_are_for_those_who_both_offered_them() {
    let begin = Message::BeginningOfRouteRefresh(Ipv4Unicast);
    let end = Message::EndOfRouteRefresh(Ipv4Unicast);
    for (ours, theirs) in [(false, false), (false, true), (true, false), (true, true)] {
        let config = offering(Offer { enhanced_route_refresh: ours, ..PLAIN });
        let open = with(|capabilities| capabilities.enhanced_route_refresh = theirs);
        let mut session = established(config, &open);
        session.send_beginning_of_route_refresh(at(1), Ipv4Unicast);
        session.send_end_of_route_refresh(at(1), Ipv4Unicast);
        let sent = drain(&mut session);
        let heard = [hear(&mut session, &begin), hear(&mut session, &end)].concat();
        let (want_sent, want_heard) = if ours && theirs {
            (
                vec![Action::Send(Dialled, emit(&begin)), Action::Send(Dialled, emit(&end))],
                vec![
                    Action::BeginningOfRouteRefresh(Ipv4Unicast),
                    Action::EndOfRouteRefresh(Ipv4Unicast),
                ],
            )
        } else {
            // The subtype is a reserved octet then (RFC 2918 §3).
            (vec![], vec![Action::RouteRefresh(Ipv4Unicast); 2])
        };
        assert_eq!((sent, heard), (want_sent, want_heard), "{ours} {theirs}");
    }
}

/// RFC 7313 §5.
#[test]
fn faults_of_enhanced_route_refresh() {
    /// What it shows, body, code and subcode of the NOTIFICATION, if there is one.
    type Row = (&'static str, &'static [u8], Option<(u8, u8)>);
    let refresh = |body: &[u8]| {
        let len = u16::try_from(19 + body.len()).unwrap();
        [&[0xff; 16][..], &len.to_be_bytes(), &[5], body].concat()
    };
    let table: [Row; 8] = [
        ("a beginning that is too long", &[0, 1, 1, 1, 0], Some((7, 1))),
        ("an end that is too long", &[0, 1, 2, 1, 9, 9], Some((7, 1))),
        ("a beginning that is too short", &[0, 1, 1], Some((7, 1))),
        ("a plain one that is too long", &[0, 1, 0, 1, 0], Some((1, 2))),
        ("one without a subtype", &[0, 1], Some((1, 2))),
        ("an unknown subtype", &[0, 1, 3, 1], None),
        ("subtype 255", &[0, 1, 255, 1], None),
        ("a beginning for a family that we do not route", &[0, 1, 1, 128], None),
    ];
    for (name, body, want) in table {
        let config = offering(Offer { enhanced_route_refresh: true, ..PLAIN });
        let open = with(|capabilities| capabilities.enhanced_route_refresh = true);
        let mut session = established(config, &open);
        let message = refresh(body);
        session.handle_octets(at(1), Dialled, &message);
        match (session.last_error(), want) {
            (None, None) => assert_eq!(drain(&mut session), [], "{name}"),
            (Some(DownReason::Sent(sent)), Some(codes)) => {
                assert_eq!((sent.code, sent.subcode), codes, "{name}");
                if sent.code == 7 {
                    assert_eq!(sent.data, message, "{name}: the whole message");
                }
            }
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}

#[test]
fn what_the_neighbor_offers_is_shown() {
    let long_lived = LongLived {
        family: Ipv4Unicast,
        forwarding: false,
        stale_time: Duration::from_secs(86400),
    };
    let open = with(|capabilities| {
        capabilities.graceful_restart = Some(GracefulRestart {
            restart_time: Duration::from_secs(120),
            ..GracefulRestart::default()
        });
        capabilities.long_lived_graceful_restart = Some(vec![long_lived]);
        capabilities.codes = vec![1, 2, 64, 65, 71];
    });
    let session = established(config(), &open);
    let shown = &session.negotiated().unwrap().peer_capabilities;
    assert_eq!(shown, &open.capabilities);
    let names = [
        "multiprotocol",
        "route-refresh",
        "graceful-restart",
        "four-octet-asn",
        "long-lived-graceful-restart",
    ];
    assert_eq!(shown.names(), names);
    let unknown = Capabilities { codes: vec![73, 75, 128, 200], ..Capabilities::default() };
    let names = ["fqdn", "software-version", "prestandard-route-refresh", "200"];
    assert_eq!(unknown.names(), names);
}

/// RFC 5492 §3.
#[test]
fn a_neighbor_that_knows_no_capabilities_is_asked_without_them() {
    let refused = Message::Notification(Notification::new(2, 4));
    let (mut session, first) = dialled(config());
    assert!(!first.capabilities.codes.is_empty());
    hear(&mut session, &refused);
    let retry = session.poll_timeout().unwrap();
    session.handle_timeout(retry);
    assert_eq!(dial(&mut session, retry).capabilities, Capabilities::default());
    let old = Open { capabilities: Capabilities::default(), ..open() };
    hear(&mut session, &Message::Open(old));
    hear(&mut session, &Message::Keepalive);
    let link = session.negotiated().expect("Established without capabilities");
    assert_eq!(link.families, [Ipv4Unicast]);
    assert!(!link.context.four_octet_asn);
    // The next session is a new chance.
    session.handle_closed(at(2), Dialled);
    let retry = session.poll_timeout().unwrap();
    session.handle_timeout(retry);
    assert_eq!(dial(&mut session, retry), first);
}

#[test]
fn without_ipv4_or_when_it_does_not_help_capabilities_are_offered_again() {
    let refused = Message::Notification(Notification::new(2, 4));
    let ipv6_only = Config { families: vec![Ipv6Unicast], ..config() };
    // (configuration, whether each OPEN after a refusal is bare)
    for (config, bare) in [(ipv6_only, [false; 3]), (config(), [true, false, true])] {
        let (mut session, _) = dialled(config);
        for bare in bare {
            hear(&mut session, &refused);
            let retry = session.poll_timeout().unwrap();
            session.handle_timeout(retry);
            assert_eq!(dial(&mut session, retry).capabilities.codes.is_empty(), bare);
        }
    }
}

#[test]
fn a_neighbor_that_takes_nothing_is_dropped_at_the_send_hold_time_and_not_before() {
    for (hold_time, send_hold_time) in [(0, 480), (90, 480), (240, 480), (241, 482), (1000, 2000)] {
        let hold_time = Duration::from_secs(hold_time);
        let open = Open { hold_time, ..open() };
        let mut session = established(Config { hold_time, ..config() }, &open);
        // Only what is said last counts: progress stops the timer, and being blocked twice does
        // not prolong it.
        session.handle_write_blocked(at(0));
        session.handle_write_progress();
        session.handle_write_blocked(at(1000));
        session.handle_write_blocked(at(5000));
        let end = at(1000) + Duration::from_secs(send_hold_time);
        let mut now = at(5000);
        // The neighbor goes on to talk.
        while let Some(next) = session.poll_timeout().filter(|next| *next < end) {
            session.handle_octets(now, Dialled, &emit(&Message::Keepalive));
            session.handle_timeout(next);
            now = next;
            session.handle_octets(now, Dialled, &emit(&Message::Keepalive));
        }
        assert_eq!(session.state(), StateName::Established, "{hold_time:?}");
        assert_eq!(session.poll_timeout(), Some(end), "{hold_time:?}");
        session.handle_timeout(end);
        let want = DownReason::Sent(Notification::new(8, 0));
        assert_eq!(session.last_error(), Some(&want), "{hold_time:?}");
        assert_eq!(want.to_string(), "we sent: Send Hold Timer Expired");
    }
}
