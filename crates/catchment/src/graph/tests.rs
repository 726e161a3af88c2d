use super::*;
use crate::topology::{Link, Relationships, RouteServer};

fn graph(text: &str) -> Result<Graph, GraphError> {
    Graph::new(&Relationships::parse(text.as_bytes()).unwrap())
}

fn numbers(graph: &Graph, ids: &[AsId]) -> Vec<u32> {
    let mut numbers: Vec<u32> = ids.iter().map(|id| graph.asn(*id).0).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn providers_stand_before_customers_and_likes_beside_each_other() {
    // 9 over 5 over 1; 2, 3 and 4 have the same providers; 8 peers with 9.
    let text = "9|5|-1\n5|1|-1\n5|4|-1\n9|4|-1\n5|2|-1\n9|2|-1\n9|3|-1\n5|3|-1\n8|9|0\n";
    let graph = graph(text).unwrap();
    for id in graph.ids() {
        assert!(graph.providers(id).iter().all(|provider| *provider < id));
        assert!(graph.customers(id).iter().all(|customer| *customer > id));
        assert_eq!(graph.index_of(graph.asn(id)), Some(id));
    }
    let id = |asn| graph.index_of(Asn(asn)).unwrap();
    assert_eq!(numbers(&graph, graph.customers(id(5))), [1, 2, 3, 4]);
    assert_eq!(numbers(&graph, graph.providers(id(3))), [5, 9]);
    assert_eq!(numbers(&graph, graph.peers(id(9))), [8]);
    let mut likes = [id(2), id(3), id(4)];
    likes.sort_unstable();
    assert_eq!((likes[1].0 - likes[0].0, likes[2].0 - likes[1].0), (1, 1));
    let (rows, count) = graph.quiet.rows();
    let row = |asn| rows[id(asn).index()];
    assert_eq!((row(2), row(3)), (row(4), row(4)), "what one hears, all hear");
    assert!(row(1) != row(2) && [9, 5, 8].into_iter().all(|asn| row(asn) == id(asn).0));
    assert_eq!(count, 5, "9, 5, 8, the run of 1, the run of 2, 3 and 4");
    assert_eq!(graph.index_of(Asn(7)), None);
}

#[test]
fn a_cycle_of_providers_is_refused_with_its_members() {
    let error = graph("1|2|-1\n2|3|-1\n3|1|-1\n3|4|-1\n5|1|-1\n").unwrap_err();
    let GraphError::ProviderCycle { cycle } = &error else { panic!("{error}") };
    assert_eq!(cycle.len(), 3);
    // Each is a provider of the next, the last of the first.
    for nth in 0..3 {
        let next = cycle[(nth + 1) % 3];
        assert_eq!(cycle[nth].0 % 3 + 1, next.0, "{cycle:?}");
    }
    let text = error.to_string();
    assert!(text.contains("AS1 > AS2") && text.contains("remove or correct"), "{text}");
}

#[test]
fn siblings_count_as_one_in_cycles_and_stand_beside_each_other() {
    assert!(matches!(
        graph("1|2|-1\n2|3|2\n3|1|-1\n"),
        Err(GraphError::ProviderCycle { cycle }) if cycle.len() == 2
    ));
    let graph = graph("1|2|-1\n2|3|2\n3|4|2\n4|5|-1\n6|4|-1\n6|7|-1\n").unwrap();
    let id = |asn| graph.index_of(Asn(asn)).unwrap();
    let (first, last) = graph.sibling_group(id(3));
    assert_eq!(last.0 - first.0, 2);
    for asn in [2, 3, 4] {
        assert_eq!(graph.sibling_group(id(asn)), (first, last));
    }
    assert_eq!(graph.sibling_group(id(5)), (id(5), id(5)));
    assert!(id(1) < first && id(6) < first && last < id(5));
}

#[test]
fn members_of_a_route_server_need_no_link() {
    let mut relationships = Relationships::from_links([Link {
        a: Asn(1),
        b: Asn(2),
        relationship: Relationship::Peer,
    }])
    .unwrap();
    let members = vec![Asn(2), Asn(3), Asn(2)];
    relationships.add_route_server(RouteServer { asn: Asn(64500), members });
    let graph = Graph::new(&relationships).unwrap();
    assert_eq!(graph.len(), 3, "the route server itself is no AS of the graph");
    let (asn, members) = graph.route_servers().next().unwrap();
    assert_eq!((asn, numbers(&graph, members)), (Asn(64500), vec![2, 3]));
}

#[test]
fn nothing_makes_no_graph() {
    assert_eq!(graph("# nothing\n").unwrap_err(), GraphError::Empty);
}
