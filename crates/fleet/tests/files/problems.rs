//! Each thing that can be wrong, made by one small edit of a sound file: exactly that is found,
//! and at exactly that text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anycast_fleet::{Severity, parse};

/// Sound; every line that is edited below is there once.
const BASE: &str = r#"
[fleet]
name = "example"
asn = 64500

[prefix."192.0.2.0/24"]
services = ["dns"]

[service.dns]
addresses = ["192.0.2.53"]
builtin = "whoami"

[site.fra]
city = "Frankfurt"
[site.fra.neighbor.a]
address = "198.51.100.0"
local-address = "198.51.100.1"
asn = 64501
export = "fleet"

[site.nyc]
city = "New York"
[site.nyc.neighbor.b]
address = "198.51.100.2"
local-address = "198.51.100.3"
asn = 64502
export = "fleet"
"#;

/// (severity, code, the text that is underlined)
type Found = (Severity, &'static str, &'static str);

/// (what it shows, what is replaced by what, all that is found in the order of the file)
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [Found]);

const E: Severity = Severity::Error;
const W: Severity = Severity::Warning;

const FRA: &str = "city = \"Frankfurt\"";
const A: &str = "asn = 64501";
const DNS: &str = "builtin = \"whoami\"";
const A_LOCAL: &str = "local-address = \"198.51.100.1\"";
const NYC: &str = r#"[site.nyc]
city = "New York"
[site.nyc.neighbor.b]
address = "198.51.100.2"
local-address = "198.51.100.3"
asn = 64502
export = "fleet"
"#;

const SYNTAX: &[Row] = &[
    ("a value is missing", &[(A, "asn =")], &[(E, "syntax", "=")]),
    (
        "a table twice",
        &[("[site.nyc]\n", "[site.fra]\n")],
        &[(E, "syntax", "fra"), (E, "syntax", "city")],
    ),
    (
        "two faults of syntax and an unknown key on a third line",
        &[("name = \"example\"", "name ="), (A, "asn ="), (FRA, "citi = \"Frankfurt\"")],
        &[(E, "syntax", "="), (E, "unknown-key", "citi"), (E, "syntax", "=")],
    ),
];

const KEYS: &[Row] = &[
    ("a misspelt key is not missing too", &[("name =", "nmae =")], &[(E, "unknown-key", "nmae")]),
    (
        "an underscore for a hyphen",
        &[(
            "local-address = \"198.51.100.1\"",
            "local_address = \"198.51.100.1\"\nrouter_id = \"1.1.1.1\"",
        )],
        &[
            (E, "no-router-id", "fra"),
            (E, "unknown-key", "local_address"),
            (E, "unknown-key", "router_id"),
        ],
    ),
    ("an unknown section", &[("[fleet]", "[colour]\n[fleet]")], &[(E, "unknown-key", "colour")]),
    (
        "a key that is there once is not suggested again",
        &[(FRA, "city = \"Frankfurt\"\ncities = 1")],
        &[(E, "unknown-key", "cities")],
    ),
    ("a key is missing", &[("name = \"example\"\n", "")], &[(E, "missing-key", "fleet")]),
    ("a neighbor without a number", &[("asn = 64501\n", "")], &[(E, "missing-key", "a")]),
    (
        "a policy without rules",
        &[
            (FRA, "city = \"Frankfurt\"\n[policy.p]"),
            ("export = \"fleet\"\n\n", "export = \"p\"\n\n"),
        ],
        &[(E, "missing-key", "p")],
    ),
    (
        "no [fleet] at all",
        &[("[fleet]\nname = \"example\"\nasn = 64500\n", "")],
        &[(E, "missing-key", "")],
    ),
    ("a number for a string", &[("name = \"example\"", "name = 1")], &[(E, "wrong-type", "1")]),
    ("a string for a number", &[(A, "asn = \"64501\"")], &[(E, "wrong-type", "\"64501\"")]),
    (
        "a string for a list",
        &[("services = [\"dns\"]", "services = \"dns\"")],
        &[(E, "wrong-type", "\"dns\""), (W, "unused-service", "dns")],
    ),
    (
        "a site that is a number",
        &[
            (NYC, ""),
            ("[fleet]\n", "site = 1\n[fleet]\n"),
            (
                "[site.fra]\ncity = \"Frankfurt\"\n[site.fra.neighbor.a]\naddress = \"198.51.100.0\"\nlocal-address = \"198.51.100.1\"\nasn = 64501\nexport = \"fleet\"\n",
                "",
            ),
        ],
        &[(E, "wrong-type", "1"), (E, "no-sites", "fleet")],
    ),
    (
        "a number without unit",
        &[(FRA, "city = \"Frankfurt\"\nstop-wait = 5")],
        &[(E, "missing-unit", "5")],
    ),
    (
        "a number without unit in quotes",
        &[(FRA, "city = \"Frankfurt\"\nstop-wait = \"5\"")],
        &[(E, "missing-unit", "\"5\"")],
    ),
    (
        "an unknown unit",
        &[(FRA, "city = \"Frankfurt\"\nstop-wait = \"5d\"")],
        &[(E, "bad-value", "\"5d\"")],
    ),
    (
        "a port out of range",
        &[(FRA, "city = \"Frankfurt\"\nbgp-port = 65536")],
        &[(E, "bad-value", "65536")],
    ),
    (
        "an unknown word",
        &[(A, "asn = 64501\nrelation = \"pear\"")],
        &[(E, "bad-value", "\"pear\"")],
    ),
    (
        "a community too large",
        &[(A, "asn = 64501\ncommunities = [\"64501:1\", \"65536:1\"]")],
        &[(E, "bad-value", "\"65536:1\"")],
    ),
    (
        "a list names something twice",
        &[(A, "asn = 64501\ncommunities = [\"64501:1\", \"64501:1\"]")],
        &[(W, "listed-twice", "\"64501:1\"")],
    ),
    (
        "a name with a space",
        &[("[site.fra.neighbor.a]", "[site.fra.neighbor.\"a b\"]")],
        &[(E, "bad-name", "\"a b\"")],
    ),
    (
        "a policy with a word's name",
        &[(FRA, "city = \"Frankfurt\"\n[policy.fleet]\nrules = []")],
        &[(E, "bad-name", "fleet"), (W, "unused-policy", "fleet")],
    ),
];

