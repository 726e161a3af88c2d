use anycast_catchment::Relationships;

use super::*;
use crate::scene::Ingredients;
use crate::table::Table;

/// Two far regions, each with a transit and a user network; a third transit whose customer is
/// small. Sites in Frankfurt, Tokyo and New York.
fn scene() -> Scene {
    let site = |name: &str, city: &str, asn: u32, octet: u8| {
        format!(
            "[site.{name}]\ncity = \"{city}\"\n[site.{name}.neighbor.t]\naddress = \
             \"198.51.100.{octet}\"\nlocal-address = \"198.51.100.{}\"\nasn = {asn}\nrelation = \
             \"provider\"\nexport = \"fleet\"\nimport = \"everything\"\n",
            octet + 1
        )
    };
    let text = [
        "[fleet]\nname = \"test\"\nasn = 64500\n[prefix.\"192.0.2.0/24\"]\nservices = [\"w\"]\n\
         [service.w]\naddresses = [\"192.0.2.1\"]\nbuiltin = \"whoami\"\n"
            .to_owned(),
        site("fra", "Frankfurt", 64501, 0),
        site("nrt", "Tokyo", 64502, 2),
        site("nyc", "New York", 64503, 4),
    ]
    .concat();
    let fleet = anycast_fleet::parse("test", &text).fleet.expect("it is sound");
    let links = "64501|64502|0\n64501|64503|0\n64502|64503|0\n64501|65536|-1\n64502|65537|-1\n\
                 64503|65538|-1\n";
    let table = "asn,lat,lon,weight\n65536,50,8,40\n65537,35,139,50\n65538,40,-74,10\n";
    let with = Ingredients {
        relationships: Relationships::parse(links.as_bytes()).unwrap(),
        table: Table::parse(table.as_bytes()).unwrap(),
        ..Ingredients::default()
    };
    Scene::new(&fleet, with).unwrap()
}

fn search(sites: usize, evaluations: u64) -> Search {
    let limits = Limits { sites, prepend: (0, 2), transits: Transits::Any };
    Search { goal: Goal::P95, limits, seed: 7, evaluations }
}

/// What is found, without the time that it took.
fn words(found: &Found) -> String {
    let mut value = serde_json::to_value(found).unwrap();
    value["per_second"] = serde_json::Value::Null;
    value.to_string()
}

#[test]
fn who_is_lost_counts_in_what_is_better() {
    let found = optimise(&scene(), &search(2, 100), None, &mut |_| true).unwrap();
    let with = |value: f64, lost: f64| Candidate { value, lost, ..found.now.clone() };
    for (value, lost, other_value, other_lost, beats) in [
        (60.0, 0.0, 50.0, 0.3, true),
        (95.0, 0.1, 100.0, 0.0, false),
        (95.0, 0.0, 100.0, 0.0, true),
        (100.0, 0.0, 100.0, 1e-8, false),
    ] {
        let (one, other) = (with(value, lost), with(other_value, other_lost));
        assert_eq!(one.beats(&other), beats, "{value} {lost} {other_value} {other_lost}");
    }
}

#[test]
fn with_two_sites_allowed_the_two_heavy_regions_get_them() {
    let scene = scene();
    let found = optimise(&scene, &search(2, 5_000), None, &mut |_| true).unwrap();
    let best = found.frontier.last().unwrap();
    let up: Vec<&str> = best
        .configuration()
        .sites
        .iter()
        .filter(|site| site.up)
        .map(|site| site.name.as_str())
        .collect();
    assert_eq!(up, ["fra", "nrt"]);
    assert!(best.edits.contains(&Edit {
        site: "nyc".to_owned(),
        neighbor: None,
        name: None,
        set: "start-drained = true".to_owned()
    }));
    assert!(
        found
            .frontier
            .windows(2)
            .all(|two| two[0].sites < two[1].sites && two[0].value > two[1].value)
    );
}

