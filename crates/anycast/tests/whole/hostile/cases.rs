//! What is said on an Established session, and what must come of it, by RFC and section.
//!
//! Before each case the neighbor has announced 198.18.0.0/24 (`a`) and 2001:db8:bad::/48 (`b`) with
//! MED 1. What a case announces has MED 2. 198.18.1.0/24 and 198.18.2.0/24 are `c` and `d`. Of a
//! prefix with several paths (RFC 7911), `a1+2@7` is the one without a number or of number 0, with
//! MED 1, and that of number 7, with MED 2.

use super::{Who, hex, message, update};

/// One case.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) section: &'static str,
    pub(super) who: Who,
    /// What is said, each in a write of its own.
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) then: Then,
}

/// What must come of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Then {
    /// The session goes on, with these routes and their MEDs.
    Left(String),
    /// The session ends, and its routes go.
    Ends(Ending),
}

/// How a session ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Code, subcode, and the data in hexadecimal where the RFC names it.
    Notification(u8, u8, Option<String>),
    /// The connection is closed without a word.
    Silently,
}

impl Eq for Ending {}

impl PartialEq for Ending {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Silently, Self::Silently) => true,
            (Self::Notification(code, subcode, data), Self::Notification(c, s, d)) => {
                (code, subcode) == (c, s) && (data.is_none() || d.is_none() || data == d)
            }
            _ => false,
        }
    }
}

const ORIGIN: &str = "40010100";
const PATH: &str = "40020602010000fbf5";
const HOP: &str = "400304c6336402";
const MED: &str = "80040400000002";
/// 2001:db8:bad::/48 by way of 2001:db8:ffff::2.
const REACH: &str = "800e1c 0002 01 10 20010db8ffff00000000000000000002 00 30 20010db80bad";
const HOP_V6: &str = "20010db8ffff00000000000000000002";
const A: &str = "18c61200";
const B: &str = "3020010db80bad";
/// Path identifiers (RFC 7911 §3).
const SEVENTH: &str = "00000007";
const LAST: &str = "ffffffff";

/// ORIGIN, the AS_PATH and MED.
pub(super) fn without_hop(path: &str, med: u32) -> String {
    format!("{ORIGIN}{path}800404{med:08x}")
}

/// Announces `a` and `b` with a MED to whoever speaks their families.
pub(super) fn beginning(who: Who, med: u32) -> Vec<u8> {
    let path = who.path();
    let v4 = update("", &super::good(path, med), &who.numbered(A));
    if !who.speaks_ipv6() {
        return v4;
    }
    let v6 = reach(HOP_V6, &who.numbered(B)) + &without_hop(path, med);
    [v4, update("", &v6, "")].concat()
}

/// Withdraws what cases announce beside `a` and `b`.
pub(super) fn clean_slate(who: Who) -> Vec<u8> {
    if who == Who::Several {
        let numbered = |prefix: &str| format!("{SEVENTH}{prefix}{LAST}{prefix}");
        let v4 = update(&numbered(A), "", "");
        return [v4, update("", &unreach(&numbered(B)), "")].concat();
    }
    let v4 = update("18c61201 18c61202 00 04e0 087f 0800 08e1 20ffffffff 20c6120001", "", "");
    let v6 = unreach("0afe80 08ff 8000000000000000000000000000000001 00");
    if who.speaks_ipv6() { [v4, update("", &v6, "")].concat() } else { v4 }
}

/// One attribute around its value.
fn attribute(flags: u8, code: u8, value: &str) -> String {
    let len = hex(value).len();
    if let Ok(len) = u8::try_from(len) {
        format!("{flags:02x}{code:02x}{len:02x}{value}")
    } else {
        format!("{:02x}{code:02x}{len:04x}{value}", flags | 0x10)
    }
}

/// MP_REACH_NLRI of IPv6 unicast.
fn reach(next_hop: &str, nlri: &str) -> String {
    let len = hex(next_hop).len();
    attribute(0x80, 14, &format!("000201{len:02x}{next_hop}00{nlri}"))
}

/// MP_UNREACH_NLRI of IPv6 unicast.
fn unreach(prefixes: &str) -> String {
    attribute(0x80, 15, &format!("000201{prefixes}"))
}

/// A message of any type, length and marker.
fn raw(marker: u8, len: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    [&[marker], &[0xff; 15][..], &len.to_be_bytes(), &[kind], body].concat()
}

/// An UPDATE that begins and does not end.
pub(super) fn half_a_message() -> Vec<u8> {
    update("", &without_hop(PATH, 2), A)[..30].to_vec()
}

/// In place of octets: nothing more will be said, but the neighbor still listens.
pub(super) const HALF_CLOSE: &[u8] = &[];

/// The list that is being written.
struct List {
    cases: Vec<Case>,
    who: Who,
    section: &'static str,
}

impl List {
    fn add(&mut self, name: &str, pieces: Vec<Vec<u8>>, then: Then) {
        let (who, section) = (self.who, self.section);
        self.cases.push(Case { name: name.to_owned(), section, who, pieces, then });
    }

    /// The session goes on.
    fn left(&mut self, name: &str, octets: Vec<u8>, left: &str) {
        self.add(name, vec![octets], Then::Left(left.to_owned()));
    }

    /// The session ends with this NOTIFICATION; `*` for data that no RFC names.
    fn ends(&mut self, name: &str, octets: Vec<u8>, code: [u8; 2], data: &str) {
        let data = (data != "*").then(|| data.replace(' ', ""));
        let ending = Ending::Notification(code[0], code[1], data);
        self.add(name, vec![octets], Then::Ends(ending));
    }

    /// The UPDATE announces `a` with these attributes.
    fn route(&mut self, name: &str, attributes: &str, left: &str) {
        self.left(name, update("", attributes, A), left);
    }

    /// The UPDATE announces `a` with sound attributes and this one.
    fn beside(&mut self, name: &str, one: &str, left: &str) {
        let path = self.who.path();
        let attributes = [ORIGIN, path, HOP, MED, one].concat();
        self.route(name, &attributes, left);
    }

    /// An UPDATE without NLRI.
    fn attributes_end(&mut self, name: &str, attributes: &str, code: [u8; 2], data: &str) {
        self.ends(name, update("", attributes, ""), code, data);
    }
}