const PREFIXES: &[Row] = &[
    ("host bits", &[("192.0.2.0/24", "192.0.2.1/24")], &[(E, "host-bits", "\"192.0.2.1/24\"")]),
    (
        "no length",
        &[("192.0.2.0/24", "192.0.2.0")],
        &[(E, "bad-value", "\"192.0.2.0\""), (W, "unused-service", "dns")],
    ),
    (
        "a prefix in a prefix",
        &[("[service.dns]", "[prefix.\"192.0.2.0/25\"]\nservices = [\"dns\"]\n[service.dns]")],
        &[(E, "prefix-overlap", "\"192.0.2.0/25\""), (W, "prefix-too-long", "\"192.0.2.0/25\"")],
    ),
    (
        "a prefix twice in different writing",
        &[
            (
                "[service.dns]",
                "[prefix.\"2001:db8::/48\"]\nservices = [\"dns\"]\n[prefix.\"2001:0db8::/48\"]\nservices = [\"dns\"]\n[service.dns]",
            ),
            (A, "asn = 64501\nfamilies = [\"ipv4\", \"ipv6\"]\nnext-hop-v6 = \"2001:db8:1::1\""),
            (
                "asn = 64502",
                "asn = 64502\nfamilies = [\"ipv4\", \"ipv6\"]\nnext-hop-v6 = \"2001:db8:1::1\"",
            ),
        ],
        &[(E, "prefix-overlap", "\"2001:0db8::/48\"")],
    ),
    (
        "longer than the Internet takes",
        &[("192.0.2.0/24", "192.0.2.0/25")],
        &[(W, "prefix-too-long", "\"192.0.2.0/25\"")],
    ),
    (
        "of any length among private neighbors",
        &[("192.0.2.0/24", "192.0.2.0/25"), (A, "asn = 64601"), ("asn = 64502", "asn = 64602")],
        &[],
    ),
    (
        "a private prefix",
        &[("192.0.2.0/24", "10.0.0.0/24"), ("192.0.2.53", "10.0.0.53")],
        &[(W, "private-prefix", "\"10.0.0.0/24\"")],
    ),
    (
        "a prefix that nobody routes",
        &[("192.0.2.0/24", "127.0.0.0/24"), ("192.0.2.53", "127.0.0.53")],
        &[(E, "bogon-prefix", "\"127.0.0.0/24\"")],
    ),
    (
        "the default route",
        &[("192.0.2.0/24", "0.0.0.0/0")],
        &[(E, "bogon-prefix", "\"0.0.0.0/0\"")],
    ),
    (
        "a real prefix of an example's number",
        &[("192.0.2.0/24", "193.0.0.0/24"), ("192.0.2.53", "193.0.0.53")],
        &[(W, "documentation-mixed", "64500")],
    ),
    (
        "an example's prefix of a real number",
        &[("asn = 64500", "asn = 3333"), (A, "asn = 3334"), ("asn = 64502", "asn = 3335")],
        &[(W, "documentation-mixed", "\"192.0.2.0/24\"")],
    ),
    (
        "a service that is not there",
        &[("services = [\"dns\"]", "services = [\"dns\", \"dsn\"]")],
        &[(E, "unknown-service", "\"dsn\"")],
    ),
    (
        "no services",
        &[("services = [\"dns\"]\n", "")],
        &[(E, "prefix-without-services", "\"192.0.2.0/24\""), (W, "unused-service", "dns")],
    ),
    (
        "no services in the list",
        &[("services = [\"dns\"]", "services = []")],
        &[(E, "prefix-without-services", "[]"), (W, "unused-service", "dns")],
    ),
    (
        "more needed than there are",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nrequire = 2")],
        &[(E, "require-too-many", "2")],
    ),
    (
        "a share of none",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nrequire = \"0%\"")],
        &[(E, "bad-value", "\"0%\"")],
    ),
    (
        "a share of all",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nrequire = \"100%\"")],
        &[],
    ),
    (
        "weights of other services",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nweights = { dn = 3 }")],
        &[(E, "unknown-service", "dn")],
    ),
    (
        "a weight that is no number",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nweights = { dns = \"x\" }")],
        &[(E, "wrong-type", "\"x\"")],
    ),
    (
        "more needed than services weigh",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nweights = { dns = 3 }\nrequire = 4")],
        &[(E, "require-too-many", "4")],
    ),
    (
        "as much needed as services weigh",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nweights = { dns = 3 }\nrequire = 3")],
        &[],
    ),
    (
        "a response that does nothing",
        &[("services = [\"dns\"]", "services = [\"dns\"]\ndegraded = [{ neighbor = [\"a\"] }]")],
        &[(E, "missing-key", "{ neighbor = [\"a\"] }")],
    ),
    (
        "a response to a neighbor of no site",
        &[(
            "services = [\"dns\"]",
            "services = [\"dns\"]\ndegraded = [{ neighbor = [\"c\"], prepend = 1 }]",
        )],
        &[(E, "unknown-neighbor", "\"c\"")],
    ),
    (
        "a response that does two things",
        &[(
            "services = [\"dns\"]",
            "services = [\"dns\"]\ndegraded = [{ withdraw = true, med = 1 }]",
        )],
        &[(W, "unused-key", "1")],
    ),
    (
        "a load that nobody measures",
        &[(
            "services = [\"dns\"]",
            "services = [\"dns\"]\nshed = { load = \"cpus\", step = [{ above = 1, prepend = 1 }] }",
        )],
        &[(E, "bad-value", "\"cpus\"")],
    ),
    (
        "a load of no check",
        &[(
            "services = [\"dns\"]",
            "services = [\"dns\"]\nshed = { load = \"check queue\", step = [{ above = 1, prepend = 1 }] }",
        )],
        &[(E, "unknown-load", "{ load = \"check queue\", step = [{ above = 1, prepend = 1 }] }")],
    ),
    (
        "shedding without steps",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nshed = { load = \"cpu\" }")],
        &[(E, "missing-key", "shed")],
    ),
    (
        "a step that is taken back at once",
        &[(
            "services = [\"dns\"]",
            "services = [\"dns\"]\nshed = { load = \"cpu\", step = [{ above = 1, below = 2, prepend = 1 }] }",
        )],
        &[(E, "bad-value", "2")],
    ),
    (
        "steps out of order",
        &[(
            "services = [\"dns\"]",
            "services = [\"dns\"]\nshed = { load = \"cpu\", step = [{ above = 2, prepend = 1 }, { above = 1.5, prepend = 2 }] }",
        )],
        &[(E, "bad-value", "1.5")],
    ),
    (
        "damping that frees at once",
        &[("[site.nyc]\n", "[damping]\nreuse = 4500\n[site.nyc]\n")],
        &[(E, "bad-value", "4500")],
    ),
    (
        "as many needed as there are",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nrequire = 1")],
        &[],
    ),
    (
        "none needed",
        &[("services = [\"dns\"]", "services = [\"dns\"]\nrequire = 0")],
        &[(E, "bad-value", "0")],
    ),
    (
        "no prefix",
        &[("[prefix.\"192.0.2.0/24\"]\nservices = [\"dns\"]\n", "")],
        &[(E, "no-prefixes", "fleet"), (W, "unused-service", "dns")],
    ),
];

