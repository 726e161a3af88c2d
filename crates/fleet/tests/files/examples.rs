//! The example files that are shipped are sound, and mean what their comments say.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

use std::path::Path;
use std::time::Duration;

use anycast_bgp::policy::{Action, Match, PrefixPattern, Rule, Set};
use anycast_bgp::{Asn, Family};
use anycast_fleet::{Builtin, Fleet, Kept, Probe, Report, city};

fn example(name: &str) -> Report {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let source = std::fs::read_to_string(&path).unwrap();
    anycast_fleet::parse(name, &source)
}

fn sound(name: &str) -> Fleet {
    let report = example(name);
    assert!(report.problems.is_empty(), "{}", report.render(false));
    report.fleet.unwrap()
}

#[test]
fn every_example_that_is_a_fleet_is_without_error_or_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut fleets = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        // Worlds and scenarios stand in the same folder.
        if std::fs::read_to_string(&path).unwrap().contains("[fleet]") {
            sound(path.file_name().unwrap().to_str().unwrap());
            fleets += 1;
        }
    }
    assert!(fleets >= 3, "only {fleets} fleet files");
}

#[test]
fn the_labs_fleet_has_five_sites_that_announce_both_families() {
    let fleet = sound("fleet.toml");
    assert_eq!((fleet.asn, fleet.sites.len()), (Asn(64500), 5));
    for site in &fleet.sites {
        let city = city::find(&site.name).expect("sites are named after airports");
        assert_eq!(site.city.as_deref(), Some(city.name));
        assert_eq!(site.location, Some(city.coordinates()));
        assert_eq!(site.asn, fleet.asn);
        for neighbor in &site.neighbors {
            assert_eq!(neighbor.families, [Family::Ipv4Unicast, Family::Ipv6Unicast]);
            assert_eq!((neighbor.ttl(), neighbor.min_ttl()), (1, None));
        }
    }
    let service = fleet.service("whoami").unwrap();
    assert_eq!(
        service.builtin,
        Some(Builtin::Whoami { dns_port: Some(53), http_port: Some(80), quic: None })
    );
    let names: Vec<&str> = service.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["dns 192.0.2.1", "dns 2001:db8:ac::1"]);
}

#[test]
fn what_can_be_kept_of_a_service_is_unless_it_says_otherwise() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/affinity-fleet.toml");
    let source = std::fs::read_to_string(path).unwrap();
    let kept = |more: &str| {
        let builtin = "builtin = \"whoami\"";
        let source = source.replacen(builtin, &format!("{builtin}\n{more}"), 1);
        let report = anycast_fleet::parse("fleet.toml", &source);
        assert!(report.problems.is_empty(), "{}", report.render(false));
        report.fleet.unwrap().services[0].affinity
    };
    let quic = "quic-certificate = \"a\"\nquic-key = \"b\"\n";
    for (more, tcp, port) in [
        ("", true, None),
        ("quic-port = 8443", true, None),
        (quic, true, Some(443)),
        (&format!("{quic}quic-port = 8443"), true, Some(8443)),
        (&format!("{quic}affinity = [\"tcp\"]"), true, None),
        ("affinity = [\"quic\"]\nquic-port = 8443", false, Some(8443)),
    ] {
        assert_eq!(kept(more), Kept { tcp, quic: port }, "{more}");
    }
}