/// Every case.
pub(super) fn all() -> Vec<Case> {
    let mut list = List { cases: Vec::new(), who: Who::Hostile, section: "" };
    headers(&mut list);
    other_messages(&mut list);
    lengths(&mut list);
    prefixes(&mut list);
    multiprotocol(&mut list);
    flags_and_lengths(&mut list);
    origins_and_paths(&mut list);
    next_hops(&mut list);
    other_attributes(&mut list);
    streams(&mut list);
    two_octets(&mut list);
    several_paths(&mut list);
    within_the_as(&mut list);
    // Those that end the session cost a new one.
    list.cases.sort_by_key(|case| (case.who as u8, matches!(case.then, Then::Ends(_))));
    list.cases
}

/// RFC 4271 §6.1, RFC 8654.
fn headers(list: &mut List) {
    list.section = "RFC 4271 §6.1";
    let keepalive = message(4, &[]);
    list.ends("a marker that begins with 0", raw(0, 19, 4, &[]), [1, 1], "");
    let mut marker = keepalive.clone();
    marker[15] = 0xfe;
    list.ends("a marker with one bit missing", marker, [1, 1], "");
    list.ends("marker before length and type", raw(1, 0, 9, &[]), [1, 1], "");
    list.ends("another protocol", b"GET / HTTP/1.1\r\nHost: example\r\n\r\n".to_vec(), [1, 1], "");
    for (name, len, kind) in [
        ("length 0", 0, 4),
        ("length 18", 18, 4),
        ("length before type", 18, 99),
        ("KEEPALIVE of 20", 20, 4),
        ("KEEPALIVE of 4096", 4096, 4),
        ("OPEN of 28", 28, 1),
        ("UPDATE of 22", 22, 2),
        ("NOTIFICATION of 20", 20, 3),
        ("UPDATE of 4097 without long messages", 4097, 2),
        ("UPDATE of 65535 without long messages", 65535, 2),
    ] {
        let data = format!("{len:04x}");
        list.ends(name, raw(0xff, len, kind, &[0; 9]), [1, 2], &data);
    }
    for kind in [0, 6, 128, 255_u8] {
        list.ends(&format!("type {kind}"), message(kind, &[]), [1, 3], &format!("{kind:02x}"));
    }
    list.section = "RFC 2918 §3, RFC 4271 §6.1";
    list.ends("ROUTE-REFRESH of 22", message(5, &[0, 1, 0]), [1, 2], "0016");
    list.ends("ROUTE-REFRESH of 24", message(5, &[0, 1, 0, 1, 0]), [1, 2], "0018");

    list.who = Who::Long;
    list.section = "RFC 8654 §4";
    let long = attribute(0xc0, 99, &"00".repeat(5000));
    list.beside("an UPDATE of 5000 octets", &long, "a2 b1");
    let path = list.who.path();
    let filled = [ORIGIN, path, HOP, MED].concat();
    let room = 65535 - 23 - hex(&filled).len() - 4 - 4;
    list.beside("an UPDATE of 65535", &attribute(0xc0, 99, &"00".repeat(room)), "a2 b1");
    list.ends("KEEPALIVE of 4097", raw(0xff, 4097, 4, &[0; 4078]), [1, 2], "1001");
    list.ends("OPEN of 4097", raw(0xff, 4097, 1, &[0; 4078]), [1, 2], "1001");
    list.who = Who::Hostile;
}

/// Messages but UPDATE.
fn other_messages(list: &mut List) {
    list.section = "RFC 4271 §8.2.2, RFC 6608 §4";
    let greeting = Who::Hostile.greeting();
    let open = &greeting[..greeting.len() - 19];
    list.ends("another OPEN", open.to_vec(), [5, 3], "01");
    let mut version = open.to_vec();
    version[19] = 3;
    list.ends("another OPEN, of version 3", version, [5, 3], "01");
    let mut cut = open.to_vec();
    cut[28] = 200;
    list.ends("another OPEN, malformed", cut, [5, 3], "01");

    list.section = "RFC 4271 §6.4, §8.2.2";
    for (name, body) in [
        ("Cease", vec![6, 4]),
        ("a NOTIFICATION of code 0", vec![0, 0]),
        ("a NOTIFICATION of an unknown code", vec![99, 99, 1, 2, 3]),
        ("a NOTIFICATION of 4096 octets", [vec![3, 1], vec![0xff; 4075]].concat()),
        ("a shutdown message that claims 255 octets", vec![6, 2, 255, b'x']),
        ("a shutdown message that is no UTF-8", vec![6, 2, 2, 0xff, 0xfe]),
    ] {
        list.add(name, vec![message(3, &body)], Then::Ends(Ending::Silently));
    }

    let route = update("", &[ORIGIN, PATH, HOP, MED].concat(), A);
    let cease = message(3, &[6, 2]);
    let after = vec![[cease.clone(), route.clone(), message(9, &[])].concat()];
    list.add("a Cease, then more in one segment", after, Then::Ends(Ending::Silently));
    let after = vec![cease, route.clone(), raw(0, 0, 0, &[])];
    list.add("a Cease, then more", after, Then::Ends(Ending::Silently));
    list.section = "RFC 4271 §8.2.2 (TcpConnectionFails)";
    list.add("half of TCP closed", vec![HALF_CLOSE.to_vec()], Then::Ends(Ending::Silently));
    let cut = vec![route[..25].to_vec(), HALF_CLOSE.to_vec()];
    list.add("half of TCP closed within a message", cut, Then::Ends(Ending::Silently));
    let bad = vec![message(9, &[]), HALF_CLOSE.to_vec()];
    let ending = Ending::Notification(1, 3, Some("09".to_owned()));
    list.add("a bad message, then half of TCP closed", bad, Then::Ends(ending));

    list.section = "RFC 2918 §4";
    list.left("ROUTE-REFRESH", message(5, &[0, 1, 0, 1]), "a1 b1");
    list.left("ROUTE-REFRESH of EVPN", message(5, &[0, 25, 0, 70]), "a1 b1");
    list.left("ROUTE-REFRESH of AFI 0", message(5, &[0, 0, 0, 0]), "a1 b1");
    list.section = "RFC 2918 §3, RFC 7313 §5";
    for subtype in [1, 2, 3, 255] {
        let name = format!("ROUTE-REFRESH with {subtype} for the reserved octet");
        list.left(&name, message(5, &[0, 1, subtype, 1]), "a1 b1");
    }
    list.left("KEEPALIVEs", message(4, &[]).repeat(1000), "a1 b1");
    list.who = Who::Refresher;
    list.section = "RFC 7313 §4, §5";
    let refresh = |subtype: u8| message(5, &[0, 1, subtype, 1]);
    // What was not sent again between the two is gone.
    list.left("a refresh from beginning to end", [refresh(1), refresh(2)].concat(), "b1");
    let with = [refresh(1), route, refresh(2)].concat();
    list.left("a refresh with the route in it", with, "a2 b1");
    list.left("an end without a beginning", refresh(2), "a1 b1");
    list.left("a beginning without an end", refresh(1), "a1 b1");
    list.left("two beginnings", refresh(1).repeat(2), "a1 b1");
    for subtype in [3, 4, 255] {
        let octets = message(5, &[0, 1, subtype, 1]);
        list.left(&format!("ROUTE-REFRESH of subtype {subtype}"), octets, "a1 b1");
    }
    list.left("a beginning of EVPN", message(5, &[0, 25, 1, 70]), "a1 b1");
    for (name, body) in [
        ("a beginning without SAFI", vec![0, 1, 1]),
        ("a beginning with an octet more", vec![0, 1, 1, 1, 0]),
        ("an end with a kilooctet more", [vec![0, 1, 2, 1], vec![0; 1000]].concat()),
    ] {
        let octets = message(5, &body);
        let data = super::hex_of(&octets);
        list.ends(name, octets, [7, 1], &data);
    }
    list.ends("a ROUTE-REFRESH of 24, subtype 0", message(5, &[0, 1, 0, 1, 0]), [1, 2], "0018");
    list.ends("a ROUTE-REFRESH of 19", message(5, &[]), [1, 2], "0013");
    list.who = Who::Ipv4Only;
    list.left("ROUTE-REFRESH of a family not agreed on", message(5, &[0, 2, 0, 1]), "a1");
    list.section = "RFC 4760 §8";
    let v6 = REACH.to_owned() + &without_hop(PATH, 2);
    list.left("IPv6 that was not agreed on", update("", &v6, ""), "a1");
    list.left("IPv6 withdrawn that was not agreed on", update("", &unreach(B), ""), "a1");
    list.who = Who::Hostile;
}

