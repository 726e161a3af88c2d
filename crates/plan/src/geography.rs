//! Distances, and what they say of round trips and of ties.

use anycast_fleet::Coordinates;
use anycast_fleet::city::distance_km;

/// Light in fibre, as the lab has it: kilometres in a millisecond.
const FIBRE_KM_PER_MS: f64 = 200.0;

/// Fibre does not follow the great circle: by default it is so many times as long, as in the lab.
pub const STRETCH: f64 = 1.5;

/// By how many kilometres a site must be farther than another to be chosen e times less often by
/// a network whose best routes lead to both. A guess, and a weak one on purpose: see docs/plan.md.
pub const NEARNESS_KM: f64 = 2_000.0;

/// The round trip over a distance, in milliseconds.
pub fn round_trip_ms(km: f64, stretch: f64) -> f64 {
    2.0 * km * stretch / FIBRE_KM_PER_MS
}

/// Distances from one AS to each site, in kilometres; NaN where either place is not known.
pub(crate) fn distances(from: Option<Coordinates>, sites: &[Option<Coordinates>]) -> Vec<f32> {
    let km = |to: &Option<Coordinates>| from.zip(*to).map_or(f64::NAN, |(a, b)| distance_km(a, b));
    #[expect(clippy::cast_possible_truncation, reason = "at most half the Earth's girth")]
    sites.iter().map(|to| km(to) as f32).collect()
}

/// Tilts the shares of one AS towards the nearer of its tied sites: each share is multiplied by
/// e^(-distance / nearness) and all are scaled back to what they were in sum. Shares stay as they
/// are where a distance is not known.
pub(crate) fn tilt(shares: &mut [f32], km: &[f32], nearness_km: f64) {
    let tied = || shares.iter().zip(km).filter(|(share, _)| **share > 0.0);
    if tied().count() < 2 || tied().any(|(_, km)| km.is_nan()) {
        return;
    }
    let nearest = tied().map(|(_, km)| f64::from(*km)).fold(f64::INFINITY, f64::min);
    let before: f32 = shares.iter().sum();
    for (share, km) in shares.iter_mut().zip(km).filter(|(share, _)| **share > 0.0) {
        #[expect(clippy::cast_possible_truncation, reason = "a factor of at most 1")]
        let factor = (-(f64::from(*km) - nearest) / nearness_km).exp() as f32;
        *share *= factor;
    }
    let after: f32 = shares.iter().sum();
    for share in shares.iter_mut() {
        *share *= before / after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_there_and_back_over_stretched_fibre() {
        assert!((round_trip_ms(1000.0, 1.5) - 15.0).abs() < 1e-9);
    }

    #[test]
    fn the_nearer_of_tied_sites_is_likelier_but_not_certain() {
        let mut shares = [0.5, 0.5, 0.0];
        tilt(&mut shares, &[0.0, 2000.0, 10.0], 2000.0);
        let e = std::f32::consts::E;
        assert!((shares[0] - e / (e + 1.0)).abs() < 1e-6 && shares[2] == 0.0, "{shares:?}");
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_tied_or_has_no_place_stays() {
        for (before, km) in [([1.0, 0.0], [9000.0, 1.0]), ([0.5, 0.5], [f32::NAN, 1.0])] {
            let mut shares = before;
            tilt(&mut shares, &km, NEARNESS_KM);
            assert!(shares.iter().zip(before).all(|(now, then)| (now - then).abs() < 1e-9));
        }
    }
}
