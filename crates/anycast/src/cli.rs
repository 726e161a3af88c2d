//! The command line.

mod lab;
mod neighbor;
mod plan;
mod reload;
mod run;
mod show;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::affinity::AffinityArguments;
use crate::drain::{ClearArguments, DrainArguments, UndrainArguments};
pub(crate) use lab::{LabArguments, LabCommand, LabStartArguments};
pub(crate) use neighbor::{ClearHow, NeighborArguments, NeighborCommand, PrependArguments};
pub(crate) use plan::{
    AttackArguments, ExplainArguments, FailuresArguments, GroundArguments, LearnArguments,
    OptimiseArguments, PlanArguments, PlanCommand, ScoreArguments, TrafficArguments,
};
pub(crate) use reload::{ConfirmArguments, ReloadArguments, RollbackArguments};
pub(crate) use run::{LogFormat, RunArguments, WhoamiArguments};
pub(crate) use show::{
    EventsArguments, FamilyName, RoutesArguments, ShowArguments, Shown, StatusArguments,
    WhyArguments,
};
pub(crate) use target::{Destination, TargetArguments};
pub(crate) use upgrade::UpgradeArguments;

/// Runs, rehearses and checks anycast networks: the same address served from many places.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
Start here:
  anycast lab                          an Internet on this machine, with five anycast sites
  anycast lab run tour                 the guided tour
  anycast check fleet.toml             is the fleet file sound?
  anycast plan fleet.toml              who will land at which site
  anycast run fleet.toml --site fra    the daemon of one site
  anycast status                       how a running site is
  anycast show neighbors               what it sees
  anycast reload --confirm-within 60s  the changed file in force, or undone by itself
  anycast upgrade                      a newer program in its place; no neighbor notices
  anycast neighbor transit-a disable   ends a session until it is enabled again
  anycast drain --for 2h               leads traffic away from a site, then withdraws

Exit codes: 0 all is well; 1 an expectation did not hold; 2 something is wrong."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(CheckArguments),
    Run(RunArguments),
    Status(StatusArguments),
    Why(WhyArguments),
    Reload(ReloadArguments),
    Confirm(ConfirmArguments),
    Rollback(RollbackArguments),
    Upgrade(UpgradeArguments),
    /// Which state of a daemon this program can go on with.
    #[command(hide = true)]
    HandoverVersion,
    Show(ShowArguments),
    Neighbor(NeighborArguments),
    Prepend(PrependArguments),
    Drain(DrainArguments),
    Affinity(AffinityArguments),
    Undrain(UndrainArguments),
    Clear(ClearArguments),
    Mrt(MrtArguments),
    Plan(Box<PlanArguments>),
    Lab(LabArguments),
    Whoami(WhoamiArguments),
}

/// Reads a fleet file and prints every problem in it at once.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast check fleet.toml
  anycast check --strict --json fleet.toml
  anycast check fleet.toml --vrps vrps.json   will others drop what we announce?

Exit codes: 0 sound; 1 warnings and --strict; 2 errors.")]
pub(crate) struct CheckArguments {
    /// The fleet file.
    pub(crate) fleet: PathBuf,
    /// VRPs as validators write them in JSON: warn of prefixes that they call invalid.
    #[arg(long, value_name = "FILE")]
    pub(crate) vrps: Option<PathBuf>,
    /// Make warnings fail too (exit code 1).
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the problems as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Writes what a running site has in files that other tools read (MRT, RFC 6396).
#[derive(Args, Debug)]
pub(crate) struct MrtArguments {
    #[command(subcommand)]
    pub(crate) command: MrtCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MrtCommand {
    /// Writes the whole table (TABLE_DUMP_V2): all routes that may become best, our own too.
    #[command(after_help = "\
Examples:
  anycast mrt dump rib.mrt
  anycast mrt dump --received - | bgpdump -m -")]
    Dump {
        /// The file, which is replaced; `-`: standard output.
        file: PathBuf,
        /// Instead: all that neighbors sent, before import policy.
        #[arg(long)]
        received: bool,
        #[command(flatten)]
        target: TargetArguments,
    },
}
