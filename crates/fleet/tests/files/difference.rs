//! What a changed file changes, in words: each row is an edit and all that is said of it.

use anycast_fleet::{Difference, Effect, Fleet, Subject, difference};
use anycast_steer::Manner;

const FILE: &str = r#"
[fleet]
name = "x"
asn = 64500

[prefix."192.0.2.0/24"]
services = ["web"]

[service.web]
addresses = ["192.0.2.1"]

[[service.web.check]]
name = "http"
type = "http"

[policy.careful]
rules = [{ prefix = ["10.0.0.0/8+"], action = "accept" }]

[site.fra]
city = "Frankfurt"
router-id = "198.51.100.1"

[site.fra.neighbor.a]
address = "198.51.100.2"
local-address = "198.51.100.1"
asn = 64510
import = "careful"
export = "fleet"

[site.fra.neighbor.b]
address = "198.51.100.6"
local-address = "198.51.100.5"
asn = 64511
import = "nothing"
export = "fleet"

[site.nyc]
city = "New York"

[site.nyc.neighbor.c]
address = "203.0.113.2"
local-address = "203.0.113.1"
asn = 64512
export = "fleet"
"#;

fn fleet(source: &str) -> Fleet {
    let report = anycast_fleet::parse("x.toml", source);
    report.fleet.clone().unwrap_or_else(|| panic!("{}", report.render(false)))
}

fn between(old: &str, new: &str) -> Difference {
    difference(&fleet(old), &fleet(new), "fra", &|_, _| Some(Manner::default()))
}

/// Every line that is said.
fn lines(found: &Difference) -> Vec<String> {
    let refused = found.refused.iter().map(|words| format!("refused: {words}"));
    let changes = found.changes.iter().flat_map(|change| {
        let details = change.details.iter().map(|detail| format!("  {detail}"));
        std::iter::once(change.to_string()).chain(details)
    });
    refused.chain(changes).collect()
}

/// What is said if `from` becomes `to` in the file.
fn edit(from: &str, to: &str) -> Vec<String> {
    assert_eq!(FILE.matches(from).count(), 1, "{from:?} stands once");
    lines(&between(FILE, &FILE.replace(from, to)))
}

#[test]
fn a_file_that_is_written_otherwise_but_says_the_same_changes_nothing() {
    let other = FILE.replace("# ", "").replace("asn = 64500", "# our own\nasn = 64500");
    assert!(between(FILE, &other).is_empty());
}

