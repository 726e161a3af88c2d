//! The RPKI at a running site: what is received and what is announced, judged by a VRP file that
//! changes.

use serde_json::Value;

use crate::lab::FLEET;
use crate::program::{Desk, SETTLED, User, as_each_user, until};
use crate::site::{Daemon, kinds, lab_without_fra};

as_each_user! {
    invalid_routes_are_rejected_and_come_in_when_the_vrps_change
    a_site_that_gets_no_vrps_waits_and_then_announces
    while_it_waits_for_vrps_it_answers_who_looks_and_refuses_orders
}

fn roas(list: &[(&str, u8, u64)]) -> String {
    let roa = |(prefix, length, asn): &(&str, u8, u64)| {
        format!(r#"{{"prefix": "{prefix}", "maxLength": {length}, "asn": "AS{asn}"}}"#)
    };
    format!(r#"{{"roas": [{}]}}"#, list.iter().map(roa).collect::<Vec<_>>().join(", "))
}

fn invalid_routes_are_rejected_and_come_in_when_the_vrps_change(user: User) {
    let desk = Desk::new(user);
    desk.write("vrps.json", roas(&[("203.0.113.8/29", 29, 65551), ("192.0.2.0/24", 24, 65551)]));
    let rpki = format!(
        "[rpki]\nvrp-file = \"{}\"\nreject-invalid = true\n\n[fleet]\n",
        desk.path("vrps.json").display()
    );
    desk.write("careful.toml", FLEET.replacen("[fleet]\n", &rpki, 1));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "careful.toml");
    daemon.announces();
    let report = || daemon.show(&["rpki", "--json"]).json();
    until("left has told its networks, and one of them is refused", SETTLED, || {
        let report = report();
        let left = &report["neighbors"][0];
        if left["invalid"] == 1 && left["not_found"] == 3 { Ok(()) } else { Err(report) }
    });
    let routes = |prefix: &str| -> Value {
        daemon.show(&["routes", prefix, "--received", "left", "--json"]).json()
    };
    let refused = routes("203.0.113.8/29")[0].clone();
    assert_eq!(
        (&refused["rpki"], &refused["ineligible"]),
        (&"invalid".into(), &"rejected by import policy".into()),
        "{refused}"
    );
    let table = daemon.show(&["routes", "--all"]).out;
    assert!(table.lines().next().is_some_and(|head| head.contains("  RPKI  ")), "{table}");
    let explained = daemon.show(&["routes", "203.0.113.8/29", "--explain"]).out;
    assert!(explained.contains("RPKI invalid ("), "{explained}");

    // Our own prefix is announced all the same, and that is said.
    let own = report()["prefixes"][0].clone();
    assert_eq!(
        (&own["prefix"], &own["state"], &own["announced"]),
        (&"192.0.2.0/24".into(), &"invalid".into(), &true.into())
    );
    assert_eq!(own["why"], "AS64500 may not announce it, only AS65551");
    let shown = daemon.show(&["rpki"]).out;
    assert!(shown.contains("192.0.2.0/24 AS65551"), "{shown}");
    let events = daemon.show(&["events", "--json"]).json();
    let at = |kind| kinds(&events).iter().position(|it| *it == kind);
    let (warned, announced) = (at("rpki-invalid"), at("announce"));
    assert!(warned.is_some() && warned < announced, "the warning comes first: {events}");
    let services = daemon.show(&["services"]).out;
    assert!(services.contains("RPKI") && services.contains("invalid"), "{services}");

    let origin: u64 = {
        let path = refused["as_path"].as_str().expect("a path").to_owned();
        path.split(' ').next_back().expect("an AS").parse().expect("a number")
    };
    desk.write("vrps.json", roas(&[("203.0.113.8/29", 29, origin), ("192.0.2.0/24", 24, 64500)]));
    until("the file is read again and the route comes in", SETTLED, || {
        let row = routes("203.0.113.8/29")[0].clone();
        if row["rpki"] == "valid" && row["ineligible"].is_null() { Ok(()) } else { Err(row) }
    });
    until("ours is valid", SETTLED, || {
        let own = report()["prefixes"][0].clone();
        if own["state"] == "valid" { Ok(()) } else { Err(own) }
    });
    let events = daemon.show(&["events", "--json"]).json();
    assert!(kinds(&events).contains(&"rpki-cleared"), "{events}");
    let left = daemon.show(&["neighbors", "left", "--json"]).json();
    assert_eq!(left["counters"]["established"], 1, "no session was reset: {left}");
}

fn a_site_that_gets_no_vrps_waits_and_then_announces(user: User) {
    let desk = Desk::new(user);
    let rpki = format!(
        "[rpki]\nvrp-file = \"{}\"\nwait = \"400ms\"\nreject-invalid = true\n\n[fleet]\n",
        desk.path("nothing.json").display()
    );
    desk.write("careful.toml", FLEET.replacen("[fleet]\n", &rpki, 1));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "careful.toml");
    daemon.announces();
    let events = daemon.show(&["events", "--json"]).json();
    let at = |kind| kinds(&events).iter().position(|it| *it == kind);
    assert!(at("rpki-late").is_some() && at("rpki-late") < at("announce"), "{events}");
    until("routes are taken as not-found", SETTLED, || {
        let rows = daemon.show(&["routes", "--json"]).json();
        let taken = rows.as_array().is_some_and(|rows| {
            rows.iter().any(|row| row["neighbor"] == "left" && row["ineligible"].is_null())
        });
        if taken { Ok(()) } else { Err(rows) }
    });
}