/// The lengths that frame an UPDATE and its attributes.
fn lengths(list: &mut List) {
    list.section = "RFC 4271 §6.3, RFC 7606 §3 b";
    let sound = [ORIGIN, PATH, HOP, MED].concat();
    let body = |text: &str| message(2, &hex(text));
    list.ends("Withdrawn Routes beyond the message", body("0064 18c61200 0000"), [3, 1], "");
    list.ends("Withdrawn Routes of 65535", body("ffff 0000"), [3, 1], "");
    list.ends("Withdrawn Routes up to the end", body("0002 0000"), [3, 1], "");
    let beyond = format!("0000 {:04x} {sound}", hex(&sound).len() + 1);
    list.ends("attributes beyond the message", body(&beyond), [3, 1], "");
    list.ends("attributes of 65535", body(&format!("0000 ffff {sound} {A}")), [3, 1], "");
    list.section = "RFC 7606 §4";
    list.beside("a lone flags octet", "c0", "b1");
    list.beside("flags and type, no length", "c063", "b1");
    list.beside("half an extended length", "d06300", "b1");
    list.beside("an attribute beyond the list", "c0630500", "b1");
    list.beside("an extended attribute beyond the list", "d063ffff00", "b1");
    list.beside("COMMUNITIES beyond the list", "c00808fbf50001", "b1");
    list.section = "RFC 7606 §5.2";
    list.attributes_end("the same without NLRI", &format!("{sound}c0630500"), [3, 1], "*");
    list.attributes_end(
        "a bad ORIGIN without NLRI",
        &format!("40010103{PATH}"),
        [3, 6],
        "40010103",
    );
    let bad = unreach(B) + "40010103";
    list.attributes_end("a bad ORIGIN beside withdrawals", &bad, [3, 6], "40010103");
    list.section = "RFC 7606 §3 j";
    list.ends("MP_REACH_NLRI beyond the list", update("", "800eff0002", A), [3, 9], "*");
    list.ends("MP_UNREACH_NLRI beyond the list", update("", "800fff0002", A), [3, 9], "*");
    list.section = "RFC 4271 §4.3";
    list.left("attributes of no route", update("", &sound, ""), "a1 b1");
    list.beside("an extended length where none is needed", "d0080004fbf50001", "a2,64501:1 b1");
    let odd_bits = ["4f010100", PATH, HOP, MED].concat();
    list.route("the low bits of the flags set, and a short extended length", "5f01000100", "b1");
    list.route("unused bits of the flags", &odd_bits, "a2 b1");
    let backwards = [MED, HOP, PATH, ORIGIN].concat();
    list.route("attributes backwards", &backwards, "a2 b1");
}