#[test]
fn each_edit_is_told_with_all_that_follows_and_nothing_else() {
    let a = "asn = 64510\n";
    let with = |line: &str| edit(a, &format!("{a}{line}\n"));
    let changed = "neighbor a changes; its session stays";
    let reset = "neighbor a changes; its session is reset";
    let path = "AS path 64500";
    for (found, wanted) in [
        // What a neighbor hears.
        (
            with("prepend = 2"),
            vec![
                changed,
                "  prepend 0 → 2",
                &format!("  it hears 192.0.2.0/24 otherwise: {path} 64500 64500; before {path}"),
            ],
        ),
        (
            with("med = 5\ncommunities = ['64510:1']"),
            vec![
                changed,
                "  med none → 5",
                "  communities none → 64510:1",
                &format!(
                    "  it hears 192.0.2.0/24 otherwise: {path}, MED 5, communities 64510:1; \
                     before {path}"
                ),
            ],
        ),
        (
            edit(
                "import = \"careful\"\nexport = \"fleet\"",
                "import = \"careful\"\nexport = \"nothing\"",
            ),
            vec![changed, "  export fleet → nothing", "  it no longer hears 192.0.2.0/24"],
        ),
        // What is taken from it.
        (
            edit("import = \"careful\"", "import = \"everything\""),
            vec![
                changed,
                "  import careful → everything",
                "  what it sent is judged anew by another import policy",
            ],
        ),
        (
            edit("10.0.0.0/8+", "10.0.0.0/9+"),
            vec![changed, "  what it sent is judged anew by another import policy"],
        ),
        (
            with("max-prefixes = 10"),
            vec![
                changed,
                "  max-prefixes none → 10 (warning at 8, then the session rests for 300s)",
            ],
        ),
        (with("bfd = true"), vec![changed, "  bfd none → 300ms × 3"]),
        // How it is left.
        (
            edit("[service.web]", "[drain]\nwait = '5s'\nprepend = 1\n[service.web]"),
            vec![
                "this site changes",
                "  drain: with 3 prepends and community 65535:0 for at most 60s → with 1 prepend \
                 and community 65535:0 for at most 5s",
            ],
        ),
        // What the session is made of.
        (with("hold-time = '30s'"), vec![reset, "  hold-time 90s → 30s"]),
        (with("password-file = 's'"), vec![reset, "  password-file none → s"]),
        (with("role = 'peer'"), vec![reset, "  role none → peer"]),
        (
            edit("address = \"198.51.100.2\"", "address = \"198.51.100.3\""),
            vec![reset, "  address 198.51.100.2 → 198.51.100.3"],
        ),
        // The site.
        (
            edit("city = \"Frankfurt\"", "city = \"Frankfurt\"\nstop-wait = '3s'\nmultipath = 4"),
            vec!["this site changes", "  multipath 1 → 4", "  stop-wait 1s → 3s"],
        ),
        (
            edit("city = \"Frankfurt\"", "city = \"Frankfurt\"\nasn = 64501\nbgp-port = 1179"),
            vec![
                "refused: [site.fra] asn 64500 → 64501",
                "refused: [site.fra] bgp-port 179 → 1179",
            ],
        ),
        // Checks and services.
        (
            edit("type = \"http\"", "type = \"http\"\ninterval = '5s'"),
            vec![
                "check http of service web changes; what was found so far stands until it says \
                 otherwise",
            ],
        ),
        (
            edit("name = \"http\"", "name = \"front\""),
            vec!["check http of service web is removed", "check front of service web is added"],
        ),
        (
            edit("addresses = [\"192.0.2.1\"]", "addresses = [\"192.0.2.1\"]\nbuiltin = 'whoami'"),
            vec!["service web changes; it is down until what serves it has started anew"],
        ),
        // The fleet's name, and who tells it.
        (edit("name = \"x\"", "name = \"y\""), vec!["the fleet changes", "  its name x → y"]),
        // How a prefix is steered.
        (
            edit(
                "services = [\"web\"]",
                "services = ['web', 'more']\n[service.more]\naddresses = ['192.0.2.2']",
            ),
            vec![
                "prefix 192.0.2.0/24 changes",
                "  services web → web, more",
                "  it is withdrawn until more is healthy",
                "service more is added: it counts once its checks have passed",
                "address 192.0.2.2 is put on the loopback interface",
            ],
        ),
        (
            edit(
                "services = [\"web\"]",
                "services = [\"web\"]\nrequire = 'any'\nweights = { web = 2 }",
            ),
            vec!["prefix 192.0.2.0/24 changes", "  require all → any", "  weights 1 → 2"],
        ),
        // Elsewhere.
        (edit("asn = 64512", "asn = 64513"), vec!["site nyc changes; nothing to do here"]),
        (
            edit(
                "[policy.careful]",
                "[bmp.s]\naddress = '203.0.113.9'\nport = 5000\n[policy.careful]",
            ),
            vec!["monitoring station s is added"],
        ),
    ] {
        assert_eq!(found, wanted);
    }
}

#[test]
fn a_prefix_that_comes_is_heard_by_those_who_are_told_of_it() {
    let more = FILE.replace(
        "[service.web]\naddresses = [\"192.0.2.1\"]",
        "[prefix.\"203.0.113.0/24\"]\nservices = ['dns']\n[service.dns]\naddresses = \
         ['203.0.113.53']\nbuiltin = 'whoami'\n[service.web]\naddresses = [\"192.0.2.1\"]",
    );
    let coming = [
        "neighbor a changes; its session stays",
        "  it hears 203.0.113.0/24: AS path 64500",
        "neighbor b changes; its session stays",
        "  it hears 203.0.113.0/24: AS path 64500",
        "prefix 203.0.113.0/24 is added: announced once its services are healthy",
        "  it stands for dns",
        "service dns is added: it counts once its checks have passed",
        "address 203.0.113.53 is put on the loopback interface",
    ];
    assert_eq!(lines(&between(FILE, &more)), coming);
    let going = [
        "neighbor a changes; its session stays",
        "  it no longer hears 203.0.113.0/24",
        "neighbor b changes; its session stays",
        "  it no longer hears 203.0.113.0/24",
        "prefix 203.0.113.0/24 is removed: withdrawn from all neighbors",
        "service dns is removed",
        "address 203.0.113.53 is taken off the loopback interface, after the withdrawal and \
         stop-wait",
    ];
    assert_eq!(lines(&between(&more, FILE)), going);
}