const SERVICES: &[Row] = &[
    (
        "an address in no prefix",
        &[("192.0.2.53", "192.0.3.53")],
        &[(E, "address-outside-prefix", "\"192.0.3.53\"")],
    ),
    (
        "an address in the prefix of another service",
        &[
            (
                "[service.dns]",
                "[prefix.\"198.51.100.0/24\"]\nservices = [\"web\"]\n[service.web]\naddresses = [\"203.0.113.1\"]\nbuiltin = \"whoami\"\n[prefix.\"203.0.113.0/24\"]\nservices = [\"dns\"]\n[service.dns]",
            ),
            (
                "198.51.100.0\"\nlocal-address = \"198.51.100.1\"",
                "192.168.0.0\"\nlocal-address = \"192.168.0.1\"",
            ),
            (
                "198.51.100.2\"\nlocal-address = \"198.51.100.3\"",
                "192.168.0.2\"\nlocal-address = \"192.168.0.3\"",
            ),
        ],
        &[(E, "address-outside-prefix", "\"203.0.113.1\"")],
    ),
    (
        "no address",
        &[("addresses = [\"192.0.2.53\"]", "addresses = []")],
        &[(E, "bad-value", "[]")],
    ),
    (
        "the same address twice",
        &[("addresses = [\"192.0.2.53\"]", "addresses = [\"192.0.2.53\", \"192.0.2.53\"]")],
        &[(W, "listed-twice", "\"192.0.2.53\"")],
    ),
    (
        "in no prefix",
        &[(
            "[service.dns]",
            "[service.web]\naddresses = [\"192.0.2.80\"]\nbuiltin = \"whoami\"\n[service.dns]",
        )],
        &[(W, "unused-service", "web")],
    ),
    ("misspelt builtin", &[(DNS, "builtin = \"whoamy\"")], &[(E, "bad-value", "\"whoamy\"")]),
    ("unchecked", &[("builtin = \"whoami\"\n", "")], &[(W, "unchecked-service", "dns")]),
    (
        "two built-in services at one port",
        &[
            ("services = [\"dns\"]", "services = [\"dns\", \"web\"]"),
            (
                "[site.fra]",
                "[service.web]\naddresses = [\"192.0.2.53\"]\nbuiltin = \"whoami\"\ndns-port = 0\n[site.fra]",
            ),
        ],
        &[(E, "port-clash", "\"192.0.2.53\"")],
    ),
    (
        "two built-in services at two ports",
        &[
            ("services = [\"dns\"]", "services = [\"dns\", \"web\"]"),
            (
                "[site.fra]",
                "[service.web]\naddresses = [\"192.0.2.53\"]\nbuiltin = \"whoami\"\ndns-port = 0\nhttp-port = 8080\n[site.fra]",
            ),
        ],
        &[],
    ),
    (
        "a built-in service where a check finds another",
        &[
            ("services = [\"dns\"]", "services = [\"dns\", \"web\"]"),
            (
                "[site.fra]",
                "[service.web]\naddresses = [\"192.0.2.53\"]\ncheck = [{ type = \"http\" }]\n[site.fra]",
            ),
        ],
        &[(E, "port-clash", "\"192.0.2.53\"")],
    ),
    (
        "DNS and HTTP at one port",
        &[(DNS, "builtin = \"whoami\"\nhttp-port = 53")],
        &[(E, "port-clash", "53")],
    ),
    (
        "nothing served",
        &[(DNS, "builtin = \"whoami\"\nhttp-port = 0\ndns-port = 0")],
        &[(E, "bad-value", "0")],
    ),
    (
        "a port of nothing built in",
        &[(DNS, "http-port = 8080\ncheck = [{ type = \"tcp\", port = 8080 }]")],
        &[(W, "unused-key", "8080")],
    ),
    ("QUIC", &[(DNS, "builtin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\"")], &[]),
    (
        "a certificate without its key",
        &[(DNS, "builtin = \"whoami\"\nquic-certificate = \"a.pem\"")],
        &[(E, "missing-key", "\"a.pem\"")],
    ),
    (
        "a key without its certificate",
        &[(DNS, "builtin = \"whoami\"\nquic-key = \"a.key\"")],
        &[(E, "missing-key", "\"a.key\"")],
    ),
    (
        "a certificate that is no text",
        &[(DNS, "builtin = \"whoami\"\nquic-certificate = 7\nquic-key = \"b\"")],
        &[(E, "wrong-type", "7")],
    ),
    (
        "a certificate of nothing built in",
        &[(
            DNS,
            "quic-certificate = \"a\"\nquic-key = \"b\"\ncheck = [{ type = \"tcp\", port = 80 }]",
        )],
        &[(W, "unused-key", "\"a\""), (W, "unused-key", "\"b\"")],
    ),
    (
        "an address told by what speaks no QUIC",
        &[(DNS, "builtin = \"whoami\"\npreferred-address = true")],
        &[(W, "unused-key", "true")],
    ),
    (
        "an address told by sites that have none of their own",
        &[(
            DNS,
            "builtin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\"\npreferred-address = true",
        )],
        &[(W, "unused-key", "true")],
    ),
    (
        "DNS and QUIC at one port",
        &[(
            DNS,
            "builtin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\"\nquic-port = 53",
        )],
        &[(E, "port-clash", "53")],
    ),
    (
        "two services over QUIC at one port",
        &[
            ("services = [\"dns\"]", "services = [\"dns\", \"web\"]"),
            (DNS, "builtin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\""),
            (
                "[site.fra]",
                "[service.web]\naddresses = [\"192.0.2.53\"]\nbuiltin = \"whoami\"\ndns-port = 0\nhttp-port = 8080\nquic-certificate = \"a\"\nquic-key = \"b\"\n[site.fra]",
            ),
        ],
        &[(E, "port-clash", "\"192.0.2.53\"")],
    ),
    (
        "a check's key on another check",
        &[(DNS, "check = [{ type = \"tcp\", port = 53, path = \"/\" }]")],
        &[(E, "unknown-key", "path")],
    ),
    (
        "a check without type is not told that its keys are wrong",
        &[(DNS, "check = [{ path = \"/\" }]")],
        &[(E, "missing-key", "{ path = \"/\" }")],
    ),
    (
        "a timeout over the interval",
        &[(DNS, "check = [{ type = \"http\", timeout = \"2s\" }]")],
        &[(E, "timeout-over-interval", "\"2s\"")],
    ),
    (
        "a timeout of the interval",
        &[(DNS, "check = [{ type = \"http\", timeout = \"2s\", interval = \"2s\" }]")],
        &[],
    ),
    (
        "an interval under the default timeout",
        &[(DNS, "check = [{ type = \"http\", interval = \"100ms\" }]")],
        &[],
    ),
    (
        "an interval of nothing",
        &[(DNS, "check = [{ type = \"http\", interval = \"0s\" }]")],
        &[(E, "bad-value", "\"0s\"")],
    ),
    (
        "rise of zero",
        &[(DNS, "check = [{ type = \"http\", rise = 0 }]")],
        &[(E, "zero-threshold", "0")],
    ),
    (
        "two checks of one name",
        &[(DNS, "check = [{ type = \"http\", name = \"x\" }, { type = \"http\", name = \"x\" }]")],
        &[(E, "duplicate-name", "\"x\"")],
    ),
    (
        "two checks without name",
        &[(DNS, "check = [{ type = \"http\" }, { type = \"http\" }]")],
        &[],
    ),
    (
        "a command without path",
        &[(DNS, "check = [{ type = \"command\", command = [\"true\"] }]")],
        &[(E, "bad-value", "\"true\"")],
    ),
    (
        "an unknown record type",
        &[(DNS, "check = [{ type = \"dns\", query = \"a.\", qtype = \"TXTT\" }]")],
        &[(E, "bad-value", "\"TXTT\"")],
    ),
    (
        "two addresses in the answer",
        &[(
            DNS,
            "check = [{ type = \"dns\", query = \"a.\", expect = [\"192.0.2.1\", \"192.0.2.2\"] }]",
        )],
        &[],
    ),
    (
        "half an address in the answer",
        &[(DNS, "check = [{ type = \"dns\", query = \"a.\", expect = \"192.0.2.\" }]")],
        &[(E, "bad-value", "\"192.0.2.\"")],
    ),
    (
        "half an address as a part of the answer",
        &[(DNS, "check = [{ type = \"dns\", query = \"a.\", expect-part = \"192.0.2.\" }]")],
        &[],
    ),
    (
        "an address of the other family in the answer",
        &[(
            DNS,
            "check = [{ type = \"dns\", query = \"a.\", qtype = \"AAAA\", expect = \"192.0.2.1\" }]",
        )],
        &[(E, "bad-value", "\"192.0.2.1\"")],
    ),
    (
        "no data in the answer",
        &[(DNS, "check = [{ type = \"dns\", query = \"a.\", expect = [] }]")],
        &[(E, "bad-value", "[]")],
    ),
    (
        "all of the data and a part of them",
        &[(
            DNS,
            "check = [{ type = \"dns\", query = \"a.\", expect = \"192.0.2.1\", expect-part = \"2\" }]",
        )],
        &[(E, "bad-value", "\"2\"")],
    ),
];

const CHECKS: &[Row] = &[
    (
        "octets and an answer",
        &[(
            DNS,
            "check = [{ type = \"udp\", port = 123, send-hex = \"00 2a FF\", expect = \"ok\" }]",
        )],
        &[],
    ),
    (
        "a datagram without payload",
        &[(DNS, "check = [{ type = \"udp\", port = 123 }]")],
        &[(E, "missing-key", "{ type = \"udp\", port = 123 }")],
    ),
    (
        "a payload twice",
        &[(DNS, "check = [{ type = \"udp\", port = 123, send = \"a\", send-hex = \"61\" }]")],
        &[(E, "bad-value", "\"61\"")],
    ),
    (
        "half an octet",
        &[(DNS, "check = [{ type = \"udp\", port = 123, send-hex = \"0 2a\" }]")],
        &[(E, "bad-value", "\"0 2a\"")],
    ),
    (
        "no digits",
        &[(DNS, "check = [{ type = \"udp\", port = 123, send-hex = \"0x2a\" }]")],
        &[(E, "bad-value", "\"0x2a\"")],
    ),
    (
        "an echo at an address of its own",
        &[(DNS, "check = [{ type = \"icmp\", address = \"198.51.100.0\" }]")],
        &[],
    ),
    (
        "an echo has no port",
        &[(DNS, "check = [{ type = \"icmp\", port = 1 }]")],
        &[(E, "unknown-key", "port")],
    ),
    (
        "a process of neither file nor name",
        &[(DNS, "check = [{ type = \"process\" }]")],
        &[(E, "missing-key", "{ type = \"process\" }")],
    ),
    (
        "a process has no address",
        &[(DNS, "check = [{ type = \"process\", process = \"nsd\", address = \"192.0.2.53\" }]")],
        &[(E, "unknown-key", "address")],
    ),
    (
        "a program by a path that is not absolute",
        &[(DNS, "check = [{ type = \"process\", process = \"sbin/nsd\" }]")],
        &[(E, "bad-value", "\"sbin/nsd\"")],
    ),
    (
        "a name longer than the kernel keeps",
        &[(DNS, "check = [{ type = \"process\", process = \"sixteen-letters-\" }]")],
        &[(E, "bad-value", "\"sixteen-letters-\"")],
    ),
    (
        "a process by both",
        &[(
            DNS,
            "check = [{ type = \"process\", process = \"/usr/sbin/nsd\", pid-file = \"/run/nsd.pid\" }]",
        )],
        &[],
    ),
    (
        "a unit without type",
        &[(DNS, "check = [{ type = \"systemd\", unit = \"nsd\" }]")],
        &[(E, "bad-value", "\"nsd\"")],
    ),
    (
        "a unit of a template",
        &[(DNS, "check = [{ type = \"systemd\", unit = \"tor@default.service\" }]")],
        &[],
    ),
    (
        "a unit in another folder",
        &[(DNS, "check = [{ type = \"systemd\", unit = \"../nsd.service\" }]")],
        &[(E, "bad-value", "\"../nsd.service\"")],
    ),
    (
        "a timer has no processes",
        &[(DNS, "check = [{ type = \"systemd\", unit = \"nsd.timer\" }]")],
        &[(E, "bad-value", "\"nsd.timer\"")],
    ),
    (
        "a flag at any place",
        &[(DNS, "check = [{ type = \"file\", path = \"healthy\" }]")],
        &[(E, "bad-value", "\"healthy\"")],
    ),
    (
        "a flag that is old and not there",
        &[(
            DNS,
            "check = [{ type = \"file\", path = \"/run/x\", absent = true, max-age = \"1m\" }]",
        )],
        &[(E, "bad-value", "\"1m\"")],
    ),
    (
        "jitter without a sign",
        &[(DNS, "check = [{ type = \"icmp\", jitter = \"10\" }]")],
        &[(E, "bad-value", "\"10\"")],
    ),
    (
        "jitter over half",
        &[(DNS, "check = [{ type = \"icmp\", jitter = \"51%\" }]")],
        &[(E, "bad-value", "\"51%\"")],
    ),
    ("no jitter", &[(DNS, "check = [{ type = \"icmp\", jitter = \"0%\" }]")], &[]),
];

