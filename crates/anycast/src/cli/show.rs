//! `anycast show`, `status` and `why`.

use clap::{Args, Subcommand, ValueEnum};

use super::TargetArguments;
use super::target::{Destination, destination};

/// Shows how a running site is, on one screen: services, what each neighbor is told of each prefix
/// and why, drains, and what is not as it should be.
///
/// Without --site it shows every site that runs on this machine.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast status
  anycast status --site fra --json | jq '.[].troubles'
  anycast status > /dev/null || echo \"look at it\"

Exit codes: 0 all is well; 1 something is degraded, held, drained or down; 2 a site does not answer.")]
pub(crate) struct StatusArguments {
    /// Print JSON: a list with an entry for each site.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// Says why a prefix is announced as it is: from its services' checks to each neighbor.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast why 192.0.2.0/24
  anycast why 192.0.2.53               the prefix of the fleet that holds this address
  anycast why 192.0.2.0/24 --json

Exit codes: 0 announced plainly; 1 not, or held; 2 there is no such prefix, or no answer.")]
pub(crate) struct WhyArguments {
    /// A prefix of the fleet, or an address in it.
    #[arg(value_name = "PREFIX", value_parser = destination)]
    pub(crate) to: Destination,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// Shows what a running site knows.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast show neighbors
  anycast show neighbors transit-a
  anycast show routes 192.0.2.0/24 --explain
  anycast show services --site fra --json
  anycast show events --api https://fra.example.net:8443 --token-file fra.token")]
pub(crate) struct ShowArguments {
    /// What to show.
    #[command(subcommand)]
    pub(crate) what: Shown,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Shown {
    /// The fleet's sites, and how this one is.
    Sites,
    /// BGP neighbors and their sessions; with a name, everything of one.
    #[command(after_help = "\
Examples:
  anycast show neighbors                  a line for each
  anycast show neighbors transit-a        state, timers, capabilities, counters, last errors
  anycast show neighbors transit-a --json")]
    Neighbors {
        /// The neighbor, as the fleet file calls it.
        name: Option<String>,
    },
    /// BFD sessions with neighbors.
    Bfd,
    /// Monitoring stations, and how they keep up.
    Bmp,
    Routes(RoutesArguments),
    /// Services, their checks, and which prefixes are announced.
    Services,
    /// What falls too often: its penalty, and for how long it is kept down.
    Damping,
    /// The fleet's floor: what is announced only because of it, who is there, who may withdraw.
    Floor,
    /// What is drained: how far it is, until when, by whom and why.
    Drains,
    /// How connections are kept at their sites: packets passed on, taken back, refused.
    Affinity,
    /// Who may originate which prefix: caches, our own prefixes, received routes by state.
    Rpki,
    Events(EventsArguments),
}

/// What happened, newest last: with numbers, and the number of the event that each follows from.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast show events                     the last 1000
  anycast show events --after 41          those after number 41
  anycast show events --follow            those that happen from now on, as they happen
  anycast show events --follow --after 0 --json | jq -c 'select(.kind == \"withdraw\")'")]
pub(crate) struct EventsArguments {
    /// Only those after this number; older ones than the last 1000 come from disk.
    #[arg(long, value_name = "NUMBER", value_parser = event_number, allow_negative_numbers = true)]
    pub(crate) after: Option<u64>,
    /// Go on with each event as it happens, until Ctrl-C or the end of the daemon (exit code 2).
    /// With --json: an event a line.
    #[arg(long)]
    pub(crate) follow: bool,
}

/// The routing table, what a neighbor sent, or what it was told.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast show routes                                  the whole table
  anycast show routes 203.0.113.0/24                   the routes to exactly this prefix
  anycast show routes 203.0.113.7                      to the longest prefix with this address
  anycast show routes 203.0.113.0/24 --within          to it and all that is within it
  anycast show routes 203.0.113.0/24 --explain         and why the best is best
  anycast show routes --received transit-a             before import policy, as it came
  anycast show routes --accepted transit-a             after import policy
  anycast show routes --advertised transit-a           what it was told
  anycast show routes --family ipv6 --json | jq length")]
pub(crate) struct RoutesArguments {
    /// Only this prefix, or the longest one that holds this address.
    #[arg(value_name = "PREFIX", value_parser = destination)]
    pub(crate) to: Option<Destination>,
    /// Also every prefix within this one.
    #[arg(long, requires = "to", conflicts_with = "explain")]
    pub(crate) within: bool,
    /// What this neighbor sent, before import policy. LOCAL_PREF and the like, in which a neighbor
    /// of another AS has no say, are left out.
    #[arg(long, value_name = "NEIGHBOR", conflicts_with_all = ["accepted", "advertised", "explain"])]
    pub(crate) received: Option<String>,
    /// What import policy made of the routes that it took from this neighbor.
    #[arg(long, value_name = "NEIGHBOR", conflicts_with_all = ["advertised", "explain"])]
    pub(crate) accepted: Option<String>,
    /// What this neighbor was told.
    #[arg(long, value_name = "NEIGHBOR", conflicts_with = "explain")]
    pub(crate) advertised: Option<String>,
    /// Every candidate for the prefix, and why the best one is best.
    #[arg(long, requires = "to")]
    pub(crate) explain: bool,
    /// Also those that cannot become best (policy, loops, no way to the next hop); `--received`
    /// shows them anyway.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only routes of this family.
    #[arg(long)]
    pub(crate) family: Option<FamilyName>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FamilyName {
    Ipv4,
    Ipv6,
}

/// Reads the number of an event.
fn event_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "not the number of an event, which is what `anycast show events` has under NO; \
         0 is before them all"
            .to_owned()
    })
}
