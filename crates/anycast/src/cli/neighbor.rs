//! `anycast neighbor` and `prepend`.

use clap::{Args, Subcommand, ValueEnum};

use super::TargetArguments;

/// Resets, refreshes, disables or enables the session with a neighbor of a running site.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast neighbor transit-a clear                     reset the session
  anycast neighbor transit-a clear soft                send all routes again, both ways; no reset
  anycast neighbor transit-a disable --message \"new router, back at noon\"
  anycast neighbor transit-a enable

`anycast show neighbors NAME` shows what became of it, `anycast show events` what was done when.
Exit codes: 0 done; 2 not, and why.")]
pub(crate) struct NeighborArguments {
    /// The neighbor, as the fleet file calls it.
    pub(crate) name: String,
    #[command(subcommand)]
    pub(crate) order: NeighborCommand,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NeighborCommand {
    /// Resets the session (Cease, Administrative Reset); it comes back by itself.
    ///
    /// With `soft` nothing is reset: the neighbor is asked for all of its routes again, if it
    /// knows ROUTE-REFRESH (RFC 2918), and is told all of ours again.
    #[command(after_help = "\
Examples:
  anycast neighbor transit-a clear
  anycast neighbor transit-a clear soft")]
    Clear {
        /// Refresh instead of resetting.
        how: Option<ClearHow>,
    },
    /// Ends the session (Cease, Administrative Shutdown) and makes none until `enable`.
    ///
    /// The fleet file is not changed: when the daemon is started again, the neighbor is enabled.
    #[command(after_help = "\
Examples:
  anycast neighbor transit-a disable
  anycast neighbor transit-a disable --message \"maintenance until noon UTC\"")]
    Disable {
        /// What the neighbor's operator reads (RFC 9003); at most 255 octets.
        #[arg(long, default_value = "")]
        message: String,
    },
    /// Takes a `disable` back.
    #[command(after_help = "\
Example:
  anycast neighbor transit-a enable")]
    Enable,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ClearHow {
    /// Send all routes again, both ways; the session stays.
    Soft,
}

/// Makes a running site announce with a longer AS path, to attract less traffic.
///
/// The count is on top of what the fleet file says, lasts until the daemon ends, and replaces an
/// earlier one; 0 undoes it. No session is reset.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast prepend 2
  anycast prepend 2 --neighbor transit-a
  anycast prepend 0")]
pub(crate) struct PrependArguments {
    /// How many times more our ASN is prepended.
    #[arg(value_parser = clap::value_parser!(u8).range(0..=50))]
    pub(crate) count: u8,
    /// Towards this neighbor only.
    #[arg(long)]
    pub(crate) neighbor: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}