const NUMBERS: &[Row] = &[
    ("no network has 0", &[("asn = 64500", "asn = 0")], &[(E, "reserved-asn", "0")]),
    ("no network has AS_TRANS", &[(A, "asn = 23456")], &[(E, "reserved-asn", "23456")]),
    (
        "no network has the last of 16 bits",
        &[(FRA, "city = \"Frankfurt\"\nasn = 65535")],
        &[(E, "reserved-asn", "65535")],
    ),
    (
        "a private number to a public neighbor",
        &[("asn = 64500", "asn = 64512"), (A, "asn = 3333")],
        &[(W, "private-asn", "3333")],
    ),
    ("a public number to a private neighbor", &[(A, "asn = 64512")], &[]),
    (
        "an example's number to a public neighbor",
        &[(A, "asn = 3333")],
        &[(W, "documentation-mixed", "3333")],
    ),
    (
        "a site's public number to an example's neighbor",
        &[(FRA, "city = \"Frankfurt\"\nasn = 3333")],
        &[(W, "documentation-mixed", "64501")],
    ),
    ("iBGP", &[(A, "asn = 64500")], &[]),
    (
        "a relation within an AS",
        &[(A, "asn = 64500\nrelation = \"peer\"")],
        &[(W, "relation-of-ibgp", "\"peer\"")],
    ),
    (
        "a role within an AS",
        &[(A, "asn = 64500\nrole = \"peer\"")],
        &[(W, "role-of-ibgp", "\"peer\"")],
    ),
    (
        "a customer of its customer",
        &[(A, "asn = 64501\nrole = \"customer\"\nrelation = \"customer\"")],
        &[(E, "role-relation", "\"customer\"")],
    ),
    (
        "a peer of its provider",
        &[(A, "asn = 64501\nrole = \"peer\"\nrelation = \"provider\"")],
        &[(E, "role-relation", "\"peer\"")],
    ),
    (
        "a customer of its provider",
        &[(A, "asn = 64501\nrole = \"customer\"\nrelation = \"provider\"\nstrict-role = true")],
        &[],
    ),
    (
        "a client of a route server is its peer",
        &[(A, "asn = 64501\nrole = \"rs-client\"\nrelation = \"peer\"")],
        &[],
    ),
    (
        "a role that must be told without our own",
        &[(A, "asn = 64501\nstrict-role = true")],
        &[(W, "strict-without-role", "true")],
    ),
    (
        "IPv6 next hops for no IPv4",
        &[(
            A,
            "asn = 64501\nfamilies = [\"ipv6\"]\nnext-hop-v6 = \"2001:db8::1\"\nextended-next-hop = true",
        )],
        &[
            (W, "family-without-neighbor", "fra"),
            (W, "family-without-prefix", "\"ipv6\""),
            (W, "extended-next-hop-unused", "true"),
        ],
    ),
    (
        "a helper for an hour",
        &[(
            A,
            "asn = 64501\ngraceful-restart = \"helper\"\nstale-time = \"30s\"\nlong-lived-stale-time = \"1h\"",
        )],
        &[],
    ),
    (
        "a time to keep nothing",
        &[(A, "asn = 64501\ngraceful-restart = \"off\"\nstale-time = \"30s\"")],
        &[(W, "stale-time-unused", "\"30s\"")],
    ),
    (
        "our own routes are not kept by anyone",
        &[(A, "asn = 64501\ngraceful-restart = \"restarting\"")],
        &[(E, "bad-value", "\"restarting\"")],
    ),
    (
        "a role that is none",
        &[(A, "asn = 64501\nrole = \"upstream\"")],
        &[(E, "bad-value", "\"upstream\"")],
    ),
    (
        "several paths in both directions",
        &[(A, "asn = 64501\nadd-path = \"both\"\nsend-paths = 2")],
        &[],
    ),
    (
        "paths in no direction",
        &[(A, "asn = 64501\nadd-path = \"all\"")],
        &[(E, "bad-value", "\"all\"")],
    ),
    (
        "paths that are counted and not sent",
        &[(A, "asn = 64501\nadd-path = \"receive\"\nsend-paths = 2")],
        &[(W, "paths-without-add-path", "2")],
    ),
    (
        "routes that share packets",
        &[(FRA, "city = \"Frankfurt\"\nmultipath = 4\nmultipath-across-as = true")],
        &[],
    ),
    (
        "one route that shares packets",
        &[(FRA, "city = \"Frankfurt\"\nmultipath-across-as = true")],
        &[(W, "across-without-multipath", "true")],
    ),
    ("no route at all", &[(FRA, "city = \"Frankfurt\"\nmultipath = 0")], &[(E, "bad-value", "0")]),
    ("no router id", &[("local-address = \"198.51.100.1\"\n", "")], &[(E, "no-router-id", "fra")]),
    (
        "a router id of zero",
        &[(FRA, "city = \"Frankfurt\"\nrouter-id = \"0.0.0.0\"")],
        &[(E, "bad-value", "\"0.0.0.0\"")],
    ),
    (
        "one router id twice",
        &[(FRA, "city = \"Frankfurt\"\nrouter-id = \"198.51.100.3\"")],
        &[(E, "duplicate-router-id", "nyc")],
    ),
];

