//! Starting a lab: for a user to play with, or to run a scenario in.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_fleet::Fleet;
use anycast_lab::control;
use anycast_lab::plan::{self, Plan};
use anycast_lab::running::{self, Lab, Options, Progress};
use anycast_lab::sandbox::{Entered, RUN_DIR, Sandbox};
use anycast_lab::scenario::{self, Narration, Outcome, Report, Scenario, TOUR};
use anycast_lab::world;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use super::talk::clients;
use crate::cli::LabStartArguments;
use crate::cli::LogFormat;
use crate::logging;

/// The fleet that a lab runs if it is given none.
const DEFAULT_FLEET: &str = include_str!("../../../../examples/fleet.toml");
/// The same, with connections that are kept, for the tour.
const TOUR_FLEET: &str = include_str!("../../../../examples/affinity-fleet.toml");
/// How long the clients may take to be answered before the lab says who is not.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same if nothing in the lab serves what the clients ask.
const NOBODY_SERVES: Duration = Duration::from_secs(3);
/// How long one client may take to answer for the table.
const ANSWER: Duration = Duration::from_secs(1);

/// What a lab is built from, read and checked before any wall is raised.
struct Ground {
    fleet: Fleet,
    /// `None`: a built-in one, which is written into the lab.
    fleet_file: Option<PathBuf>,
    /// The built-in one.
    built_in: &'static str,
    plan: Plan,
}

/// Reads fleet and world. `None`: they have errors, which have been printed.
fn survey(
    fleet: Option<&Path>,
    world: Option<&Path>,
    built_in: &'static str,
) -> Result<Option<Ground>, String> {
    let colour = std::io::stderr().is_terminal();
    let report = match fleet {
        // Where a file may stand, a misspelt command is one too.
        Some(path) if path.extension().is_none() && !path.exists() => {
            return Err(format!(
                "{} is no file, nor a command of `anycast lab` (see `anycast lab --help`)",
                path.display()
            ));
        }
        Some(path) => anycast_fleet::read(path).map_err(|error| error.to_string())?,
        None => anycast_fleet::parse("the built-in fleet", built_in),
    };
    eprint!("{}", report.render(colour));
    let Some(fleet_read) = report.fleet else { return Ok(None) };

    let (name, text) = match world {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            (path.display().to_string(), text)
        }
        None => ("the built-in world".to_owned(), world::DEFAULT.to_owned()),
    };
    let report = world::parse(&name, &text);
    eprint!("{}", report.render(colour));
    let Some(world) = report.world else { return Ok(None) };

    let plan = plan::build(&world, &fleet_read).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        format!("fleet and world do not fit together:\n  {}", lines.join("\n  "))
    })?;
    let fleet_file = fleet
        .map(|path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display())))
        .transpose()?;
    Ok(Some(Ground { fleet: fleet_read, fleet_file, built_in, plan }))
}

/// Goes into the sandbox and runs `inside` there on a runtime.
fn enter<F: Future<Output = Result<ExitCode, String>>>(
    name: Option<&str>,
    inside: impl FnOnce(Sandbox) -> F,
) -> Result<ExitCode, String> {
    match Sandbox::enter(name).map_err(|error| error.to_string())? {
        Entered::Ended(code) => Ok(ExitCode::from(code)),
        Entered::Inside(sandbox) => {
            // Dozens of routers speak here: only what is wrong with the lab itself is worth a line.
            logging::start("error", Some(LogFormat::Text))?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|error| format!("cannot start the runtime: {error}"))?;
            let result = runtime.block_on(inside(sandbox));
            runtime.shutdown_background();
            result
        }
    }
}

/// `anycast lab`: stays until Ctrl-C.
pub(crate) fn start(arguments: &LabStartArguments, name: Option<&str>) -> Result<ExitCode, String> {
    let started = Instant::now();
    let ground = survey(arguments.fleet.as_deref(), arguments.world.as_deref(), DEFAULT_FLEET)?;
    let Some(ground) = ground else { return Ok(ExitCode::from(2)) };
    enter(name, async |sandbox| {
        let lab = boot(ground, started).await?;
        let rows = lab.status(ANSWER).await;
        let all = rows.iter().all(|row| row.site.is_some());
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
        } else {
            println!("{}\n", clients(&rows));
        }
        if arguments.once {
            return Ok(ExitCode::from(u8::from(!all)));
        }
        eprintln!(
            "The lab runs until Ctrl-C. From another terminal: anycast lab status, anycast lab \
             watch,\nanycast lab exec {} -- ping {}, anycast lab --help",
            rows.first().map_or("CLIENT", |row| row.client.as_str()),
            lab.prober.target(),
        );
        let lab = Arc::new(Mutex::new(lab));
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
        tokio::select! {
            result = control::serve(sandbox.listener, lab) => {
                result.map_err(|error| format!("the control socket: {error}"))?;
            }
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        eprintln!();
        Ok(ExitCode::SUCCESS)
    })
}

/// A key for the sites of this lab alone.
fn make_key(path: &Path) -> std::io::Result<()> {
    let mut octets = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    octets.iter().try_for_each(|octet| write!(file, "{octet:02x}"))
}