#[test]
fn what_is_withdrawn_or_told_otherwise_now_is_said_with_what_would_be_heard() {
    let prepended = FILE.replace("asn = 64510\n", "asn = 64510\nprepend = 1\n");
    let silent = FILE.replace(
        "import = \"careful\"\nexport = \"fleet\"",
        "import = \"careful\"\nexport = \"nothing\"",
    );
    let more = FILE.replace("[site.nyc]", "[site.fra.neighbor.d]\naddress = '198.51.100.10'\n\
                             local-address = '198.51.100.9'\nasn = 64513\nexport = 'fleet'\n[site.nyc]");
    let draining = Manner { prepend: 3, communities: vec![0xffff_0000], ..Manner::default() };
    let (path, prefix) = ("AS path 64500", "192.0.2.0/24");
    // What neighbor a is told now, what b is, the files, and the last line of what is said.
    for (told_a, told_b, old, new, wanted) in [
        (
            None,
            None,
            FILE,
            &*prepended,
            format!(
                "  it would hear {prefix} otherwise (withdrawn now): {path} 64500; before {path}"
            ),
        ),
        (None, None, FILE, &*silent, format!("  it would no longer hear {prefix} (withdrawn now)")),
        (None, None, &*silent, FILE, format!("  it would hear {prefix} (withdrawn now): {path}")),
        (
            Some(draining),
            None,
            FILE,
            &*prepended,
            format!(
                "  it hears {prefix} otherwise (now also with 3 prepends and community 65535:0): \
                     {path} 64500; before {path}"
            ),
        ),
        // From one neighbor alone.
        (
            None,
            Some(Manner::default()),
            FILE,
            &*prepended,
            format!(
                "  it would hear {prefix} otherwise (withdrawn now): {path} 64500; before {path}"
            ),
        ),
        (Some(Manner::default()), None, FILE, &*silent, format!("  it no longer hears {prefix}")),
        // Who is new hears it if all others do, plainly.
        (
            Some(Manner::default()),
            Some(Manner::default()),
            FILE,
            &*more,
            format!("  it hears {prefix}: {path}"),
        ),
        (
            None,
            Some(Manner::default()),
            FILE,
            &*more,
            format!("  it would hear {prefix} (others are not all told plainly now): {path}"),
        ),
        (None, None, FILE, &*more, format!("  it would hear {prefix} (withdrawn now): {path}")),
    ] {
        let now =
            |neighbor: &str, _: &_| if neighbor == "a" { told_a.clone() } else { told_b.clone() };
        let said = lines(&difference(&fleet(old), &fleet(new), "fra", &now));
        assert_eq!(said.last(), Some(&wanted), "{said:#?}");
    }
}

#[test]
fn neighbors_come_and_go_by_name() {
    let renamed = FILE.replace("neighbor.b]", "neighbor.bb]");
    let wanted = [
        "neighbor b is removed: it hears the withdrawals, then a Cease",
        "neighbor bb is added: a session is made",
        "  198.51.100.6, AS 64511",
        "  it hears 192.0.2.0/24: AS path 64500",
    ];
    assert_eq!(lines(&between(FILE, &renamed)), wanted);
}

#[test]
fn a_site_that_left_the_file_cannot_be_reloaded() {
    let gone = FILE.replace("site.fra", "site.ber");
    let refused = ["refused: [site.fra] is not in the file any more"];
    assert_eq!(lines(&between(FILE, &gone)), refused);
}

/// The table of keys has each field of a neighbor: what is in none would reset the session
/// without saying why.
#[test]
fn no_setting_of_a_neighbor_is_without_a_name() {
    let old = fleet(FILE);
    let mut new = old.clone();
    let other = fleet(&FILE.replace(
        "asn = 64510\nimport = \"careful\"\nexport = \"fleet\"",
        "asn = 64510\nimport = 'nothing'\nexport = 'nothing'\nport = 1179\nrelation = \
         'provider'\nprepend = 1\nmed = 1\ncommunities = ['64510:1']\nlarge-communities = \
         ['64510:1:1']\nhold-time = '30s'\nconnect-retry = '3s'\nfamilies = ['ipv4', \
         'ipv6']\nnext-hop-v6 = '2001:db8::1'\nmultihop = 4\npassword-file = 'x'\npassive = \
         true\nbfd = true\ndelay-open = '1s'\ninterface = 'eth0'\nmax-prefixes = \
         9\nmax-as-path-length = 9\nrole = 'customer'\nstrict-role = true\nextended-next-hop = \
         true\ngraceful-restart = 'off'\nadd-path = 'both'",
    ));
    new.sites[0].neighbors[0] = other.sites[0].neighbors[0].clone();
    let neighbor = &mut new.sites[0].neighbors[0];
    neighbor.next_hop_self = false;
    neighbor.reflector_client = true;
    neighbor.ttl_security = true;
    neighbor.next_hop_v4 = Some([198, 51, 100, 9].into());
    neighbor.local_address = None;
    neighbor.address = [198, 51, 100, 8].into();
    neighbor.asn.0 = 64599;
    neighbor.tcp_ao = Some(anycast_fleet::TcpAo {
        key_file: "key".into(),
        send_id: 1,
        recv_id: 2,
        algorithm: anycast_fleet::AoAlgorithm::HmacSha1,
    });
    let found = difference(&old, &new, "fra", &|_, _| Some(Manner::default()));
    let change = found.neighbor("a").unwrap();
    assert_eq!((&change.subject, change.effect), (&Subject::Neighbor("a".into()), Effect::Reset));
    let named = change.details.iter().filter(|line| line.contains(" → ")).count();
    assert_eq!(named, 34, "{:#?}", change.details);
    assert!(
        !change.details.iter().any(|line| line.contains("other settings")),
        "{:#?}",
        change.details
    );
}

