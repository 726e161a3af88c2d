//! One cache, by tables of what it says and what we do, in virtual time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Asn;
use crate::rov::Vrp;
use crate::time::Instant;

fn at(seconds: u64) -> Instant {
    Instant::from_start(Duration::from_secs(seconds))
}

fn vrp(prefix: &str, asn: u32) -> Vrp {
    let prefix: ipnet::IpNet = prefix.parse().unwrap();
    Vrp::new(prefix, prefix.prefix_len(), Asn(asn)).unwrap()
}

const ONE: &str = "192.0.2.0/24";
const TWO: &str = "2001:db8::/32";

fn announce(prefix: &str) -> Pdu {
    Pdu::Prefix { announced: true, vrp: vrp(prefix, 64500) }
}

fn withdraw(prefix: &str) -> Pdu {
    Pdu::Prefix { announced: false, vrp: vrp(prefix, 64500) }
}

fn end(session: u16, serial: u32) -> Pdu {
    Pdu::EndOfData { session, serial, timing: Some(Timing::default()) }
}

fn error(code: ErrorCode) -> Pdu {
    Pdu::ErrorReport { code: code as u16, about: Vec::new(), text: "no".to_owned() }
}

/// What the client asks for, in words.
fn actions(client: &mut Client) -> Vec<String> {
    let word = |action| match action {
        Action::Connect => "connect".to_owned(),
        Action::Close => "close".to_owned(),
        Action::Data => "data".to_owned(),
        Action::Send(octets) => {
            let (version, pdu, length) = Pdu::parse(&octets).unwrap().unwrap();
            assert_eq!(length, octets.len());
            match pdu {
                Pdu::ResetQuery => format!("v{version} reset"),
                Pdu::SerialQuery { session, serial } => {
                    format!("v{version} since {session}/{serial}")
                }
                Pdu::ErrorReport { code, .. } => format!("v{version} error {code}"),
                other => format!("{other:?}"),
            }
        }
    };
    std::iter::from_fn(|| client.poll_action()).map(word).collect()
}

fn say(client: &mut Client, now: Instant, version: u8, pdus: &[Pdu]) -> Vec<String> {
    let octets: Vec<u8> = pdus.iter().flat_map(|pdu| pdu.emit(version)).collect();
    client.handle_octets(now, &octets);
    actions(client)
}

fn vrps(client: &Client) -> Option<Vec<String>> {
    client.data().map(|table| table.iter().map(|vrp| vrp.prefix().to_string()).collect())
}

/// Connected, and asked for everything.
fn asking() -> Client {
    let mut client = Client::new(at(0));
    client.handle_timeout(at(0));
    assert_eq!(actions(&mut client), ["connect"]);
    client.handle_connected(at(0));
    assert_eq!(actions(&mut client), ["v2 reset"]);
    client
}

/// Has one VRP of session 7, serial 1.
fn settled() -> Client {
    let mut client = asking();
    let answer = [Pdu::CacheResponse { session: 7 }, announce(ONE), end(7, 1)];
    assert_eq!(say(&mut client, at(0), 2, &answer), ["data"]);
    assert_eq!(client.phase(), Phase::UpToDate);
    client
}

