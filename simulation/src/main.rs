//! `simulate`: fleets under faults, by their seeds.

use std::process::ExitCode;

use anycast_simulation::{Options, Plan, Report, minimise, run};
use clap::Parser;

/// Runs whole fleets in virtual time under random faults, and looks after each step whether what
/// must always be true is.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  simulate --seed 1 --seeds 1000        a thousand fleets
  simulate --seed 4711 --trace          the story of one
  simulate --seed 4711 --minimise       the same with no more faults than it takes to fail")]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// So many hours each, three at least [default: 3 to 12, by the seed].
    #[arg(long)]
    hours: Option<u32>,
    /// So many sites each [default: 1 to 50, by the seed].
    #[arg(long)]
    sites: Option<usize>,
    /// Tell what happens.
    #[arg(long)]
    trace: bool,
    /// Leave out faults without which it fails all the same.
    #[arg(long)]
    minimise: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options { sites: args.sites, hours: args.hours };
    let mut total = Report::default();
    let mut failed = 0;
    for seed in args.seed..args.seed.saturating_add(args.seeds) {
        let mut plan = Plan::new(seed, options);
        if args.minimise {
            plan = minimise(&plan);
        }
        let outcome = run(&plan, args.trace);
        for line in &outcome.story {
            println!("{line}");
        }
        total += outcome.report;
        if let Some(failure) = outcome.failure {
            failed += 1;
            println!("seed {seed}: {} sites, {failure}", plan.sites());
            if args.minimise {
                for (at, fault) in &plan.faults {
                    println!("  {:>12.6} {fault:?}", at.as_secs_f64());
                }
            }
        }
    }
    println!("{failed} of {} fleets failed; {}", args.seeds, words(&total));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn words(total: &Report) -> String {
    format!(
        "{} fleet-hours, {} site-hours, {} faults, {} events, judged {} times, {} changes told, \
         {} sessions came up\n\
         {} permits taken, {} writes came too late, {} permits fell below the floor by what could \
         not be known; {} withdrawals alone, {} of them below the floor",
        total.fleet_minutes / 60,
        total.site_minutes / 60,
        total.faults,
        total.events,
        total.judged,
        total.tells,
        total.sessions,
        total.permits,
        total.conflicts,
        total.unknown_below,
        total.alone,
        total.alone_below,
    )
}
