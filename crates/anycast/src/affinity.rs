//! `anycast affinity` and `anycast show affinity`.

use std::process::ExitCode;

use anycast_site::affinity::AffinityReport;
use clap::{Args, Subcommand};

use crate::cli::TargetArguments;
use crate::run::runtime;
use crate::show;
use crate::table;

/// Loads the packet programs that keep connections at their site, or takes them out.
#[derive(Args, Debug)]
pub(crate) struct AffinityArguments {
    #[command(subcommand)]
    order: AffinityOrder,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum AffinityOrder {
    /// Loads them again after `unload`, or tries again after they could not be loaded.
    #[command(after_help = "\
Examples:
  anycast affinity load
  anycast affinity load --site fra

Exit codes: 0 they are loaded; 2 they are not, and why.")]
    Load,
    /// Takes them out of the kernel until `load` or the daemon's next start. Connections go on, as
    /// long as no route changes.
    #[command(after_help = "\
Examples:
  anycast affinity unload
  anycast show affinity          how it stands

Before a site is given up for good: stop the daemon after this, as a stopped daemon alone leaves
the programs running. Exit codes: 0 done; 2 not, and why.")]
    Unload,
}

pub(crate) fn order(arguments: &AffinityArguments) -> Result<ExitCode, String> {
    let client = show::client(&arguments.target).map_err(|error| error.to_string())?;
    let target = match arguments.order {
        AffinityOrder::Load => "/v1/affinity/load",
        AffinityOrder::Unload => "/v1/affinity/unload",
    };
    let report = runtime()?.block_on(client.post_for::<AffinityReport>(target, &()));
    let report = report.map_err(|error| error.to_string())?;
    println!("{}", stands(&report));
    Ok(ExitCode::SUCCESS)
}

/// How it stands, in one line.
fn stands(report: &AffinityReport) -> String {
    let why = report.why.as_deref().unwrap_or("for a reason that it does not tell");
    match report.state.as_str() {
        "loaded" => {
            let at = report.interfaces.iter().map(|it| format!("{} by {}", it.name, it.mode));
            let at = at.collect::<Vec<_>>().join(", ");
            let id = report.id.map(|id| format!(", as number {id}")).unwrap_or_default();
            format!("connections are kept at their sites: packets are taken at {at}{id}")
        }
        "loading" => "the programs are being loaded".to_owned(),
        "unloaded" => "an operator has taken the programs out: a route change breaks connections; \
                       `anycast affinity load` brings them back"
            .to_owned(),
        "unavailable" => format!("connections are not kept: {why}"),
        _ => "the fleet file does not ask for it (`[affinity]`)".to_owned(),
    }
}

pub(crate) fn print(report: &AffinityReport) {
    println!("{}", stands(report));
    for warning in &report.warnings {
        println!("warning: {warning}");
    }
    if report.state != "loaded" {
        return;
    }
    println!();
    let count = |(what, packets): (&String, &u64)| vec![what.clone(), packets.to_string()];
    table::print(&["PACKETS", "COUNT"], report.packets.iter().map(count).collect());
    println!();
    let rows = report.peers.iter().map(|peer| {
        vec![
            peer.site.clone(),
            peer.id.to_string(),
            peer.address.map(|it| it.to_string()).unwrap_or_default(),
            peer.forwarded_by_hint.to_string(),
            peer.forwarded_by_ring.to_string(),
            peer.unwrapped.to_string(),
            peer.limited.to_string(),
        ]
    });
    let headings =
        ["SITE", "ID", "ADDRESS", "SENT BY HINT", "SENT BY RING", "RECEIVED", "OVER LIMIT"];
    table::print(&headings, rows.collect());
    let some: Vec<_> = report.rejected.iter().filter(|(_, packets)| **packets > 0).collect();
    if !some.is_empty() {
        println!();
        table::print(&["NOT UNWRAPPED", "COUNT"], some.into_iter().map(count).collect());
    }
}