#[test]
fn everything_first_then_differences_when_told_or_when_it_is_time() {
    let mut client = settled();
    assert_eq!(vrps(&client).unwrap(), [ONE]);
    assert_eq!(client.session(), Some(Session { version: 2, id: 7, serial: 1 }));
    let notify = Pdu::SerialNotify { session: 7, serial: 2 };
    assert_eq!(say(&mut client, at(5), 2, std::slice::from_ref(&notify)), ["v2 since 7/1"]);
    // A second one that crosses the query asks for nothing more.
    assert_eq!(say(&mut client, at(5), 2, &[notify]), [""; 0]);
    let answer = [Pdu::CacheResponse { session: 7 }, withdraw(ONE), announce(TWO), end(7, 2)];
    assert_eq!(say(&mut client, at(6), 2, &answer), ["data"]);
    assert_eq!(vrps(&client).unwrap(), [TWO]);
    let known = Pdu::SerialNotify { session: 7, serial: 2 };
    assert_eq!(say(&mut client, at(7), 2, &[known]), [""; 0]);
    assert_eq!(client.poll_timeout(), Some(at(3606)));
    client.handle_timeout(at(3605));
    assert_eq!(actions(&mut client), [""; 0]);
    client.handle_timeout(at(3606));
    assert_eq!(actions(&mut client), ["v2 since 7/2"]);
    assert_eq!(say(&mut client, at(3607), 2, &[Pdu::CacheReset]), ["v2 reset"]);
    let answer = [Pdu::CacheResponse { session: 9 }, announce(ONE), end(9, 1)];
    assert_eq!(say(&mut client, at(3608), 2, &answer), ["data"]);
    assert_eq!(vrps(&client).unwrap(), [ONE]);
}

#[test]
fn a_version_is_agreed_on_however_a_cache_says_it() {
    // What the cache answers to version 2, and what is then asked, and agreed on.
    for version in [0, 1, 2] {
        let mut client = asking();
        if version < 2 {
            let no = error(ErrorCode::UnsupportedProtocolVersion);
            let asked = say(&mut client, at(1), version, &[no]);
            assert_eq!(asked, [format!("v{version} reset")]);
        }
        let answer = [Pdu::CacheResponse { session: 7 }, announce(ONE), end(7, 1)];
        assert_eq!(say(&mut client, at(1), version, &answer), ["data"]);
        assert_eq!(client.session().unwrap().version, version);

        // Another way: it simply answers in its own version.
        let mut client = asking();
        assert_eq!(say(&mut client, at(1), version, &answer), ["data"]);
        assert_eq!(client.session().unwrap().version, version);
    }
    // Or it closes without a word.
    let mut client = asking();
    for (seconds, version) in [(0, 1), (10, 0), (20, 2), (40, 1)] {
        client.handle_closed(at(seconds), "closed");
        let again = client.poll_timeout().unwrap();
        client.handle_timeout(again);
        client.handle_connected(again);
        assert_eq!(actions(&mut client), ["connect".to_owned(), format!("v{version} reset")]);
    }
}

#[test]
fn what_a_cache_must_not_say_is_reported_and_ends_the_connection() {
    let response = Pdu::CacheResponse { session: 7 };
    let report = |code: u16| vec![format!("v2 error {code}"), "close".to_owned()];
    let cases = vec![
        ("a prefix before the answer begins", asking(), 2, vec![announce(ONE)], report(0)),
        ("an end before the answer begins", asking(), 2, vec![end(7, 1)], report(0)),
        ("a query", asking(), 2, vec![Pdu::ResetQuery], report(0)),
        ("a reset as the answer to a reset", asking(), 2, vec![Pdu::CacheReset], report(0)),
        ("version 3", asking(), 3, vec![response.clone()], report(8)),
        (
            "a withdrawal from nothing",
            asking(),
            2,
            vec![response.clone(), withdraw(ONE)],
            report(6),
        ),
        ("another session's end", asking(), 2, vec![response.clone(), end(8, 1)], report(0)),
        ("an error", asking(), 2, vec![error(ErrorCode::InternalError)], vec!["close".to_owned()]),
        (
            "a higher version",
            asking(),
            2,
            vec![error(ErrorCode::UnsupportedProtocolVersion)],
            vec!["close".to_owned()],
        ),
        ("an answer to no question", settled(), 2, vec![response.clone()], report(0)),
        (
            "another version",
            settled(),
            1,
            vec![Pdu::SerialNotify { session: 7, serial: 2 }],
            report(8),
        ),
        (
            "another session's notification",
            settled(),
            2,
            vec![Pdu::SerialNotify { session: 8, serial: 2 }],
            vec!["data".to_owned(), "v2 error 0".to_owned(), "close".to_owned()],
        ),
        ("an error", settled(), 2, vec![error(ErrorCode::CorruptData)], vec!["close".to_owned()]),
        (
            "no data at no question",
            settled(),
            2,
            vec![error(ErrorCode::NoDataAvailable)],
            vec!["close".to_owned()],
        ),
    ];
    for (name, mut client, version, pdus, want) in cases {
        assert_eq!(say(&mut client, at(1), version, &pdus), want, "{name}");
        assert_eq!(client.phase(), Phase::Down, "{name}");
        assert!(client.trouble().is_some(), "{name}");
        assert_eq!(client.session(), None, "{name}: it starts over");
        client.handle_timeout(at(2));
        assert_eq!(actions(&mut client), ["connect"], "{name}");
    }
}