const SESSIONS: &[Row] = &[
    (
        "no neighbor",
        &[("[site.nyc]\n", "[site.syd]\ncity = \"Sydney\"\n[site.nyc]\n")],
        &[(E, "site-without-neighbors", "syd")],
    ),
    (
        "only a neighbor that cannot be read",
        &[("asn = 64501", "asn = 0")],
        &[(E, "reserved-asn", "0")],
    ),
    ("one site", &[(NYC, "")], &[(W, "single-site", "fra")]),
    (
        "no site",
        &[
            (NYC, ""),
            (
                "[site.fra]\ncity = \"Frankfurt\"\n[site.fra.neighbor.a]\naddress = \"198.51.100.0\"\nlocal-address = \"198.51.100.1\"\nasn = 64501\nexport = \"fleet\"\n",
                "",
            ),
        ],
        &[(E, "no-sites", "fleet")],
    ),
    ("nowhere", &[("city = \"Frankfurt\"\n", "")], &[(W, "no-location", "fra")]),
    ("an unknown city", &[(FRA, "city = \"Frankfrut\"")], &[(E, "unknown-city", "\"Frankfrut\"")]),
    (
        "an unknown city with its place",
        &[(FRA, "city = \"Winden\"\nlatitude = 49.1\nlongitude = 8")],
        &[],
    ),
    ("half a place", &[(FRA, "latitude = 49.1")], &[(E, "missing-key", "49.1")]),
    (
        "a place off the Earth",
        &[(FRA, "latitude = 91\nlongitude = 8.0")],
        &[(E, "bad-value", "91")],
    ),
    ("not even a number", &[(FRA, "latitude = nan\nlongitude = 8.0")], &[(E, "bad-value", "nan")]),
    (
        "two neighbors at one address",
        &[(
            "[site.nyc]\n",
            "[site.fra.neighbor.c]\naddress = \"198.51.100.0\"\nasn = 64503\nexport = \"fleet\"\n[site.nyc]\n",
        )],
        &[(E, "duplicate-neighbor", "\"198.51.100.0\"")],
    ),
    (
        "a neighbor at our own address",
        &[(A_LOCAL, "local-address = \"198.51.100.0\"")],
        &[(E, "neighbor-is-self", "\"198.51.100.0\"")],
    ),
    (
        "ends of two families",
        &[
            (A_LOCAL, "local-address = \"2001:db8::1\""),
            (FRA, "city = \"Frankfurt\"\nrouter-id = \"192.0.2.1\""),
        ],
        &[(E, "family-mismatch", "\"2001:db8::1\"")],
    ),
    (
        "a session from an anycast address",
        &[(A_LOCAL, "local-address = \"192.0.2.53\"")],
        &[(W, "session-in-anycast", "\"192.0.2.53\"")],
    ),
    (
        "a looking glass on every address",
        &[(FRA, "city = \"Frankfurt\"\nlooking-glass = { listen = \"[::]:29184\" }")],
        &[(E, "looking-glass-in-anycast", "\"[::]:29184\"")],
    ),
    (
        "a looking glass on an anycast address",
        &[(NYC, "[looking-glass]\nlisten = \"192.0.2.53:29184\"\n"), (FRA, FRA)],
        &[(W, "single-site", "fra"), (E, "looking-glass-in-anycast", "\"192.0.2.53:29184\"")],
    ),
    (
        "an API on an anycast address, without certificate, key and callers",
        &[(FRA, "city = \"Frankfurt\"\napi = { listen = \"192.0.2.53:8443\" }")],
        &[
            (E, "missing-key", "api"),
            (E, "missing-key", "api"),
            (E, "api-without-callers", "api"),
            (E, "api-in-anycast", "\"192.0.2.53:8443\""),
        ],
    ),
    (
        "an API whose callers nobody vouches for",
        &[
            (
                NYC,
                "[api]\nlisten = \"198.51.100.1:8443\"\ncertificate = \"c\"\nkey = \"k\"\n\
                 [api.client.\"noc.example.net\"]\n",
            ),
            (FRA, FRA),
        ],
        &[(W, "single-site", "fra"), (E, "client-without-ca", "api")],
    ),
    (
        "metrics on every address",
        &[(FRA, "city = \"Frankfurt\"\nmetrics = { listen = \"0.0.0.0:9179\" }")],
        &[(E, "metrics-in-anycast", "\"0.0.0.0:9179\"")],
    ),
    (
        "a looking glass without a port",
        &[(FRA, "city = \"Frankfurt\"\nlooking-glass = { listen = \"127.0.0.1\" }")],
        &[(E, "bad-value", "\"127.0.0.1\"")],
    ),
    (
        "a looking glass that listens nowhere",
        &[(FRA, "city = \"Frankfurt\"\n[site.fra.looking-glass]")],
        &[(E, "missing-key", "looking-glass")],
    ),
    (
        "an unknown policy",
        &[(A, "asn = 64501\nimport = \"default-rout\"")],
        &[(E, "unknown-policy", "\"default-rout\"")],
    ),
    (
        "a policy of its own",
        &[
            (A, "asn = 64501\nimport = \"p\""),
            ("[site.nyc]\n", "[policy.p]\nrules = [{ action = \"accept\" }]\n[site.nyc]\n"),
        ],
        &[],
    ),
    (
        "a policy that nobody uses",
        &[("[site.nyc]\n", "[policy.p]\nrules = []\n[site.nyc]\n")],
        &[(W, "unused-policy", "p")],
    ),
    (
        "a rule that no route gets to",
        &[
            (A, "asn = 64501\nimport = \"p\""),
            (
                "[site.nyc]\n",
                "[policy.p]\nrules = [{ action = \"reject\" }, { action = \"accept\" }]\n[site.nyc]\n",
            ),
        ],
        &[(W, "unreachable-rule", "{ action = \"accept\" }")],
    ),
    ("nothing said of export", &[("export = \"fleet\"\n\n", "\n")], &[(W, "no-export", "a")]),
    (
        "nothing exported, and said so",
        &[("export = \"fleet\"\n\n", "export = \"nothing\"\n\n")],
        &[],
    ),
    (
        "a hold time of two seconds",
        &[(A, "asn = 64501\nhold-time = \"2s\"")],
        &[(E, "hold-time", "\"2s\"")],
    ),
    (
        "BFD faster than can be kept",
        &[(A, "asn = 64501\nbfd = { interval = \"9ms\" }")],
        &[(E, "bad-value", "\"9ms\"")],
    ),
    ("BFD as fast as can be", &[(A, "asn = 64501\nbfd = { interval = \"10ms\" }")], &[]),
    (
        "BFD slower than ten seconds",
        &[(A, "asn = 64501\nhold-time = \"0s\"\nbfd = { interval = \"10001ms\" }")],
        &[(W, "bfd-slow", "{ interval = \"10001ms\" }")],
    ),
    (
        "BFD of ten seconds",
        &[(A, "asn = 64501\nhold-time = \"0s\"\nbfd = { interval = \"10s\" }")],
        &[],
    ),
    (
        "BFD slower than the hold time",
        &[(A, "asn = 64501\nhold-time = \"9s\"\nbfd = { interval = \"3s\" }")],
        &[(W, "bfd-slow", "{ interval = \"3s\" }")],
    ),
    (
        "BFD of no packets",
        &[(A, "asn = 64501\nbfd = { multiplier = 0 }")],
        &[(E, "bad-value", "0")],
    ),
    (
        "BFD of one packet",
        &[(A, "asn = 64501\nbfd = { multiplier = 1 }")],
        &[(W, "bfd-one-packet", "{ multiplier = 1 }")],
    ),
    ("BFD as usual", &[(A, "asn = 64501\nbfd = true")], &[]),
    ("BFD as a word", &[(A, "asn = 64501\nbfd = \"yes\"")], &[(E, "wrong-type", "\"yes\"")]),
    ("a hold time of three seconds", &[(A, "asn = 64501\nhold-time = \"3s\"")], &[]),
    ("no hold time", &[(A, "asn = 64501\nhold-time = \"0s\"")], &[]),
    (
        "a hold time of a fraction",
        &[(A, "asn = 64501\nhold-time = \"3500ms\"")],
        &[(E, "hold-time", "\"3500ms\"")],
    ),
    (
        "a hold time over 16 bits",
        &[(A, "asn = 64501\nhold-time = \"19h\"")],
        &[(E, "hold-time", "\"19h\"")],
    ),
    (
        "a family without prefix",
        &[(A, "asn = 64501\nfamilies = [\"ipv4\", \"ipv6\"]\nnext-hop-v6 = \"2001:db8::1\"")],
        &[(W, "family-without-prefix", "\"ipv6\"")],
    ),
    (
        "no families",
        &[(A, "asn = 64501\nfamilies = []")],
        &[(W, "family-without-neighbor", "fra"), (E, "bad-value", "[]")],
    ),
    (
        "a prefix that a site cannot tell of",
        &[
            (
                "[prefix.\"192.0.2.0/24\"]",
                "[prefix.\"2001:db8:ac::/48\"]\nservices = [\"dns\"]\n[prefix.\"192.0.2.0/24\"]",
            ),
            (A, "asn = 64501\nfamilies = [\"ipv6\", \"ipv4\"]\nnext-hop-v6 = \"2001:db8::1\""),
        ],
        &[(W, "family-without-neighbor", "nyc")],
    ),
    (
        "no next hop for the other family",
        &[
            (
                "[prefix.\"192.0.2.0/24\"]",
                "[prefix.\"2001:db8:ac::/48\"]\nservices = [\"dns\"]\n[prefix.\"192.0.2.0/24\"]",
            ),
            (A, "asn = 64501\nfamilies = [\"ipv4\", \"ipv6\"]"),
            (
                "asn = 64502",
                "asn = 64502\nfamilies = [\"ipv4\", \"ipv6\"]\nnext-hop-v6 = \"2001:db8::1\"",
            ),
        ],
        &[(E, "next-hop-missing", "[\"ipv4\", \"ipv6\"]")],
    ),
    (
        "a next hop of the wrong family",
        &[(A, "asn = 64501\nnext-hop-v4 = \"2001:db8::1\"")],
        &[(E, "bad-value", "\"2001:db8::1\"")],
    ),
    (
        "nobody dials",
        &[(FRA, "city = \"Frankfurt\"\nlisten = false"), (A, "asn = 64501\npassive = true")],
        &[(E, "never-connects", "true")],
    ),
    ("only the other dials", &[(A, "asn = 64501\npassive = true")], &[]),
];

/// The file with a policy `p` that a neighbor uses, and whatever stands before its rules.
macro_rules! policy {
    ($rules:expr) => {
        policy!("", $rules)
    };
    ($before:expr, $rules:expr) => {
        &[
            (A, "asn = 64501\nimport = \"p\""),
            ("[site.nyc]\n", concat!($before, "[policy.p]\nrules = [", $rules, "]\n[site.nyc]\n")),
        ]
    };
}