/// NLRI and Withdrawn Routes.
fn prefixes(list: &mut List) {
    let sound = [ORIGIN, PATH, HOP, MED].concat();
    let nlri = |nlri: &str| update("", &sound, nlri);
    list.section = "RFC 7606 §5.3";
    list.ends("a prefix of 33 bits", nlri("21c612000000"), [3, 10], "");
    list.ends("a prefix of 255 bits", nlri("ffc6120000"), [3, 10], "");
    list.ends("a prefix cut short", nlri("18c612"), [3, 10], "");
    list.ends("a sound prefix, then half of one", nlri("18c61201 18"), [3, 10], "");
    list.ends("a withdrawn prefix of 33 bits", update("21c612000000", "", ""), [3, 10], "");
    list.ends("a withdrawn prefix cut short", update("18c612", "", ""), [3, 10], "");
    list.section = "RFC 4271 §4.3";
    list.left("bits beyond the prefix", nlri("11c612ff"), "a1 198.18.128.0/172 b1");
    list.left("the same undone", update("11c61280", "", ""), "a1 b1");
    list.left("withdrawn with bits beyond", update("17c61201", "", ""), "a1 b1");
    list.left("the default route", nlri("00"), "0.0.0.0/02 a1 b1");
    list.left("a host", nlri("20c6120001"), "a1 198.18.0.1/322 b1");
    list.left("a prefix twice", nlri("18c61200 18c61200"), "a2 b1");
    list.left("withdrawn and announced at once", update(A, &sound, A), "a2 b1");
    list.left("withdrawn twice", update("18c61200 18c61200", "", ""), "b1");
    list.left("what was never announced", update("18c61263", "", ""), "a1 b1");
    let both = format!("{}{REACH}{sound}", unreach(B));
    list.left("the same in IPv6", update("", &both, ""), "a1 b2");
    list.section = "RFC 4271 §6.3 (the prefix is ignored)";
    list.left("multicast", nlri("04e0"), "a1 b1");
    list.left("multicast beside a sound prefix", nlri("08e1 18c61201"), "a1 c2 b1");
    list.left("loopback", nlri("087f"), "a1 b1");
    list.left("this network", nlri("0800"), "a1 b1");
    list.left("broadcast", nlri("20ffffffff"), "a1 b1");
    for (name, nlri) in [
        ("IPv6 link-local", "0afe80"),
        ("IPv6 multicast", "08ff"),
        ("IPv6 loopback", "8000000000000000000000000000000001"),
    ] {
        let attributes = reach("20010db8ffff00000000000000000002", nlri) + &sound;
        list.left(name, update("", &attributes, ""), "a1 b1");
    }
}

/// MP_REACH_NLRI, MP_UNREACH_NLRI and End-of-RIB.
fn multiprotocol(list: &mut List) {
    let sound = without_hop(PATH, 2);
    let with = |one: &str| update("", &format!("{one}{sound}"), "");
    let hop = "20010db8ffff00000000000000000002";
    let local = "fe800000000000000000000000000002";
    list.section = "RFC 7606 §7.11";
    for len in [0, 1, 4, 8, 12, 15, 17, 24, 31, 33, 48] {
        let attribute = reach(&"20".repeat(len), B);
        let name = format!("an IPv6 next hop of {len} octets");
        list.ends(&name, with(&attribute), [3, 9], &attribute);
    }
    let four = attribute(0x80, 14, &format!("000101 10 {hop} 00 {A}"));
    list.ends("an IPv6 next hop of IPv4 without RFC 8950", with(&four), [3, 9], &four);
    list.section = "RFC 7606 §5.3, RFC 4760 §7";
    for (name, attribute) in [
        ("MP_REACH_NLRI of nothing", attribute(0x80, 14, "")),
        ("MP_REACH_NLRI of an AFI", attribute(0x80, 14, "0002")),
        ("MP_REACH_NLRI that ends in its next hop", attribute(0x80, 14, "000201102001")),
        (
            "MP_REACH_NLRI without its reserved octet",
            attribute(0x80, 14, &format!("00020110{hop}")),
        ),
        ("an IPv6 prefix of 129 bits", reach(hop, &format!("81{}", "20".repeat(17)))),
        ("an IPv6 prefix cut short", reach(hop, "3020010db8")),
        ("MP_UNREACH_NLRI of nothing", attribute(0x80, 15, "")),
        ("MP_UNREACH_NLRI of two octets", attribute(0x80, 15, "0002")),
        ("a withdrawn IPv6 prefix of 129 bits", unreach(&format!("81{}", "20".repeat(17)))),
        ("a withdrawn IPv6 prefix cut short", unreach("3020010db8")),
    ] {
        list.ends(name, with(&attribute), [3, 9], &attribute);
    }
    list.section = "RFC 7606 §3 g";
    list.ends("MP_REACH_NLRI twice", with(&REACH.repeat(2)), [3, 1], "");
    list.ends("MP_UNREACH_NLRI twice", with(&unreach(B).repeat(2)), [3, 1], "");
    list.section = "RFC 2545 §3, RFC 4760 §3";
    list.left("a link-local next hop too", with(&reach(&format!("{hop}{local}"), B)), "a1 b2");
    list.left("a link-local next hop alone", with(&reach(local, B)), "a1 b2");
    list.left(
        "bits beyond an IPv6 prefix",
        with(&reach(hop, "2f20010db80bad")),
        "a1 2001:db8:bac::/472 b1",
    );
    list.left("the same undone", update("", &unreach("2f20010db80bac"), ""), "a1 b1");
    let reserved = attribute(0x80, 14, &format!("000201 10 {hop} 07 {B}"));
    list.left("a reserved octet that is not 0", with(&reserved), "a1 b2");
    list.left("MP_REACH_NLRI without prefixes", with(&reach(hop, "")), "a1 b1");
    let v4 = attribute(0x80, 14, &format!("000101 04 c6336402 00 {A}"));
    list.left("IPv4 in MP_REACH_NLRI", with(&v4), "a2 b1");
    let unreach_v4 = attribute(0x80, 15, &format!("000101 {A}"));
    list.left("IPv4 in MP_UNREACH_NLRI", update("", &unreach_v4, ""), "b1");
    let two = update("", &format!("{REACH}{sound}{HOP}"), A);
    list.left("both families in one UPDATE", two, "a2 b2");
    let ignored = format!("{REACH}{sound}40030400000000");
    list.left("NEXT_HOP beside MP_REACH_NLRI alone", update("", &ignored, ""), "a1 b2");
    let last = format!("{sound}{REACH}");
    list.left("MP_REACH_NLRI after the rest", update("", &last, ""), "a1 b2");

    list.section = "RFC 7606 §3 c";
    let wrong = REACH.replacen("800e", "c00e", 1);
    list.left("MP_REACH_NLRI is transitive", with(&wrong), "a1");
    let wrong = unreach(B).replacen("800f", "c00f", 1);
    list.left("MP_UNREACH_NLRI is transitive", update("", &wrong, ""), "a1");
    list.section = "RFC 7606 §7.11 (the next hop is no host)";
    list.left("the next hop ::", with(&reach(&"00".repeat(16), B)), "a1");
    list.left("the next hop ff02::1", with(&reach("ff020000000000000000000000000001", B)), "a1");

    list.section = "RFC 4760 §8, RFC 7606 §5.4";
    for (name, afi, safi, rest) in [
        ("VPNv4", 1, 128, "0c 0000000000000000 c6336402 00 70 000001 00000000 00000001 0a"),
        ("IPv4 multicast", 1, 2, "04 c6336402 00 18c61200"),
        ("labelled IPv6", 2, 4, "10 20010db8ffff00000000000000000002 00 48 000001 20010db80bad"),
        ("EVPN", 25, 70, "04 c6336402 00 02 21 00"),
        ("BGP-LS", 16388, 71, "04 c6336402 00 0001 0001 03"),
        ("flow specification", 1, 133, "00 00 05 01 18 c61200"),
        ("AFI 0", 0, 0, "00 00"),
        ("AFI 65535", 65535, 255, "ff"),
    ] {
        let value = format!("{afi:04x}{safi:02x}{rest}");
        // A next hop that does not fit cannot be read over.
        let octets = with(&attribute(0x80, 14, &value));
        if rest == "ff" {
            let data = attribute(0x80, 14, &value);
            list.ends(&format!("MP_REACH_NLRI of {name}, cut short"), octets, [3, 9], &data);
        } else {
            list.left(&format!("MP_REACH_NLRI of {name}"), octets, "a1 b1");
        }
        let value = format!("{afi:04x}{safi:02x}18c61200");
        let octets = update("", &attribute(0x80, 15, &value), "");
        list.left(&format!("MP_UNREACH_NLRI of {name}"), octets, "a1 b1");
    }
    let vpn = attribute(0x80, 14, "000180 00 00");
    list.beside("MP_REACH_NLRI of VPNs beside a sound route", &vpn, "a2 b1");

    list.section = "RFC 4724 §2";
    list.left("End-of-RIB of IPv4", update("", "", ""), "a1 b1");
    list.left("End-of-RIB of IPv6", update("", &unreach(""), ""), "a1 b1");
    let extended = "900f0003000201";
    list.left("End-of-RIB with an extended length", update("", extended, ""), "a1 b1");
    let vpn = attribute(0x80, 15, "000180");
    list.left("End-of-RIB of a family not agreed on", update("", &vpn, ""), "a1 b1");
    list.left("End-of-RIB thrice", update("", "", "").repeat(3), "a1 b1");
}