#[test]
fn a_difference_that_does_not_fit_is_an_error_and_what_was_known_stays() {
    for (news, code) in [
        (vec![announce(ONE)], 7),
        (vec![withdraw(TWO)], 6),
        (vec![announce(TWO), announce(TWO)], 7),
        (vec![withdraw(ONE), withdraw(ONE)], 6),
    ] {
        let mut client = settled();
        say(&mut client, at(1), 2, &[Pdu::SerialNotify { session: 7, serial: 2 }]);
        let mut answer = vec![Pdu::CacheResponse { session: 7 }];
        answer.extend(news);
        answer.push(end(7, 2));
        assert_eq!(
            say(&mut client, at(1), 2, &answer),
            [format!("v2 error {code}"), "close".into()]
        );
        assert_eq!(vrps(&client).unwrap(), [ONE]);
        client.handle_timeout(at(2));
        client.handle_connected(at(2));
        assert_eq!(actions(&mut client), ["connect", "v2 reset"]);
    }
    // There and back again is no fault.
    let mut client = settled();
    say(&mut client, at(1), 2, &[Pdu::SerialNotify { session: 7, serial: 2 }]);
    let answer = [Pdu::CacheResponse { session: 7 }, withdraw(ONE), announce(ONE), end(7, 2)];
    assert_eq!(say(&mut client, at(1), 2, &answer), ["data"]);
    assert_eq!(vrps(&client).unwrap(), [ONE]);
}

#[test]
fn octets_that_are_no_pdu_are_reported() {
    for (name, octets, code) in [
        ("a length of nothing", vec![2, 3, 0, 7, 0, 0, 0, 0], 0),
        ("a length of 4 GiB", vec![2, 4, 0, 0, 255, 255, 255, 255], 0),
        ("a prefix that is too short", vec![2, 4, 0, 0, 0, 0, 0, 16], 0),
        ("a type that nobody knows", vec![2, 77, 0, 0, 0, 0, 0, 8], 5),
        ("an ASPA in version 1", vec![1, 11, 0, 0, 0, 0, 0, 12], 5),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n".to_vec(), 0),
    ] {
        let mut client = asking();
        client.handle_octets(at(1), &octets);
        assert_eq!(actions(&mut client), [format!("v2 error {code}"), "close".into()], "{name}");
    }
    let mut host_bits = announce(ONE).emit(2);
    host_bits[15] = 1;
    let mut client = asking();
    say(&mut client, at(1), 2, &[Pdu::CacheResponse { session: 7 }]);
    client.handle_octets(at(1), &host_bits);
    assert_eq!(actions(&mut client), ["v2 error 0", "close"]);
}

#[test]
fn a_cache_that_stops_in_the_middle_is_given_up_after_thirty_seconds_of_silence() {
    let mut client = asking();
    say(&mut client, at(20), 2, &[Pdu::CacheResponse { session: 7 }, announce(ONE)]);
    client.handle_timeout(at(49));
    assert_eq!(actions(&mut client), [""; 0]);
    client.handle_timeout(at(50));
    assert_eq!(actions(&mut client), ["close"]);
    assert_eq!(client.trouble(), Some("the cache has fallen silent"));
    assert_eq!(client.data(), None, "half of the data is none");
}

