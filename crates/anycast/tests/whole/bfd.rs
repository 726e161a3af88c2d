//! BFD between sites and their routers: a site that dies without a word is left soon.

use serde_json::Value;

use crate::lab::{AT_HOME, FLEET, WORLD};
use crate::program::{Desk, SETTLED, User, as_each_user, until};

as_each_user! {
    the_shipped_scenario_holds
    sessions_are_shown
}

fn the_shipped_scenario_holds(user: User) {
    let desk = Desk::new(user);
    let scenario = desk.write("bfd.toml", include_str!("../../../../examples/bfd-scenario.toml"));
    desk.write("bfd-fleet.toml", include_str!("../../../../examples/bfd-fleet.toml"));
    let output = desk.run(&["lab", "run", &scenario]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert!(output.out.contains(" 0 steps failed"), "{}", output.out);
}

fn sessions_are_shown(user: User) {
    let desk = Desk::new(user);
    let fleet = FLEET.replace("export = \"fleet\"", "export = \"fleet\"\nbfd = true");
    let (fleet, world) = (desk.write("fleet.toml", fleet), desk.write("world.toml", WORLD));
    let Some(lab) = desk.lab(&[&fleet, "--world", &world]) else { return };
    lab.settles("everybody is at home", AT_HOME);
    until("both sessions are up", SETTLED, || {
        let output = lab.exec("fra", &["anycast", "show", "bfd", "--json"]);
        let rows: Value = serde_json::from_str(&output.out).map_err(|_| output.out.clone())?;
        let up = |row: &&Value| row["state"] == "Up" && row["detection_ms"] == 900.0;
        let up = rows.as_array().expect("a list").iter().filter(up).count();
        if up == 2 { Ok(()) } else { Err(output.out) }
    });
    let table = lab.exec("fra", &["anycast", "show", "bfd"]).out;
    assert!(table.starts_with("NEIGHBOR") && table.contains("900 ms"), "{table}");
    let neighbors = lab.exec("fra", &["anycast", "show", "neighbors"]).out;
    let line = neighbors.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(matches!(words[..], [_, _, _, "Established", "Up", ..]), "{neighbors}");
}
