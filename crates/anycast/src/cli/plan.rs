//! `anycast plan` and what follows it.

use std::path::PathBuf;

use anycast_bgp::{Asn, IpNet};
use anycast_plan::attack::Sources;
use anycast_plan::change::Change;
use anycast_plan::optimise::{Goal, Transits};
use clap::{Args, Subcommand, ValueEnum};

/// Predicts who will land at which site, on a graph of the Internet's networks.
///
/// Nothing is announced and nothing is sent. Without --topology it uses a small made-up Internet.
/// Where the best routes of a network lead to several sites, the plan says how likely each is and
/// never picks one. docs/plan.md says what the model can and cannot know.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  anycast plan fleet.toml                                    on a made-up Internet
  anycast plan fleet.toml --topology 20240801.as-rel2.txt.bz2 --networks as-geo.tsv.xz
  anycast plan fleet.toml --topology FILE --networks FILE --map map.png
  anycast plan fleet.toml --topology FILE --what-if 'site fra down' --what-if 'prepend nrt 2'
  anycast plan explain AS64501 fleet.toml --topology FILE    why there?
  anycast plan failures fleet.toml --load 40Gbps
  anycast plan attack fleet.toml --botnet mirai-like --size 800Gbps
  anycast plan optimise fleet.toml --minimise p95 --sites at-most 8

Exit codes: 0 there is a plan; 1 a failure or attack passes a site's capacity; 2 something is wrong."
)]
pub(crate) struct PlanArguments {
    #[command(subcommand)]
    pub(crate) command: Option<PlanCommand>,
    #[command(flatten)]
    pub(crate) ground: GroundArguments,
    /// How many networks are listed that land far from home, or move.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) list: usize,
    /// Draw the catchments and the latency of users, as .svg or .png.
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print a line for each network: its sites and how likely each is.
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    Explain(ExplainArguments),
    Failures(FailuresArguments),
    Attack(AttackArguments),
    #[command(alias = "optimize")]
    Optimise(OptimiseArguments),
    Learn(LearnArguments),
    Score(ScoreArguments),
}

/// What every plan is made on.
#[derive(Args, Debug)]
pub(crate) struct GroundArguments {
    /// The fleet file [default: the example fleet].
    pub(crate) fleet: Option<PathBuf>,
    /// Relations between networks, as CAIDA's serial-1 or serial-2 files: plain, gzip, bzip2 or xz.
    #[arg(long, value_name = "FILE", conflicts_with = "world")]
    pub(crate) topology: Option<PathBuf>,
    /// A world file of the lab as the topology; `default` is the one that the lab brings along.
    #[arg(long, value_name = "FILE")]
    pub(crate) world: Option<PathBuf>,
    /// A table of networks: `asn`, and what there is of `lat`, `lon`, `weight` (or `users`,
    /// `ipv4`), `name`, `city`.
    #[arg(long, value_name = "FILE")]
    pub(crate) networks: Option<PathBuf>,
    /// What `anycast plan learn` made.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Which prefix of the fleet [default: its first].
    #[arg(long)]
    pub(crate) prefix: Option<IpNet>,
    /// A change before anything else; may be given several times.
    #[arg(long = "what-if", value_name = "CHANGE", value_parser = change)]
    pub(crate) what_if: Vec<Change>,
    /// Go on without neighbors that the topology does not have.
    #[arg(long)]
    pub(crate) leave_out_unknown: bool,
    /// Length of fibre over that of the great circle.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5, value_parser = factor)]
    pub(crate) stretch: f64,
    /// How many kilometres farther a tied site is for it to be e times less likely.
    #[arg(long, value_name = "KM", default_value_t = 2000.0, value_parser = factor)]
    pub(crate) nearness: f64,
}

/// Explains one network: every route that it is offered, and why one won.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast plan explain AS64501 fleet.toml --topology FILE
  anycast plan explain 64501 fleet.toml --topology FILE --what-if 'site fra down' --json")]