/// Builds the lab and shows how far it is.
async fn boot(mut ground: Ground, started: Instant) -> Result<Lab, String> {
    for note in &ground.plan.notes {
        eprintln!("note: {note}");
    }
    let fleet_file = if let Some(file) = ground.fleet_file {
        file
    } else {
        let file = Path::new(RUN_DIR).join("fleet.toml");
        std::fs::write(&file, ground.built_in)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        for key in ground.fleet.affinity.iter_mut().flat_map(|it| &mut it.keys) {
            key.file = Path::new(RUN_DIR).join(&key.file);
            let failed = |error| format!("cannot make {}: {error}", key.file.display());
            make_key(&key.file).map_err(failed)?;
        }
        file
    };
    // Not by its name: /run is another one in here, and the file may have been replaced.
    let program = PathBuf::from("/proc/self/exe");
    let name = ground.plan.name.clone();
    let served = ground.fleet.services.iter().any(|service| service.builtin.is_some());
    let patience = if served { PATIENCE } else { NOBODY_SERVES };
    // What XDP sends back over a veth pair reaches the other end only if that end has a program too, and
    // the hub's ends have none.
    let affinity_mode = "tc";
    let (plan, fleet) = (ground.plan, ground.fleet);
    let options = Options { plan, fleet, fleet_file, program, patience, affinity_mode };
    let live = std::io::stderr().is_terminal();
    let mut last = String::new();
    let lab = running::boot(options, |progress| {
        let line = match &progress {
            Progress::Namespaces(n) => format!("{n} namespaces"),
            Progress::Links(n) => format!("{n} links"),
            Progress::Started { routers, sites } => {
                format!("{routers} routers and {sites} sites started")
            }
            Progress::Answered { clients, of } => format!("{clients} of {of} clients answered"),
        };
        // A log wants milestones, a terminal every step.
        let milestone = !matches!(progress, Progress::Answered { clients, of } if clients < of);
        if line != last && (live || milestone) {
            let time = started.elapsed().as_secs_f64();
            if live {
                eprint!("\r\x1b[K{time:6.2} s  {line}");
            } else {
                eprintln!("{time:6.2} s  {line}");
            }
            // Progress that cannot be shown is no reason to stop.
            let _ = std::io::stderr().flush();
            last = line;
        }
    })
    .await
    .map_err(|error| error.to_string())?;
    if live {
        eprint!("\r\x1b[K");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown in whole megabytes")]
    let megabytes = lab.memory() as f64 / 1e6;
    eprintln!(
        "{name}: {} routers, {} sites, {} clients, {} links, up after {:.2} s, {megabytes:.0} MB\n",
        lab.plan.routers().count(),
        lab.plan.sites().count(),
        lab.plan.clients().count(),
        lab.plan.links.len(),
        started.elapsed().as_secs_f64(),
    );
    Ok(lab)
}

/// `anycast lab run`.
pub(crate) fn run_scenario(
    name: &str,
    arguments: &LabStartArguments,
    lab_name: Option<&str>,
) -> Result<ExitCode, String> {
    let started = Instant::now();
    let (text, folder) = if name == "tour" {
        (TOUR.to_owned(), PathBuf::new())
    } else {
        let path = Path::new(name);
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("cannot read the scenario {name}: {error} (a file, or `tour`)")
        })?;
        (text, path.parent().map(Path::to_owned).unwrap_or_default())
    };
    let scenario = Scenario::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    let beside = |file: &Option<PathBuf>| file.as_ref().map(|file| folder.join(file));
    let fleet = arguments.fleet.clone().or_else(|| beside(&scenario.fleet));
    let world = arguments.world.clone().or_else(|| beside(&scenario.world));
    let built_in = if name == "tour" { TOUR_FLEET } else { DEFAULT_FLEET };
    let Some(ground) = survey(fleet.as_deref(), world.as_deref(), built_in)? else {
        return Ok(ExitCode::from(2));
    };
    let json = arguments.json;
    enter(lab_name, async |sandbox| {
        let lab = Arc::new(Mutex::new(boot(ground, started).await?));
        let control = tokio::spawn(control::serve(sandbox.listener, Arc::clone(&lab)));
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
        let mut tell = |narration: Narration<'_>| {
            if !json {
                narrate(narration);
            }
        };
        let report = tokio::select! {
            report = scenario::run(&lab, &scenario, &mut tell) => report,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
            _ = terminate.recv() => return Ok(ExitCode::from(143)),
        };
        control.abort();
        if json {
            println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
        } else {
            summarise(&report, started);
        }
        Ok(ExitCode::from(u8::from(report.failed() > 0)))
    })
}

fn narrate(narration: Narration<'_>) {
    match narration {
        Narration::Chapter(text) => {
            let rule = "─".repeat(70_usize.saturating_sub(text.chars().count()));
            println!("\n── {text} {rule}\n");
        }
        Narration::Say(text) => println!("{}\n", text.trim()),
        Narration::Clients(rows) => println!("{}\n", indent(&clients(&rows))),
        Narration::Block(text) => println!("{}\n", indent(text.trim_end())),
        Narration::Step(step) => {
            let (mark, detail) = match &step.outcome {
                Outcome::Done(detail) => ("·", detail),
                Outcome::Held(detail) => ("✓", detail),
                Outcome::Failed(detail) => ("✗", detail),
            };
            println!("{mark} {} ({} ms)", step.step, step.took_ms);
            if !detail.is_empty() {
                println!("{}", indent(detail));
            }
        }
    }
    // Shown as it happens, also through a pipe.
    let _ = std::io::stdout().flush();
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

fn summarise(report: &Report, started: Instant) {
    println!(
        "\n{}: {} expectations held, {} steps failed, {:.1} s",
        report.scenario,
        report.held(),
        report.failed(),
        started.elapsed().as_secs_f64(),
    );
}
