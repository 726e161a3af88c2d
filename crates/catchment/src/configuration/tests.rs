use super::*;
use crate::topology::Relationships;

fn site(name: &str, neighbor: u32) -> Site {
    Site {
        name: name.to_owned(),
        origin: Asn(64500),
        up: true,
        announcements: vec![Announcement::new(Asn(neighbor), NeighborKind::Transit)],
    }
}

fn graph() -> Graph {
    Graph::new(&Relationships::parse(b"1|2|-1\n1|3|-1\n2|3|0\n").unwrap()).unwrap()
}

#[test]
fn neighbors_that_the_topology_lacks_are_all_named_and_can_be_left_out() {
    let configuration =
        Configuration { sites: vec![site("ams", 1), site("fra", 77), site("nrt", 78)] };
    let error = configuration.resolve(&graph()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not in the topology: AS77 (neighbor of fra), AS78 (neighbor of nrt); \
         correct their numbers, or leave them out"
    );
    let (known, left_out) = configuration.without_unknown(&graph());
    assert_eq!(left_out.len(), 2);
    assert_eq!(known.resolve(&graph()).unwrap().seeds.len(), 1);
    assert_eq!(known.sites.len(), 3, "sites keep their places");
}

#[test]
fn paths_that_nobody_would_take_and_sites_beyond_count_are_refused() {
    let mut long = site("ams", 1);
    long.announcements[0].prepend = 100;
    let error = Configuration { sites: vec![long] }.resolve(&graph()).unwrap_err();
    assert!(error.to_string().contains("site ams announces a path of 101 ASes to AS1"), "{error}");

    let mut sites: Vec<Site> = (0..MAX_SITES).map(|nth| site(&nth.to_string(), 1)).collect();
    assert!(Configuration { sites: sites.clone() }.resolve(&graph()).is_ok());
    sites[0].announcements[0].no_export = true;
    let error = Configuration { sites }.resolve(&graph()).unwrap_err();
    assert_eq!(error, ConfigurationError::TooManySites(65));
}

#[test]
fn the_path_has_prepends_and_poisoned_ases_between_the_origins() {
    let mut told = Announcement::new(Asn(1), NeighborKind::Transit);
    told.prepend = 1;
    told.poison = vec![Asn(7), Asn(8)];
    let path: Vec<u32> = told.path(Asn(64500)).iter().map(|asn| asn.0).collect();
    assert_eq!(path, [64500, 64500, 7, 8, 64500]);
}

#[test]
fn an_as_that_stands_for_a_route_server_has_its_peers_as_members() {
    let mut at_server = site("ams", 2);
    at_server.announcements[0].kind = NeighborKind::RouteServer;
    let graph = graph();
    let announced = Configuration { sites: vec![at_server] }.resolve(&graph).unwrap();
    let heard: Vec<Asn> = announced.seeds.iter().map(|seed| graph.asn(seed.at)).collect();
    assert_eq!(heard, [Asn(3)]);
}
