//! `anycast drain`, `anycast undrain`, `anycast show drains` and `anycast clear`.

use std::process::ExitCode;
use std::time::Duration;

use anycast_site::client::{Client, ClientError};
use anycast_site::control::default_socket;
use anycast_site::status::{ClearOrder, DrainOrder, DrainRow, UndrainOrder};
use clap::{Args, Subcommand};

use crate::cli::TargetArguments;
use crate::run::runtime;
use crate::show;
use crate::table::{self, span};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// Leads traffic away from a running site, withdraws, and serves on what still comes.
///
/// First what is announced is made the last choice (`[drain]` in the fleet file: GRACEFUL_SHUTDOWN
/// and prepends). When the traffic has gone, or after the longest wait, it is withdrawn. Where
/// connections are kept (`[affinity]`), those that there are run on here while new ones go
/// elsewhere. Services and sessions stay as they are. A drain outlives a restart of the daemon; `anycast undrain` or
/// the end of `--for` takes it back.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(after_help = "\
Examples:
  anycast drain                                        this site, until `anycast undrain`
  anycast drain --for 2h --reason \"new disks\" --wait
  anycast drain service dns --now                      what cannot do without it, at once
  anycast drain neighbor transit-a                     towards one neighbor
  anycast drain --json

`anycast show drains` shows what is drained. The command returns at once, with --wait when nothing
is announced any more and the connections that are kept have ended.
Exit codes: 0 done; 1 the drain was ended while we waited; 2 it was not begun, and why.")]
pub(crate) struct DrainArguments {
    /// The site [the default], `service NAME`, `neighbor NAME`, or a name that only one of these
    /// has.
    #[arg(value_name = "WHAT", num_args = 0..=2)]
    what: Vec<String>,
    /// It ends by itself after this time: 90s, 30m, 2h, 1h30m, 3d.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    lasts: Option<Duration>,
    /// Why: shown with the drain and in the events.
    #[arg(long, default_value = "")]
    reason: String,
    /// Withdraw at once, without leading traffic away first.
    #[arg(long)]
    now: bool,
    /// Withdraw even if the fleet falls below its floor.
    #[arg(long)]
    force: bool,
    /// Follow it until nothing is announced any more.
    #[arg(long)]
    wait: bool,
    /// Print JSON; with --wait an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArguments,
}

/// Ends a drain: what is healthy is announced again.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast undrain                      the site
  anycast undrain service dns
  anycast undrain transit-a
  anycast undrain --all

Exit codes: 0 done; 2 not, and why.")]
pub(crate) struct UndrainArguments {
    /// As of `anycast drain`.
    #[arg(value_name = "WHAT", num_args = 0..=2)]
    what: Vec<String>,
    /// End every drain there is.
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// Print what is drained no more as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArguments,
}

/// Ends what a running site has imposed on itself.
#[derive(Args, Debug)]
pub(crate) struct ClearArguments {
    #[command(subcommand)]
    what: Cleared,
}

#[derive(Debug, Subcommand)]
enum Cleared {
    /// Ends damping: what falls too often may rise again, and its penalty is forgotten.
    #[command(after_help = "\
Examples:
  anycast clear damping                    of everything
  anycast clear damping dns                of a service
  anycast clear damping 192.0.2.0/24       of a prefix

`anycast show damping` shows the penalties. Exit codes: 0 done; 2 not, and why.")]
    Damping {
        /// The service or prefix [default: all].
        name: Option<String>,
        #[command(flatten)]
        target: TargetArguments,
    },
}

