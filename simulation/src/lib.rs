//! Whole fleets in virtual time: the real steering of each site, real BGP towards its neighbors,
//! simulated checks, links, clocks and shared state, under random faults. What must always be true
//! is looked at after each step; a seed gives the same story each time.
//!
//! | module | what it is |
//! |---|---|
//! | `plan` | what a seed stands for: a fleet, its rules, and what befalls it |
//! | `world` | the loop over timed events, and the faults |
//! | `site` | a site's daemon around its steering |
//! | `checks` | services and their checks |
//! | `store` | the fleet's shared state and each site's way to it |
//! | `wire` | neighbors: sessions, tables and links |
//! | `judge` | what must always be true |
//! | `random` | chance from a seed |

mod checks;
mod judge;
mod plan;
mod random;
mod site;
mod store;
mod wire;
mod world;

use std::ops::AddAssign;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

pub use judge::Failure;
pub use plan::{Fault, Health, Options, Plan, Sabotage, Way};

/// What was done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Minutes that fleets have lived.
    pub fleet_minutes: u64,
    /// Minutes that sites have lived.
    pub site_minutes: u64,
    /// Faults and operators' orders.
    pub faults: u64,
    /// Steps of the loop.
    pub events: u64,
    /// How often a site was judged.
    pub judged: u64,
    /// What neighbors were told otherwise than before.
    pub tells: u64,
    /// BGP sessions that came up, in the runs that have whole sessions.
    pub sessions: u64,
    /// Daemons that were frozen.
    pub freezes: u64,
    /// Permits that the shared state took in.
    pub permits: u64,
    /// Writes of a ledger that came too late.
    pub conflicts: u64,
    /// Permits with which the fleet fell below its floor because others had stopped, unheard,
    /// within the lease.
    pub unknown_below: u64,
    /// Withdrawals by sites that could not ask.
    pub alone: u64,
    /// Those of them with which the fleet fell below its floor.
    pub alone_below: u64,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.fleet_minutes += other.fleet_minutes;
        self.site_minutes += other.site_minutes;
        self.faults += other.faults;
        self.events += other.events;
        self.judged += other.judged;
        self.tells += other.tells;
        self.sessions += other.sessions;
        self.freezes += other.freezes;
        self.permits += other.permits;
        self.conflicts += other.conflicts;
        self.unknown_below += other.unknown_below;
        self.alone += other.alone;
        self.alone_below += other.alone_below;
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub report: Report,
    /// The first thing that was not as it must be.
    pub failure: Option<Failure>,
    /// What happened, if it was to be told.
    pub story: Vec<String>,
}

/// Runs a plan to its end, or until something is not as it must be.
#[must_use]
pub fn run(plan: &Plan, tell: bool) -> Outcome {
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| world::World::new(plan, tell).run()));
    match ran {
        Ok((report, failure, story)) => Outcome { report, failure, story },
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            let what = format!("panic: {}", words.unwrap_or_default());
            let failure = Failure { at: Duration::ZERO, site: "the program".to_owned(), what };
            Outcome { report: Report::default(), failure: Some(failure), story: Vec::new() }
        }
    }
}

/// Leaves out of a plan that fails what it fails without, as long as what goes wrong begins with
/// the same words: halves, quarters and so on down to single faults.
#[must_use]
pub fn minimise(plan: &Plan) -> Plan {
    let kind = |plan: &Plan| {
        let failure = run(plan, false).failure;
        failure.map(|it| it.what.split(' ').take(2).collect::<Vec<_>>().join(" "))
    };
    let wanted = kind(plan);
    let mut best = plan.clone();
    let mut size = best.faults.len().div_ceil(2);
    while size > 0 {
        let before = best.faults.len();
        let mut at = 0;
        while at < best.faults.len() {
            let mut thinner = best.clone();
            let end = (at + size).min(thinner.faults.len());
            thinner.faults.drain(at..end);
            if kind(&thinner) == wanted {
                best = thinner;
            } else {
                at += size;
            }
        }
        // What was needed beside another fault may not be without it.
        if size > 1 || best.faults.len() == before {
            size /= 2;
        }
    }
    best
}