pub(crate) struct ExplainArguments {
    /// The network.
    #[arg(value_name = "AS", value_parser = asn)]
    pub(crate) asn: Asn,
    #[command(flatten)]
    pub(crate) ground: GroundArguments,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Learns from what was observed while single sites announced: a model for later plans.
///
/// docs/plan-learning.md has the form of observations, the rules, and how right they were.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast plan learn --topology FILE --observed observed.toml --output model.toml
  anycast plan fleet.toml --topology FILE --model model.toml")]
pub(crate) struct LearnArguments {
    /// Relations between networks, as for `anycast plan`.
    #[arg(long, value_name = "FILE")]
    pub(crate) topology: PathBuf,
    /// The manifest of observations.
    #[arg(long, value_name = "FILE")]
    pub(crate) observed: PathBuf,
    /// Where the model goes; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// Scores predictions against measured outcomes, beside simple baselines.
///
/// `calibrated` knows an experiment's own single-site paths and no outcome; `ordered` also knows
/// what was measured in the other experiments. No outcome reaches its own prediction.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast plan score --topology FILE --observed observed.toml
  anycast plan score --topology FILE --observed observed.toml --networks networks.tsv --json")]
pub(crate) struct ScoreArguments {
    /// Relations between networks, as for `anycast plan`.
    #[arg(long, value_name = "FILE")]
    pub(crate) topology: PathBuf,
    /// The manifest of observations.
    #[arg(long, value_name = "FILE")]
    pub(crate) observed: PathBuf,
    /// A table of networks, as for `anycast plan`: where they are, for the baseline `nearest`. The
    /// manifest says where the sites are.
    #[arg(long, value_name = "FILE")]
    pub(crate) networks: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much traffic there is.
#[derive(Args, Debug)]
pub(crate) struct TrafficArguments {
    /// The users' traffic in all: 40Gbps.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) load: Option<u64>,
    /// What a site takes whose `capacity` the fleet file does not say.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) capacity: Option<u64>,
}

/// Each site and each neighbor down: where the load goes, and who passes capacity.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast plan failures fleet.toml --topology FILE
  anycast plan failures fleet.toml --topology FILE --load 40Gbps --capacity 20Gbps
  anycast plan failures fleet.toml --topology FILE --pairs --load 40Gbps --json

Exit codes: 0 no site passes its capacity; 1 some does; 2 something is wrong.")]
pub(crate) struct FailuresArguments {
    #[command(flatten)]
    pub(crate) ground: GroundArguments,
    /// Every two at once, too.
    #[arg(long)]
    pub(crate) pairs: bool,
    #[command(flatten)]
    pub(crate) traffic: TrafficArguments,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// An attack from many networks: where it lands, and what could be done.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast plan attack fleet.toml --topology FILE --networks FILE --botnet mirai-like --size 800Gbps
  anycast plan attack fleet.toml --topology FILE --sources seen.csv --size 300Gbps --load 40Gbps
  anycast plan attack fleet.toml --topology FILE --networks FILE --botnet region:asia --size 1Tbps

Exit codes: 0 no site passes its capacity; 1 some does; 2 something is wrong.")]
pub(crate) struct AttackArguments {
    #[command(flatten)]
    pub(crate) ground: GroundArguments,
    /// A table of the attack's sources: `asn` and `weight`.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "botnet",
        required_unless_present = "botnet"
    )]
    pub(crate) sources: Option<PathBuf>,
    /// Or a made-up one: `uniform`, `mirai-like`, `region:NAME`.
    #[arg(long)]
    pub(crate) botnet: Option<Sources>,
    /// How large it is.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) size: u64,
    #[command(flatten)]
    pub(crate) traffic: TrafficArguments,
    /// How many responses are listed.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) list: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Searches for a better configuration: sites, their neighbors, prepends.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast plan optimise fleet.toml --topology FILE --networks FILE --minimise median
  anycast plan optimise fleet.toml --topology FILE --networks FILE --minimise p95 \\
      --sites at-most 8 --prepend 0..3 --transits any --state search.json

With --state it can be stopped and goes on later. The same seed finds the same, on any number of
cores.")]
pub(crate) struct OptimiseArguments {
    #[command(flatten)]
    pub(crate) ground: GroundArguments,
    /// What must be little.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = GoalWord::Median)]
    pub(crate) minimise: GoalWord,
    /// How many sites may announce: `at-most N` [default: all].
    #[arg(long, num_args = 2, value_names = ["at-most", "N"])]
    pub(crate) sites: Option<Vec<String>>,
    /// Prepends of a site: `0..3` is none to three.
    #[arg(long, value_name = "RANGE", default_value = "0..3", value_parser = range)]
    pub(crate) prepend: (u8, u8),
    /// Which transit neighbors of a site that announces are told.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = TransitsWord::Any)]
    pub(crate) transits: TransitsWord,
    /// Where random numbers come from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many configurations are tried.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub(crate) evaluations: u64,
    /// Keep the search in this file, and go on where it ends.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Draw the best configuration, as .svg or .png.
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What must be little.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum GoalWord {
    /// The median round trip of users.
    Median,
    /// Its 95th percentile.
    P95,
    /// The highest load of a site over the mean.
    LoadImbalance,
}

impl From<GoalWord> for Goal {
    fn from(word: GoalWord) -> Self {
        match word {
            GoalWord::Median => Self::Median,
            GoalWord::P95 => Self::P95,
            GoalWord::LoadImbalance => Self::LoadImbalance,
        }
    }
}

/// Which transit neighbors.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum TransitsWord {
    /// Any of them.
    Any,
    /// Those that the fleet file tells.
    All,
    /// One, and all neighbors that are no transit.
    One,
}

impl From<TransitsWord> for Transits {
    fn from(word: TransitsWord) -> Self {
        match word {
            TransitsWord::Any => Self::Any,
            TransitsWord::All => Self::All,
            TransitsWord::One => Self::One,
        }
    }
}

fn change(text: &str) -> Result<Change, String> {
    text.parse().map_err(|error: anycast_plan::change::ChangeError| error.to_string())
}

fn asn(text: &str) -> Result<Asn, String> {
    anycast_plan::table::number(text).ok_or_else(|| "write a number such as AS64501".to_owned())
}

fn rate(text: &str) -> Result<u64, String> {
    anycast_fleet::value::parse_bit_rate(text)
        .ok_or_else(|| "write a number and a unit: 400Mbps, 10Gbps, 1.5Tbps".to_owned())
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|it| it.is_finite() && *it > 0.0);
    factor.ok_or_else(|| "write a number above 0".to_owned())
}

fn range(text: &str) -> Result<(u8, u8), String> {
    let wrong = || "write it like 0..3, with at most 20".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u8>().ok().filter(|n| *n <= 20).ok_or_else(wrong);
    let (from, to) = (number(from)?, number(to)?);
    if from <= to { Ok((from, to)) } else { Err(wrong()) }
}
