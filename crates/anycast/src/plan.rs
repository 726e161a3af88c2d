//! `anycast plan`: reads files, calls the planner, prints.

mod ground;
mod show;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anycast_catchment::Graph;
use anycast_catchment::observed::Observations;
use anycast_plan::attack::{Sources, attack};
use anycast_plan::difference::difference;
use anycast_plan::failures::{Traffic, failures};
use anycast_plan::optimise::{Limits, Search, optimise};
use anycast_plan::report::report;
use anycast_plan::table::Table;
use anycast_plan::why::why;
use anycast_plan::{Outcome, Planner, Scene, map, observed, open};
use serde::Serialize;

use crate::cli::{
    AttackArguments, ExplainArguments, FailuresArguments, LearnArguments, OptimiseArguments,
    PlanArguments, PlanCommand, ScoreArguments, TrafficArguments,
};
use ground::{changed, relationships, scene};

pub(crate) fn plan(arguments: &PlanArguments) -> Result<ExitCode, String> {
    match &arguments.command {
        None => whole(arguments),
        Some(PlanCommand::Explain(arguments)) => explain(arguments),
        Some(PlanCommand::Failures(arguments)) => fail(arguments),
        Some(PlanCommand::Attack(arguments)) => under_attack(arguments),
        Some(PlanCommand::Optimise(arguments)) => search(arguments),
        Some(PlanCommand::Learn(arguments)) => learn(arguments),
        Some(PlanCommand::Score(arguments)) => score(arguments),
    }
}

