//! `anycast upgrade`.

use clap::Args;

use super::TargetArguments;

/// Puts the program's file, which may be a newer version by now, in the place of the running
/// daemon, while its sessions go on: neighbors notice nothing, and no route is withdrawn.
///
/// The new program is tried first: it must run, take the fleet file, and be able to go on with what
/// the running one leaves. If it cannot, nothing has changed. What is on disk must be in force:
/// `anycast reload` comes first. The daemon stays the same process, and its built-in services run
/// on. Only neighbors with `graceful-restart = "off"` have their session reset.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast upgrade --dry-run                  is the new program fit for it?
  anycast upgrade                            after the new file was put in place
  anycast upgrade --site fra --json

Exit codes: 0 the new program runs; 1 it does, and sessions were reset that were to go on; 2 nothing
has changed, or it does not answer.")]
pub(crate) struct UpgradeArguments {
    /// Only try the new program.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}
