//! Sites beside other implementations of BGP, and beside a neighbor that speaks it badly.

use std::path::Path;

use crate::lab::{AT_HOME, FLEET, WORLD, small_lab};
use crate::program::{CLOSED, Desk, Lab, Process, SETTLED, User, as_each_user, installed, until};

as_each_user! {
    the_interop_scenario_holds
    bird_as_a_neighbor
    frr_as_a_neighbor
    gobgp_as_a_leaf
    exabgp_as_a_leaf
    openbgpd_as_a_leaf
    bad_messages_are_answered_with_their_notification
    a_malformed_update_withdraws_and_keeps_the_session
}

fn the_interop_scenario_holds(user: User) {
    if !installed(&["bird", "bgpd", "zebra", "gobgpd", "exabgp", "bgpctl"]) {
        return;
    }
    let desk = Desk::new(user);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for file in ["interop-scenario.toml", "interop-fleet.toml", "interop-world.toml"] {
        desk.write(file, std::fs::read(examples.join(file)).expect("an example"));
    }
    let output = desk.run(&["lab", "run", "interop-scenario.toml"]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert!(output.out.contains(" 0 steps failed"), "{}", output.out);
}

/// The small lab in which the AS named after `system` is another program's: its clients are at
/// home, leave a site that withdraws, and come back.
fn beside(user: User, system: &str, router: &str) {
    let desk = Desk::new(user);
    let own = format!("[as.{system}]\n");
    assert!(WORLD.contains(&own), "{system} is in the world");
    desk.write("world.toml", WORLD.replace(&own, &format!("{own}router = \"{router}\"\n")));
    desk.write("fleet.toml", FLEET);
    let Some(lab) = desk.lab(&["fleet.toml", "--world", "world.toml"]) else { return };
    lab.settles("everybody is at home", AT_HOME);
    let answers = |site: &str| {
        // The lab's own question is by IPv4; IPv6 may take a moment longer.
        until("IPv6 goes the same way", SETTLED, || {
            match lab.ask_http("paris", "2001:db8:ac::1") {
                Some(answer) if answer == site => Ok(()),
                other => Err(other),
            }
        });
    };
    answers("fra");
    let neighbors = lab.exec("fra", &["anycast", "show", "neighbors", "--json"]).json();
    assert_eq!(neighbors[0]["state"], "Established", "{neighbors:#}");
    let paths = lab.exec("fra", &["anycast", "show", "routes", "203.0.113.0/29"]).out;
    assert!(paths.contains("64501 64503"), "{paths}");
    lab.does(&["stop", "fra"]);
    lab.settles("a withdrawal is passed on", &[("paris", "nyc"), ("toronto", "nyc")]);
    answers("nyc");
    lab.does(&["start", "fra"]);
    lab.settles("an announcement is passed on", AT_HOME);
    answers("fra");
}

fn bird_as_a_neighbor(user: User) {
    if installed(&["bird"]) {
        beside(user, "left", "bird");
    }
}

fn frr_as_a_neighbor(user: User) {
    if installed(&["zebra"]) {
        beside(user, "left", "frr");
    }
}

fn gobgp_as_a_leaf(user: User) {
    if installed(&["gobgpd"]) {
        beside(user, "users", "gobgp");
    }
}

fn exabgp_as_a_leaf(user: User) {
    if installed(&["exabgp"]) {
        beside(user, "users", "exabgp");
    }
}

fn openbgpd_as_a_leaf(user: User) {
    if installed(&["bgpctl"]) {
        beside(user, "users", "openbgpd");
    }
}

/// A message: marker, length, type (RFC 4271 §4.1).
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).expect("a short message");
    [&[0xff; 16][..], &len.to_be_bytes(), &[kind], body].concat()
}

/// An OPEN of version, AS, hold time and identifier, with the capabilities of IPv4 unicast
/// (RFC 4760 §8) and four-octet AS numbers (RFC 6793 §3).
fn open(version: u8, asn: u16, hold_time: u16, identifier: [u8; 4]) -> Vec<u8> {
    let [high, low] = asn.to_be_bytes();
    let capabilities = [&[1, 4, 0, 1, 0, 1][..], &[65, 4, 0, 0, high, low]].concat();
    let [hold_high, hold_low] = hold_time.to_be_bytes();
    let body =
        [&[version, high, low, hold_high, hold_low][..], &identifier, &[14, 2, 12], &capabilities];
    message(1, &body.concat())
}

fn good_open() -> Vec<u8> {
    open(4, 64501, 90, [198, 51, 100, 0])
}

fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// An UPDATE that announces 198.18.0.0/24 with these attributes.
fn update(attributes: &[&[u8]]) -> Vec<u8> {
    let attributes = attributes.concat();
    let len = u16::try_from(attributes.len()).expect("few attributes");
    message(2, &[&[0, 0][..], &len.to_be_bytes(), &attributes, &[24, 198, 18, 0]].concat())
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf5];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 198, 51, 100, 0];

/// All whole messages in a stream: type and body.
fn messages(mut stream: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while stream.len() >= 19 {
        assert_eq!(&stream[..16], &[0xff; 16], "every message has its marker");
        let len = usize::from(u16::from_be_bytes([stream[16], stream[17]]));
        if stream.len() < len {
            break;
        }
        found.push((stream[18], stream[19..len].to_vec()));
        stream = &stream[len..];
    }
    found
}

/// The neighbor `left` of fra, in the hands of the test.
struct BadPeer<'l> {
    lab: &'l Lab<'l>,
    connection: Process,
}

impl<'l> BadPeer<'l> {
    /// Connects, and waits for the site's OPEN. The site may still be closing an earlier
    /// connection, or refuse this one for the sake of its own.
    fn connect(lab: &'l Lab<'l>) -> Self {
        until("the site says OPEN", SETTLED, || {
            let connection = lab.connect("left", "198.51.100.1", 179);
            until("it speaks or closes", SETTLED, || {
                let spoke = !messages(&connection.output()).is_empty();
                let over = spoke || connection.said(CLOSED) || connection.ended();
                if over { Ok(()) } else { Err(connection.words()) }
            });
            match messages(&connection.output()).first() {
                Some((1, _)) => Ok(Self { lab, connection }),
                other => Err(other.cloned()),
            }
        })
    }

    fn says(&self, octets: &[u8]) {
        assert!(self.connection.write(octets), "{}", self.connection.words());
    }

    /// Waits until the session is Established.
    fn establish(&self) {
        self.says(&good_open());
        self.says(&keepalive());
        until("the session is Established", SETTLED, || {
            let state = self.state();
            if state == "Established" { Ok(()) } else { Err((state, self.connection.words())) }
        });
    }

    /// The session's state by the site's word.
    fn state(&self) -> String {
        let neighbors = self.lab.exec("fra", &["anycast", "show", "neighbors", "--json"]).json();
        let rows = neighbors.as_array().expect("a list");
        let left = rows.iter().find(|row| row["name"] == "left").expect("it is in the file");
        left["state"].as_str().expect("a word").to_owned()
    }

    /// The NOTIFICATION with which the site ends the session.
    fn notification(&self) -> Vec<u8> {
        until("the site sends a NOTIFICATION and closes", SETTLED, || {
            let heard = messages(&self.connection.output());
            match heard.last() {
                Some((3, body)) if self.connection.said(CLOSED) => Ok(body.clone()),
                _ => Err((heard, self.state())),
            }
        })
    }
}

/// The small lab without the router `left`; paris, behind it, is not answered.
fn lab_without_left(desk: &Desk) -> Option<Lab<'_>> {
    let lab = small_lab(desk)?;
    lab.does(&["stop", "left"]);
    Some(lab)
}

/// Nothing that `left` did has touched the session with `right`.
fn right_is_unaffected(lab: &Lab<'_>) {
    let events = lab.exec("fra", &["anycast", "show", "events", "--json"]).json();
    let of_right: Vec<&str> = events
        .as_array()
        .expect("a list")
        .iter()
        .filter(|event| event["subject"] == "right")
        .map(|event| event["kind"].as_str().expect("a word"))
        // While the lab starts, the site may dial before the router listens; never afterwards.
        .skip_while(|kind| *kind == "neighbor-unreachable")
        .collect();
    assert_eq!(of_right, ["neighbor-up"]);
    lab.settles("and the clients behind it are answered", &[("toronto", "nyc")]);
}

/// (what it shows, what is said, the NOTIFICATION's code and subcode, its data)
type Refusal = (&'static str, Vec<u8>, [u8; 2], &'static [u8]);

