//! `anycast check`, and reading a fleet file for the other commands.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anycast_bgp::rov::{VrpTable, file};
use anycast_fleet::Fleet;

use crate::cli::CheckArguments;

pub(crate) fn check(arguments: &CheckArguments) -> Result<ExitCode, String> {
    let report = match &arguments.vrps {
        Some(path) => anycast_fleet::read_with_vrps(&arguments.fleet, &read_vrps(path)?),
        None => anycast_fleet::read(&arguments.fleet),
    }
    .map_err(|error| error.to_string())?;
    if arguments.json {
        println!("{:#}", report.to_json());
    } else {
        print!("{}", report.render(std::io::stdout().is_terminal()));
        if let (Some(fleet), 0) = (&report.fleet, report.warnings()) {
            println!(
                "{}: sound: {}, {}, {}",
                arguments.fleet.display(),
                count(fleet.sites.len(), "site"),
                count(fleet.prefixes.len(), "prefix"),
                count(fleet.services.len(), "service"),
            );
        } else {
            println!(
                "{}: {}, {}",
                arguments.fleet.display(),
                count(report.errors(), "error"),
                count(report.warnings(), "warning"),
            );
        }
    }
    Ok(match (report.errors(), report.warnings()) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) if arguments.strict => ExitCode::from(1),
        (0, _) => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    })
}

fn read_vrps(path: &Path) -> Result<VrpTable, String> {
    let octets =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    file::parse(&octets).map_err(|why| format!("{} is no VRP file: {why}", path.display()))
}

/// `1 site`, `2 prefixes`.
fn count(n: usize, noun: &str) -> String {
    let ending = match n {
        1 => "",
        _ if noun.ends_with('x') => "es",
        _ => "s",
    };
    format!("{n} {noun}{ending}")
}

/// The fleet of a file; problems go to standard error. `None`: there are errors among them.
pub(crate) fn read_fleet(path: &Path) -> Result<Option<Fleet>, String> {
    Ok(read_fleet_and_text(path)?.map(|(fleet, _)| fleet))
}

/// The same, with the text of the file.
pub(crate) fn read_fleet_and_text(path: &Path) -> Result<Option<(Fleet, String)>, String> {
    let report = anycast_fleet::read(path).map_err(|error| error.to_string())?;
    if !report.problems.is_empty() {
        eprint!("{}", report.render(std::io::stderr().is_terminal()));
    }
    if report.fleet.is_none() {
        eprintln!("anycast: {} has {}", path.display(), count(report.errors(), "error"));
    }
    Ok(report.fleet.map(|fleet| (fleet, report.source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_as_english() {
        for (n, noun, want) in
            [(0, "site", "0 sites"), (1, "prefix", "1 prefix"), (2, "prefix", "2 prefixes")]
        {
            assert_eq!(count(n, noun), want);
        }
    }
}
