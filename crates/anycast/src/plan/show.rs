//! Plans as text.

use anycast_catchment::score::Report as Scores;
use anycast_plan::attack::{Attack, Response};
use anycast_plan::change::Change;
use anycast_plan::difference::Difference;
use anycast_plan::failures::{Failure, Failures};
use anycast_plan::optimise::{Candidate, Found, Goal};
use anycast_plan::report::{Far, Report};
use anycast_plan::why::Why;
use anycast_plan::{Latency, Outcome, Scene};

use crate::table::{plain, print};

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn signed(share: f64) -> String {
    format!("{:+.1}", 100.0 * share)
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.1} ms"))
}

fn km(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.0} km"))
}

/// `12.5 Gbps`.
fn rate(bits: f64) -> String {
    let units = [(1e12, "Tbps"), (1e9, "Gbps"), (1e6, "Mbps")];
    let (size, unit) = units.into_iter().find(|(size, _)| bits >= *size).unwrap_or((1e3, "kbps"));
    format!("{:.1} {unit}", bits / size)
}

fn latency(words: &str, latency: &Latency) {
    if latency.median_ms.is_some() {
        println!(
            "{words}: median {} ({}), 95% within {} ({})",
            ms(latency.median_ms),
            km(latency.median_km),
            ms(latency.p95_ms),
            km(latency.p95_km),
        );
    }
}

pub(super) fn report(report: &Report) {
    let counted = report.weighted_by.as_deref().unwrap_or("networks");
    println!("{}: {} networks, weighted by {counted}\n", plain(&report.topology), report.networks);
    let rows = report.sites.iter().map(|site| {
        vec![
            if site.up { site.site.clone() } else { format!("{} (down)", site.site) },
            site.networks.to_string(),
            site.shared.to_string(),
            percent(site.share),
            format!("{:.1}–{}", 100.0 * site.share_least, percent(site.share_most)),
            km(site.latency.median_km),
            km(site.latency.p95_km),
            ms(site.latency.median_ms),
            ms(site.latency.p95_ms),
        ]
    });
    let headings =
        ["SITE", "ASES", "SHARED", "SHARE", "POSSIBLE", "MEDIAN", "95%", "MEDIAN RTT", "95% RTT"];
    print(&headings, rows.collect());
    let (count, weight) = (report.shared_networks, percent(report.shared_weight));
    let many = if report.learnt {
        "may land at more than one site, by what was observed\n(--model)"
    } else {
        "have best routes to more than one site, equal in all that the\nmodel sees"
    };
    println!(
        "\n{count} networks ({weight} of the weight) {many}: SHARE is what is expected, POSSIBLE what a \
         site has at least and at most."
    );
    if report.unreached_networks > 0 {
        println!(
            "{} networks ({} of the weight) are not reached.",
            report.unreached_networks,
            percent(report.unreached_weight)
        );
    }
    println!();
    latency("Estimated round trip of all users", &report.latency);
    if !report.within_ms.is_empty() {
        let steps = report
            .within_ms
            .iter()
            .map(|(ms, share)| format!("{} within {ms} ms", percent(*share)));
        println!("{}", steps.collect::<Vec<_>>().join(", "));
        if report.with_place < 0.995 {
            println!("(of the {} of the weight whose place is known)", percent(report.with_place));
        }
    }
    if !report.far.is_empty() {
        println!("\nFar from home, the heaviest detours first:\n");
        far(&report.far);
    }
}

fn far(networks: &[Far]) {
    let rows = networks.iter().map(|far| {
        vec![
            format!("AS{} {}", far.asn, plain(&far.name)).chars().take(34).collect(),
            plain(&far.city),
            percent(far.share),
            format!("{} ({:.0}%)", far.site, 100.0 * far.likely),
            format!("{:.0} km", far.km),
            format!("{} {:.0} km", far.nearest, far.nearest_km),
            format!("{:+.0} ms", far.extra_ms),
            far.remedies.first().map_or_else(String::new, |it| it.change.clone()),
            far.remedies.first().map_or_else(String::new, |it| {
                let of = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
                format!("{}/{} ms", of(it.median_ms), of(it.p95_ms))
            }),
        ]
    });
    let headings = [
        "NETWORK",
        "CITY",
        "SHARE",
        "LANDS AT",
        "AT",
        "NEAREST",
        "EXTRA",
        "NEARER BY",
        "FLEET THEN",
    ];
    print(&headings, rows.collect());
    println!(
        "\nNEARER BY is a change that was tried and helps this network; FLEET THEN is the median and \
         95th\npercentile of all users with it. Try it yourself with --what-if."
    );
}