#[test]
fn the_same_seed_finds_the_same_and_a_stopped_search_goes_on() {
    let scene = scene();
    let wanted = search(3, 12_000);
    let straight = optimise(&scene, &wanted, None, &mut |_| true).unwrap();
    let again = optimise(&scene, &wanted, None, &mut |_| true).unwrap();
    assert_eq!(words(&straight), words(&again));
    let folder = std::env::temp_dir().join(format!("anycast-plan-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("search.json");
    let stopped = optimise(&scene, &wanted, Some(&file), &mut |_| false).unwrap();
    assert!(stopped.evaluated < straight.evaluated);
    let resumed = optimise(&scene, &wanted, Some(&file), &mut |_| true).unwrap();
    assert_eq!(words(&straight), words(&resumed));
    // The file is of that search and of no other.
    let other = optimise(&scene, &search(2, 12_000), Some(&file), &mut |_| true);
    assert!(matches!(other, Err(SearchError::State(StateError::Other(_)))), "{other:?}");
    std::fs::write(&file, "{}").unwrap();
    let broken = optimise(&scene, &wanted, Some(&file), &mut |_| true);
    assert!(matches!(broken, Err(SearchError::State(StateError::Format { .. }))));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_the_search_thinks_of_a_configuration_is_what_the_whole_graph_says() {
    // Nothing is tied here and all weight is kept, so the two differ by one bucket at most.
    let scene = scene();
    let ground = Ground::new(&scene);
    let mut judge = Judge::new(&ground, &scene.configuration, Goal::P95);
    let limits = Limits { sites: 3, prepend: (0, 2), transits: Transits::Any };
    let space = Space::new(&scene.configuration, &limits);
    let mut random = space::Random(3);
    let mut planner = Planner::new(&scene);
    for _ in 0..200 {
        let genes = space.any(1 + random.below(3), &mut random);
        let judged = judge.scores(std::slice::from_ref(&genes))[0];
        let mut configuration = scene.configuration.clone();
        space::apply(&genes, &mut configuration);
        let outcome = planner.run(&configuration).unwrap();
        let tied = scene.graph.ids().any(|id| outcome.tied[id.index()].len() > 1);
        let exact = Latency::of(&scene, &outcome.distribution(&scene)).p95_ms.unwrap();
        if !tied {
            assert!((judged.value - exact).abs() <= 1.0, "{genes:?}: {judged:?} {exact}");
        }
    }
}

#[test]
fn with_a_model_the_figures_and_the_choice_follow_it() {
    use anycast_catchment::learn::{LearntNeighbor, Model, Role, SeenRoute, Side};
    let sites = [("fra", 64_501), ("nrt", 64_502), ("nyc", 64_503)];
    let neighbor = |(site, asn): (&str, u32)| LearntNeighbor {
        site: site.to_owned(),
        asn,
        role: Role::Transit,
        prepend: 0,
        not_to: Vec::new(),
    };
    // Whoever has users was seen to have the shorter path to New York.
    let route = |(user, (site, next)): (u32, (&str, u32))| SeenRoute {
        asn: user,
        site: site.to_owned(),
        next: Some(next),
        from: Side::Provider,
        length: if site == "nyc" { 2 } else { 9 },
        monitor: true,
    };
    let users = 65_536..=65_538;
    let routes = users.flat_map(|user| sites.map(|site| route((user, site))));
    let model = Model {
        neighbors: sites.into_iter().map(neighbor).collect(),
        routes: routes.collect(),
        ..Model::default()
    };
    let mut scene = scene();
    scene.model = Some(model);
    let found = optimise(&scene, &search(3, 5_000), None, &mut |_| true).unwrap();
    let mut planner = Planner::new(&scene);
    for shown in found.frontier.iter().chain([&found.now]) {
        let outcome = planner.run(shown.configuration()).unwrap();
        assert_eq!(shown.latency, Latency::of(&scene, &outcome.distribution(&scene)));
    }
    // By propagation each lands at home: some 0 ms. By the model all land in New York.
    assert!(found.now.latency.median_ms.unwrap() > 90.0, "{:?}", found.now);
    // New York would draw all of them: whatever is best does without.
    let best = found.frontier.last().unwrap();
    assert!(!best.configuration().sites[2].up, "{best:?}");
}

#[test]
fn each_session_with_a_network_is_named_in_what_to_write() {
    let mut scene = scene();
    let mut wanted = scene.configuration.clone();
    let site = wanted.sites[0].name.clone();
    let told = &mut wanted.sites[0].announcements[0];
    (told.announced, told.prepend) = (true, told.prepend + 2);
    let asn = told.neighbor;
    let set = format!("prepend = {}", told.prepend);
    let edit = |name: Option<&str>| Edit {
        site: site.clone(),
        neighbor: Some(asn.0),
        name: name.map(str::to_owned),
        set: set.clone(),
    };
    scene.sites[0].neighbors = vec![(asn, "one".to_owned()), (asn, "other".to_owned())];
    let found = edits(&scene.sites, &scene.configuration, &wanted);
    assert_eq!(found, [edit(Some("one")), edit(Some("other"))]);
    // A neighbor that only a change brought has no name yet.
    scene.sites[0].neighbors.clear();
    assert_eq!(edits(&scene.sites, &scene.configuration, &wanted), [edit(None)]);
}