const POLICIES: &[Row] = &[
    (
        "every condition and every change",
        policy!(
            "[prefix-list.l]\nprefixes = ['10.0.0.0/8+', '0.0.0.0/0 le 24']\n",
            "{ prefix = ['10.0.0.0/8+'], prefix-list = ['l'], family = 'ipv4', neighbor = ['a', \
             '198.51.100.2'], community = ['64500:*', 'no-export'], large-community = \
             ['64500:1:*'], extended-community = ['rt:64500:1'], as-path = ['^64501 .* 64510$'], \
             as-path-length = 'ge 3 le 5', as-path-contains = 64502, origin-as = 64510, if-origin \
             = 'egp', if-local-pref = 'ge 100', if-med = 7, if-next-hop = ['192.0.2.1', \
             '10.0.0.0/8'], origin = 'igp', local-pref = 1, med = 'none', next-hop = \
             '192.0.2.1', replace-communities = [], replace-large-communities = ['1:2:3'], \
             replace-extended-communities = ['ro:1:2'], delete-community = ['64500:*'], \
             delete-large-community = ['64500:*:*'], delete-extended-community = ['rt:1:2'], \
             add-community = ['64500:1'], add-large-community = ['64500:1:2'], \
             add-extended-community = ['rt:64500:2'], prepend = 1, action = 'accept' }"
        ),
        &[],
    ),
    (
        "bounds that are none",
        policy!(
            "{ as-path-length = 'ge 5 le 3', if-med = 'ge', if-local-pref = '3-5', action = \
             'accept' }"
        ),
        &[(E, "bad-value", "'ge 5 le 3'"), (E, "bad-value", "'ge'"), (E, "bad-value", "'3-5'")],
    ),
    (
        "a path longer than any",
        policy!("{ as-path-length = 'le 65536', action = 'accept' }"),
        &[(E, "bad-value", "'le 65536'")],
    ),
    (
        "patterns that are none",
        policy!(
            "{ as-path = ['64501', '64501 *'], community = ['1:x'], extended-community = \
             ['xx:1:1'], if-next-hop = ['here'], action = 'accept' }"
        ),
        &[
            (E, "bad-value", "'64501 *'"),
            (E, "bad-value", "'1:x'"),
            (E, "bad-value", "'xx:1:1'"),
            (E, "bad-value", "'here'"),
        ],
    ),
    (
        "a star where something is added",
        policy!("{ add-community = ['64500:*'], action = 'accept' }"),
        &[(E, "bad-value", "'64500:*'")],
    ),
    ("a word for MED", policy!("{ med = 'low', action = 'accept' }"), &[(E, "bad-value", "'low'")]),
    (
        "a prefix list that is not there",
        policy!("{ prefix-list = ['l'], action = 'accept' }"),
        &[(E, "unknown-prefix-list", "'l'")],
    ),
    (
        "a prefix list that nobody uses",
        policy!("[prefix-list.l]\nprefixes = ['10.0.0.0/8']\n", "{ action = 'accept' }"),
        &[(W, "unused-prefix-list", "l")],
    ),
    (
        "a neighbor that nobody has",
        policy!("{ neighbor = ['a', 'c', '192.0.2.9'], action = 'accept' }"),
        &[(E, "unknown-neighbor", "'c'"), (E, "unknown-neighbor", "'192.0.2.9'")],
    ),
    (
        "an empty list matches nothing",
        policy!("{ community = [], action = 'accept' }"),
        &[(W, "never-matches", "[]")],
    ),
    (
        "prefixes of the other family",
        policy!("{ prefix = ['::/0+'], family = 'ipv4', action = 'accept' }"),
        &[(W, "never-matches", "{ prefix = ['::/0+'], family = 'ipv4', action = 'accept' }")],
    ),
    (
        "a narrower rule behind a wider one",
        policy!(
            "{ prefix = ['10.0.0.0/8+'], action = 'reject' }, { prefix = ['10.1.0.0/16 le 24'], \
             community = ['64500:1'], action = 'accept' }"
        ),
        &[(
            W,
            "unreachable-rule",
            "{ prefix = ['10.1.0.0/16 le 24'], community = ['64500:1'], action = 'accept' }",
        )],
    ),
    (
        "a wider rule behind a narrower one, and one for fewer neighbors before one for all",
        policy!(
            "{ prefix = ['10.1.0.0/16'], action = 'reject' }, { neighbor = ['a'], prefix = \
             ['10.0.0.0/8+'], action = 'accept' }, { prefix = ['10.0.0.0/8+'], action = 'accept' }"
        ),
        &[],
    ),
    (
        "what a rule between has added can be met again",
        policy!(
            "{ community = ['64500:1'], action = 'reject' }, { add-community = ['64500:1'], \
             action = 'next' }, { community = ['64500:1'], action = 'accept' }"
        ),
        &[],
    ),
];

const RPKI: &[Row] = &[
    (
        "sources, and words that ask for them",
        &[(
            FRA,
            "city = \"Frankfurt\"\n[site.fra.rpki]\ncaches = ['192.0.1.2:3323']\n[rpki]\n\
             caches = ['192.0.1.1', '[2001:db8::1]:8282']\nreject-invalid = true",
        )],
        &[],
    ),
    (
        "a wait that is no duration",
        &[(FRA, "city = \"Frankfurt\"\nrpki = { vrp-file = 'x', wait = 3 }")],
        &[(E, "missing-unit", "3")],
    ),
    (
        "more than a minute for the VRPs",
        &[(FRA, "city = \"Frankfurt\"\nrpki = { vrp-file = 'x', wait = '61s' }")],
        &[(E, "bad-value", "'61s'")],
    ),
    (
        "a minute for the VRPs",
        &[(FRA, "city = \"Frankfurt\"\nrpki = { vrp-file = 'x', wait = '60s' }")],
        &[],
    ),
    (
        "a table without a source",
        &[(FRA, "city = \"Frankfurt\"\n[rpki]\nreject-invalid = true")],
        &[(W, "rpki-without-source", "rpki")],
    ),
    (
        "a site's without a source",
        &[(FRA, "city = \"Frankfurt\"\nrpki = {}")],
        &[(W, "rpki-without-source", "rpki")],
    ),
    (
        "a rule that asks nobody",
        &[
            (
                FRA,
                "city = \"Frankfurt\"\n[policy.p]\n\
                 rules = [{ rpki = 'valid', action = 'accept' }]",
            ),
            ("export = \"fleet\"\n\n", "import = \"p\"\nexport = \"fleet\"\n\n"),
        ],
        &[(W, "rpki-without-source", "p")],
    ),
    (
        "caches that cannot be, twice, and within the fleet",
        &[(
            FRA,
            "city = \"Frankfurt\"\n[rpki]\n\
             caches = ['192.0.1.1', '192.0.1.1:323', 'cache.example', '192.0.1.1:0', '192.0.2.9']",
        )],
        &[
            (W, "listed-twice", "'192.0.1.1:323'"),
            (E, "bad-value", "'cache.example'"),
            (E, "bad-value", "'192.0.1.1:0'"),
            (W, "rpki-cache-in-anycast", "'192.0.2.9'"),
        ],
    ),
    (
        "a station is one host with a port, and is told of something",
        &[(
            DNS,
            "builtin = \"whoami\"\n[bmp.a]\naddress = '192.0.2.9'\nport = 11019\n\
             [bmp.b]\naddress = '192.0.1.9'\n[bmp.c]\naddress = '192.0.1.9'\nport = 0\n\
             tables = []\nbuffer-mib = 0\n[bmp.d]\naddress = '192.0.1.9'\nport = 1\n\
             tables = ['loc-rib', 'adj-rib', 'loc-rib']",
        )],
        &[
            (W, "bmp-station-in-anycast", "'192.0.2.9'"),
            (E, "missing-key", "b"),
            (E, "bad-value", "0"),
            (E, "bad-value", "[]"),
            (E, "bad-value", "0"),
            (E, "bad-value", "'adj-rib'"),
            (W, "listed-twice", "'loc-rib'"),
        ],
    ),
    (
        "a drain leads traffic away by something, for a while, unless it waits for nothing",
        &[(
            DNS,
            "builtin = \"whoami\"\n[drain]\nwait = '1d'\nprepend = 51\n\
             communities = ['65535:0', 'graceful-shutdown']",
        )],
        &[
            (E, "bad-value", "'1d'"),
            (E, "bad-value", "51"),
            (W, "listed-twice", "'graceful-shutdown'"),
        ],
    ),
    (
        "a drain that leads nowhere is warned of",
        &[(DNS, "builtin = \"whoami\"\n[drain]\nprepend = 0\ncommunities = []")],
        &[(W, "drain-leads-nowhere", "drain")],
    ),
    (
        "a drain that waits for nothing needs nothing",
        &[(DNS, "builtin = \"whoami\"\n[drain]\nwait = '0s'\nprepend = 0\ncommunities = []")],
        &[],
    ),
    (
        "files of updates have a name that tells the time, and end some day",
        &[(DNS, "builtin = \"whoami\"\n[mrt]\nupdates = 'x.mrt'\nrotate = '1500ms'")],
        &[(W, "mrt-one-file", "'x.mrt'"), (E, "bad-value", "'1500ms'")],
    ),
    (
        "reject-invalid is for the whole fleet",
        &[(FRA, "city = \"Frankfurt\"\nrpki = { vrp-file = 'x', reject-invalid = true }")],
        &[(E, "unknown-key", "reject-invalid")],
    ),
];

