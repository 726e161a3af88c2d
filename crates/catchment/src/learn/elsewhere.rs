//! What an AS was measured to prefer elsewhere says how it may compare sites of which no path of
//! it was seen: others that prefer the same elsewhere, and of which paths were seen, compare them.
//!
//! This is ridge regression: the shares of the ASes that were compared are explained by their
//! orders of pairs of sites (+1, −1, or 0 where there is none) and a constant, and what explains
//! them says the shares of all other ASes that have an order.

use std::collections::BTreeMap;

use anycast_bgp::Asn;

use super::LearntOrder;

/// How strongly coefficients are drawn to 0: as by one AS that says nothing for each.
const RIDGE: f64 = 1.0;
/// No share is said to be less than this part of the mix: nothing was seen.
const LEAST: f64 = 0.01;

/// The orders of each AS: the pair's column, and 1 or −1.
pub(super) struct Elsewhere {
    known: BTreeMap<Asn, Vec<(usize, f64)>>,
    /// Pairs of sites, and the constant.
    columns: usize,
}

/// What an order says of shares: for each column one number for each site.
pub(super) struct Explained {
    coefficients: Vec<Vec<f64>>,
}

impl Elsewhere {
    pub(super) fn new(orders: &[LearntOrder]) -> Self {
        let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut known: BTreeMap<Asn, Vec<(usize, f64)>> = BTreeMap::new();
        for order in orders {
            let (better, worse) = (order.better.as_str(), order.worse.as_str());
            let (pair, sign) =
                if better < worse { ((better, worse), 1.0) } else { ((worse, better), -1.0) };
            let next = pairs.len();
            let column = *pairs.entry(pair).or_insert(next);
            for asn in &order.asns {
                known.entry(Asn(*asn)).or_default().push((column, sign));
            }
        }
        let columns = pairs.len() + 1;
        for row in known.values_mut() {
            row.push((columns - 1, 1.0));
        }
        Self { known, columns }
    }

    /// How many orders an AS has.
    pub(super) fn count(&self, asn: Asn) -> usize {
        self.known.get(&asn).map_or(0, |row| row.len() - 1)
    }

    /// Learns from ASes and their shares; `None` if none of them has an order.
    pub(super) fn explain<'a>(
        &self,
        examples: impl Iterator<Item = (Asn, &'a [f64])>,
        mix: &[f64],
    ) -> Option<Explained> {
        let mut products = vec![vec![0.0; self.columns]; self.columns];
        let mut sums = vec![vec![0.0; mix.len()]; self.columns];
        let mut any = false;
        for (asn, shares) in examples {
            let Some(row) = self.known.get(&asn) else { continue };
            any = true;
            for &(a, sign) in row {
                for &(b, other) in row {
                    products[a][b] += sign * other;
                }
                for ((sum, share), mix) in sums[a].iter_mut().zip(shares).zip(mix) {
                    *sum += sign * (share - mix);
                }
            }
        }
        for (at, row) in products.iter_mut().enumerate() {
            row[at] += RIDGE;
        }
        any.then(|| Explained { coefficients: solve(&mut products, sums) })
    }

    /// What the orders of an AS say of its shares, which add up to 1; `None` if it has none.
    pub(super) fn say(&self, asn: Asn, explained: &Explained, mix: &[f64]) -> Option<Vec<f64>> {
        let row = self.known.get(&asn)?;
        let mut shares = mix.to_vec();
        for &(column, sign) in row {
            for (share, more) in shares.iter_mut().zip(&explained.coefficients[column]) {
                *share += sign * more;
            }
        }
        for (share, mix) in shares.iter_mut().zip(mix) {
            *share = share.max(LEAST * mix);
        }
        super::land::scale(&mut shares);
        Some(shares)
    }
}

/// The solution of linear equations with a symmetric, positive definite matrix, for each column of
/// `right` (Cholesky).
fn solve(matrix: &mut [Vec<f64>], mut right: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let size = matrix.len();
    for at in 0..size {
        for column in 0..=at {
            let done: f64 =
                (0..column).map(|before| matrix[at][before] * matrix[column][before]).sum();
            let left = matrix[at][column] - done;
            matrix[at][column] =
                if at == column { left.sqrt() } else { left / matrix[column][column] };
        }
    }
    for (at, factors) in matrix.iter().enumerate() {
        let (before, rest) = right.split_at_mut(at);
        for (factor, row) in factors.iter().zip(before) {
            subtract(&mut rest[0], *factor, row);
        }
        divide(&mut rest[0], factors[at]);
    }
    for at in (0..size).rev() {
        let (rest, after) = right.split_at_mut(at + 1);
        for (factors, row) in matrix[at + 1..].iter().zip(after) {
            subtract(&mut rest[at], factors[at], row);
        }
        divide(&mut rest[at], matrix[at][at]);
    }
    right
}

fn subtract(row: &mut [f64], times: f64, other: &[f64]) {
    for (value, other) in row.iter_mut().zip(other) {
        *value -= times * other;
    }
}

fn divide(row: &mut [f64], by: f64) {
    for value in row {
        *value /= by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved_for_every_column() {
        let mut matrix = [vec![4.0, 2.0, 0.0], vec![2.0, 5.0, 1.0], vec![0.0, 1.0, 3.0]];
        let want = [[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25]];
        let right = matrix
            .iter()
            .map(|row| {
                (0..2).map(|site| row.iter().zip(&want).map(|(a, b)| a * b[site]).sum()).collect()
            })
            .collect();
        for (got, want) in solve(&mut matrix, right).iter().zip(&want) {
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {want:?}");
        }
    }

    #[test]
    fn who_prefers_the_same_elsewhere_is_said_to_land_alike() {
        let order = |better: &str, worse: &str, asns: &[u32]| LearntOrder {
            better: better.to_owned(),
            worse: worse.to_owned(),
            asns: asns.to_vec(),
        };
        // Nine of each kind are examples; 1 and 101 are not.
        let (one, other): (Vec<u32>, Vec<u32>) = ((1..11).collect(), (101..111).collect());
        let elsewhere = Elsewhere::new(&[order("x", "y", &one), order("y", "x", &other)]);
        let lands = |asn: Asn| if asn.0 < 100 { [1.0, 0.0] } else { [0.0, 1.0] };
        let examples: Vec<(Asn, [f64; 2])> =
            one[1..].iter().chain(&other[1..]).map(|asn| (Asn(*asn), lands(Asn(*asn)))).collect();
        let mix = [0.5, 0.5];
        let explained = elsewhere.explain(examples.iter().map(|it| (it.0, &it.1[..])), &mix);
        let explained = explained.expect("there are examples");
        for asn in [Asn(1), Asn(101)] {
            let said = elsewhere.say(asn, &explained, &mix).unwrap();
            let right: f64 = said.iter().zip(lands(asn)).map(|(a, b)| a * b).sum();
            // 18 examples against one that says nothing: 0.5 + 0.5 × 18 / 19.
            assert!((right - 37.0 / 38.0).abs() < 1e-9, "{asn}: {said:?}");
            assert_eq!(elsewhere.count(asn), 1);
        }
        assert_eq!(elsewhere.say(Asn(7_000), &explained, &mix), None);
        assert!(elsewhere.explain([(Asn(7_000), &mix[..])].into_iter(), &mix).is_none());
    }
}