/// Each attribute with wrong flags, each wrong length, twice, and missing.
fn flags_and_lengths(list: &mut List) {
    // Flags, code, a sound value, the octets of an item if there may be several, what becomes of
    // `a` with a wrong length (RFC 7606 §7), and how the sound one shows.
    type Row = (u8, u8, &'static str, Option<usize>, &'static str, &'static str, &'static str);
    let table: [Row; 10] = [
        (0x40, 1, "00", None, "RFC 7606 §7.1", "", ""),
        (0x40, 3, "c6336402", None, "RFC 7606 §7.3", "", ""),
        (0x80, 4, "00000002", None, "RFC 7606 §7.4", "", ""),
        (0x40, 6, "", None, "RFC 7606 §7.6", "a2 ", ""),
        (0xc0, 7, "0000fbf5c6336402", None, "RFC 7606 §7.7", "a2 ", ""),
        (0xc0, 8, "fbf50001", Some(4), "RFC 7606 §7.8", "", ",64501:1"),
        (0xc0, 16, "0002fbf500000001", Some(8), "RFC 7606 §7.14", "", ",rt:64501:1"),
        (0xc0, 25, "000220010db8000000000000000000000001fbf5", Some(20), "RFC 7606 §7.15", "", ""),
        (0xc0, 32, "0000fbf50000000100000002", Some(12), "RFC 8092 §6", "", ",64501:1:2"),
        (0xc0, 35, "0000fbf5", None, "RFC 9234 §5", "", ""),
    ];
    for (flags, code, value, group, section, wrong_length, shown) in table {
        let sound: String = [(1, ORIGIN), (2, PATH), (3, HOP), (4, MED)]
            .iter()
            .filter(|(other, _)| *other != code)
            .map(|(_, attribute)| *attribute)
            .collect();
        let with = |one: &str| format!("{sound}{one}");
        let one = attribute(flags, code, value);
        list.section = section;
        let good = format!("a2{shown} b1");
        // Another attribute set of the same type is sent by a neighbor that means it.
        list.route(&format!("attribute {code}, sound"), &with(&one), &good);
        list.section = "RFC 7606 §3 c";
        for wrong in [0x80, 0x40, 0xc0] {
            let one = attribute(flags ^ wrong, code, value);
            // A well-known attribute that nobody knows ends the session: only known ones here.
            let name = format!("attribute {code} with flags {:#04x}", flags ^ wrong);
            list.route(&name, &with(&one), "b1");
        }
        list.section = "RFC 7606 §3 c, RFC 4271 §4.3";
        let partial = attribute(flags | 0x20, code, value);
        list.route(&format!("attribute {code} is partial"), &with(&partial), &good);
        list.section = section;
        let octets = value.len() / 2;
        for len in [0, 1, octets.saturating_sub(1), octets + 1, 255, 256] {
            let right = len == octets || group.is_some_and(|group| len > 0 && len % group == 0);
            if right {
                continue;
            }
            let one = attribute(flags, code, &"01".repeat(len));
            let name = format!("attribute {code} of {len} octets");
            list.route(&name, &with(&one), &format!("{wrong_length}b1"));
        }
        list.section = "RFC 7606 §3 g";
        let twice = format!("{one}{}", attribute(flags, code, &value.replace("00", "02")));
        let name = format!("attribute {code} twice: the first counts");
        list.route(&name, &with(&twice), &good);
        let twice = format!("{one}{}", attribute(flags ^ 0x40, code, "0102030405060708090a0b0c0d"));
        let name = format!("attribute {code} twice, once malformed: the first counts");
        list.route(&name, &with(&twice), &good);
    }
    list.section = "RFC 7606 §3 d";
    list.route("without ORIGIN", &[PATH, HOP, MED].concat(), "b1");
    list.route("without AS_PATH", &[ORIGIN, HOP, MED].concat(), "b1");
    list.route("without NEXT_HOP", &[ORIGIN, PATH, MED].concat(), "b1");
    list.route("without any attribute", "", "b1");
    list.left("IPv6 without ORIGIN", update("", &[REACH, PATH, MED].concat(), ""), "a1");
    list.left("IPv6 without AS_PATH", update("", &[REACH, ORIGIN, MED].concat(), ""), "a1");
    let nothing = update("", REACH, "");
    list.left("IPv6 without any other attribute", nothing, "a1");
}