pub(super) fn csv(scene: &Scene, outcome: &Outcome) {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let sites: Vec<String> = scene.sites.iter().map(|site| quoted(&site.name)).collect();
    println!("asn,name,weight,tied,likeliest,{}", sites.join(","));
    for id in scene.graph.ids() {
        let row = scene.network(id);
        let likeliest = outcome.likeliest(id).map_or("", |(at, _)| scene.sites[at].name.as_str());
        let shares: Vec<String> =
            outcome.shares(id).iter().map(|share| format!("{share:.4}")).collect();
        println!(
            "{},{},{},{},{},{}",
            scene.graph.asn(id),
            quoted(&plain(&row.name)),
            row.weight,
            outcome.tied[id.index()].len() > 1,
            quoted(likeliest),
            shares.join(",")
        );
    }
}

pub(super) fn difference(changes: &[Change], difference: &Difference) {
    let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
    println!("If {}:\n", words.join(", "));
    let rows = difference.sites.iter().map(|site| {
        let seen = |flow: &&(String, f64)| flow.1.abs() >= 0.0005;
        let flows = site.flows.iter().filter(seen).take(4).map(|(other, share)| {
            let word = if *share > 0.0 { "from" } else { "to" };
            format!("{} {word} {other}", percent(share.abs()))
        });
        vec![
            site.site.clone(),
            percent(site.before),
            percent(site.after),
            signed(site.after - site.before),
            ms(site.median_ms_before),
            ms(site.median_ms_after),
            flows.collect::<Vec<_>>().join(", "),
        ]
    });
    let headings = ["SITE", "SHARE", "THEN", "CHANGE", "MEDIAN RTT", "THEN", "MOVES"];
    print(&headings, rows.collect());
    println!(
        "\n{} of the weight moves, and {} networks have another likeliest site; {} is no longer \
         reached.",
        percent(difference.moved),
        difference.moved_networks,
        percent(difference.lost)
    );
    latency("Before", &difference.before);
    latency("Then", &difference.after);
    if !difference.networks.is_empty() {
        println!();
        let named = |it: &Option<(String, f64)>| {
            it.as_ref().map_or("nowhere".to_owned(), |(site, likely)| {
                format!("{site} ({:.0}%)", 100.0 * likely)
            })
        };
        let rows = difference.networks.iter().map(|it| {
            vec![
                format!("AS{} {}", it.asn, plain(&it.name)).chars().take(40).collect(),
                percent(it.share),
                named(&it.from),
                named(&it.to),
                it.ms.map_or_else(String::new, |ms| format!("{ms:+.0} ms")),
            ]
        });
        print(&["NETWORK", "SHARE", "LANDS AT", "THEN", "ROUND TRIP"], rows.collect());
    }
}

pub(super) fn why(why: &Why) {
    let city = if why.city.is_empty() { String::new() } else { format!(", {}", plain(&why.city)) };
    println!("AS{} {}{city}: {} of the weight", why.asn, plain(&why.name), percent(why.share));
    if why.lands.is_empty() {
        println!("The prefix does not reach it.");
    }
    for landing in &why.lands {
        println!(
            "  lands at {} {}",
            landing.site,
            match (landing.likely, landing.km) {
                (likely, Some(km)) =>
                    format!("with {:.0}%: {km:.0} km, {}", 100.0 * likely, ms(landing.ms)),
                (likely, None) => format!("with {:.0}%", 100.0 * likely),
            }
        );
    }
    if why.learnt {
        println!(
            "  By what was observed (--model). The routes below are those of propagation, which this \
             does not\n  follow."
        );
    } else if why.tied {
        println!(
            "  Its best routes are equal in all that the model sees. Which one it uses depends on what\n  \
             it alone knows; nearer sites count as likelier."
        );
    }
    match why.offers.len() {
        1 => println!("\nIt is offered one route:\n"),
        count => println!("\nIt is offered {count} routes:\n"),
    }
    let rows = why.offers.iter().map(|offer| {
        let (site, path) =
            offer.paths.first().map_or((String::new(), String::new()), |(site, path)| {
                let path: Vec<String> = path.iter().map(ToString::to_string).collect();
                (site.clone(), path.join(" "))
            });
        let more = match offer.paths.len() {
            0 | 1 => String::new(),
            n => format!(" +{}", n - 1),
        };
        vec![
            if offer.best { "*".to_owned() } else { String::new() },
            plain(&offer.from).chars().take(40).collect(),
            offer.learnt_from.to_owned(),
            offer.local_pref.to_string(),
            offer.length.to_string(),
            format!("{site}{more}"),
            path,
            offer.verdict.clone(),
        ]
    });
    let headings = ["BEST", "FROM", "ITS", "PREF", "LENGTH", "TO", "AS PATH", "WHY"];
    print(&headings, rows.collect());
}

