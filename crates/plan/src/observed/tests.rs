use anycast_catchment::learn::LearntNeighbor;
use anycast_catchment::{Announcement, Site};

use super::*;

fn seen(site: &str, asns: impl IntoIterator<Item = u32>) -> Model {
    let neighbor = |asn| LearntNeighbor {
        site: site.to_owned(),
        asn,
        role: Role::Transit,
        prepend: 0,
        not_to: Vec::new(),
    };
    Model { neighbors: asns.into_iter().map(neighbor).collect(), ..Model::default() }
}

fn telling(asns: &[u32]) -> Configuration {
    let told = asns.iter().map(|asn| Announcement::new(Asn(*asn), NeighborKind::Transit));
    let site = Site {
        name: "ams".to_owned(),
        origin: Asn(64_500),
        up: true,
        announcements: told.collect(),
    };
    Configuration { sites: vec![site] }
}

#[test]
fn neighbors_that_are_gone_since_are_said_once_for_each_site() {
    let notes = |asns| use_model(&seen("ams", asns), &mut telling(&[64_501])).1;
    assert_eq!(notes(64_501..64_502), Vec::<String>::new());
    let [one] = &notes(64_501..64_503)[..] else { panic!("one note") };
    assert!(one.starts_with("the model has seen AS64502 next to ams that this fleet"), "{one}");
    let [many] = &notes(64_501..64_511)[..] else { panic!("one note") };
    let words = "9 neighbors (AS64502, AS64503, AS64504, AS64505, AS64506 and 4 more) next to ams";
    assert!(many.contains(words), "{many}");
}

#[test]
fn neighbors_that_were_never_seen_are_said_while_they_are_told() {
    let model = seen("ams", [64_501]);
    assert_eq!(never_seen(&model, &telling(&[64_501])), None);
    let mut more = telling(&[64_501, 64_502]);
    let note = never_seen(&model, &more).unwrap();
    assert!(note.starts_with("the model has never seen AS64502 at ams:"), "{note}");
    more.sites[0].announcements[1].announced = false;
    assert_eq!(never_seen(&model, &more), None);
}