/// Limits, iBGP, what a session runs over, and defaults.
const NEIGHBORS: &[Row] = &[
    ("a limit in short", &[(A, "asn = 64501\nmax-prefixes = 100")], &[]),
    (
        "a limit in full",
        &[(
            A,
            "asn = 64501\nmax-as-path-length = 30\nmax-prefixes = { limit = 100, warn-at = '90%', \
             action = 'warn', restart-after = 'never' }",
        )],
        &[],
    ),
    ("a limit of none", &[(A, "asn = 64501\nmax-prefixes = 0")], &[(E, "bad-value", "0")]),
    (
        "a limit in words",
        &[(A, "asn = 64501\nmax-prefixes = 'few'")],
        &[(E, "wrong-type", "'few'")],
    ),
    (
        "a limit without a limit",
        &[(A, "asn = 64501\nmax-prefixes = { warn-at = 5 }")],
        &[(E, "missing-key", "max-prefixes")],
    ),
    (
        "a share of more than all, an unknown action, and no time at all",
        &[(
            A,
            "asn = 64501\nmax-prefixes = { limit = 10, warn-at = '101%', action = 'drop', \
             restart-after = '0s' }",
        )],
        &[(E, "bad-value", "'101%'"), (E, "bad-value", "'drop'"), (E, "bad-value", "'0s'")],
    ),
    (
        "a warning beyond the limit",
        &[(A, "asn = 64501\nmax-prefixes = { limit = 10, warn-at = 11 }")],
        &[(W, "warn-over-limit", "{ limit = 10, warn-at = 11 }")],
    ),
    (
        "a warning at the limit",
        &[(A, "asn = 64501\nmax-prefixes = { limit = 10, warn-at = 10 }")],
        &[],
    ),
    (
        "words of iBGP to another AS",
        &[(A, "asn = 64501\nroute-reflector-client = true\nnext-hop-self = false")],
        &[(W, "ibgp-only", "true"), (W, "ibgp-only", "false")],
    ),
    (
        "words of iBGP within the AS",
        &[(
            A,
            "asn = 64500\nroute-reflector-client = true\nnext-hop-self = false\nimport = 'fleet'",
        )],
        &[],
    ),
    (
        "a router with a cluster",
        &[(FRA, "city = \"Frankfurt\"\nrouter = true\ncluster-id = '192.0.2.9'")],
        &[],
    ),
    (
        "a cluster called zero",
        &[(FRA, "city = \"Frankfurt\"\ncluster-id = '0.0.0.0'")],
        &[(E, "bad-value", "'0.0.0.0'")],
    ),
    (
        "our own prefixes from another AS",
        &[(A, "asn = 64501\nimport = 'fleet'")],
        &[(W, "own-prefixes-from-outside", "'fleet'")],
    ),
    (
        "an interface of too long a name",
        &[(A, "asn = 64501\ninterface = 'a234567890123456'")],
        &[(E, "bad-value", "'a234567890123456'")],
    ),
    ("an interface", &[(A, "asn = 64501\ninterface = 'a23456789012345'")], &[]),
    (
        "TCP-AO without ids",
        &[(A, "asn = 64501\ntcp-ao = { key-file = 'k' }")],
        &[(E, "missing-key", "tcp-ao"), (E, "missing-key", "tcp-ao")],
    ),
    (
        "TCP-AO by an unknown algorithm and a number that is none",
        &[(
            A,
            "asn = 64501\ntcp-ao = { key-file = 'k', send-id = 1, recv-id = 256, algorithm = \
             'md5' }",
        )],
        &[(E, "bad-value", "256"), (E, "bad-value", "'md5'")],
    ),
    (
        "TCP-AO and MD5",
        &[(
            A,
            "asn = 64501\npassword-file = 'p'\ntcp-ao = { key-file = 'k', send-id = 1, recv-id = \
             2, algorithm = 'hmac-sha-1-96' }",
        )],
        &[(
            E,
            "two-secrets",
            "{ key-file = 'k', send-id = 1, recv-id = 2, algorithm = 'hmac-sha-1-96' }",
        )],
    ),
    (
        "link-local ends",
        &[
            ("\"198.51.100.0\"", "\"fe80::1\""),
            (
                A_LOCAL,
                "local-address = \"fe80::2\"\nfamilies = ['ipv4']\nnext-hop-v4 = '198.51.100.1'",
            ),
            (FRA, "city = \"Frankfurt\"\nrouter-id = '192.0.2.9'"),
        ],
        &[(E, "link-local", "\"fe80::1\"")],
    ),
    (
        "link-local ends with their link",
        &[
            ("\"198.51.100.0\"", "\"fe80::1\""),
            (
                A_LOCAL,
                "local-address = \"fe80::2\"\ninterface = 'eth0'\nfamilies = ['ipv4']\nnext-hop-v4 = '198.51.100.1'",
            ),
            (FRA, "city = \"Frankfurt\"\nrouter-id = '192.0.2.9'"),
        ],
        &[],
    ),
    (
        "a link-local end beyond a router, from an address that is none",
        &[
            ("\"198.51.100.0\"", "\"fe80::1\""),
            (
                A_LOCAL,
                "local-address = \"2001:db8::2\"\ninterface = 'eth0'\nmultihop = 2\nfamilies = ['ipv4']\nnext-hop-v4 = '198.51.100.1'",
            ),
            (FRA, "city = \"Frankfurt\"\nrouter-id = '192.0.2.9'"),
        ],
        &[(E, "link-local", "\"2001:db8::2\""), (E, "link-local", "2")],
    ),
    (
        "a delay longer than the neighbor waits",
        &[(A, "asn = 64501\ndelay-open = '4m'")],
        &[(W, "delay-open", "'4m'")],
    ),
    ("a delay that it waits", &[(A, "asn = 64501\ndelay-open = '239s'")], &[]),
    (
        "defaults for all neighbors",
        &[
            (
                "[site.nyc]\n",
                "[neighbor-defaults]\nexport = \"fleet\"\nmax-prefixes = { limit = 9 }\nbfd = { interval = '50ms' }\n[site.nyc]\n",
            ),
            ("export = \"fleet\"\n\n", "bfd = false\n\n"),
        ],
        &[],
    ),
    (
        "a wrong default is wrong once",
        &[(
            "[site.nyc]\n",
            "[neighbor-defaults]\nhold-time = '2s'\nbfd = { interval = 1 }\n[site.nyc]\n",
        )],
        &[(E, "hold-time", "'2s'"), (E, "missing-unit", "1")],
    ),
    (
        "a default that no neighbor takes",
        &[("[site.nyc]\n", "[neighbor-defaults]\nholt-time = '3s'\n[site.nyc]\n")],
        &[(E, "unknown-key", "holt-time")],
    ),
    (
        "defaults that are no table",
        &[("[fleet]\n", "neighbor-defaults = 1\n[fleet]\n")],
        &[(E, "wrong-type", "1")],
    ),
];

const STATE: &str =
    "[fleet-state]\nservers = [\"nats://198.51.100.9\"]\n[floor]\nmin-sites = 1\n[site.nyc]";

const FLOORS: &[Row] = &[
    ("a floor that is shared", &[("[site.nyc]", STATE)], &[]),
    (
        "more sites than there are",
        &[("[site.nyc]", STATE), ("min-sites = 1", "min-sites = 3")],
        &[(E, "floor-too-high", "3")],
    ),
    (
        "as many as there are, for one prefix",
        &[("[site.nyc]", STATE), ("[\"dns\"]", "[\"dns\"]\nfloor = { min-sites = 2 }")],
        &[(W, "floor-never-lets-go", "2")],
    ),
    (
        "nothing is shared",
        &[("[site.nyc]", "[floor]\nmin-sites = 1\n[site.nyc]")],
        &[(W, "floor-alone", "floor")],
    ),
    (
        "nothing is shared, and that is meant",
        &[("[site.nyc]", "[floor]\nmin-sites = 1\nwhen-alone = \"hold\"\n[site.nyc]")],
        &[],
    ),
    (
        "shared for nothing",
        &[("[site.nyc]", STATE), ("[floor]\nmin-sites = 1\n", "")],
        &[(W, "fleet-state-unused", "fleet-state")],
    ),
    ("no bound", &[("[site.nyc]", STATE), ("min-sites = 1\n", "")], &[(E, "missing-key", "floor")]),
    (
        "a region too small, one with nobody to spare, and a site in none",
        &[
            ("[site.nyc]", STATE),
            ("min-sites = 1", "min-sites-per-region = 1"),
            (FRA, "city = \"Frankfurt\"\nregion = \"europe\""),
        ],
        &[(W, "floor-never-lets-go", "1"), (W, "site-without-region", "nyc")],
    ),
    (
        "more than a region has",
        &[
            ("[site.nyc]\n", "[site.nyc]\nregion = \"europe\"\n"),
            ("[site.nyc]", STATE),
            ("min-sites = 1", "min-sites-per-region = 3"),
            (FRA, "city = \"Frankfurt\"\nregion = \"europe\""),
        ],
        &[(E, "floor-too-high", "3")],
    ),
    (
        "a word that is none, and a share without its sign",
        &[
            ("[site.nyc]", STATE),
            ("min-sites = 1", "max-withdrawn-share = \"50\"\nwhen-alone = \"stay\""),
        ],
        &[(E, "bad-value", "\"50\""), (E, "bad-value", "\"stay\"")],
    ),
    (
        "a server in the anycast prefix",
        &[("[site.nyc]", STATE), ("198.51.100.9", "192.0.2.9:4222")],
        &[(W, "fleet-state-in-anycast", "\"nats://192.0.2.9:4222\"")],
    ),
    (
        "a secret in the file",
        &[("[site.nyc]", STATE), ("198.51.100.9", "me:secret@198.51.100.9")],
        &[(E, "bad-value", "\"nats://me:secret@198.51.100.9\"")],
    ),
    (
        "not a URL",
        &[("[site.nyc]", STATE), ("nats://198.51.100.9", "198.51.100.9")],
        &[(E, "bad-value", "\"198.51.100.9\"")],
    ),
    (
        "no servers, a user without password, a lease too short, a bad bucket",
        &[
            ("[site.nyc]", STATE),
            (
                "servers = [\"nats://198.51.100.9\"]",
                "user = \"me\"\nlease = \"1s\"\nbucket = \"a.b\"",
            ),
        ],
        &[
            (E, "missing-key", "fleet-state"),
            (E, "missing-key", "fleet-state"),
            (E, "bad-value", "\"1s\""),
            (E, "bad-value", "\"a.b\""),
        ],
    ),
    (
        "two ways to show who one is",
        &[
            ("[site.nyc]", STATE),
            ("[floor]", "token-file = \"a\"\nnkey-seed-file = \"b\"\n[floor]"),
        ],
        &[(E, "bad-value", "\"b\"")],
    ),
];