fn whole(arguments: &PlanArguments) -> Result<ExitCode, String> {
    let Some(scene) = scene(&arguments.ground)? else { return Ok(ExitCode::from(2)) };
    let configuration = changed(&scene, &arguments.ground.what_if)?;
    let mut line = Line::new();
    let mut progress = |done, of| line.say(&format!("{done} of {of} networks far from home"));
    let (report, outcome) = report(&scene, &configuration, arguments.list, &mut progress)
        .map_err(|error| error.to_string())?;
    line.end();
    let differs = if arguments.ground.what_if.is_empty() {
        None
    } else {
        let before =
            Planner::new(&scene).run(&scene.configuration).map_err(|error| error.to_string())?;
        Some(difference(&scene, &before, &outcome, arguments.list))
    };
    if let Some(path) = &arguments.map {
        let changes = arguments.ground.what_if.iter().map(ToString::to_string);
        let title = std::iter::once("Catchments".to_owned()).chain(changes);
        let title = title.collect::<Vec<_>>().join(", ");
        draw(&scene, &outcome, &title, path)?;
    }
    if arguments.csv {
        show::csv(&scene, &outcome);
    } else if arguments.json {
        #[derive(Serialize)]
        struct Both<'a> {
            #[serde(flatten)]
            plan: &'a anycast_plan::report::Report,
            #[serde(skip_serializing_if = "Option::is_none")]
            difference: Option<&'a anycast_plan::difference::Difference>,
        }
        json(&Both { plan: &report, difference: differs.as_ref() });
    } else if let Some(differs) = &differs {
        notes(&report.notes);
        show::difference(&arguments.ground.what_if, differs);
    } else {
        notes(&report.notes);
        show::report(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(arguments: &ExplainArguments) -> Result<ExitCode, String> {
    let Some(scene) = scene(&arguments.ground)? else { return Ok(ExitCode::from(2)) };
    let configuration = changed(&scene, &arguments.ground.what_if)?;
    let why = why(&scene, &configuration, arguments.asn).map_err(|error| error.to_string())?;
    if arguments.json {
        json(&why);
    } else {
        show::why(&why);
    }
    Ok(ExitCode::SUCCESS)
}

fn fail(arguments: &FailuresArguments) -> Result<ExitCode, String> {
    let Some(scene) = scene(&arguments.ground)? else { return Ok(ExitCode::from(2)) };
    let configuration = changed(&scene, &arguments.ground.what_if)?;
    let mut line = Line::new();
    let mut progress = |done, of| line.say(&format!("{done} of {of} failures"));
    let found = failures(
        &scene,
        &configuration,
        &traffic(&arguments.traffic),
        arguments.pairs,
        &mut progress,
    )
    .map_err(|error| error.to_string())?;
    line.end();
    if arguments.json {
        json(&found);
    } else {
        notes(&scene.notes);
        show::failures(&found);
    }
    let over = found.failures.iter().chain([&found.whole]).any(|failure| !failure.over.is_empty());
    Ok(ExitCode::from(u8::from(over)))
}

fn under_attack(arguments: &AttackArguments) -> Result<ExitCode, String> {
    let Some(scene) = scene(&arguments.ground)? else { return Ok(ExitCode::from(2)) };
    let configuration = changed(&scene, &arguments.ground.what_if)?;
    let sources = match (&arguments.sources, &arguments.botnet) {
        (Some(path), _) => Sources::from(&table(path)?),
        (None, Some(botnet)) => botnet.clone(),
        (None, None) => {
            return Err("say where the attack comes from: --sources or --botnet".to_owned());
        }
    };
    let mut line = Line::new();
    let mut progress = |done, of| line.say(&format!("{done} of {of} responses"));
    #[expect(clippy::cast_precision_loss, reason = "rates far below 2^52")]
    let size = arguments.size as f64;
    let traffic = traffic(&arguments.traffic);
    let found = attack(&scene, &configuration, &sources, size, &traffic, &mut progress)
        .map_err(|error| error.to_string())?;
    line.end();
    if arguments.json {
        json(&found);
    } else {
        notes(&scene.notes);
        show::attack(&found, arguments.list);
    }
    Ok(ExitCode::from(u8::from(!found.landing.over.is_empty())))
}

fn search(arguments: &OptimiseArguments) -> Result<ExitCode, String> {
    let Some(mut scene) = scene(&arguments.ground)? else { return Ok(ExitCode::from(2)) };
    // Changes are where the search begins.
    scene.configuration = changed(&scene, &arguments.ground.what_if)?;
    let sites = match arguments.sites.as_deref() {
        None => scene.sites.len(),
        Some([word, number]) if word == "at-most" => number
            .parse::<usize>()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| format!("--sites at-most {number}: write a number above 0"))?,
        Some(_) => return Err("--sites: write `--sites at-most 8`".to_owned()),
    };
    let limits = Limits { sites, prepend: arguments.prepend, transits: arguments.transits.into() };
    let (seed, evaluations) = (arguments.seed, arguments.evaluations);
    let wanted = Search { goal: arguments.minimise.into(), limits, seed, evaluations };
    let mut line = Line::new();
    let found = optimise(&scene, &wanted, arguments.state.as_deref(), &mut |progress| {
        line.say(&format!(
            "{} of {} configurations, the best {:.2}",
            progress.evaluated, progress.of, progress.best
        ));
        true
    })
    .map_err(|error| error.to_string())?;
    line.end();
    if let (Some(path), Some(best)) = (&arguments.map, found.frontier.last()) {
        let outcome =
            Planner::new(&scene).run(best.configuration()).map_err(|error| error.to_string())?;
        draw(&scene, &outcome, "Catchments of the best configuration", path)?;
    }
    if arguments.json {
        json(&found);
    } else {
        notes(&scene.notes);
        show::found(&found);
    }
    Ok(ExitCode::SUCCESS)
}

fn graph(topology: &Path) -> Result<Graph, String> {
    Graph::new(&relationships(topology)?)
        .map_err(|error| format!("{}: {error}", topology.display()))
}

fn learn(arguments: &LearnArguments) -> Result<ExitCode, String> {
    let observations = observed::read(&arguments.observed)?;
    let model = observed::learn_all(&observations, &graph(&arguments.topology)?);
    passed_over(&observations);
    if model.routes.is_empty() && model.orders.is_empty() {
        return Err(format!(
            "{}: no path of a site that announced alone ends at any of `origins`, and nothing was \
             measured: nothing to learn",
            arguments.observed.display()
        ));
    }
    let text = model.emit().map_err(|error| error.to_string())?;
    if arguments.output.as_os_str() == "-" {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::write(&arguments.output, text)
        .map_err(|error| format!("cannot write {}: {error}", arguments.output.display()))?;
    println!(
        "{}: {} routes of networks, {} neighbors of sites, {} prepends of others, {} orders of two \
         sites",
        arguments.output.display(),
        model.routes.len(),
        model.neighbors.len(),
        model.prepends.len(),
        model.orders.iter().map(|order| order.asns.len()).sum::<usize>()
    );
    Ok(ExitCode::SUCCESS)
}

fn score(arguments: &ScoreArguments) -> Result<ExitCode, String> {
    let observations = observed::read(&arguments.observed)?;
    passed_over(&observations);
    let networks = arguments.networks.as_deref().map(table).transpose()?.unwrap_or_default();
    let report = observed::score(&observations, &graph(&arguments.topology)?, &networks);
    if arguments.json {
        json(&report);
    } else {
        show::score(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn passed_over(observations: &Observations) {
    if observations.passed_over > 0 {
        eprintln!(
            "note: {} BGP messages in MRT files have a fault; they were passed over",
            observations.passed_over
        );
    }
}

fn traffic(arguments: &TrafficArguments) -> Traffic {
    #[expect(clippy::cast_precision_loss, reason = "rates far below 2^52")]
    let total = arguments.load.map(|load| load as f64);
    Traffic { total, capacity: arguments.capacity }
}

fn table(path: &Path) -> Result<Table, String> {
    let octets = open::read(path).map_err(|error| error.to_string())?;
    Table::parse(&octets).map_err(|error| format!("{}: {error}", path.display()))
}

fn draw(scene: &Scene, outcome: &Outcome, title: &str, path: &Path) -> Result<(), String> {
    let ending = path.extension().and_then(|it| it.to_str()).map(str::to_lowercase);
    let svg = map::svg(scene, outcome, title).map_err(|error| error.to_string())?;
    let octets = match ending.as_deref() {
        Some("svg") => svg.into_bytes(),
        Some("png") => map::png(&svg).map_err(|error| error.to_string())?,
        _ => return Err(format!("{}: a map ends in .svg or .png", path.display())),
    };
    std::fs::write(path, octets)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn json(value: &impl Serialize) {
    // Figures that are not numbers are null.
    println!("{:#}", serde_json::to_value(value).unwrap_or_default());
}

fn notes(notes: &[String]) {
    for note in notes {
        eprintln!("note: {note}");
    }
}

/// A line on a terminal that is written over and over; in a log, one every ten seconds.
struct Line {
    live: bool,
    started: Instant,
    last: Instant,
}

impl Line {
    fn new() -> Self {
        let now = Instant::now();
        Self { live: std::io::stderr().is_terminal(), started: now, last: now }
    }

    fn say(&mut self, words: &str) {
        let every = if self.live { Duration::from_millis(100) } else { Duration::from_secs(10) };
        if self.last.elapsed() < every {
            return;
        }
        self.last = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        if self.live {
            eprint!("\r\x1b[K{seconds:6.1} s  {words}");
        } else {
            eprintln!("{seconds:6.1} s  {words}");
        }
        // Progress that cannot be shown is no reason to stop.
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.live {
            eprint!("\r\x1b[K");
        }
    }
}
