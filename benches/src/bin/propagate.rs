//! How soon the catchments of a configuration are known: the whole AS graph, ten sites, one core.
//!
//! `propagate FILE` reads a CAIDA serial-1 or serial-2 file that is decompressed already (it
//! prints which ASes it takes as neighbors of the sites, so that `peers/bgpy` can do the same
//! job); the variable `TOPOLOGY` can name the file instead. Without a file it uses the made-up Internet, which is too small to say much.

#![allow(clippy::disallowed_methods, reason = "measuring")]
#![allow(clippy::cast_precision_loss, reason = "figures")]

use std::time::Instant;

use anycast_benches::Failure;
use anycast_benches::figures::{Samples, print};
use anycast_bgp::Asn;
use anycast_catchment::{
    Announced, Announcement, AsId, Batch, Configuration, Graph, LANES, LaneRoutes, NeighborKind,
    Propagator, Relationships, Resolved, Routes, Shares, Site, synthetic,
};

/// Runs of each kind.
const RUNS: usize = 300;

fn main() -> Result<(), Failure> {
    let file = std::env::args().nth(1).or_else(|| std::env::var("TOPOLOGY").ok());
    let relationships;
    let begun;
    if let Some(file) = &file {
        let text = std::fs::read(file)?;
        begun = Instant::now();
        relationships = Relationships::parse(&text)?;
    } else {
        println!("skipped: the real graph, as no file was named; the made-up Internet instead");
        begun = Instant::now();
        relationships = synthetic::internet().relationships;
    }
    let parsed = begun.elapsed();
    let graph = Graph::new(&relationships)?;
    let loaded = begun.elapsed();
    let links = relationships.links().len();
    drop(relationships);
    println!("{} ASes, {links} links", graph.len());
    println!(
        "  parse                                        ms  {:.0}",
        parsed.as_secs_f64() * 1e3
    );
    println!(
        "  parse and build the graph                    ms  {:.0}",
        loaded.as_secs_f64() * 1e3
    );

    let neighbors = neighbors(&graph);
    let numbers: Vec<String> = neighbors.iter().map(Asn::to_string).collect();
    println!("  sites are customers of {}", numbers.join(" "));
    let all = configuration(&neighbors, |_| true).resolve(&graph)?;

    let mut routes = Routes::new(graph.len());
    let mut propagator = Propagator::new(&graph, Resolved::default());
    propagator.run(&all, &mut routes);
    let mut alone = Samples::default();
    for _ in 0..RUNS {
        alone.extend([milliseconds(|| propagator.run(&all, &mut routes))]);
    }
    print("one configuration, ten sites", &alone, "ms", 3);
    let reached: Vec<AsId> = graph.ids().filter(|id| !routes.sites(*id).is_empty()).collect();
    let tied = reached.iter().filter(|id| routes.sites(**id).len() > 1).count();
    println!(
        "  {} ASes reached, {:.1} % of them tied between sites",
        reached.len(),
        100.0 * tied as f64 / reached.len() as f64
    );

    let mut shares = Shares::new();
    let mut spread = Samples::default();
    for _ in 0..RUNS / 10 {
        spread.extend([milliseconds(|| {
            shares.run(&graph, &all, propagator.overrides(), &routes);
        })]);
    }
    print("its shares", &spread, "ms", 3);
    let lanes = batches(&graph, &neighbors, &mut Batch::new(&graph, Resolved::default()))?;
    print("each of sixteen at once, subsets of ten sites", &lanes, "ms", 3);
    println!("  largest resident set                         MB  {:.0}", peak_megabytes()?);
    Ok(())
}

/// Times of batches of random subsets, by configuration.
fn batches(graph: &Graph, neighbors: &[Asn], batch: &mut Batch<'_>) -> Result<Samples, Failure> {
    let mut lanes = LaneRoutes::new();
    let mut samples = Samples::default();
    let mut dice = 1_u64;
    for _ in 0..RUNS / 4 {
        let configurations: Result<Vec<Announced>, _> = (0..LANES)
            .map(|_| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let up = dice >> 33;
                configuration(neighbors, |site| up >> site & 1 == 1 || site == 0).resolve(graph)
            })
            .collect();
        let configurations = configurations?;
        let time = milliseconds(|| batch.run(&configurations, &mut lanes));
        samples.extend([time / LANES as f64]);
    }
    Ok(samples)
}

/// Ten transit networks: those whose number of customers is the 20th, 40th … 200th largest.
fn neighbors(graph: &Graph) -> Vec<Asn> {
    let mut ids: Vec<AsId> = graph.ids().collect();
    ids.sort_by_key(|id| (std::cmp::Reverse(graph.customers(*id).len()), graph.asn(*id)));
    (1..=10).map(|nth| graph.asn(ids[(nth * 20 - 1).min(ids.len() - 1)])).collect()
}

fn configuration(neighbors: &[Asn], up: impl Fn(usize) -> bool) -> Configuration {
    let site = |(nth, neighbor): (usize, &Asn)| Site {
        name: format!("site-{nth}"),
        origin: Asn(64_496),
        up: up(nth),
        announcements: vec![Announcement::new(*neighbor, NeighborKind::Transit)],
    };
    Configuration { sites: neighbors.iter().enumerate().map(site).collect() }
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e3
}

fn peak_megabytes() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no VmHWM")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kilobytes / 1024.0)
}