/// A key, and what the two sites have.
const KEPT: &str = r#"
[affinity]
key = [{ epoch = 0, file = "a" }]
[site.fra.affinity]
id = 1
v4 = "198.51.100.1"
[site.nyc.affinity]
id = 2
v4 = "203.0.113.1"
"#;

#[test]
fn how_connections_are_kept_changes_without_a_reset() {
    let on = format!("{FILE}{KEPT}");
    let of = |old: &str, new: &str| -> Vec<String> {
        let found = lines(&between(old, new));
        found.into_iter().filter(|line| !line.starts_with("site nyc")).collect()
    };
    assert_eq!(of(FILE, &on), ["affinity is added: connections are kept from now on"]);
    assert_eq!(of(&on, FILE), ["affinity is removed: a route change breaks connections again"]);
    for (from, to, detail) in [
        (
            "[{ epoch = 0, file = \"a\" }]",
            "[{ epoch = 0, file = \"a\" }, { epoch = 1, file = \"b\" }]",
            "keys: epochs 0 → 0, 1; the first is used for what is sent",
        ),
        ("id = 1", "id = 3", "id 1 → 3: other sites no longer bring it what began under 1"),
        ("id = 2\nv4", "id = 2\nv6 = \"2001:db8::2\"\nv4", "where the other sites are reached"),
        ("v4 = \"198.51.100.1\"", "v4 = \"198.51.100.5\"", "its own addresses or interfaces"),
        (
            "addresses = [\"192.0.2.1\"]",
            "addresses = [\"192.0.2.1\"]\naffinity = []",
            "whose connections are kept",
        ),
        (
            "[affinity]\n",
            "[affinity]\nmode = \"tc\"\n",
            "mode auto → tc: the programs are put anew",
        ),
        ("[affinity]\n", "[affinity]\npackets-to-a-site = 9\n", "how many packets are passed on"),
    ] {
        assert!(on.contains(from), "{from}");
        let found = of(&on, &on.replacen(from, to, 1));
        let wanted = [
            "affinity changes; the packet programs stay where they are".to_owned(),
            format!("  {detail}"),
        ];
        assert_eq!(found, wanted, "{from} → {to}");
    }
}

#[test]
fn a_service_begins_anew_if_it_tells_clients_of_another_address() {
    let quic = "addresses = [\"192.0.2.1\"]\nbuiltin = \"whoami\"\nquic-certificate = \"a\"\nquic-key = \"b\"\n\
                preferred-address = true";
    let on = format!(
        "{}\n[affinity]\n[[affinity.key]]\nepoch = 0\nfile = \"a\"\n[site.fra.affinity]\nid = 1\n\
         v4 = \"198.51.100.1\"\n[site.nyc.affinity]\nid = 2\nv4 = \"198.51.100.2\"\n",
        FILE.replacen("addresses = [\"192.0.2.1\"]", quic, 1)
    );
    assert!(on.contains(quic), "{on}");
    let service = |new: &str| -> Vec<String> {
        lines(&between(&on, new)).into_iter().filter(|it| it.starts_with("service ")).collect()
    };
    let anew = ["service web changes; it is down until what serves it has started anew"];
    let own = |to: &str| on.replacen("v4 = \"198.51.100.1\"", to, 1);
    assert_eq!(service(&own("v4 = \"198.51.100.5\"")), anew);
    assert_eq!(service(&on.replacen("quic-key = \"b\"", "quic-key = \"c\"", 1)), anew);
    // What is told apart from that reaches it while it runs.
    assert!(service(&on.replacen("file = \"a\"", "file = \"c\"", 1)).is_empty());
}