fn origins_and_paths(list: &mut List) {
    list.section = "RFC 7606 §7.1";
    for origin in [3, 99, 255] {
        let attributes = format!("400101{origin:02x}{PATH}{HOP}{MED}");
        list.route(&format!("ORIGIN {origin}"), &attributes, "b1");
    }
    let own = "0000fbf4";
    // (name, section, AS_PATH, what becomes of it)
    for (name, section, path, left) in [
        ("a segment of kind 0", "RFC 7606 §7.2", "00010000fbf5", "b1"),
        ("a segment of kind 5", "RFC 7606 §7.2", "05010000fbf5", "b1"),
        ("a segment that overruns", "RFC 7606 §7.2", "02020000fbf5", "b1"),
        ("a segment of 255 that overruns", "RFC 7606 §7.2", "02ff0000fbf5", "b1"),
        ("a segment that underruns", "RFC 7606 §7.2", "02010000fbf502", "b1"),
        ("an empty segment", "RFC 7606 §7.2", "02010000fbf50200", "b1"),
        ("an empty segment alone", "RFC 7606 §7.2", "0200", "b1"),
        ("two-octet numbers", "RFC 6793 §4, RFC 7606 §7.2", "0201fbf5", "b1"),
        ("AS 0 at the end", "RFC 7607 §2", "02020000fbf500000000", "b1"),
        ("AS 0 at the front", "RFC 7607 §2", "02020000000000fbf5ff", "b1"),
        ("AS 0 in a set", "RFC 7607 §2", "02010000fbf5010100000000", "b1"),
        ("a confederation sequence", "RFC 5065 §5", "03010000fbf502010000fbf5", "b1"),
        ("a confederation set", "RFC 5065 §5", "02010000fbf504010000fbf5", "b1"),
        ("another first AS", "RFC 4271 §6.3, RFC 7606 §7.2", "02010000fbff", "b1"),
        ("a set first", "RFC 4271 §6.3, RFC 7606 §7.2", "01010000fbf5", "b1"),
        ("no AS from another AS", "RFC 4271 §6.3, RFC 7606 §7.2", "", "b1"),
        ("a loop", "RFC 4271 §9.1.2", &format!("02020000fbf5{own}"), "b1"),
        ("a loop in a set", "RFC 4271 §9.1.2", &format!("02010000fbf50101{own}"), "b1"),
        ("AS_TRANS", "RFC 6793 §4.2.3", "02020000fbf500005ba0", "a2 b1"),
        ("a set at the end", "RFC 9774 §3", "02010000fbf501020000fbfe0000fbff", "b1"),
        (
            "300 numbers",
            "RFC 4271 §4.3",
            &format!("02ff{}022d{}", "0000fbf5".repeat(255), "0000fbfe".repeat(45)),
            "a2 b1",
        ),
    ] {
        list.section = section;
        let path = attribute(0x40, 2, path);
        list.route(name, &[ORIGIN, &path, HOP, MED].concat(), left);
    }
    list.section = "RFC 7606 §3 c";
    for flags in ["00", "80", "c0"] {
        let path = format!("{flags}{}", &PATH[2..]);
        list.route(
            &format!("AS_PATH with flags 0x{flags}"),
            &[ORIGIN, &path, HOP, MED].concat(),
            "b1",
        );
    }
    list.section = "RFC 7606 §3 g";
    list.beside("AS_PATH twice", "40020602010000fbff", "a2 b1");
}

/// NEXT_HOP: no host, our own, or not on the link.
fn next_hops(list: &mut List) {
    list.section = "RFC 4271 §6.3 (the route is ignored)";
    for (name, hop, left) in [
        ("0.0.0.0", "00000000", "b1"),
        ("0.1.2.3", "00010203", "b1"),
        ("127.0.0.1", "7f000001", "b1"),
        ("224.0.0.1", "e0000001", "b1"),
        ("255.255.255.255", "ffffffff", "b1"),
        ("our own address", "c6336401", "b1"),
        ("not on the link", "cb007109", "b1"),
        ("another on the link", "c6336463", "a2 b1"),
    ] {
        let attributes = format!("{ORIGIN}{PATH}400304{hop}{MED}");
        list.route(&format!("NEXT_HOP {name}"), &attributes, left);
    }
    for (name, hop, left) in [
        ("::1", "00000000000000000000000000000001", "a1"),
        ("our own address", "20010db8ffff00000000000000000001", "a1"),
        ("not on the link", "20010db8fffe00000000000000000001", "a1"),
        ("::ffff:198.51.100.9", "00000000000000000000ffffc6336409", "a1"),
        ("another on the link", "20010db8ffff00000000000000000063", "a1 b2"),
    ] {
        let attributes = format!("{}{}", reach(hop, B), without_hop(PATH, 2));
        list.left(&format!("IPv6 next hop {name}"), update("", &attributes, ""), left);
    }
}

