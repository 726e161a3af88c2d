//! A small made-up Internet, for tests and for a first look without any file.
//!
//! Nothing in it is real but the cities' places. It is the same every time: numbers for private
//! use (RFC 6996), a clique of large transit networks, regional ones, and access and content
//! networks at the edge, which buy and peer where they are.

use std::collections::HashSet;

use anycast_bgp::Asn;

use crate::topology::{Link, Relationship, Relationships};

/// One AS of the made-up Internet.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its number.
    pub asn: Asn,
    /// The city in which most of its users are.
    pub city: &'static str,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// How many addresses its users have.
    pub addresses: u64,
}

/// The made-up Internet.
#[derive(Clone, Debug)]
pub struct Internet {
    /// Its ASes, by number.
    pub networks: Vec<Network>,
    /// Their relations.
    pub relationships: Relationships,
}

/// Name, country, degrees north and east, size as a share of the whole.
type City = (&'static str, f64, f64, u32);

const CITIES: [City; 32] = [
    ("Amsterdam", 52.4, 4.9, 6),
    ("Atlanta", 33.7, -84.4, 5),
    ("Bangkok", 13.8, 100.5, 5),
    ("Bogotá", 4.7, -74.1, 3),
    ("Buenos Aires", -34.6, -58.4, 4),
    ("Cairo", 30.0, 31.2, 4),
    ("Chicago", 41.9, -87.6, 6),
    ("Dallas", 32.8, -96.8, 6),
    ("Dubai", 25.2, 55.3, 3),
    ("Frankfurt", 50.1, 8.7, 8),
    ("Hong Kong", 22.3, 114.2, 6),
    ("Istanbul", 41.0, 29.0, 4),
    ("Jakarta", -6.2, 106.8, 5),
    ("Johannesburg", -26.2, 28.0, 3),
    ("Lagos", 6.5, 3.4, 3),
    ("Lima", -12.0, -77.0, 2),
    ("London", 51.5, -0.1, 8),
    ("Los Angeles", 34.1, -118.2, 7),
    ("Madrid", 40.4, -3.7, 4),
    ("Mexico City", 19.4, -99.1, 4),
    ("Milan", 45.5, 9.2, 4),
    ("Mumbai", 19.1, 72.9, 7),
    ("Nairobi", -1.3, 36.8, 2),
    ("New York", 40.7, -74.0, 9),
    ("Paris", 48.9, 2.4, 7),
    ("São Paulo", -23.5, -46.6, 8),
    ("Seattle", 47.6, -122.3, 4),
    ("Singapore", 1.4, 103.8, 6),
    ("Sydney", -33.9, 151.2, 4),
    ("Tokyo", 35.7, 139.7, 9),
    ("Toronto", 43.7, -79.4, 4),
    ("Warsaw", 52.2, 21.0, 4),
];

/// The first number for private use that two octets do not hold (RFC 6996).
const FIRST: u32 = 4_200_000_000;
/// Transit networks without providers.
const LARGE: u32 = 10;
/// Transit networks of a city.
const REGIONAL: u32 = 3;
/// Networks at the edge for each unit of a city's size.
const EDGE: u32 = 12;

/// The number of the `nth` network without providers; each of them is present in several cities.
#[must_use]
pub const fn large(nth: u32) -> Asn {
    Asn(FIRST + nth % LARGE)
}

/// Makes the Internet.
#[must_use]
pub fn internet() -> Internet {
    let mut maker = Maker::default();
    for nth in 0..LARGE {
        let city = CITIES[[23, 16, 9, 29, 27, 17, 6, 24, 10, 25][nth as usize % 10]];
        maker.network(large(nth), city, 0);
        (0..nth).for_each(|other| maker.link(large(other), large(nth), Relationship::Peer));
    }
    let mut regional: Vec<Vec<Asn>> = Vec::new();
    for (at, city) in CITIES.iter().enumerate() {
        regional.push((0..REGIONAL).map(|nth| maker.regional(at, nth, *city)).collect());
    }
    for at in 0..CITIES.len() {
        maker.exchange(&regional, at);
    }
    for (at, city) in CITIES.iter().enumerate() {
        let edge: Vec<Asn> =
            (0..EDGE * city.3).map(|nth| maker.edge(at, nth, *city, &regional)).collect();
        maker.peering(&edge, &regional[at]);
    }
    maker.networks.sort_by_key(|network| network.asn);
    let relationships =
        Relationships::from_links(maker.links).expect("each pair is linked only once");
    Internet { networks: maker.networks, relationships }
}

#[derive(Default)]
struct Maker {
    networks: Vec<Network>,
    links: Vec<Link>,
    linked: HashSet<(Asn, Asn)>,
    dice: u64,
}

impl Maker {
    /// A number below `sides`, the same sequence every time (SplitMix64).
    fn roll(&mut self, sides: u32) -> u32 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((mixed ^ (mixed >> 31)) >> 32).expect("32 bits are left");
        high % sides
    }

    fn network(&mut self, asn: Asn, city: City, addresses: u64) {
        let (city, latitude, longitude, _) = city;
        self.networks.push(Network { asn, city, latitude, longitude, addresses });
    }

    fn link(&mut self, a: Asn, b: Asn, relationship: Relationship) {
        if a != b && self.linked.insert((a.min(b), a.max(b))) {
            self.links.push(Link { a, b, relationship });
        }
    }

    /// A transit network of a city, customer of two or three large ones.
    fn regional(&mut self, at: usize, nth: u32, city: City) -> Asn {
        let place = u32::try_from(at).expect("few cities");
        let asn = Asn(FIRST + 100 + place * REGIONAL + nth);
        self.network(asn, city, u64::from(city.3) * 200_000);
        for _ in 0..2 + self.roll(2) {
            let provider = large(self.roll(LARGE));
            self.link(provider, asn, Relationship::ProviderOf);
        }
        asn
    }

    /// The regional networks of a city peer with each other and with those of some others.
    fn exchange(&mut self, regional: &[Vec<Asn>], at: usize) {
        for (nth, asn) in regional[at].iter().enumerate() {
            for other in &regional[at][..nth] {
                self.link(*other, *asn, Relationship::Peer);
            }
            for there in &regional[..at] {
                if self.roll(6) == 0 {
                    let other = self.roll(REGIONAL) as usize;
                    self.link(there[other], *asn, Relationship::Peer);
                }
            }
        }
    }

    /// A network at the edge, customer of one to three networks of its city or large ones.
    fn edge(&mut self, at: usize, nth: u32, city: City, regional: &[Vec<Asn>]) -> Asn {
        let place = u32::try_from(at).expect("few cities");
        let asn = Asn(FIRST + 1_000 + place * 200 + nth);
        // A few are large, most are small.
        let size = 256_u64 << (self.roll(4) + self.roll(4) + self.roll(6));
        self.network(asn, city, size);
        for _ in 0..=self.roll(3) {
            let provider = if self.roll(5) == 0 {
                large(self.roll(LARGE))
            } else {
                regional[at][self.roll(REGIONAL) as usize]
            };
            self.link(provider, asn, Relationship::ProviderOf);
        }
        asn
    }

    /// Some networks at the edge peer with each other and with regional ones that they do not
    /// pay.
    fn peering(&mut self, edge: &[Asn], regional: &[Asn]) {
        for (nth, asn) in edge.iter().enumerate().skip(1) {
            if self.roll(3) == 0 {
                let other = self.roll(u32::try_from(nth).expect("few networks")) as usize;
                self.link(edge[other], *asn, Relationship::Peer);
            }
        }
        for (nth, asn) in edge.iter().enumerate() {
            if nth % 16 == 0 {
                let other = regional[self.roll(REGIONAL) as usize];
                self.link(other, *asn, Relationship::Peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;

    #[test]
    fn the_made_up_internet_is_connected_to_its_core_and_always_the_same() {
        let made = internet();
        let graph = Graph::new(&made.relationships).unwrap();
        assert_eq!(graph.len(), made.networks.len(), "no network without a link");
        assert!((2_000..4_000).contains(&graph.len()), "{}", graph.len());
        for id in graph.ids() {
            let top = (0..LARGE).any(|nth| large(nth) == graph.asn(id));
            assert_eq!(graph.providers(id).is_empty(), top, "{}", graph.asn(id));
            assert!(graph.asn(id).is_private());
        }
        let again = internet();
        assert_eq!(again.networks, made.networks);
        assert_eq!(again.relationships.links(), made.relationships.links());
    }
}
