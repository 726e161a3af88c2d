use anycast_bgp::Asn;

use super::*;
use crate::configuration::Configuration;
use crate::observed::{Experiment, Landing, SeenPath};
use crate::topology::Relationships;

/// Two tops that peer, 64501 and 64502; 64511 below the first, 64512 below the second, 64513 below both.
fn graph() -> Graph {
    let text = b"64501|64511|-1\n64502|64512|-1\n64501|64513|-1\n64502|64513|-1\n64501|64502|0\n";
    Graph::new(&Relationships::parse(text).unwrap()).unwrap()
}

fn site(name: &str, paths: &[&[u32]]) -> SeenSite {
    let path = |path: &&[u32]| SeenPath {
        monitor: Asn(path[0]),
        path: path.iter().copied().map(Asn).collect(),
    };
    SeenSite {
        name: name.to_owned(),
        alone: paths.iter().map(path).collect(),
        ..SeenSite::default()
    }
}

fn both() -> [SeenSite; 2] {
    [
        site("ams", &[&[64511, 64501, 64500], &[64502, 64501, 64501, 64501, 64500]]),
        site("nrt", &[&[64511, 64501, 64502, 64500], &[64502, 64500]]),
    ]
}

fn row(model: &Model, graph: &Graph, asn: u32) -> Vec<f64> {
    model.expect(graph, &["ams", "nrt"])[graph.index_of(Asn(asn)).unwrap().index()].clone()
}

#[test]
fn an_as_on_paths_to_both_sites_takes_the_better_side_then_the_shorter_path() {
    let (graph, sites) = (graph(), both());
    let model = learn(&[&sites[0], &sites[1]], &[Asn(64500)], &graph);
    // 64502 hears ams from a peer, nrt itself; 64511 hears both from its provider, ams nearer.
    assert_eq!(row(&model, &graph, 64502), [0.0, 1.0]);
    assert_eq!(row(&model, &graph, 64511), [1.0, 0.0]);
}

#[test]
fn an_as_that_was_not_seen_has_the_mean_of_its_providers_and_the_mix() {
    let (graph, sites) = (graph(), both());
    let model = learn(&[&sites[0], &sites[1]], &[Asn(64500)], &graph);
    // One monitor each, and an even third: the mix is even.
    assert_eq!(row(&model, &graph, 64512), [0.25, 0.75]);
    assert_eq!(row(&model, &graph, 64513), [0.5, 0.5]);
}

#[test]
fn prepends_of_third_parties_and_next_hops_become_overrides() {
    let (graph, sites) = (graph(), both());
    let overrides = learn(&[&sites[0], &sites[1]], &[Asn(64500)], &graph).overrides();
    assert_eq!(overrides.prepend.into_iter().collect::<Vec<_>>(), [((Asn(64501), Asn(64502)), 2)]);
    assert_eq!(overrides.via[&(Asn(64511), "nrt".to_owned())], Asn(64501));
}

#[test]
fn a_neighbor_that_nobody_above_it_heard_is_a_peer() {
    let graph = graph();
    let quiet = site("ams", &[&[64511, 64500], &[64501, 64502, 64500]]);
    let model = learn(&[&quiet], &[Asn(64500)], &graph);
    let roles: Vec<_> = model.neighbors.iter().map(|it| (it.asn, it.role)).collect();
    assert_eq!(roles, [(64502, Role::Transit), (64511, Role::Peer)]);
}

#[test]
fn paths_without_origin_and_with_loops_say_nothing() {
    let odd = site("ams", &[&[64511, 64501], &[64511, 64501, 64511, 64500], &[64500]]);
    let model = learn(&[&odd], &[Asn(64500)], &graph());
    assert_eq!(model, Model { version: MODEL_VERSION, ..Model::default() });
}

#[test]
fn a_model_file_is_read_as_it_was_written() {
    let (graph, sites) = (graph(), both());
    let model = learn(&[&sites[0], &sites[1]], &[Asn(64500)], &graph);
    assert_eq!(Model::parse(&model.emit().unwrap()), Ok(model));
    assert_eq!(Model::parse("version = 9"), Err(ModelError::Version(9)));
}

fn measured(name: &str, sites: [&str; 2], landings: &[(u32, &str)]) -> Experiment {
    let landing = |(asn, site): &(u32, &str)| Landing {
        asn: Asn(*asn),
        site: (*site).to_owned(),
        weight: 1.0,
    };
    Experiment {
        name: name.to_owned(),
        sites: sites.map(|site| self::site(site, &[])).into(),
        measured: vec![("ping".to_owned(), landings.iter().map(landing).collect())],
        ..Experiment::default()
    }
}

#[test]
fn orders_chain_and_circles_and_contradictions_say_nothing() {
    let graph = graph();
    let experiments = [
        measured("a", ["ams", "gru"], &[(64511, "ams"), (64512, "ams"), (64513, "ams")]),
        measured("b", ["gru", "nrt"], &[(64511, "gru"), (64512, "gru"), (64513, "gru")]),
        measured("c", ["gru", "nrt"], &[(64512, "nrt"), (64501, "nrt"), (64501, "gru")]),
        measured("d", ["nrt", "ams"], &[(64513, "nrt")]),
    ];
    let orders = orders(&experiments.iter().collect::<Vec<_>>());
    let model = Model { version: MODEL_VERSION, orders, ..Model::default() };
    // 64511: ams before gru before nrt. 64512 contradicts itself, 64513 goes in a circle, 64501
    // landed at both.
    assert_eq!(row(&model, &graph, 64511), [1.0, 0.0]);
    for asn in [64512, 64513, 64501] {
        assert_eq!(row(&model, &graph, asn), [0.5, 0.5], "{asn}");
    }
    assert_eq!(Model::parse(&model.emit().unwrap()), Ok(model));
}