/// What is optional, unknown, or known elsewhere.
fn other_attributes(list: &mut List) {
    list.section = "RFC 4271 §6.3";
    for code in [0, 99, 255_u8] {
        let one = attribute(0x40, code, "01");
        let attributes = [ORIGIN, PATH, HOP, MED, &one].concat();
        let octets = update("", &attributes, A);
        list.ends(&format!("a well-known attribute {code}"), octets, [3, 2], &one);
    }
    list.section = "RFC 4271 §9 (not known here: passed on or ignored)";
    for (name, flags, code, value) in [
        ("optional transitive", 0xc0, 99, "0102"),
        ("optional transitive and partial", 0xe0, 99, "0102"),
        ("optional transitive and empty", 0xc0, 99, ""),
        ("optional, not transitive", 0x80, 99, "0102"),
        ("optional and empty", 0x80, 255, ""),
        ("DPA", 0xc0, 11, "00"),
        ("ADVERTISER", 0x80, 12, "00"),
        ("PMSI_TUNNEL, malformed", 0xc0, 22, "00"),
        ("tunnel encapsulation, malformed", 0xc0, 23, "0001ffff"),
        ("traffic engineering", 0x80, 24, "00"),
        ("AIGP, malformed", 0x80, 26, "01"),
        ("AIGP of length 2", 0x80, 26, "010002"),
        ("PE Distinguisher", 0xc0, 27, "ff"),
        ("BGP-LS, malformed", 0x80, 29, "ffff"),
        ("BGPsec_PATH", 0x80, 33, "00"),
        ("SFP", 0xc0, 37, "00"),
        ("BFD discriminator, malformed", 0xc0, 38, "01"),
        ("prefix SID, malformed", 0xc0, 40, "01ffff"),
        ("ATTR_SET", 0xc0, 128, "0000fbf5"),
        ("experimental", 0xc0, 255, "00"),
    ] {
        list.beside(name, &attribute(flags, code, value), "a2 b1");
    }
    list.beside("the first of two that nobody knows", "c06301 01 c06301 02", "a2 b1");
    let many: String = (100..200).map(|code| attribute(0xc0, code, "00")).collect();
    list.beside("a hundred that nobody knows", &many, "a2 b1");

    list.section = "RFC 7606 §7.5, §7.9, §7.10";
    for (name, one) in [
        ("LOCAL_PREF from another AS", "40050400000fff"),
        ("LOCAL_PREF of two octets from another AS", "4005020fff"),
        ("LOCAL_PREF with wrong flags from another AS", "c0050400000fff"),
        ("ORIGINATOR_ID from another AS", "800904c6336401"),
        ("ORIGINATOR_ID of three octets from another AS", "800903c63364"),
        ("CLUSTER_LIST from another AS", "800a04c6336401"),
        ("CLUSTER_LIST of nothing from another AS", "800a00"),
    ] {
        list.beside(name, one, "a2 b1");
    }
    list.section = "RFC 6793 §6";
    list.beside("AS4_PATH from a four-octet speaker", "c0110602010000fbff", "a2 b1");
    list.beside("AS4_AGGREGATOR from one", "c012080000fbffc6336402", "a2 b1");
    list.section = "RFC 7607 §2";
    list.beside("AGGREGATOR of AS 0", "c0070800000000c6336402", "a2 b1");
    list.section = "RFC 7606 §3 h";
    let discarded = format!("{ORIGIN}{PATH}{HOP}{MED}40060100 c00803000000");
    list.route("one to discard and one to withdraw for", &discarded, "b1");
    list.section = "RFC 1997, RFC 8092 §5";
    list.beside("communities twice", "c00808fbf50001fbf50001", "a2,64501:1 b1");
    let all = format!("{HOP}{MED}{}{REACH}", attribute(0xc0, 8, "01"));
    let octets = update("18c61201", &format!("{ORIGIN}{PATH}{all}"), A);
    list.section = "RFC 7606 §2 (every prefix of the UPDATE is withdrawn)";
    list.left("a fault takes the prefixes of both families", octets, "");
}

/// How TCP cuts it.
fn streams(list: &mut List) {
    list.section = "RFC 4271 §4";
    let sound = [ORIGIN, PATH, HOP, MED].concat();
    let one = update("", &sound, A);
    let octets = one.iter().map(|octet| vec![*octet]).collect();
    list.add("one octet at a time", octets, Then::Left("a2 b1".to_owned()));
    let (begin, end) = one.split_at(17);
    let halves = vec![begin.to_vec(), end.to_vec()];
    list.add("cut in the length", halves, Then::Left("a2 b1".to_owned()));
    list.left("10,000 empty UPDATEs", update("", "", "").repeat(10_000), "a1 b1");
    let flapping = [update(A, "", ""), one.clone()].concat().repeat(2000);
    list.left("2,000 flaps", flapping, "a2 b1");
    let storm = update("", &[ORIGIN, "40020602010000fbff", HOP, MED].concat(), A).repeat(1000);
    list.left("1,000 routes with another first AS", storm, "b1");
    let many = (0..800).map(|n| format!("20c613{n:04x}")).collect::<Vec<_>>().concat();
    let many_withdrawn = update(&many, "", "");
    let many = update("", &sound, &many);
    list.left("800 routes in and out again", [many, many_withdrawn].concat(), "a1 b1");
    list.section = "RFC 4271 §6.1";
    list.ends("100,000 octets of nothing", vec![0; 100_000], [1, 1], "");
    let after = [one.clone(), message(9, &[]), one].concat();
    list.ends("a sound UPDATE, a bad message, and another", after, [1, 3], "09");
}

/// A neighbor with two-octet AS numbers.
fn two_octets(list: &mut List) {
    list.who = Who::Old;
    list.section = "RFC 6793 §6";
    for (name, one) in [
        ("AS4_PATH", "c0110602010000fbf5"),
        ("AS4_PATH of nothing", "c01100"),
        ("AS4_PATH that overruns", "c0110602020000fbf5"),
        ("AS4_PATH with an empty segment", "c011020200"),
        ("AS4_PATH of kind 9", "c0110609010000fbf5"),
        ("AS4_PATH with AS 0", "c01106020100000000"),
        ("AS4_PATH with a confederation", "c0110603010000fbf5"),
        ("AS4_PATH longer than AS_PATH", "c0110e02030000fbf50000fbf50000fbf5"),
        ("AS4_AGGREGATOR of six octets", "c01206fbf5c6336402"),
        ("AS4_AGGREGATOR of AS 0", "c0120800000000c6336402"),
    ] {
        list.beside(name, one, "a2 b1");
    }
    list.section = "RFC 7606 §7.7";
    list.beside("AGGREGATOR of eight octets", "c007080000fbf5c6336402", "a2 b1");
    list.section = "RFC 7606 §7.2";
    let four = [ORIGIN, PATH, HOP, MED].concat();
    list.route("four-octet numbers", &four, "b1");
    list.section = "RFC 7607 §2";
    let zero = [ORIGIN, "400206 0202 fbf5 0000", HOP, MED].concat();
    list.route("AS 0 in two octets", &zero, "b1");
    list.who = Who::Hostile;
}