#[test]
fn the_hobby_network_is_as_its_comments_say() {
    let fleet = sound("vps.toml");
    let ams = fleet.site("ams").unwrap().neighbor("host-v4").unwrap();
    assert_eq!((ams.ttl(), ams.min_ttl(), ams.asn.is_private()), (2, None, true));
    assert_eq!(ams.password_file.as_deref(), Some(Path::new("secrets/ams-host")));
    assert_eq!(ams.import_policy(&fleet).rules, []);

    let site = fleet.site("sgp").unwrap();
    assert_eq!((site.listen, site.kernel_routes), (false, true));
    assert_eq!(site.stop_wait, Duration::from_secs(5));
    let sgp = site.neighbor("host").unwrap();
    assert_eq!((sgp.ttl(), sgp.min_ttl()), (255, Some(255)));
    let pattern = |text: &str| text.parse::<PrefixPattern>().unwrap();
    assert_eq!(
        sgp.import_policy(&fleet).rules,
        [Rule {
            matches: vec![Match::Prefix(vec![pattern("0.0.0.0/0"), pattern("::/0")])],
            sets: vec![Set::LocalPref(50)],
            action: Action::Accept,
        }]
    );
    assert_eq!(
        sgp.export_policy(&fleet, site, 2).rules,
        [Rule {
            matches: vec![
                Match::Local,
                Match::Prefix(vec![pattern("192.0.2.0/24"), pattern("2001:db8:ac::/48")]),
            ],
            sets: vec![Set::AddCommunity("64502:3000".parse().unwrap()), Set::Prepend(3)],
            action: Action::Accept,
        }]
    );

    let web = fleet.service("web").unwrap();
    let names: Vec<&str> = web.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["http 192.0.2.80", "http 2001:db8:ac::80", "disk"]);
    assert!(matches!(&web.checks[2].probe, Probe::Command { argv } if argv.len() == 2));
}

#[test]
fn every_example_can_be_steered() {
    for name in ["fleet.toml", "vps.toml", "minimal.toml"] {
        let fleet = sound(name);
        let status = fleet.steer_at(&fleet.sites[0]).status(anycast_steer::Instant::START);
        assert_eq!(status.prefixes.len(), fleet.prefixes.len(), "{name}");
        for (service, status) in fleet.services.iter().zip(&status.services) {
            assert_eq!(service.checks.len(), status.checks.len(), "{name}");
        }
    }
}

#[test]
fn what_the_file_says_of_steering_reaches_it() {
    use anycast_steer::{Damping, Effect, Manner, Require, Response, ShedSpec, ShedStep};

    let source = "
[fleet]
name = 'x'
asn = 64500
[prefix.'192.0.2.0/24']
services = ['web', 'dns']
weights = { dns = 3 }
require = '75%'
damping = true
degraded = [{ prepend = 1, med = 5, community = ['65535:0', '64500:1'] }]
shed = { load = 'check queue', pause = '5s', step = [
    { above = 10, prepend = 1 },
    { above = 20.5, below = 3, neighbor = ['a'], withdraw = true },
] }
[damping]
half-life = '10s'
max = '30s'
[service.web]
addresses = ['192.0.2.80']
builtin = 'whoami'
dns-port = 0
damping = false
[service.dns]
addresses = ['192.0.2.53']
builtin = 'whoami'
http-port = 0
check = [{ type = 'command', name = 'queue', command = ['/bin/true'], address = '192.0.2.53' }]
[site.fra.neighbor.a]
address = '198.51.100.0'
local-address = '198.51.100.1'
asn = 64501
export = 'fleet'
";
    let report = anycast_fleet::parse("x.toml", source);
    let fleet = report.fleet.clone().unwrap_or_else(|| panic!("{}", report.render(false)));
    let spec = fleet.steering(&fleet.sites[0]);
    let damping = Damping {
        half_life: Duration::from_secs(10),
        max: Duration::from_secs(30),
        ..Damping::default()
    };
    let dampings: Vec<_> = spec.services.iter().map(|it| it.damping).collect();
    assert_eq!(dampings, [None, Some(damping)]);
    assert_eq!(spec.loads, ["check queue"]);
    let prefix = &spec.prefixes[0];
    assert_eq!((&prefix.weights[..], prefix.require), (&[1, 3][..], Require::Percent(75)));
    assert_eq!(prefix.damping, Some(damping));
    let tell = |prepend, med, communities: &[u32]| {
        Effect::Tell(Manner { prepend, med, communities: communities.to_vec() })
    };
    let all = |effect| Response { neighbors: None, effect };
    assert_eq!(prefix.degraded, [all(tell(1, Some(5), &[0xfbf4_0001, 0xffff_0000]))]);
    let steps = vec![
        ShedStep { above: 10.0, below: 8.0, response: all(tell(1, None, &[])) },
        ShedStep {
            above: 20.5,
            below: 3.0,
            response: Response { neighbors: Some(vec!["a".to_owned()]), effect: Effect::Withdraw },
        },
    ];
    let pause = Duration::from_secs(5);
    assert_eq!(prefix.shed, Some(ShedSpec { load: "check queue".to_owned(), steps, pause }));
}