#[test]
fn a_cache_without_data_is_asked_again_after_the_retry_interval_or_its_word() {
    let mut client = asking();
    let none = error(ErrorCode::NoDataAvailable);
    assert_eq!(say(&mut client, at(1), 2, std::slice::from_ref(&none)), [""; 0]);
    assert_eq!((client.phase(), client.poll_timeout()), (Phase::NoData, Some(at(601))));
    client.handle_timeout(at(601));
    assert_eq!(actions(&mut client), ["v2 reset"]);
    say(&mut client, at(602), 2, &[none]);
    let news = Pdu::SerialNotify { session: 7, serial: 1 };
    assert_eq!(say(&mut client, at(603), 2, &[news]), ["v2 reset"]);
}

#[test]
fn data_outlive_the_connection_until_they_expire_and_a_session_is_resumed() {
    let mut client = settled();
    client.handle_closed(at(100), "the cache has closed the connection");
    assert_eq!((client.poll_timeout(), client.expires()), (Some(at(101)), Some(at(7200))));
    assert_eq!(client.fresh_until(), Some(at(4200)));
    client.handle_timeout(at(101));
    client.handle_connected(at(101));
    assert_eq!(actions(&mut client), ["connect", "v2 since 7/1"]);
    let same = [Pdu::CacheResponse { session: 7 }, end(7, 1)];
    assert_eq!(say(&mut client, at(102), 2, &same), ["data"]);
    assert_eq!(client.expires(), Some(at(7302)));

    client.handle_closed(at(200), "closed");
    let mut dials = 0;
    while let Some(now) = client.poll_timeout().filter(|now| *now < at(7302)) {
        client.handle_timeout(now);
        assert_eq!(actions(&mut client), ["connect"]);
        client.handle_closed(now, "refused");
        dials += 1;
    }
    assert!((110..130).contains(&dials), "one a minute: {dials}");
    assert!(client.data().is_some());
    client.handle_timeout(at(7302));
    assert!(actions(&mut client).contains(&"data".to_owned()));
    assert_eq!((client.data(), client.session()), (None, None));
}

#[test]
fn intervals_are_held_within_the_bounds_of_the_rfc() {
    let timing = |refresh, retry, expire| Timing {
        refresh: Duration::from_secs(refresh),
        retry: Duration::from_secs(retry),
        expire: Duration::from_secs(expire),
    };
    for (given, want) in [
        ((0, 0, 0), (1, 1, 600)),
        ((3600, 600, 7200), (3600, 600, 7200)),
        ((u32::MAX, u32::MAX, u32::MAX), (86_400, 7200, 172_800)),
        ((7200, 600, 600), (7200, 600, 7200)),
    ] {
        let given = timing(given.0.into(), given.1.into(), given.2.into());
        assert_eq!(given.bounded(), timing(want.0, want.1, want.2));
    }
}

