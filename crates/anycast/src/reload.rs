//! `anycast reload`, `confirm` and `rollback`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anycast_site::client::Client;
use anycast_site::reload::{ReloadOrder, ReloadOutcome, ReloadReport};

use crate::cli::{ReloadArguments, TargetArguments};
use crate::run::runtime;
use crate::show::client;

/// A large file takes a while to read, and neighbors to tell.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for the report first and prints it, then for what it says: of the very same file.
pub(crate) fn reload(arguments: &ReloadArguments) -> Result<ExitCode, String> {
    let client = patient(&arguments.target)?;
    let runtime = runtime()?;
    let ask = |order: ReloadOrder| -> Result<ReloadReport, String> {
        let text = runtime.block_on(client.post_for_text("/v1/reload", &order));
        let text = text.map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| {
            format!("the site's answer cannot be understood: {error} (is it of another version?)")
        })
    };
    let colour = !arguments.json && std::io::stderr().is_terminal();
    let mut report = ask(ReloadOrder { dry_run: true, colour, ..ReloadOrder::default() })?;
    if !arguments.json {
        print_difference(&report);
    }
    if !arguments.dry_run {
        report = ask(ReloadOrder {
            confirm_within_seconds: arguments.confirm_within.map(|it| it.as_secs_f64()),
            digest: Some(report.digest),
            colour,
            dry_run: false,
        })?;
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        println!("{json}");
    } else {
        print_outcome(&report);
    }
    Ok(match report.outcome {
        ReloadOutcome::Unsound | ReloadOutcome::Refused | ReloadOutcome::Failed => {
            ExitCode::from(2)
        }
        ReloadOutcome::Same | ReloadOutcome::WouldChange | ReloadOutcome::Changed => {
            ExitCode::SUCCESS
        }
    })
}

fn print_difference(report: &ReloadReport) {
    eprint!("{}", report.rendered);
    for change in &report.changes {
        println!("{}", change.sentence);
        for detail in &change.details {
            println!("    {detail}");
        }
    }
}

fn print_outcome(report: &ReloadReport) {
    for why in &report.why {
        eprintln!("anycast: {why}");
    }
    match (report.outcome, report.confirm_within_seconds) {
        (ReloadOutcome::Unsound | ReloadOutcome::Refused | ReloadOutcome::Failed, _) => {
            eprintln!("anycast: nothing has changed");
        }
        (ReloadOutcome::Same, _) => println!("{}: says what is in force already", report.file),
        (ReloadOutcome::WouldChange, _) => {
            println!("{}: nothing was done (--dry-run)", report.file);
        }
        (ReloadOutcome::Changed, None) => println!("{}: in force", report.file),
        (ReloadOutcome::Changed, Some(seconds)) => println!(
            "{}: in force; undone in {seconds} s unless `anycast confirm` comes before",
            report.file
        ),
    }
}

pub(crate) fn confirm(target: &TargetArguments) -> Result<ExitCode, String> {
    order(target, "/v1/reload/confirm")
}

pub(crate) fn rollback(target: &TargetArguments) -> Result<ExitCode, String> {
    order(target, "/v1/reload/rollback")
}

fn order(target: &TargetArguments, path: &str) -> Result<ExitCode, String> {
    let done = runtime()?.block_on(patient(target)?.post_for_text(path, &()));
    println!("{}", done.map_err(|error| error.to_string())?);
    Ok(ExitCode::SUCCESS)
}

fn patient(target: &TargetArguments) -> Result<Client, String> {
    Ok(client(target).map_err(|error| error.to_string())?.with_patience(PATIENCE))
}
