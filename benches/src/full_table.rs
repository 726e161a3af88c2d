//! A table of the size of the Internet's, as the octets of UPDATE messages.
//!
//! Nothing in it is anybody's: prefixes, paths and communities come from a small random number
//! generator with a fixed seed, shaped as the real table is: most prefixes are /24, a few
//! attribute sets have many prefixes and most have few, most have communities, some prepend.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anycast_bgp::message::{Context, Message, Update};
use anycast_bgp::{AsPath, Attributes, Community, Family, IpNet, LargeCommunity, Origin};
use ipnet::Ipv4Net;

/// Xorshift (Marsaglia 2003): good enough to vary a table.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 20) % u64::from(end)).expect("below a 32-bit number")
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}

/// One of `parts` of the table, which share no prefix, as UPDATE messages one after another, the
/// End-of-RIB marker last.
///
/// # Panics
/// IPv4 has not so much room: with more than about two million routes.
#[must_use]
pub fn part(
    (part, parts): (usize, usize),
    (routes, sets): (usize, usize),
    sender: u32,
    next_hop: Ipv4Addr,
) -> Vec<u8> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (start, end) = (routes * part / parts, routes * (part + 1) / parts);
    let mut prefixes =
        prefixes(routes, &mut random).drain(start..end).collect::<Vec<_>>().into_iter();
    let mut order: Vec<usize> = sizes(end - start, sets / parts);
    for last in (1..order.len()).rev() {
        let other = random.below(u32::try_from(last + 1).expect("sets fit 32 bits"));
        order.swap(last, other as usize);
    }
    let context = Context::default();
    let mut octets = Vec::with_capacity(routes * 12);
    for size in order {
        let attributes = Arc::new(attributes(sender, next_hop, &mut random));
        let update = Update::announce(attributes, prefixes.by_ref().take(size));
        update.emit(&context).iter().for_each(|message| octets.extend_from_slice(message));
    }
    let end = Message::Update(Update::end_of_rib(Family::Ipv4Unicast));
    octets.extend(end.emit(&context));
    octets
}

/// Prefixes without overlap, rising, outside what is set aside.
fn prefixes(count: usize, random: &mut Random) -> Vec<IpNet> {
    let mut found = Vec::with_capacity(count);
    let mut next: u32 = 0x0100_0000;
    while found.len() < count {
        let length = match random.below(100) {
            0..75 => 24,
            75..85 => 23,
            85..94 => 22,
            94..97 => 21,
            97..99 => 20,
            _ => 19,
        };
        let size = 1_u32 << (32 - length);
        let start = next.next_multiple_of(size);
        next = start + size;
        match start >> 24 {
            10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 => next = ((start >> 24) + 1) << 24,
            ..224 => {
                let net = Ipv4Net::new_assert(Ipv4Addr::from(start), length);
                found.push(IpNet::V4(net));
            }
            _ => panic!("IPv4 is full after {} prefixes", found.len()),
        }
    }
    found
}

/// How many prefixes each set has: at least one, and as in the real table a few have many.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a shape, not a count; the sum is made right below"
)]
fn sizes(routes: usize, sets: usize) -> Vec<usize> {
    let sets = sets.min(routes);
    let weights: Vec<f64> = (0..sets).map(|rank| (rank as f64 + 10.0).powf(-0.8)).collect();
    let sum: f64 = weights.iter().sum();
    let spare = (routes - sets) as f64;
    let mut sizes: Vec<usize> =
        weights.iter().map(|weight| 1 + (weight / sum * spare) as usize).collect();
    // Rounding down lost less than one for each.
    let missing = routes - sizes.iter().sum::<usize>();
    sizes.iter_mut().take(missing).for_each(|size| *size += 1);
    sizes
}

fn attributes(sender: u32, next_hop: Ipv4Addr, random: &mut Random) -> Attributes {
    let number = |random: &mut Random| {
        if random.percent(30) {
            200_000 + random.below(9_000)
        } else {
            1_000 + random.below(60_000)
        }
    };
    let mut path = vec![sender];
    for _ in 0..1 + random.below(3) + random.below(3) {
        path.push(number(random));
    }
    let origin = number(random);
    path.push(origin);
    if random.percent(8) {
        path.extend(vec![origin; 1 + random.below(3) as usize]);
    }
    let mut attributes = Attributes::new(IpAddr::V4(next_hop));
    attributes.as_path = AsPath::sequence(&path);
    attributes.origin = if random.percent(90) { Origin::Igp } else { Origin::Incomplete };
    attributes.med = random.percent(10).then(|| random.below(500));
    if random.percent(70) {
        let mut communities: Vec<Community> = (0..=random.below(12))
            .map(|_| Community((1_000 + random.below(1_400)) << 16 | random.below(3_000)))
            .collect();
        communities.sort_unstable();
        communities.dedup();
        attributes.communities = communities;
    }
    if random.percent(10) {
        attributes.large_communities = vec![LargeCommunity {
            global: 200_000 + random.below(1_000),
            local1: random.below(100),
            local2: random.below(1_000),
        }]
        .into();
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_as_many_routes_and_sets_as_asked_for() {
        let address = Ipv4Addr::new(198, 51, 100, 2);
        let octets: Vec<u8> =
            (0..2).flat_map(|half| part((half, 2), (5_000, 500), 64_502, address)).collect();
        let context = Context::default();
        let (mut rest, mut prefixes, mut sets, mut ends) = (octets.as_slice(), vec![], vec![], 0);
        while !rest.is_empty() {
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            let Message::Update(update) = Message::parse(&rest[..len], &context).expect("sound")
            else {
                panic!("only UPDATEs");
            };
            assert!(update.faults.is_empty() && update.withdrawn.is_empty());
            ends += usize::from(update.end_of_rib.is_some());
            for announcement in update.announced {
                prefixes.extend(announcement.prefixes);
                sets.push(announcement.attributes);
            }
            rest = &rest[len..];
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        assert_eq!((prefixes.len(), ends), (5_000, 2));
        assert!((500..600).contains(&sets.len()), "large sets take several messages");
    }
}
