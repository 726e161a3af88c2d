//! `simulate`: fleets under faults, by their seeds.

use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use anycast_simulation::{Options, Plan, Report, minimise, run};
use clap::Parser;

/// So often the state of long work is told.
const PROGRESS: Duration = Duration::from_secs(10);

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
    /// So many at once [default: as many as there are processors].
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Tell what happens.
    #[arg(long)]
    trace: bool,
    /// Leave out faults without which it fails all the same.
    #[arg(long)]
    minimise: bool,
}

/// What the fleets so far have come to.
#[derive(Default)]
struct Total {
    fleets: u64,
    failed: u64,
    report: Report,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let next = Mutex::new(args.seed..args.seed.saturating_add(args.seeds));
    let total = Mutex::new(Total::default());
    let jobs = args.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZero::get);
    let (sender, is_over) = mpsc::channel::<()>();
    let written = std::thread::scope(|scope| {
        if std::io::stderr().is_terminal() {
            let total = &total;
            scope.spawn(move || {
                while is_over.recv_timeout(PROGRESS) == Err(RecvTimeoutError::Timeout) {
                    let Total { fleets, failed, report } = &*lock(total);
                    let hours = report.fleet_minutes / 60;
                    eprintln!(
                        "{fleets} of {} fleets, {hours} fleet-hours, {failed} failed",
                        args.seeds
                    );
                }
            });
        }
        let workers: Vec<_> =
            (0..jobs).map(|_| scope.spawn(|| work(&args, &next, &total))).collect();
        let written = workers.into_iter().try_for_each(|it| it.join().expect("it catches panics"));
        drop(sender);
        written
    });
    let total = lock(&total);
    let fleets = args.seeds;
    let last = format!("{} of {fleets} fleets failed; {}\n", total.failed, words(&total.report));
    let written = written.and_then(|()| std::io::stdout().write_all(last.as_bytes()));
    // Whoever reads no more wants no more.
    if total.failed == 0 && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one fleet after the other until there are none left or nobody reads.
fn work(args: &Args, next: &Mutex<Range<u64>>, total: &Mutex<Total>) -> io::Result<()> {
    let options = Options { sites: args.sites, hours: args.hours };
    loop {
        let Some(seed) = lock(next).next() else { return Ok(()) };
        let mut plan = Plan::new(seed, options);
        if args.minimise {
            plan = minimise(&plan);
        }
        let outcome = run(&plan, args.trace);
        let mut lines = outcome.story;
        if let Some(failure) = &outcome.failure {
            lines.push(format!("seed {seed}: {} sites, {failure}", plan.sites()));
            if args.minimise {
                let faults = plan.faults.iter();
                lines.extend(faults.map(|(at, it)| format!("  {:>12.6} {it:?}", at.as_secs_f64())));
            }
        }
        let mut total = lock(total);
        total.fleets += 1;
        total.failed += u64::from(outcome.failure.is_some());
        total.report += outcome.report;
        // While the lock is held, lest the stories of two mix.
        let mut out = std::io::stdout().lock();
        if let Err(error) = lines.iter().try_for_each(|line| writeln!(out, "{line}")) {
            *lock(next) = 0..0;
            return Err(error);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