fn over(over: &[(String, f64)]) -> String {
    let each = over.iter().map(|(site, times)| format!("{site} at {:.0}%", 100.0 * times));
    each.collect::<Vec<_>>().join(", ")
}

pub(super) fn failures(found: &Failures) {
    let row = |words: String, failure: &Failure| {
        let gains =
            failure.gains.iter().take(3).map(|(site, gain)| format!("{site} {}", signed(*gain)));
        let mut row = vec![
            words,
            gains.collect::<Vec<_>>().join(", "),
            percent(failure.lost),
            ms(failure.latency.median_ms),
            ms(failure.latency.p95_ms),
        ];
        if found.traffic.is_some() {
            row.push(over(&failure.over));
        }
        row
    };
    let rows = std::iter::once(row("(nothing)".to_owned(), &found.whole))
        .chain(found.failures.iter().map(|it| row(it.fails.join(", "), it)));
    let mut headings = vec!["FAILS", "GOES TO", "LOST", "MEDIAN RTT", "95% RTT"];
    if found.traffic.is_some() {
        headings.push("OVER CAPACITY");
    }
    print(&headings, rows.collect());
    match found.traffic {
        None => println!(
            "\nSay how much traffic there is (--load 40Gbps) to see which site passes its capacity."
        ),
        Some(_) if found.capacities.iter().all(Option::is_none) => println!(
            "\nNo capacity is known: give sites a `capacity`, or --capacity 20Gbps for all."
        ),
        Some(_) => {
            let over = found.failures.iter().filter(|it| !it.over.is_empty()).count();
            println!(
                "\n{over} of {} failures take a site past its capacity.",
                found.failures.len()
            );
        }
    }
}

pub(super) fn attack(attack: &Attack, most: usize) {
    println!("{} from {} networks.", rate(attack.size), attack.networks);
    if attack.outside > 0.001 {
        println!(
            "({} of the sources are in networks that the topology lacks.)",
            percent(attack.outside)
        );
    }
    println!();
    let rows = attack.sites.iter().enumerate().map(|(at, site)| {
        let load = attack.landing.at_sites[at];
        vec![
            site.clone(),
            rate(load),
            attack.capacities[at].map_or_else(String::new, rate),
            attack.capacities[at].map_or_else(String::new, |capacity| percent(load / capacity)),
        ]
    });
    print(&["SITE", "LANDS", "CAPACITY", "OF IT"], rows.collect());
    println!();
    if attack.capacities.iter().all(Option::is_none) {
        println!("No capacity is known: give sites a `capacity`, or --capacity 20Gbps for all.");
    } else {
        println!(
            "{} of users land at a site past its capacity, or nowhere.",
            percent(attack.landing.users_hurt)
        );
    }
    if attack.playbook.is_empty() {
        println!("Nothing that was tried makes it better.");
        return;
    }
    println!("\nWhat could be done, the best first:\n");
    let capacities = attack.capacities.iter().any(Option::is_some);
    let row = |words: String, it: &Response| {
        vec![
            words,
            if capacities { percent(it.users_hurt) } else { String::new() },
            percent(it.highest),
            over(&it.over),
            ms(it.latency.median_ms),
            ms(it.latency.p95_ms),
        ]
    };
    let rows = std::iter::once(row("(nothing)".to_owned(), &attack.landing))
        .chain(attack.playbook.iter().take(most).map(|it| row(it.does.join(", "), it)));
    let headings =
        ["RESPONSE", "USERS HURT", "HIGHEST LOAD", "OVER CAPACITY", "MEDIAN RTT", "95% RTT"];
    print(&headings, rows.collect());
}

