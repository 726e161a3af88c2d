use super::*;

fn event(number: u64, kind: &str, subject: &str, cause: Option<u64>) -> SiteEvent {
    SiteEvent {
        number,
        unix_time: 0.0,
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        detail: String::new(),
        cause,
        by: None,
    }
}

#[test]
fn a_chain_goes_from_the_first_cause_to_the_last_event_of_the_prefix() {
    let events = [
        event(1, "check-passed", "web/http", None),
        event(2, "service-up", "web", Some(1)),
        event(3, "announce", "192.0.2.0/24", Some(2)),
        event(7, "check-failed", "web/http", None),
        event(8, "service-down", "web", Some(7)),
        event(9, "withdraw", "192.0.2.0/24", Some(8)),
        event(10, "withdraw", "198.51.100.0/24", Some(8)),
    ];
    let numbers = |events: &[SiteEvent], prefix: &str| -> Vec<u64> {
        chain(events, prefix).iter().map(|event| event.number).collect()
    };
    assert_eq!(numbers(&events, "192.0.2.0/24"), [7, 8, 9]);
    assert_eq!(numbers(&events[..3], "192.0.2.0/24"), [1, 2, 3]);
    assert_eq!(numbers(&events, "203.0.113.0/24"), [0_u64; 0]);
    // Older causes may be forgotten, and a file may hold anything: it ends all the same.
    assert_eq!(numbers(&events[4..], "192.0.2.0/24"), [8, 9]);
    let circle = [event(1, "a", "x", Some(2)), event(2, "b", "x", Some(1))];
    assert_eq!(numbers(&circle, "x"), [1, 2]);
    assert_eq!(numbers(&[event(1, "a", "x", Some(1))], "x"), [1]);
}

fn told(neighbor: &str, told: bool) -> ToldRow {
    ToldRow { neighbor: neighbor.to_owned(), told, wanted: true, how: String::new() }
}

fn prefix() -> PrefixOverview {
    PrefixOverview {
        prefix: "192.0.2.0/24".to_owned(),
        announced: true,
        since_seconds: 1.0,
        services: vec!["web".to_owned()],
        require: "all".to_owned(),
        reasons: Vec::new(),
        held: None,
        floor: None,
        rpki: None,
        neighbors: vec![told("left", false), told("right", true)],
    }
}

fn well() -> Overview {
    Overview {
        fleet: "test".to_owned(),
        site: "fra".to_owned(),
        city: None,
        version: "0".to_owned(),
        state: "running".to_owned(),
        uptime_seconds: 1.0,
        others: Vec::new(),
        fleet_heard_seconds: None,
        fleet_state: None,
        affinity: "loaded".to_owned(),
        affinity_why: None,
        neighbors: Vec::new(),
        services: Vec::new(),
        prefixes: vec![prefix()],
        damping: vec![DampingRow { what: "web".to_owned(), penalty: 900.0, seconds_left: None }],
        drains: Vec::new(),
        troubles: Vec::new(),
    }
}

#[test]
fn what_is_not_as_it_should_be_is_said() {
    let reason = |text: &str| ReasonRow { kind: "services".to_owned(), text: text.to_owned() };
    let with = |change: fn(&mut PrefixOverview)| {
        let mut site = well();
        change(&mut site.prefixes[0]);
        site
    };
    let neighbor = |why: Option<&str>| NeighborOverview {
        name: "left".to_owned(),
        state: if why.is_some() { "Active" } else { "Established" }.to_owned(),
        since_seconds: 1.0,
        why: why.map(str::to_owned),
    };
    let drain = |stage: &str| DrainRow {
        target: "site".to_owned(),
        stage: stage.to_owned(),
        since_seconds: 1.0,
        seconds_left: None,
        reason: String::new(),
    };
    let damped = DampingRow { what: "web".to_owned(), penalty: 3000.0, seconds_left: Some(9.0) };
    let mut shed = well();
    shed.prefixes[0].reasons = vec![reason("load is 91 of 80"), reason("b")];
    let lost = FleetStateRow {
        reached: false,
        since_seconds: 1.0,
        why: Some("the connection is gone".to_owned()),
        sites: Vec::new(),
    };
    let starting =
        Overview { state: "starting".to_owned(), fleet_state: Some(lost.clone()), ..well() };
    let table: Vec<(&str, Overview, &[&str])> = vec![
        ("all is well", well(), &[]),
        ("up", Overview { neighbors: vec![neighbor(None)], ..well() }, &[]),
        (
            "stopping",
            Overview { state: "stopping".to_owned(), ..well() },
            &["the site is stopping"],
        ),
        (
            "leaving",
            Overview { drains: vec![drain("leaving")], ..well() },
            &["the site is being drained: traffic is leaving"],
        ),
        (
            "withdrawing",
            Overview { drains: vec![drain("withdrawing")], ..well() },
            &["the site is being drained: it is being withdrawn"],
        ),
        ("starting", starting, &[]),
        (
            "alone",
            Overview { fleet_state: Some(lost), ..well() },
            &["the fleet's shared state cannot be reached: the connection is gone"],
        ),
        (
            "not kept",
            Overview {
                affinity: "unavailable".to_owned(),
                affinity_why: Some("no privilege".to_owned()),
                ..well()
            },
            &["connections are not kept when routes change: no privilege"],
        ),
        (
            "drained",
            Overview { drains: vec![drain("drained")], ..well() },
            &["the site is drained"],
        ),
        (
            "damped",
            Overview { damping: vec![damped], ..well() },
            &["web falls too often and is kept down"],
        ),
        (
            "a neighbor",
            Overview { neighbors: vec![neighbor(Some("refused"))], ..well() },
            &["neighbor left is Active: refused"],
        ),
        ("withdrawn", with(|it| it.announced = false), &["192.0.2.0/24 is not announced"]),
        ("shed", shed, &["192.0.2.0/24 is not announced plainly to all: load is 91 of 80; b"]),
        (
            "held",
            with(|it| it.held = Some("nobody else".to_owned())),
            &["192.0.2.0/24 is HELD: announced although it should not be: nobody else"],
        ),
        (
            "unheard",
            with(|it| it.neighbors = vec![told("left", false)]),
            &["192.0.2.0/24 is announced, but no neighbor was told of it"],
        ),
        (
            "invalid",
            with(|it| it.rpki = Some("invalid".to_owned())),
            &["192.0.2.0/24 is invalid by the RPKI: other networks will drop it"],
        ),
    ];
    for (name, site, expected) in table {
        assert_eq!(troubles(&site), expected, "{name}");
    }
}
