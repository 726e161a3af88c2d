//! `anycast upgrade`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anycast_site::client::Client;
use anycast_site::events::SiteEvent;
use anycast_site::handover::VERSION;
use anycast_site::upgrade::{UpgradeOrder, UpgradeReport};
use serde_json::json;

use crate::cli::UpgradeArguments;
use crate::run::runtime;
use crate::show::client;

/// How long the new program may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions whether it does.
const PAUSE: Duration = Duration::from_millis(50);

/// Which state of a daemon this program can go on with.
pub(crate) fn version() -> ExitCode {
    println!("{VERSION}");
    ExitCode::SUCCESS
}

pub(crate) fn upgrade(arguments: &UpgradeArguments) -> Result<ExitCode, String> {
    let client = client(&arguments.target).map_err(|error| error.to_string())?;
    let client = client.with_patience(PATIENCE);
    let runtime = runtime()?;
    let order = UpgradeOrder { dry_run: arguments.dry_run };
    let text = runtime.block_on(client.post_for_text("/v1/upgrade", &order));
    let text = text.map_err(|error| error.to_string())?;
    let report: UpgradeReport = serde_json::from_str(&text).map_err(|error| {
        format!("the site's answer cannot be understood: {error} (is it of another version?)")
    })?;
    if !arguments.json {
        print_plan(&report);
    }
    if arguments.dry_run {
        if arguments.json {
            println!("{}", json!({ "plan": report }));
        } else {
            println!("nothing was done (--dry-run)");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let events = runtime.block_on(wait(&client, report.after))?;
    let reset: Vec<&SiteEvent> = events.iter().filter(|it| it.kind == "neighbor-reset").collect();
    let unwanted = reset.iter().any(|event| report.keeps.contains(&event.subject));
    if arguments.json {
        let reset: Vec<_> =
            reset.iter().map(|it| json!({ "neighbor": it.subject, "why": it.detail })).collect();
        println!("{}", json!({ "plan": report, "reset": reset }));
    } else {
        for event in &reset {
            println!("neighbor {} was reset: {}", event.subject, event.detail);
        }
        println!("{} runs", report.version);
    }
    Ok(ExitCode::from(u8::from(unwanted)))
}

fn print_plan(report: &UpgradeReport) {
    let UpgradeReport { program, version, running, .. } = report;
    println!("{program} is {version}; {running} is running");
    for (words, names) in [("go on", &report.keeps), ("are reset", &report.resets)] {
        if !names.is_empty() {
            println!("sessions that {words}: {}", names.join(", "));
        }
    }
}

/// The events since `after`, once the new program says that it has taken over.
async fn wait(client: &Client, after: u64) -> Result<Vec<SiteEvent>, String> {
    let started = Instant::now();
    loop {
        let asked = client.get::<Vec<SiteEvent>>(&format!("/v1/events?after={after}")).await;
        match asked {
            Ok(events) if events.iter().any(|event| event.kind == "upgraded") => {
                return Ok(events);
            }
            Ok(_) | Err(_) if started.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            Ok(_) => return Err("the new program does not say that it has taken over".to_owned()),
            Err(error) => return Err(format!("the new program does not answer: {error}")),
        }
    }
}