fn bad_messages_are_answered_with_their_notification(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_left(&desk) else { return };
    let truncated = {
        // The attributes claim to be longer than the message (RFC 7606 §4 leaves no choice).
        let mut octets = update(&[ORIGIN, AS_PATH, NEXT_HOP]);
        octets[22] += 40;
        octets
    };
    let instead_of_open: &[Refusal] = &[
        ("another protocol", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), [1, 1], &[]),
        ("a length below the header's", [&[0xff; 16][..], &[0, 18, 1]].concat(), [1, 2], &[0, 18]),
        ("an unknown type", message(9, &[]), [1, 3], &[9]),
        ("an old version", open(3, 64501, 90, [198, 51, 100, 0]), [2, 1], &[0, 4]),
        ("another AS", open(4, 64999, 90, [198, 51, 100, 0]), [2, 2], &[]),
        ("no identifier", open(4, 64501, 90, [0; 4]), [2, 3], &[]),
        ("a hold time of one second", open(4, 64501, 1, [198, 51, 100, 0]), [2, 6], &[]),
        // RFC 6608 §4: in OpenSent.
        ("KEEPALIVE before OPEN", keepalive(), [5, 1], &[4]),
    ];
    let established: &[Refusal] = &[
        ("an unknown type", message(77, &[1, 2, 3]), [1, 3], &[77]),
        ("a KEEPALIVE with a body", message(4, &[0]), [1, 2], &[0, 20]),
        ("another OPEN", good_open(), [5, 3], &[1]),
        ("noise", vec![0; 100], [1, 1], &[]),
        ("an UPDATE that ends early", truncated, [3, 1], &[]),
    ];
    let cases = instead_of_open.iter().map(|case| (false, case));
    for (up, (what, octets, code, data)) in cases.chain(established.iter().map(|case| (true, case)))
    {
        let peer = BadPeer::connect(&lab);
        if up {
            peer.establish();
        }
        peer.says(octets);
        let answer = peer.notification();
        assert_eq!(answer.get(..2), Some(&code[..]), "{what}: {answer:?}");
        // The data of the rest is for people and may differ.
        if !data.is_empty() {
            assert_eq!(&answer[2..], *data, "{what}");
        }
    }
    right_is_unaffected(&lab);

    // A peer that mends its ways is welcome.
    BadPeer::connect(&lab).establish();
}

fn a_malformed_update_withdraws_and_keeps_the_session(user: User) {
    let desk = Desk::new(user);
    let Some(lab) = lab_without_left(&desk) else { return };
    let peer = BadPeer::connect(&lab);
    peer.establish();
    let known = || {
        let routes = lab.exec("fra", &["anycast", "show", "routes", "198.18.0.0/24"]).out;
        routes.contains("198.18.0.0/24")
    };
    let becomes = |what: &str, wanted: bool| {
        until(what, SETTLED, || if known() == wanted { Ok(()) } else { Err(peer.state()) });
    };
    // RFC 7606 §7: each of these takes the route back and leaves the session alone.
    for (what, attributes) in [
        ("an ORIGIN that does not exist", &[&[0x40, 1, 1, 9][..], AS_PATH, NEXT_HOP][..]),
        ("an ORIGIN of two octets", &[&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP]),
        ("no ORIGIN", &[AS_PATH, NEXT_HOP]),
        ("an AS_PATH that ends early", &[ORIGIN, &[0x40, 2, 6, 2, 9, 0, 0, 0xfb, 0xf5], NEXT_HOP]),
        ("no NEXT_HOP", &[ORIGIN, AS_PATH]),
        ("a NEXT_HOP of three octets", &[ORIGIN, AS_PATH, &[0x40, 3, 3, 198, 51, 100]]),
        ("COMMUNITIES of three octets", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 3, 0, 0, 0]]),
    ] {
        peer.says(&update(&[ORIGIN, AS_PATH, NEXT_HOP]));
        becomes("a good UPDATE is taken", true);
        peer.says(&update(attributes));
        becomes(what, false);
        assert_eq!(peer.state(), "Established", "{what}");
    }
    // RFC 7606 §3 (g), §7: these are dropped, and the route stays.
    for (what, odd) in [
        ("an AGGREGATOR of one octet", &[0xc0, 7, 1, 0][..]),
        ("an ATOMIC_AGGREGATE with a value", &[0x40, 6, 1, 0]),
        ("ORIGIN once more", &[0x40, 1, 1, 2]),
        ("an optional attribute that nobody knows", &[0xc0, 200, 2, 1, 2]),
    ] {
        peer.says(&update(&[ORIGIN, AS_PATH, NEXT_HOP, odd]));
        becomes(what, true);
        assert_eq!(peer.state(), "Established", "{what}");
    }
    assert!(messages(&peer.connection.output()).iter().all(|(kind, _)| *kind != 3));
    right_is_unaffected(&lab);
}