pub(super) fn found(found: &Found) {
    println!("{} configurations tried, {:.0} a second.\n", found.evaluated, found.per_second);
    let value = |it: &Candidate| match found.goal {
        Goal::Median | Goal::P95 => format!("{:.1} ms", it.value),
        Goal::LoadImbalance => format!("{:.2}", it.value),
    };
    let goal = match found.goal {
        Goal::Median => "MEDIAN",
        Goal::P95 => "95%",
        Goal::LoadImbalance => "IMBALANCE",
    };
    let row = |words: &str, it: &Candidate| {
        vec![
            words.to_owned(),
            it.sites.to_string(),
            it.sessions.to_string(),
            value(it),
            ms(it.latency.median_ms),
            ms(it.latency.p95_ms),
            format!("{:.2}", it.imbalance),
            percent(it.lost),
            it.edits.len().to_string(),
        ]
    };
    let last = found.frontier.len().saturating_sub(1);
    let rows = std::iter::once(row("now", &found.now)).chain(
        found
            .frontier
            .iter()
            .enumerate()
            .map(|(at, it)| row(if at == last { "best" } else { "" }, it)),
    );
    let headings =
        ["WHICH", "SITES", "SESSIONS", goal, "MEDIAN RTT", "95% RTT", "IMBALANCE", "LOST", "EDITS"];
    print(&headings, rows.collect());
    let Some(best) = found.frontier.last() else { return };
    if !best.beats(&found.now) {
        println!("\nNothing that was tried is better than the fleet file as it is.");
        return;
    }
    println!("\nThe fleet file for the best:\n");
    let mut heading = String::new();
    for edit in &best.edits {
        let table = match (edit.neighbor, &edit.name) {
            (None, _) => format!("[site.{}]", edit.site),
            (Some(asn), Some(name)) => {
                format!("[site.{}.neighbor.{name}] # asn = {asn}", edit.site)
            }
            (Some(asn), None) => format!("[site.{}.neighbor.…] # asn = {asn}", edit.site),
        };
        if table != heading {
            println!("{table}");
            heading = table;
        }
        println!("{}", edit.set);
    }
}

pub(super) fn score(scores: &Scores) {
    let figures = |accuracy: f64, weighted: f64, balanced: f64, brier: f64| {
        [percent(accuracy), percent(weighted), percent(balanced), format!("{brier:.3}")]
    };
    let mut rows = Vec::new();
    for experiment in &scores.experiments {
        for method in &experiment.methods {
            let mut row = vec![
                plain(&experiment.experiment),
                plain(&experiment.measured),
                experiment.ases.to_string(),
                method.method.to_owned(),
            ];
            row.extend(figures(method.accuracy, method.weighted, method.balanced, method.brier));
            rows.push(row);
        }
    }
    for mean in &scores.mean {
        let mut row = vec![
            format!("mean of {}", mean.experiments),
            plain(&mean.measured),
            String::new(),
            mean.method.to_owned(),
        ];
        row.extend(figures(mean.accuracy, mean.weighted, mean.balanced, mean.brier));
        rows.push(row);
    }
    let headings =
        ["EXPERIMENT", "MEASURED", "ASES", "METHOD", "ACCURACY", "WEIGHTED", "BALANCED", "BRIER"];
    print(&headings, rows);
    let calibrated = |name: &str| name == "calibrated";
    println!("\nHow often what was called so likely came true (calibrated):\n");
    let mut bins: Vec<(f64, usize, f64, f64)> = Vec::new();
    let methods = scores.experiments.iter().flat_map(|it| &it.methods);
    for bin in methods.filter(|it| calibrated(it.method)).flat_map(|it| &it.reliability) {
        #[expect(clippy::cast_precision_loss, reason = "thousands of networks")]
        let count = bin.ases as f64;
        let (said, came) = (bin.said * count, bin.came_true * count);
        match bins.iter_mut().find(|other| (other.0 - bin.from).abs() < 1e-9) {
            Some(other) => {
                other.1 += bin.ases;
                other.2 += said;
                other.3 += came;
            }
            None => bins.push((bin.from, bin.ases, said, came)),
        }
    }
    bins.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rows = bins.iter().filter(|bin| bin.1 > 0).map(|(from, ases, said, came)| {
        #[expect(clippy::cast_precision_loss, reason = "thousands of networks")]
        let count = *ases as f64;
        vec![
            format!("from {}", percent(*from)),
            ases.to_string(),
            percent(said / count),
            percent(came / count),
        ]
    });
    print(&["LIKELY", "ASES", "SAID", "CAME TRUE"], rows.collect());
    for left in &scores.left_out {
        println!("left out: {}: {}", plain(&left.experiment), plain(&left.why));
    }
}