#[test]
fn an_order_excludes_the_worse_of_more_than_two_sites_and_paths_decide_the_rest() {
    let graph = graph();
    let sites = [
        site("ams", &[&[64511, 64501, 64500]]),
        site("nrt", &[&[64511, 64501, 64501, 64500]]),
        site("gru", &[&[64511, 64501, 64501, 64500]]),
    ];
    let mut model = learn(&sites.each_ref(), &[Asn(64500)], &graph);
    let id = graph.index_of(Asn(64511)).unwrap().index();
    let names = ["ams", "nrt", "gru"];
    assert_eq!(model.expect(&graph, &names)[id], [1.0, 0.0, 0.0]);
    model.orders = orders(&[&measured("a", ["ams", "gru"], &[(64511, "gru")])]);
    assert_eq!(model.expect(&graph, &names)[id], [0.0, 0.5, 0.5]);
}

#[test]
fn an_as_without_a_path_listens_to_its_orders_of_other_sites_as_those_with_one_explain_them() {
    let (graph, sites) = (graph(), both());
    let mut model = learn(&[&sites[0], &sites[1]], &[Asn(64500)], &graph);
    let gru = (64511, "gru");
    let landings = [gru, (64512, "gru"), (64502, "lon"), (64513, "lon")];
    model.orders = orders(&[&measured("elsewhere", ["gru", "lon"], &landings)]);
    // Who took gru, 64511, goes to ams, and who took lon, 64502, to nrt: half a share off the mix each.
    // With a ridge of 1 their order is worth a third. It has two voices, each provider one: nrt is
    // 64512's, one to each site are 64513's.
    for (asn, ams) in [(64512, (2.0 * 5.0 / 6.0) / 3.0), (64513, (2.0 / 6.0 + 1.0) / 4.0)] {
        let row = row(&model, &graph, asn);
        assert!((row[0] - ams).abs() < 1e-9 && (row[1] - (1.0 - ams)).abs() < 1e-9, "{row:?}");
    }
    // What is known by paths stays.
    assert_eq!(row(&model, &graph, 64511), [1.0, 0.0]);
}

/// The sites of the model as they were seen.
fn as_seen(model: &Model) -> Configuration {
    Configuration { sites: ["ams", "nrt"].map(|name| model.site(name, Asn(64500))).into() }
}

fn landing(model: &Model, configuration: &Configuration, asn: u32) -> Vec<f64> {
    let graph = graph();
    model.land(&graph, configuration)[graph.index_of(Asn(asn)).unwrap().index()].clone()
}

#[test]
fn as_seen_the_model_says_the_same_with_and_without_a_configuration() {
    let (graph, sites) = (graph(), both());
    let model = learn(&[&sites[0], &sites[1]], &[Asn(64500)], &graph);
    let configuration = as_seen(&model);
    assert!(model.knows(&configuration));
    assert_eq!(model.land(&graph, &configuration), model.expect(&graph, &["ams", "nrt"]));
    let mut other = configuration;
    other.sites[1].name = "gru".to_owned();
    assert!(!model.knows(&other));
}

#[test]
fn prepends_and_what_is_down_change_what_was_seen() {
    let graph = graph();
    let sites =
        [site("ams", &[&[64511, 64501, 64500]]), site("nrt", &[&[64511, 64501, 64502, 64500]])];
    let mut model = learn(&sites.each_ref(), &[Asn(64500)], &graph);
    model.orders = orders(&[&measured("a", ["ams", "nrt"], &[(64512, "ams")])]);
    let usual = as_seen(&model);
    assert_eq!(landing(&model, &usual, 64511), [1.0, 0.0]);
    assert_eq!(landing(&model, &usual, 64512), [1.0, 0.0], "its order");
    // Once more in front: both are as long. Twice: nrt is nearer, and the order is not known to hold.
    let mut changed = usual.clone();
    changed.sites[0].announcements[0].prepend += 1;
    assert_eq!(landing(&model, &changed, 64511), [0.5, 0.5]);
    changed.sites[0].announcements[0].prepend += 1;
    assert_eq!(landing(&model, &changed, 64511), [0.0, 1.0]);
    assert!(landing(&model, &changed, 64512)[1] > 0.0);
    let mut drained = usual.clone();
    drained.sites[0].announcements[0].graceful_shutdown = true;
    assert_eq!(landing(&model, &drained, 64511), [0.0, 1.0]);
    let mut down = usual.clone();
    down.sites[0].up = false;
    for id in graph.ids() {
        assert_eq!(model.land(&graph, &down)[id.index()], [0.0, 1.0]);
    }
    // The worse one gone, the better one stays; the better one gone, nothing is sure.
    let mut gone = usual.clone();
    gone.sites[1].announcements[0].no_export = true;
    assert_eq!(landing(&model, &gone, 64511), [1.0, 0.0]);
    let mut gone = usual;
    gone.sites[0].announcements[0].no_export = true;
    let unsure = landing(&model, &gone, 64511);
    assert!(unsure[0] > 0.0 && unsure[1] > 0.0, "{unsure:?}");
    down.sites[1].up = false;
    assert!(model.land(&graph, &down).iter().flatten().all(|share| *share == 0.0));
}