fn pdus() -> impl Strategy<Value = Pdu> {
    let vrps = (any::<u32>(), 0_u8..=32, any::<u8>(), any::<u32>()).prop_map(|it| {
        let (address, length, more, asn) = it;
        let net = ipnet::Ipv4Net::new(address.into(), length).unwrap().trunc();
        Vrp::new(net.into(), length + more % (33 - length), Asn(asn)).unwrap()
    });
    let wide = (any::<u128>(), 0_u8..=128, any::<u8>(), any::<u32>()).prop_map(|it| {
        let (address, length, more, asn) = it;
        let net = ipnet::Ipv6Net::new(address.into(), length).unwrap().trunc();
        Vrp::new(net.into(), length + more % (129 - length), Asn(asn)).unwrap()
    });
    let times = [any::<u32>(), any::<u32>(), any::<u32>()].prop_map(|[refresh, retry, expire]| {
        let time = |seconds: u32| Duration::from_secs(seconds.into());
        Some(Timing { refresh: time(refresh), retry: time(retry), expire: time(expire) })
    });
    let octets = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        any::<(u16, u32)>().prop_map(|(session, serial)| Pdu::SerialNotify { session, serial }),
        any::<(u16, u32)>().prop_map(|(session, serial)| Pdu::SerialQuery { session, serial }),
        Just(Pdu::ResetQuery),
        Just(Pdu::CacheReset),
        any::<u16>().prop_map(|session| Pdu::CacheResponse { session }),
        (any::<bool>(), vrps).prop_map(|(announced, vrp)| Pdu::Prefix { announced, vrp }),
        (any::<bool>(), wide).prop_map(|(announced, vrp)| Pdu::Prefix { announced, vrp }),
        (any::<u16>(), any::<u32>(), times).prop_map(|(session, serial, timing)| Pdu::EndOfData {
            session,
            serial,
            timing
        }),
        (any::<u16>(), octets, ".{0,20}").prop_map(|(code, about, text)| Pdu::ErrorReport {
            code,
            about,
            text
        }),
        any::<(u16, [u8; 8])>().prop_map(|(field, body)| Pdu::Other {
            kind: 11,
            field,
            body: body.to_vec()
        }),
        any::<(u16, [u8; 31])>().prop_map(|(field, body)| Pdu::Other {
            kind: 9,
            field,
            body: body.to_vec()
        }),
    ]
}

proptest! {
    #[test]
    fn emit_is_the_inverse_of_parse(pdu in pdus(), more in 0_usize..9) {
        let mut octets = pdu.emit(2);
        let length = octets.len();
        for cut in 0..length {
            prop_assert_eq!(Pdu::parse(&octets[..cut]), Ok(None));
        }
        octets.resize(length + more, 0xff);
        prop_assert_eq!(Pdu::parse(&octets), Ok(Some((2, pdu, length))));
    }

    #[test]
    fn nothing_that_a_cache_says_confuses_a_client(
        says in prop::collection::vec((pdus(), 0_u8..4, any::<bool>(), 0_u64..5000), 0..40),
    ) {
        let mut client = asking();
        let mut now = at(0);
        for (pdu, version, broken, later) in says {
            now = now + Duration::from_secs(later);
            client.handle_timeout(now);
            let mut octets = pdu.emit(version);
            if broken {
                let last = octets.len() - 1;
                octets[last.min(9)] ^= 0x55;
            }
            client.handle_octets(now, &octets);
            while let Some(action) = client.poll_action() {
                if action == Action::Connect {
                    client.handle_connected(now);
                }
            }
            prop_assert!(client.poll_timeout().is_some_and(|next| next + Duration::from_secs(1) > now));
        }
    }
}

#[test]
fn octets_are_those_of_rfc_8210() {
    let hex = |octets: Vec<u8>| {
        octets.iter().fold(String::new(), |text, octet| format!("{text}{octet:02x}"))
    };
    let v4 = Vrp::new("192.0.2.0/24".parse().unwrap(), 28, Asn(64500)).unwrap();
    for (pdu, version, want) in [
        (Pdu::SerialNotify { session: 0x1234, serial: 9 }, 1, "010012340000000c00000009"),
        (Pdu::SerialQuery { session: 0x1234, serial: 9 }, 2, "020112340000000c00000009"),
        (Pdu::ResetQuery, 0, "0002000000000008"),
        (Pdu::CacheResponse { session: 0x1234 }, 1, "0103123400000008"),
        (Pdu::Prefix { announced: true, vrp: v4 }, 1, "010400000000001401181c00c00002000000fbf4"),
        (withdraw(TWO), 1, "01060000000000200020200020010db80000000000000000000000000000fbf4"),
        (end(0x1234, 9), 0, "000712340000000c00000009"),
        (end(0x1234, 9), 1, "01071234000000180000000900000e100000025800001c20"),
        (Pdu::CacheReset, 1, "0108000000000008"),
        (error(ErrorCode::NoDataAvailable), 1, "010a00020000001200000000000000026e6f"),
    ] {
        let got = hex(pdu.emit(version));
        assert_eq!(got, want, "{pdu:?}");
    }
}
