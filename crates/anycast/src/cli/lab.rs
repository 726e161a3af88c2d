//! `anycast lab`.

use std::path::PathBuf;

use anycast_bgp::IpNet;
use clap::{Args, Subcommand};

use super::target::prefix;

/// An Internet on this machine: ASes, cities, latencies, the fleet's sites and clients.
///
/// It needs no root and no configuration, and leaves nothing behind however it ends.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast lab                                    the built-in Internet and fleet
  anycast lab fleet.toml --world world.toml      your own
  anycast lab run tour                           the guided tour
  anycast lab run scenario.toml                  a scenario, exit code 0 if all of it held
While a lab runs, from another terminal:
  anycast lab status
  anycast lab exec tokyo -- dig +short @192.0.2.1 CH TXT id.server
  anycast lab freeze nrt")]
pub(crate) struct LabArguments {
    #[command(subcommand)]
    pub(crate) command: Option<LabCommand>,
    #[command(flatten)]
    pub(crate) start: LabStartArguments,
    /// Tells labs of one user apart, if several run at once.
    #[arg(long, global = true, env = "ANYCAST_LAB")]
    pub(crate) name: Option<String>,
}

#[derive(Args, Clone, Debug, Eq, PartialEq, Default)]
pub(crate) struct LabStartArguments {
    /// The fleet file [default: the built-in example].
    pub(crate) fleet: Option<PathBuf>,
    /// The world file [default: the built-in example].
    #[arg(long)]
    pub(crate) world: Option<PathBuf>,
    /// Print the table as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the table, then end.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Runs a scenario in a lab of its own: a file, or `tour`, which is built in.
    Run {
        /// The scenario file, or `tour`.
        scenario: String,
        /// The fleet file [default: what the scenario names, else the built-in example].
        #[arg(long)]
        fleet: Option<PathBuf>,
        /// The world file [default: what the scenario names, else the built-in example].
        #[arg(long)]
        world: Option<PathBuf>,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows who reaches which site now.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the nodes and links.
    Topology {
        /// Every address of each node, too.
        #[arg(long)]
        wide: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows every route that a router has to a prefix, and why the best one is best.
    Routes {
        /// A router, a site, or a client (then: the router that serves it).
        node: String,
        /// The prefix [default: the one that the clients ask].
        #[arg(value_parser = prefix)]
        prefix: Option<IpNet>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs a command in a node.
    Exec {
        /// The node: a client, a router or a site.
        node: String,
        /// The command and its arguments.
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
    /// Stops a node: a site's daemon gets SIGTERM, a router ends its sessions.
    Stop {
        /// The node.
        node: String,
    },
    /// Starts a stopped node again.
    Start {
        /// The node.
        node: String,
    },
    /// Freezes a node without a word: no process of it runs, no packet passes.
    Freeze {
        /// The node.
        node: String,
    },
    /// Thaws a frozen node.
    Thaw {
        /// The node.
        node: String,
    },
    /// Kills (SIGKILL) the process of a built-in service at a site; the site starts it again.
    Kill {
        /// The site.
        site: String,
        /// The service [default: all built-in ones].
        service: Option<String>,
    },
    /// Cuts a link: both ends lose their carrier.
    Cut {
        /// The link, as `topology` names it.
        link: String,
    },
    /// Mends a cut link.
    Mend {
        /// The link.
        link: String,
    },
    /// Makes a site prepend: see `anycast prepend`.
    Prepend {
        /// The site.
        site: String,
        /// How many times more its ASN is prepended; 0 takes it back.
        #[arg(value_parser = clap::value_parser!(u8).range(0..=50))]
        count: u8,
    },
    /// Shows changes of catchments as they happen, until Ctrl-C.
    Watch {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
}
