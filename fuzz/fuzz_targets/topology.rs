//! Any file as a topology: it is refused with a line, or what it says can be propagated over.
#![no_main]

use anycast_catchment::{
    Announcement, Configuration, Graph, NeighborKind, Relationships, Site, propagate,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(relationships) = Relationships::parse(text) else { return };
    let Ok(graph) = Graph::new(&relationships) else { return };
    let Some(link) = relationships.links().first() else { return };
    let site = Site {
        name: "site".to_owned(),
        origin: link.b,
        up: true,
        announcements: vec![Announcement::new(link.a, NeighborKind::Transit)],
    };
    let configuration = Configuration { sites: vec![site] };
    let announced = configuration.resolve(&graph).expect("the neighbor is in the graph");
    let routes = propagate(&graph, &announced);
    let at = graph.index_of(link.a).expect("it is in the graph");
    assert!(routes.of(at).is_some(), "the neighbor has what it was told");
});
