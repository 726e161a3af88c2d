//! The command line.

mod plan;
mod reload;

use std::net::IpAddr;
use std::path::PathBuf;

use anycast_bgp::IpNet;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::drain::{ClearArguments, DrainArguments, UndrainArguments};
pub(crate) use plan::{
    AttackArguments, ExplainArguments, FailuresArguments, GroundArguments, LearnArguments,
    OptimiseArguments, PlanArguments, PlanCommand, ScoreArguments, TrafficArguments,
};
pub(crate) use reload::{ConfirmArguments, ReloadArguments, RollbackArguments};

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
    Show(ShowArguments),
    Neighbor(NeighborArguments),
    Prepend(PrependArguments),
    Drain(DrainArguments),
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

/// Runs one site: announces its prefixes by BGP while their services are healthy.
///
/// On SIGTERM or SIGINT it withdraws first, waits (`stop-wait`), then stops serving. On SIGHUP it
/// reads the fleet file again, as by `anycast reload`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast run fleet.toml --site fra
  anycast run fleet.toml --site fra --drained      maintenance: announce nothing yet
  ANYCAST_LOG=debug anycast run fleet.toml --site fra
  anycast run fleet.toml --site fra --log-format json

It needs CAP_NET_ADMIN (addresses and routes) and CAP_NET_BIND_SERVICE (port 179).")]
pub(crate) struct RunArguments {
    /// The fleet file.
    pub(crate) fleet: PathBuf,
    /// Which of its sites this is.
    #[arg(long)]
    pub(crate) site: String,
    /// Where the control socket goes [default: SITE.sock in /run/anycast; if not root, in
    /// $XDG_RUNTIME_DIR/anycast].
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Where it keeps what outlives it [default: the file's `state-dir`, else what systemd gives,
    /// else /var/lib/anycast; if not root, $XDG_STATE_HOME/anycast].
    #[arg(long, value_name = "PATH", env = "ANYCAST_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Start drained: announce nothing until `anycast undrain`.
    #[arg(long)]
    pub(crate) drained: bool,
    /// How logs are written [default: to journald if systemd has led standard error there, else
    /// text on standard error].
    #[arg(long, value_name = "FORMAT", env = "ANYCAST_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people, on standard error.
    Text,
    /// A JSON object a line, on standard error.
    Json,
    /// journald's own protocol, with fields.
    Journald,
}

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

/// Which running site is meant.
#[derive(Args, Debug)]
pub(crate) struct TargetArguments {
    /// The site, if several run on this machine; goes before --socket.
    #[arg(long, global = true)]
    pub(crate) site: Option<String>,
    /// Its control socket.
    #[arg(long, value_name = "PATH", env = "ANYCAST_SOCKET", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Its API over TCP, like https://fra.example.net:8443; goes before --site and --socket.
    #[arg(long, value_name = "URL", env = "ANYCAST_API", global = true)]
    pub(crate) api: Option<String>,
    /// With --api: holds the token that is shown.
    #[arg(long, value_name = "FILE", env = "ANYCAST_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// With --api: the authorities that may vouch for the site, in PEM [default: the system's].
    #[arg(long, value_name = "FILE", env = "ANYCAST_CA", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// With --api: the certificate that is shown, in PEM; with --certificate-key.
    #[arg(long, value_name = "FILE", env = "ANYCAST_CERTIFICATE", global = true)]
    pub(crate) certificate: Option<PathBuf>,
    /// With --api: the certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", env = "ANYCAST_CERTIFICATE_KEY", global = true)]
    pub(crate) certificate_key: Option<PathBuf>,
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
    #[arg(long, value_name = "NUMBER")]
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

/// Where a route leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Destination {
    Prefix(IpNet),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FamilyName {
    Ipv4,
    Ipv6,
}

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

/// Serves `whoami` on addresses: DNS and HTTP that tell who answers.
///
/// `anycast run` starts this by itself for services with `builtin = "whoami"`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  anycast whoami --fleet example --site fra --dns-port 5300 --http-port 8080 127.0.0.1")]
pub(crate) struct WhoamiArguments {
    /// The fleet's name.
    #[arg(long)]
    pub(crate) fleet: String,
    /// The site's name.
    #[arg(long)]
    pub(crate) site: String,
    /// Port of DNS over UDP and TCP; 0: none.
    #[arg(long, default_value_t = 53)]
    pub(crate) dns_port: u16,
    /// Port of HTTP; 0: none.
    #[arg(long, default_value_t = 80)]
    pub(crate) http_port: u16,
    /// End when standard input closes; says `ready` on standard output once the sockets are open.
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// The addresses to answer at.
    #[arg(required = true)]
    pub(crate) addresses: Vec<IpAddr>,
}

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

/// Reads a prefix or an address.
fn destination(text: &str) -> Result<Destination, String> {
    match text.parse() {
        Ok(address) => Ok(Destination::Address(address)),
        Err(_) => prefix(text).map(Destination::Prefix),
    }
}

/// Reads a prefix as it stands in a routing table.
fn prefix(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(address) => format!("an address without a length; write {}", IpNet::from(address)),
        Err(_) => "not a prefix; for example 192.0.2.0/24".to_owned(),
    })?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!("has host bits set; write {}", net.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_prefix_that_is_none_says_what_to_write() {
        for (text, want) in [
            ("192.0.2.0", "write 192.0.2.0/32"),
            ("192.0.2.1/24", "write 192.0.2.0/24"),
            ("2001:db8::/129", "not a prefix"),
            ("fra", "not a prefix"),
        ] {
            assert!(prefix(text).expect_err(text).contains(want), "{text}");
        }
        assert_eq!(
            prefix("2001:db8::/32").map(|net| net.to_string()).as_deref(),
            Ok("2001:db8::/32")
        );
    }

    #[test]
    fn a_destination_is_a_prefix_or_an_address() {
        for (text, want) in [
            ("192.0.2.0", Ok(Destination::Address("192.0.2.0".parse().expect("it is one")))),
            ("::", Ok(Destination::Address("::".parse().expect("it is one")))),
            ("192.0.2.0/24", Ok(Destination::Prefix("192.0.2.0/24".parse().expect("it is one")))),
            ("192.0.2.1/24", Err("has host bits set; write 192.0.2.0/24".to_owned())),
        ] {
            assert_eq!(destination(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_shown_and_of_which_site_may_be_said_in_any_order() {
        for line in [
            "anycast show neighbors left --site fra --json",
            "anycast show --site fra neighbors --json left",
            "anycast show --json --site fra neighbors left",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            let Command::Show(show) = cli.command else { panic!("{line}: not `show`") };
            assert!(matches!(&show.what, Shown::Neighbors { name: Some(name) } if name == "left"));
            assert_eq!((show.target.site.as_deref(), show.json), (Some("fra"), true), "{line}");
        }
        for line in [
            "anycast neighbor left clear soft --site fra",
            "anycast neighbor --site fra left clear soft",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            let Command::Neighbor(order) = cli.command else { panic!("{line}: not `neighbor`") };
            let soft = NeighborCommand::Clear { how: Some(ClearHow::Soft) };
            assert_eq!(format!("{:?}", order.order), format!("{soft:?}"), "{line}");
            assert_eq!(order.target.site.as_deref(), Some("fra"), "{line}");
        }
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for line in [
            "anycast show routes --received a --accepted b",
            "anycast show routes --received a --advertised b",
            "anycast show routes --explain",
            "anycast show routes --within",
            "anycast show routes 192.0.2.0/24 --explain --received a",
            "anycast show routes --family ipv5",
            "anycast neighbor left",
            "anycast neighbor left clear hard",
            "anycast neighbor left enable --message x",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn the_name_of_a_lab_may_stand_before_or_after_the_subcommand() {
        for line in [
            "anycast lab --name two status",
            "anycast lab status --name two",
            "anycast lab --name=two status",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            let Command::Lab(lab) = cli.command else { panic!("{line}: not `lab`") };
            assert_eq!(lab.name.as_deref(), Some("two"), "{line}");
            assert!(matches!(lab.command, Some(LabCommand::Status { .. })), "{line}");
            assert_eq!(lab.start, LabStartArguments::default(), "{line}");
        }
    }
}
