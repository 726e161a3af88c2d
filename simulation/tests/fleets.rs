//! Ten thousand fleet-hours in each test run, and whether what would be wrong is found.

use anycast_simulation::{Options, Plan, Report, Sabotage, minimise, run};

/// As many fleets as it takes for `hours` fleet-hours, from `seed` on.
fn simulate(seed: u64, hours: u64) {
    let mut total = Report::default();
    let mut large = 0;
    for seed in seed.. {
        let mut plan = Plan::new(seed, Options::default());
        if plan.sites() > 12 {
            // What sites tell each other grows with the square of their number: a few of these, for
            // three hours, take as long as all the others.
            large += 1;
            if large % 4 != 1 {
                continue;
            }
            plan = Plan::new(seed, Options { hours: Some(3), sites: Some(plan.sites()) });
        }
        let option = if plan.sites() > 12 { " --hours 3" } else { "" };
        let outcome = run(&plan, false);
        if let Some(failure) = outcome.failure {
            panic!(
                "seed {seed}: {failure}\nits story: cargo run -p anycast-simulation --bin simulate \
                 -- --seed {seed}{option} --trace"
            );
        }
        total += outcome.report;
        if total.fleet_minutes >= hours * 60 {
            println!("from seed {}: {total:#?}", seed + 1);
            break;
        }
    }
    // Something has happened in these hours, and to a large fleet too.
    assert!(total.faults > hours && total.permits > 0 && total.sessions > 0, "{total:?}");
    assert!(large > 0 && total.freezes > 0, "{large} large ones, {total:?}");
}

#[test]
fn what_must_always_be_true_is_in_the_first_2500_fleet_hours() {
    simulate(1, 2_500);
}

#[test]
fn what_must_always_be_true_is_in_the_second_2500_fleet_hours() {
    simulate(10_001, 2_500);
}

#[test]
fn what_must_always_be_true_is_in_the_third_2500_fleet_hours() {
    simulate(20_001, 2_500);
}

#[test]
fn what_must_always_be_true_is_in_the_fourth_2500_fleet_hours() {
    simulate(30_001, 2_500);
}

#[test]
fn a_seed_gives_the_same_story_each_time() {
    let options = Options { sites: Some(4), hours: Some(3) };
    for seed in 1..4 {
        let plan = Plan::new(seed, options);
        let (one, other) = (run(&plan, true), run(&plan, true));
        assert_eq!(one.report, other.report);
        assert!(one.story.len() > 20);
        assert_eq!(one.story, other.story);
    }
}

/// The judge is no use if it finds nothing: what is wrong with a daemon comes to light in one of
/// a few fleets, in these words.
#[test]
fn daemons_that_do_wrong_are_found_out() {
    let table = [
        (Sabotage::ForgetsToWithdraw, "and was told None"),
        (Sabotage::GrantsEverything, "withdrawn without a permit"),
        (Sabotage::TrustsTheLedger, "withdrawn without a permit"),
        (Sabotage::KeepsPermits, "its name is in the ledger"),
        (Sabotage::HidesFailures, "plainly; its services are dead for long"),
        (Sabotage::StopsAtOnce, "stops while a neighbor holds"),
    ];
    for (sabotage, words) in table {
        let found = (1..20).find_map(|seed| {
            let options = Options { sites: Some(4), hours: Some(4) };
            let mut plan = Plan::new(seed, options);
            plan.sabotage = Some(sabotage);
            run(&plan, false).failure
        });
        let found = found.unwrap_or_else(|| panic!("{sabotage:?} is not found"));
        assert!(found.what.contains(words), "{sabotage:?}: {found}");
    }
}

#[test]
fn a_failure_is_reduced_to_the_faults_that_it_takes() {
    let options = Options { sites: Some(3), hours: Some(3) };
    let plans = (1..20).map(|seed| {
        let mut plan = Plan::new(seed, options);
        plan.sabotage = Some(Sabotage::HidesFailures);
        plan
    });
    // What fails, in its first two words.
    let kind = |plan: &Plan| {
        let failure = run(plan, false).failure?;
        Some(failure.what.split(' ').take(2).collect::<Vec<_>>().join(" "))
    };
    let mut counts = Vec::new();
    for plan in plans.filter(|it| it.faults.len() > 5) {
        let Some(wanted) = kind(&plan) else { continue };
        let least = minimise(&plan);
        assert_eq!(kind(&least).as_ref(), Some(&wanted));
        for at in 0..least.faults.len() {
            let mut less = least.clone();
            less.faults.remove(at);
            assert_ne!(kind(&less).as_ref(), Some(&wanted), "{at} of {:?}", least.faults);
        }
        counts.push(least.faults.len());
    }
    assert!(counts.contains(&1), "one fault is enough for one of them: {counts:?}");
}
