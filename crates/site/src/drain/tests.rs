use std::path::PathBuf;

use anycast_steer::{Drain, DrainStatus, Instant, Stage};

use super::*;

const FLEET: &str = r#"
[fleet]
name = "x"
asn = 64500
[prefix."192.0.2.0/24"]
services = ["dns", "web"]
[service.dns]
addresses = ["192.0.2.1"]
builtin = "whoami"
[service.web]
addresses = ["192.0.2.2"]
builtin = "whoami"
[site.fra]
router-id = "198.51.100.1"
[site.fra.neighbor.left]
address = "198.51.100.2"
asn = 64501
[site.fra.neighbor.dns]
address = "198.51.100.4"
asn = 64502
[site.nyc]
router-id = "198.51.100.2"
[site.nyc.neighbor.left]
address = "198.51.100.6"
asn = 64503
[site.border]
router-id = "198.51.100.3"
router = true
[site.border.neighbor.left]
address = "198.51.100.8"
asn = 64503
"#;

fn fleet() -> Fleet {
    let report = anycast_fleet::parse("x.toml", FLEET);
    report.fleet.clone().unwrap_or_else(|| panic!("{}", report.render(false)))
}

#[test]
fn a_name_is_what_only_one_thing_is_called() {
    let fleet = fleet();
    let fra = fleet.site("fra").unwrap();
    let service = |name: &str| Ok(Target::Service(name.to_owned()));
    let neighbor = |name: &str| Ok(Target::Neighbor(name.to_owned()));
    let all = "there are the site fra, services dns, web, neighbors left, dns";
    let table: &[(&str, Result<Target, String>)] = &[
        ("", Ok(Target::Site)),
        ("site", Ok(Target::Site)),
        ("fra", Ok(Target::Site)),
        ("site fra", Ok(Target::Site)),
        ("web", service("web")),
        ("service dns", service("dns")),
        ("left", neighbor("left")),
        ("neighbor dns", neighbor("dns")),
        ("dns", Err("dns is several things: say `service dns` or `neighbor dns`".to_owned())),
        ("nyc", Err("nyc is another site, and this is fra: tell the daemon of nyc".to_owned())),
        (
            "site nyc",
            Err("nyc is another site, and this is fra: tell the daemon of nyc".to_owned()),
        ),
        ("x", Err(format!("nothing here is called x; {all}"))),
        ("service left", Err(format!("no service is called left; {all}"))),
        (
            "the whole site",
            Err("\"the whole site\" is neither a name nor `service NAME` nor `neighbor NAME`"
                .to_owned()),
        ),
    ];
    for (text, wanted) in table {
        assert_eq!(target(text, &fleet, fra), *wanted, "{text:?}");
    }
    let refused = target("", &fleet, fleet.site("border").unwrap()).unwrap_err();
    assert!(refused.contains("a router"), "{refused}");
}

#[test]
fn a_drain_lasts_some_time_and_not_for_years() {
    let lasts = |for_seconds| DrainOrder { for_seconds, ..DrainOrder::default() }.lasts();
    assert_eq!(lasts(None), Ok(None));
    assert_eq!(lasts(Some(1.5)), Ok(Some(Duration::from_millis(1500))));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 4e7] {
        assert!(lasts(Some(bad)).is_err(), "{bad}");
    }
}

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("anycast-drains-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_time_is_said_as_it_could_be_ordered() {
    let table = [
        (Duration::from_millis(500), "0s"),
        (Duration::from_secs(90), "1m30s"),
        (Duration::from_secs(1800), "30m"),
        (Duration::from_secs(5400), "1h30m"),
        (Duration::from_secs(3605), "1h5s"),
        (Duration::from_secs(3 * 86_400), "72h"),
    ];
    for (time, words) in table {
        assert_eq!(in_words(time), words);
    }
}

fn drain(target: Target, until: Option<u64>) -> Drain {
    let until = until.map(|seconds| Instant::START + Duration::from_secs(seconds));
    Drain { target, until, now: false, force: false, reason: "disks".to_owned() }
}

fn under_way(drain: Drain) -> DrainStatus {
    DrainStatus { drain, stage: Stage::Drained, since: Instant::START }
}

fn known(begun: f64, until: Option<f64>) -> Known {
    Known { begun, until, by: Some("root".to_owned()), lasting: true }
}

