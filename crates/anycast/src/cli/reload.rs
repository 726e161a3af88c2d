//! `anycast reload`, `confirm` and `rollback`.

use std::time::Duration;

use anycast_site::reload::LONGEST_WAIT;
use clap::Args;

use super::TargetArguments;

/// Has a running site read its fleet file again and carries out what differs.
///
/// The file is checked whole before any of it takes effect; if something is wrong, the problems
/// are printed as `anycast check` prints them and nothing changes. What differs is said in words
/// before it is done: which neighbor hears what differently, whose session comes, goes or is reset
/// and why, and which services, checks, prefixes and addresses change. Nothing else is touched: the
/// sessions of other neighbors stay, and what checks have found stands.
///
/// SIGHUP does the same, with the answer in the log.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast reload --dry-run                   what would change?
  anycast reload --confirm-within 60s        undone by itself, unless…
  anycast confirm                            …this comes within a minute
  anycast rollback                           back to what was in force before
  anycast reload --site fra --json

Exit codes: 0 it is in force, or the file says the same, or --dry-run; 2 nothing has changed, and
why.")]
pub(crate) struct ReloadArguments {
    /// Only say what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Undo it by itself after so long (`60s`, `5m`), unless `anycast confirm` comes before.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "dry_run")]
    pub(crate) confirm_within: Option<Duration>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// Keeps what `anycast reload --confirm-within` has put in force.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast confirm
  anycast confirm --site fra

Exit codes: 0 it stays in force; 2 nothing waits to be confirmed.")]
pub(crate) struct ConfirmArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// Puts in force again what was before the last reload, confirmed or not.
///
/// The file on disk is left as it is: `anycast show sites` says that it is not in force.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  anycast rollback
  anycast rollback --site fra

Exit codes: 0 it is taken back; 2 there was nothing to take back.")]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
}

/// Reads `60s`, `1500ms`, `5m` or `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a time such as 60s or 5m".to_owned())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "" => return Err(format!("has no unit; write {number}s or {number}m")),
        _ => return Err("the units are ms, s, m and h".to_owned()),
    };
    match milliseconds.map(Duration::from_millis) {
        Some(Duration::ZERO) => Err("must be longer than zero".to_owned()),
        Some(time) if time <= LONGEST_WAIT => Ok(time),
        _ => Err("is too long: a day at most".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let ms = Duration::from_millis;
        for (text, want) in [
            ("60s", Ok(ms(60_000))),
            ("1500ms", Ok(ms(1500))),
            ("5m", Ok(ms(300_000))),
            ("2h", Ok(ms(7_200_000))),
            ("60", Err("has no unit; write 60s or 60m")),
            ("60 s", Err("the units are ms, s, m and h")),
            ("s", Err("write a time such as 60s or 5m")),
            ("24h", Ok(ms(86_400_000))),
            ("86401s", Err("is too long: a day at most")),
            ("99999999999999999h", Err("is too long: a day at most")),
            ("0s", Err("must be longer than zero")),
        ] {
            assert_eq!(time(text), want.map_err(str::to_owned), "{text}");
        }
    }
}