/// The two sites' tables, and a key.
const KEPT: &str = r#"[site.fra.affinity]
id = 1
v4 = "203.0.113.1"
[site.nyc.affinity]
id = 2
v4 = "203.0.113.2"
[affinity]
mode = "auto"
[[affinity.key]]
epoch = 0
file = "secrets/affinity-0"
[site.nyc]"#;

const AFFINITY: &[Row] = &[
    ("connections are kept", &[("[site.nyc]", KEPT)], &[]),
    (
        "QUIC at the port of affinity",
        &[
            ("[site.nyc]", KEPT),
            (
                DNS,
                "builtin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\"\nquic-port = 5687\npreferred-address = true",
            ),
        ],
        &[(E, "port-clash", "true")],
    ),
    (
        "two services over QUIC at the sites' own addresses",
        &[
            ("[site.nyc]", KEPT),
            ("services = [\"dns\"]", "services = [\"dns\", \"web\"]"),
            (
                DNS,
                "builtin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\"\npreferred-address = true",
            ),
            (
                "[site.fra]",
                "[service.web]\naddresses = [\"192.0.2.54\"]\nbuiltin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\"\npreferred-address = true\n[site.fra]",
            ),
        ],
        &[(E, "port-clash", "true")],
    ),
    (
        "without a key, words that say nothing",
        &[
            ("[site.nyc]", "[site.fra.affinity]\nid = 1\nv4 = \"203.0.113.1\"\n[site.nyc]"),
            (DNS, "builtin = \"whoami\"\naffinity = [\"tcp\"]"),
        ],
        &[(W, "affinity-unused", "[\"tcp\"]"), (W, "affinity-unused", "affinity")],
    ),
    (
        "no service keeps any",
        &[("[site.nyc]", KEPT), (DNS, "builtin = \"whoami\"\naffinity = []")],
        &[(W, "affinity-unused", "affinity")],
    ),
    (
        "one number twice",
        &[("[site.nyc]", KEPT), ("id = 2", "id = 1")],
        &[(E, "duplicate-id", "1")],
    ),
    (
        "one address twice",
        &[("[site.nyc]", KEPT), ("203.0.113.2", "203.0.113.1")],
        &[(E, "duplicate-affinity-address", "\"203.0.113.1\"")],
    ),
    (
        "an address that is anycast, and one of this host alone",
        &[
            ("[site.nyc]", KEPT),
            ("203.0.113.2", "192.0.2.77"),
            ("v4 = \"203.0.113.1\"", "v4 = \"127.0.0.1\""),
        ],
        &[(E, "bad-value", "\"127.0.0.1\""), (E, "affinity-in-anycast", "\"192.0.2.77\"")],
    ),
    (
        "families that do not meet",
        &[("[site.nyc]", KEPT), ("v4 = \"203.0.113.2\"", "v6 = \"2001:db8::2\"")],
        &[(E, "affinity-families", "\"2001:db8::2\"")],
    ),
    (
        "a number that there is not, a site without address and no key",
        &[
            ("[site.nyc]", KEPT),
            ("id = 1\n", "id = 64\n"),
            ("v4 = \"203.0.113.2\"\n", ""),
            ("[[affinity.key]]\nepoch = 0\nfile = \"secrets/affinity-0\"\n", ""),
        ],
        &[(E, "bad-value", "64"), (E, "missing-key", "affinity"), (E, "missing-key", "affinity")],
    ),
    (
        "a site without a table, another without a number",
        &[
            ("[site.nyc]", KEPT),
            ("[site.nyc.affinity]\nid = 2\nv4 = \"203.0.113.2\"\n", ""),
            ("id = 1\n", ""),
        ],
        &[(E, "missing-key", "affinity"), (E, "missing-key", "nyc")],
    ),
    (
        "three keys",
        &[
            ("[site.nyc]", KEPT),
            (
                "[[affinity.key]]",
                "key = [{ epoch = 1, file = \"a\" }, { epoch = 2, file = \"b\" }, \
                 { epoch = 3, file = \"c\" }]\n#",
            ),
            ("epoch = 0\nfile = \"secrets/affinity-0\"\n", ""),
        ],
        &[(
            E,
            "bad-value",
            "[{ epoch = 1, file = \"a\" }, { epoch = 2, file = \"b\" }, \
             { epoch = 3, file = \"c\" }]",
        )],
    ),
    (
        "two keys that do not follow one another",
        &[
            ("[site.nyc]", KEPT),
            (
                "[[affinity.key]]",
                "key = [{ epoch = 1, file = \"a\" }, { epoch = 3, file = \"b\" }]\n#",
            ),
            ("epoch = 0\nfile = \"secrets/affinity-0\"\n", ""),
        ],
        &[(E, "bad-value", "3")],
    ),
];

const ALL: [&[Row]; 12] = [
    SYNTAX, KEYS, PREFIXES, SERVICES, CHECKS, NUMBERS, SESSIONS, POLICIES, RPKI, NEIGHBORS, FLOORS,
    AFFINITY,
];

fn edited(edits: &[(&str, &str)]) -> String {
    let mut source = BASE.to_owned();
    for (from, to) in edits {
        assert!(source.contains(from), "the file has no {from:?}");
        source = source.replacen(from, to, 1);
    }
    source
}

#[test]
fn the_base_is_sound() {
    let report = parse("base.toml", BASE);
    assert!(report.problems.is_empty() && report.fleet.is_some(), "{}", report.render(false));
}

#[test]
fn each_problem_is_found_alone_and_in_its_place() {
    let mut wrong = String::new();
    for (name, edits, expected) in ALL.into_iter().flatten() {
        let source = edited(edits);
        let report = parse("fleet.toml", &source);
        let found: Vec<(Severity, &str, &str)> = report
            .problems
            .iter()
            .map(|problem| {
                let text = &source[problem.span.clone()];
                (problem.severity, problem.code, text)
            })
            .collect();
        let sound = !expected.iter().any(|(severity, ..)| *severity == E);
        if found != *expected || report.fleet.is_some() != sound {
            writeln!(wrong, "{name}:\n  wanted {expected:?}\n  found  {found:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_problem_says_what_to_do() {
    for (name, edits, _) in ALL.into_iter().flatten() {
        for problem in parse("fleet.toml", &edited(edits)).problems {
            assert!(!problem.help.is_empty(), "{name}: {problem:?}");
            assert!(problem.help.ends_with(['.', '?']), "{name}: {}", problem.help);
            assert!(!problem.message.ends_with('.'), "{name}: {}", problem.message);
        }
    }
}

#[test]
fn the_reference_lists_exactly_the_codes_that_are_shown_here() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/fleet.md");
    let reference = std::fs::read_to_string(path).unwrap();
    let (_, listed) = reference.split_once("\n## Problems\n").unwrap();
    let listed: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut shown: BTreeSet<&str> = ALL
        .into_iter()
        .flatten()
        .flat_map(|(_, _, expected)| expected.iter().map(|(_, code, _)| *code))
        .collect();
    // Those need a disk: see secrets.rs and rpki.rs.
    shown.extend(["ca-file", "password-file", "password-exposed", "vrp-file", "rpki-invalid"]);
    shown.extend(["fleet-state-file", "affinity-key", "quic-file"]);
    assert_eq!(listed, shown);
}

#[test]
fn what_a_file_says_cannot_write_to_the_terminal() {
    let source = edited(&[("name =", "\"\\u001b[2J\" = 1\nname =")]);
    let report = parse("fleet.toml", &source);
    assert_eq!(report.problems[0].message, "unknown key `\\u{1b}[2J` in `fleet`");
}

#[test]
fn a_problem_is_shown_with_its_line_and_in_json() {
    let source = edited(&[("name =", "nmae =")]);
    let report = parse("dir/fleet.toml", &source);
    let text = report.render(false);
    for part in ["dir/fleet.toml:3:1", "nmae = \"example\"", "unknown-key", "Did you mean `name`?"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(report.render(true).contains('\u{1b}'));
    assert_eq!(
        report.to_json().to_string(),
        "[{\"code\":\"unknown-key\",\"column\":1,\"file\":\"dir/fleet.toml\",\
         \"help\":\"Did you mean `name`?\",\"line\":3,\
         \"message\":\"unknown key `nmae` in `fleet`\",\"related\":[],\"severity\":\"error\"}]"
    );
}