/// A time span as people write it.
fn time(text: &str) -> Result<Duration, String> {
    const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
    let wrong = || "write it like 90s, 30m, 2h, 1h30m or 3d".to_owned();
    let mut seconds = 0_u64;
    let mut units = UNITS.iter();
    let mut rest = text;
    while let Some(digits) = rest.find(|it: char| !it.is_ascii_digit()) {
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next().ok_or_else(wrong)?;
        // The larger before the smaller, each once.
        let (_, each) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(*each).ok_or_else(wrong)?;
        seconds = seconds.checked_add(part).ok_or_else(wrong)?;
        rest = &tail[unit.len_utf8()..];
    }
    match (seconds, rest) {
        (0, "") if !text.is_empty() => Err("must be longer than zero".to_owned()),
        (seconds, "") if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

/// The site that is meant: if several run here, `anycast drain fra` means that of fra.
fn client(target: &TargetArguments, what: &[String]) -> Result<Client, String> {
    match (show::client(target), what) {
        (Err(ClientError::SeveralSites(_)), [name]) if default_socket(name).exists() => {
            Ok(Client::new(default_socket(name)))
        }
        (found, _) => found.map_err(|error| error.to_string()),
    }
}

pub(crate) fn drain(arguments: &DrainArguments) -> Result<ExitCode, String> {
    let client = client(&arguments.target, &arguments.what)?;
    let order = DrainOrder {
        target: arguments.what.join(" "),
        for_seconds: arguments.lasts.map(|time| time.as_secs_f64()),
        reason: arguments.reason.clone(),
        now: arguments.now,
        force: arguments.force,
    };
    let begin_and_follow = async {
        let begun: DrainRow = client.post_for("/v1/drain", &order).await?;
        say(&begun, arguments);
        if arguments.wait { follow(&client, begun, arguments).await } else { Ok(ExitCode::SUCCESS) }
    };
    runtime()?.block_on(begin_and_follow).map_err(|error: ClientError| error.to_string())
}

async fn follow(
    client: &Client,
    begun: DrainRow,
    arguments: &DrainArguments,
) -> Result<ExitCode, ClientError> {
    let mut last = begun;
    while last.stage != "drained" {
        tokio::time::sleep(LOOK).await;
        let rows: Vec<DrainRow> = client.get("/v1/drains").await?;
        let Some(row) = rows.into_iter().find(|row| row.target == last.target) else {
            eprintln!("anycast: {} is drained no more", subject(&last.target));
            return Ok(ExitCode::from(1));
        };
        let news = (&row.stage, row.packets_per_second, row.connections, &row.held);
        if row.stage == "drained" && !arguments.json {
            println!("{}; it took {}", sentence(&row), span(row.since_seconds));
        } else if news != (&last.stage, last.packets_per_second, last.connections, &last.held) {
            say(&row, arguments);
        }
        last = row;
    }
    Ok(ExitCode::SUCCESS)
}

fn say(row: &DrainRow, arguments: &DrainArguments) {
    if !arguments.json {
        println!("{}", sentence(row));
    } else if arguments.wait {
        println!("{}", serde_json::to_string(row).unwrap_or_default());
    } else {
        println!("{}", serde_json::to_string_pretty(row).unwrap_or_default());
    }
}

/// How a drain stands, on one line.
fn sentence(row: &DrainRow) -> String {
    let subject = subject(&row.target);
    let traffic = match row.packets_per_second {
        Some(rate) => format!("; {rate:.0} packets per second still come"),
        None => String::new(),
    };
    let stands = match (row.stage.as_str(), row.leaves_for_seconds) {
        ("leaving", Some(left)) => format!(
            "{subject} is being left: announced as the last choice, withdrawn in {} at the \
             latest{traffic}",
            span(left)
        ),
        ("finishing", _) => format!(
            "{subject} is withdrawn: new connections go elsewhere, {}{traffic}",
            run_on(row)
        ),
        ("drained", _) => format!("{subject} is drained: nothing is announced any more{traffic}"),
        (stage, _) if row.held.is_empty() => format!("{subject} is {stage}{traffic}"),
        (stage, _) => {
            format!("{subject} is {stage}; still announced is {}{traffic}", row.held.join("; "))
        }
    };
    if row.kept {
        stands
    } else {
        format!("{stands} (it could not be written down: it ends with the daemon)")
    }
}

/// How many connections run on, and for how long they are waited for.
fn run_on(row: &DrainRow) -> String {
    let connections = match row.connections {
        Some(1) => "1 connection runs on here".to_owned(),
        Some(many) => format!("{many} connections run on here"),
        None => "those that there are run on here".to_owned(),
    };
    match row.finishes_in_seconds {
        Some(left) => format!("{connections}, waited for {} at the longest", span(left)),
        None => connections,
    }
}

fn subject(target: &str) -> String {
    if target == "site" { "the site".to_owned() } else { target.to_owned() }
}

pub(crate) fn undrain(arguments: &UndrainArguments) -> Result<ExitCode, String> {
    let client = client(&arguments.target, &arguments.what)?;
    let order = UndrainOrder { target: arguments.what.join(" "), all: arguments.all };
    let ended = runtime()?.block_on(client.post_for::<Vec<String>>("/v1/undrain", &order));
    let ended = ended.map_err(|error| error.to_string())?;
    if arguments.json {
        println!("{}", serde_json::to_string(&ended).unwrap_or_default());
    } else if ended.is_empty() {
        println!("nothing was drained");
    } else {
        for target in ended {
            println!("{} is drained no more", subject(&target));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn clear(arguments: &ClearArguments) -> Result<ExitCode, String> {
    let Cleared::Damping { name, target } = &arguments.what;
    let client = show::client(target).map_err(|error| error.to_string())?;
    let order = ClearOrder { name: name.clone() };
    let freed = runtime()?.block_on(client.post_for::<usize>("/v1/damping/clear", &order));
    match freed.map_err(|error| error.to_string())? {
        0 => println!("nothing was damped; the penalties are forgotten"),
        1 => println!("1 is damped no more"),
        freed => println!("{freed} are damped no more"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn table(rows: &[DrainRow]) {
    if rows.is_empty() {
        println!("Nothing is drained.");
        return;
    }
    let rows = rows.iter().map(|row| {
        vec![
            row.target.clone(),
            row.stage.clone(),
            span(row.since_seconds),
            row.leaves_for_seconds.map(span).unwrap_or_default(),
            row.ends_in_seconds.map(span).unwrap_or_default(),
            row.packets_per_second.map(|rate| format!("{rate:.0}")).unwrap_or_default(),
            row.connections.map(|count| count.to_string()).unwrap_or_default(),
            row.by.clone().unwrap_or_default(),
            table::plain(&why(row)),
        ]
    });
    let headings = [
        "DRAINED",
        "STAGE",
        "SINCE",
        "LEAVES FOR",
        "ENDS IN",
        "PACKETS/S",
        "CONNECTIONS",
        "BY",
        "WHY",
    ];
    table::print(&headings, rows.collect());
}

fn why(row: &DrainRow) -> String {
    let words = std::iter::once(&row.reason).chain(&row.held).filter(|words| !words.is_empty());
    words.map(String::as_str).collect::<Vec<_>>().join("; ")
}

/// A state with the stage of a drain beside it: `up, drained`.
pub(crate) fn with_stage(state: &str, stage: Option<&str>) -> String {
    match stage {
        Some(stage) => format!("{state}, {stage}"),
        None => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_numbers_with_units_the_larger_first() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("30m", Some(1800)),
            ("2h", Some(7200)),
            ("1h30m", Some(5400)),
            ("1d2h3m4s", Some(93_784)),
            ("3d", Some(259_200)),
            ("", None),
            ("0s", None),
            ("5", None),
            ("1h5", None),
            ("h", None),
            ("1m1h", None),
            ("1m1m", None),
            ("-1s", None),
            ("1.5h", None),
            ("1é", None),
            ("99999999999999999999s", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(time(text).ok().map(|time| time.as_secs()), seconds, "{text:?}");
        }
    }

    #[test]
    fn a_drain_is_told_in_a_sentence() {
        let leaving = DrainRow {
            target: "site".to_owned(),
            stage: "leaving".to_owned(),
            leaves_for_seconds: Some(42.0),
            since_seconds: 18.0,
            ends_in_seconds: None,
            reason: String::new(),
            by: None,
            now: false,
            force: false,
            kept: true,
            packets_per_second: Some(811.6),
            connections: Some(3),
            finishes_in_seconds: None,
            held: Vec::new(),
        };
        let held = vec!["192.0.2.0/24: held by the floor: fra is the last".to_owned()];
        let withdrawing = DrainRow {
            target: "service dns".to_owned(),
            stage: "withdrawing".to_owned(),
            packets_per_second: None,
            held,
            ..leaving.clone()
        };
        let finishing = DrainRow {
            stage: "finishing".to_owned(),
            packets_per_second: None,
            connections: Some(1),
            finishes_in_seconds: Some(599.0),
            ..leaving.clone()
        };
        let drained = DrainRow {
            stage: "drained".to_owned(),
            packets_per_second: Some(0.0),
            kept: false,
            ..leaving.clone()
        };
        let table = [
            (
                leaving,
                "the site is being left: announced as the last choice, withdrawn in 42.0s at the \
                 latest; 812 packets per second still come",
            ),
            (
                withdrawing,
                "service dns is withdrawing; still announced is 192.0.2.0/24: held by the floor: \
                 fra is the last",
            ),
            (
                finishing,
                "the site is withdrawn: new connections go elsewhere, 1 connection runs on here, \
                 waited for 9m59s at the longest",
            ),
            (
                drained,
                "the site is drained: nothing is announced any more; 0 packets per second still \
                 come (it could not be written down: it ends with the daemon)",
            ),
        ];
        for (row, words) in table {
            assert_eq!(sentence(&row), words);
        }
    }
}