#[test]
fn drains_come_back_with_what_is_left_of_their_time() {
    let folder = Folder::new("back");
    let dns = Target::Service("dns".to_owned());
    let (mut drains, found) = Drains::open(&folder.0, None, 1000.0);
    assert!(found.drains.is_empty() && found.over.is_empty() && found.unreadable.is_none());
    drains.begin(Target::Site, known(1000.0, None));
    drains.begin(dns.clone(), known(1000.0, Some(1600.0)));
    assert!(drains.keep(&[]).is_ok(), "what is not under way is forgotten");
    assert!(!folder.0.exists());
    drains.begin(Target::Site, known(1000.0, None));
    drains.begin(dns.clone(), known(1000.0, Some(1600.0)));
    let both = [under_way(drain(Target::Site, None)), under_way(drain(dns.clone(), Some(600)))];
    drains.keep(&both).unwrap();

    // (the clock at the next start, seconds left of the one with an end)
    for (clock, left) in [(1000.0, 600), (1200.0, 400), (1599.0, 1), (0.0, 600)] {
        let (drains, found) = Drains::open(&folder.0, None, clock);
        let wanted = vec![drain(Target::Site, None), drain(dns.clone(), Some(left))];
        assert_eq!(found.drains, wanted, "at {clock}");
        assert!(found.over.is_empty() && drains.is_kept(&Target::Site));
        assert_eq!(drains.get(&dns).unwrap().by.as_deref(), Some("root"));
    }
    let (mut drains, found) = Drains::open(&folder.0, None, 1600.0);
    assert_eq!((found.drains.len(), found.over), (1, vec![dns]));
    drains.keep(&both[..1]).unwrap();
    let (mut drains, found) = Drains::open(&folder.0, None, 1200.0);
    assert_eq!((found.drains.len(), found.over.len()), (1, 0));
    drains.keep(&[]).unwrap();
    assert!(Drains::open(&folder.0, None, 1200.0).1.drains.is_empty());
}

#[test]
fn a_file_that_cannot_be_read_starts_the_site_drained_and_is_put_aside() {
    for (name, contents) in [
        ("half", "{\"drains\": [{\"target\": \"si"),
        ("empty", ""),
        ("other", "{\"drains\": [], \"future\": 1}"),
        ("octets", "\u{0}"),
    ] {
        let folder = Folder::new(name);
        std::fs::create_dir_all(&folder.0).unwrap();
        std::fs::write(folder.0.join("drains.json"), contents).unwrap();
        let (mut drains, found) = Drains::open(&folder.0, None, 1000.0);
        assert!(found.unreadable.unwrap().contains("drains.json.unreadable"), "{name}");
        assert_eq!(found.drains.len(), 1);
        assert_eq!((&found.drains[0].target, found.drains[0].until), (&Target::Site, None));
        let aside = std::fs::read_to_string(folder.0.join("drains.json.unreadable")).unwrap();
        assert_eq!(aside, contents);
        // And so it is at the next start.
        drains.keep(&[under_way(found.drains[0].clone())]).unwrap();
        let (_, found) = Drains::open(&folder.0, None, 1000.0);
        assert!(found.unreadable.is_none() && found.drains.len() == 1, "{name}");
    }
}

#[test]
fn a_folder_that_cannot_be_looked_into_drains_nothing() {
    let folder = Folder::new("file");
    std::fs::write(&folder.0, "a file").unwrap();
    let (mut drains, found) = Drains::open(&folder.0, None, 1000.0);
    assert!(found.unreachable.is_some() && found.drains.is_empty());
    drains.begin(Target::Site, known(1000.0, None));
    assert!(drains.keep(&[under_way(drain(Target::Site, None))]).is_err());
    assert!(!drains.is_kept(&Target::Site));
    std::fs::remove_file(&folder.0).unwrap();
}

#[test]
fn what_the_start_brings_along_is_not_kept_and_takes_an_end_away() {
    let folder = Folder::new("start");
    let (mut drains, found) = Drains::open(&folder.0, Some("maintenance"), 1000.0);
    assert_eq!((found.drains.len(), found.drains[0].reason.as_str()), (1, "maintenance"));
    assert!(found.drains[0].now);
    drains.keep(&[under_way(found.drains[0].clone())]).unwrap();
    assert!(Drains::open(&folder.0, None, 1000.0).1.drains.is_empty());

    drains.begin(Target::Site, known(1000.0, Some(2000.0)));
    drains.keep(&[under_way(drain(Target::Site, Some(1000)))]).unwrap();
    let (drains, found) = Drains::open(&folder.0, Some("maintenance"), 1000.0);
    assert_eq!(found.drains, [drain(Target::Site, None)]);
    assert!(drains.is_kept(&Target::Site));
}