/// A neighbor that sends several paths to a prefix.
fn several_paths(list: &mut List) {
    list.who = Who::Several;
    let sound = [ORIGIN, PATH, HOP, MED].concat();
    let nlri = |nlri: &str| update("", &sound, nlri);
    let v6 = |nlri: &str| update("", &(reach(HOP_V6, nlri) + &without_hop(PATH, 2)), "");
    let (seventh, last) = (format!("{SEVENTH}{A}"), format!("{LAST}{A}"));
    list.section = "RFC 7911 §3, RFC 7606 §5.3";
    for (name, octets) in [
        ("a path identifier cut short", "000000".to_owned()),
        ("a path identifier and no prefix", SEVENTH.to_owned()),
        ("a path identifier and half a prefix", format!("{SEVENTH}18c612")),
        ("a path identifier and a prefix too long", format!("{SEVENTH}21c612000000")),
        ("a prefix without a path identifier", A.to_owned()),
        ("a sound path, then half an identifier", format!("{seventh}0000")),
    ] {
        list.ends(name, nlri(&octets), [3, 10], "");
        list.ends(&format!("{name}, withdrawn"), update(&octets, "", ""), [3, 10], "");
        let reached = attribute(0x80, 14, &format!("00010104c633640200{octets}"));
        let gone = attribute(0x80, 15, &format!("000101{octets}"));
        for (name, one) in [
            (format!("{name}, in MP_REACH_NLRI"), reached),
            (format!("{name}, in MP_UNREACH_NLRI"), gone),
        ] {
            let attributes = format!("{one}{}", without_hop(PATH, 2));
            list.ends(&name, update("", &attributes, ""), [3, 9], &one);
        }
    }
    let short = reach(HOP_V6, &format!("{SEVENTH}81{}", "20".repeat(17)));
    let octets = update("", &(short.clone() + &without_hop(PATH, 2)), "");
    list.ends("an IPv6 path of 129 bits", octets, [3, 9], &short);
    let short = unreach(B);
    let octets = update("", &short, "");
    list.ends("IPv6 withdrawn without a path identifier", octets, [3, 9], &short);

    list.section = "RFC 7911 §§3, 5";
    list.left("another path", nlri(&seventh), "a1+2@7 b1");
    list.left("another path in IPv6", v6(&format!("{SEVENTH}{B}")), "a1 b1+2@7");
    let in_reach = attribute(0x80, 14, &format!("00010104c633640200{seventh}"));
    let octets = update("", &(in_reach + &without_hop(PATH, 2)), "");
    list.left("another path of IPv4 in MP_REACH_NLRI", octets, "a1+2@7 b1");
    list.left("two paths at once", nlri(&(seventh.clone() + &last)), "a1+2@7+2@4294967295 b1");
    list.left("a path twice in one UPDATE", nlri(&seventh.repeat(2)), "a1+2@7 b1");
    list.left("the same path again", nlri(&seventh).repeat(3), "a1+2@7 b1");
    list.left("the first path anew", nlri(&format!("00000000{A}")), "a2 b1");
    let both = update(&seventh, &sound, &seventh);
    list.left("a path withdrawn and announced at once", both, "a1+2@7 b1");
    let swapped = update(&format!("00000000{A}"), &sound, &seventh);
    list.left("one path for another", swapped, "a2@7 b1");
    list.left("an unknown path withdrawn", update(&seventh, "", ""), "a1 b1");
    list.left("an unknown path withdrawn, often", update(&last, "", "").repeat(5000), "a1 b1");
    let gone = unreach(&format!("{SEVENTH}{B}"));
    list.left("an unknown IPv6 path withdrawn", update("", &gone, ""), "a1 b1");
    let twice = [nlri(&seventh), update(&seventh.repeat(2), "", "")].concat();
    list.left("a path withdrawn twice", twice, "a1 b1");
    let elsewhere = update(&format!("{SEVENTH}18c61263"), "", "");
    list.left("a path to a prefix that nobody has", elsewhere, "a1 b1");
    let many: Vec<String> = (10..510).map(|number| format!("{number:08x}{A}")).collect();
    let many = many.concat();
    list.left("500 paths in and out again", [nlri(&many), update(&many, "", "")].concat(), "a1 b1");
    list.section = "RFC 7606 §2 (only the paths of the UPDATE are withdrawn)";
    let bad = [PATH, HOP, MED, "40010103"].concat();
    let octets = [nlri(&seventh), update("", &bad, &seventh)].concat();
    list.left("a fault takes the path that it is about", octets, "a1 b1");
    let octets = [nlri(&seventh), update("", &bad, &format!("00000000{A}"))].concat();
    list.left("a fault leaves the other paths", octets, "a2@7 b1");
    list.left("a fault about an unknown path", update("", &bad, &seventh), "a1 b1");
    list.section = "RFC 4724 §2";
    list.left("End-of-RIB beside path identifiers", update("", "", ""), "a1 b1");
    let end = update("", &unreach(""), "");
    list.left("End-of-RIB of IPv6 beside path identifiers", end, "a1 b1");
    list.who = Who::Hostile;
}

/// A neighbor in our own AS.
fn within_the_as(list: &mut List) {
    list.who = Who::Inside;
    list.section = "RFC 7606 §7.9, §7.10";
    for (name, one) in [
        ("ORIGINATOR_ID of three octets", "800903c63364"),
        ("CLUSTER_LIST of five octets", "800a05c633640900"),
        ("CLUSTER_LIST of nothing", "800a00"),
    ] {
        list.beside(name, one, "b1");
    }
    list.section = "RFC 4456 §8";
    list.beside(
        "ORIGINATOR_ID and CLUSTER_LIST of others",
        "800904c6336409800a04c6336409",
        "a2 b1",
    );
    list.beside("our own ORIGINATOR_ID", "800904c6336401", "b1");
    list.beside("our own CLUSTER_LIST", "800a04c6336401", "b1");
    list.section = "RFC 7606 §7.5";
    let base = [ORIGIN, "40020602010000fbf7", HOP, MED].concat();
    for (name, one, left) in [
        ("LOCAL_PREF of two octets", "4005020064", "b1"),
        ("LOCAL_PREF of nothing", "400500", "b1"),
        ("LOCAL_PREF is optional", "c0050400000064", "b1"),
        ("LOCAL_PREF 7", "40050400000007", "a2,lp7 b1"),
    ] {
        list.route(name, &format!("{base}{one}"), left);
    }
    list.section = "RFC 5065 §5";
    let path = attribute(0x40, 2, "03010000fbf602010000fbf7");
    let attributes = [ORIGIN, &path, HOP, MED, "40050400000064"].concat();
    list.route("a confederation within the AS", &attributes, "a2 b1");
    list.who = Who::Hostile;
}