fn while_it_waits_for_vrps_it_answers_who_looks_and_refuses_orders(user: User) {
    let desk = Desk::new(user);
    let vrps = desk.path("vrps.json");
    let rpki = format!("[rpki]\nvrp-file = \"{}\"\nwait = \"60s\"\n\n[fleet]\n", vrps.display());
    desk.write("careful.toml", FLEET.replacen("[fleet]\n", &rpki, 1));
    let Some(lab) = lab_without_fra(&desk) else { return };
    let daemon = Daemon::start(&lab, "careful.toml");
    let waits = "waits for the first VRPs; nothing is announced yet; in ";
    let tell = |words: &[&str]| lab.exec("fra", &[&["anycast"], words].concat());
    until("it says that it waits", SETTLED, || {
        let status = tell(&["status"]);
        if status.code == Some(1) && status.out.contains(waits) { Ok(()) } else { Err(status) }
    });
    let sites = daemon.show(&["sites", "--json"]).json();
    assert_eq!(sites[0]["state"], "starting", "{sites}");
    assert_eq!(tell(&["status", "--json"]).out.matches("\"starting\"").count(), 1);
    for order in [
        &["drain"][..],
        &["undrain"],
        &["reload"],
        &["reload", "--dry-run"],
        &["confirm"],
        &["rollback"],
        &["prepend", "1"],
        &["clear", "damping"],
        &["upgrade"],
    ] {
        tell(order).failed_with(2, &[waits]);
    }
    let events = until("a neighbor is up", SETTLED, || {
        let events = daemon.show(&["events", "--json"]).json();
        if kinds(&events).contains(&"neighbor-up") { Ok(events) } else { Err(events) }
    });
    assert!(!kinds(&events).contains(&"announce"), "{events}");
    let sites = daemon.show(&["sites", "--json"]).json();
    assert!(sites[0]["established"].as_u64() >= Some(1), "{sites}");

    desk.write("vrps.json", roas(&[("192.0.2.0/24", 24, 64500)]));
    daemon.announces();
    let sites = daemon.show(&["sites", "--json"]).json();
    assert_eq!((&sites[0]["state"], &sites[0]["warning"]), (&"running".into(), &Value::Null));
    assert!(!kinds(&daemon.show(&["events", "--json"]).json()).contains(&"rpki-late"));
}
