use super::From;
use super::*;
use crate::configuration::{Announcement, Configuration, NeighborKind, Site};
use crate::overrides::Overrides;
use crate::propagate::Propagator;
use crate::topology::Relationships;

/// 1 and 2 peer at the top; 3 buys from both, 4 from 2 and 3, 5 from 4. Site `a` is a customer of
/// 1, `b` of 4.
fn world() -> (Graph, Configuration) {
    let text = b"1|2|0\n1|3|-1\n2|3|-1\n2|4|-1\n3|4|-1\n4|5|-1\n";
    let graph = Graph::new(&Relationships::parse(text).unwrap()).unwrap();
    let site = |name: &str, neighbor| Site {
        name: name.to_owned(),
        origin: Asn(64500),
        up: true,
        announcements: vec![Announcement::new(Asn(neighbor), NeighborKind::Transit)],
    };
    (graph, Configuration { sites: vec![site("a", 1), site("b", 4)] })
}

fn explained(
    (graph, configuration): &(Graph, Configuration),
    overrides: &Overrides,
    asn: u32,
) -> Explanation {
    let announced = configuration.resolve(graph).unwrap();
    let mut propagator = Propagator::new(graph, overrides.resolve(graph, configuration));
    let mut routes = Routes::new(graph.len());
    propagator.run(&announced, &mut routes);
    let id = graph.index_of(Asn(asn)).unwrap();
    explain(graph, &announced, propagator.overrides(), &routes, id)
}

/// Sender, path and verdict of each offer.
fn rows(explanation: &Explanation) -> Vec<(From, Vec<u32>, Verdict)> {
    let row = |offer: &Offer| {
        let path = offer.paths[0].1.iter().map(|asn| asn.0).collect();
        (offer.from, path, offer.verdict)
    };
    explanation.offers.iter().map(row).collect()
}

#[test]
fn each_offer_says_where_it_fell() {
    use super::From::{Neighbor, Site};
    let site = Site { site: 0, route_server: None };
    let explanation = explained(&world(), &Overrides::default(), 1);
    assert_eq!(
        rows(&explanation),
        [
            (site, vec![64500], Verdict::Best),
            (Neighbor(Asn(3)), vec![3, 4, 64500], Verdict::Fell(Step::AsPathLength)),
            (Neighbor(Asn(2)), vec![2, 4, 64500], Verdict::Fell(Step::LocalPref)),
        ]
    );
    assert_eq!(explanation.route.unwrap().learnt_from, LearntFrom::Customer);
}

#[test]
fn overrides_and_loops_are_told_apart_from_losses() {
    let mut overrides = Overrides::default();
    overrides.site.insert(Asn(3), "a".to_owned());
    let explanation = explained(&world(), &overrides, 3);
    assert_eq!(
        rows(&explanation),
        [
            (From::Neighbor(Asn(1)), vec![1, 64500], Verdict::Best),
            (From::Neighbor(Asn(4)), vec![4, 64500], Verdict::Overridden),
            (From::Neighbor(Asn(2)), vec![2, 4, 64500], Verdict::Overridden),
        ]
    );
    // 3 is liked better by 4 than its own site: but what 3 has, it has from 4.
    let mut overrides = Overrides::default();
    overrides.local_pref.insert((Asn(5), Asn(4)), 300);
    overrides.local_pref.insert((Asn(4), Asn(3)), 300);
    let explanation = explained(&world(), &overrides, 4);
    let verdicts: Vec<_> = rows(&explanation).into_iter().map(|row| (row.0, row.2)).collect();
    assert_eq!(verdicts[0], (From::Site { site: 1, route_server: None }, Verdict::Best));
    assert!(verdicts.contains(&(From::Neighbor(Asn(3)), Verdict::Loop)), "{verdicts:?}");
}

#[test]
fn an_as_that_nothing_reaches_and_one_that_originates_have_no_offers() {
    let (graph, mut configuration) = world();
    configuration.sites[0].up = false;
    configuration.sites[1].up = false;
    let world = (graph, configuration);
    let explanation = explained(&world, &Overrides::default(), 5);
    assert_eq!((explanation.route, explanation.offers.len()), (None, 0));

    let (graph, mut configuration) = world;
    configuration.sites[1].up = true;
    configuration.sites[1].origin = Asn(5);
    let explanation = explained(&(graph, configuration), &Overrides::default(), 5);
    assert_eq!(explanation.route.unwrap().learnt_from, LearntFrom::Origin);
    assert!(explanation.offers.is_empty());
}
