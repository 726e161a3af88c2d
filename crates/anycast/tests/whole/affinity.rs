//! Connections that live through route changes, as a scenario shows them; `tests/survival.rs` has all that
//! must survive.

use crate::program::{Desk, User, as_each_user};

as_each_user! {
    the_example_of_a_route_change_holds
}

fn the_example_of_a_route_change_holds(user: User) {
    let desk = Desk::new(user);
    desk.write("affinity-fleet.toml", include_str!("../../../../examples/affinity-fleet.toml"));
    desk.write("secrets/affinity-0", "5a".repeat(32));
    let scenario = include_str!("../../../../examples/affinity-scenario.toml");
    let scenario = desk.write("affinity-scenario.toml", scenario);
    let output = desk.run(&["lab", "run", &scenario]);
    if output.refused() {
        return;
    }
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
    assert!(output.out.contains(" 0 steps failed"), "{}", output.out);
    assert!(output.out.contains("✓ the download breaks"), "{}", output.out);
    assert_eq!(output.out.matches("✓ the connection survived").count(), 2, "{}", output.out);
    // Who decides about packets is always said, and the kernel does so for root alone.
    let by_links = output.out.contains("a stand-in: the lab's links decide");
    let by_programs = output.out.contains("the kernel's programs run: ");
    assert!(by_links != by_programs, "{}", output.out);
    assert!(by_links || user == User::Root, "{}", output.out);
}
