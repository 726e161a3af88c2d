//! Samples and what is said about them.

use std::fmt;

/// Measurements of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a measurement.
    pub fn add(&mut self, value: f64) {
        let at = self.0.partition_point(|other| *other <= value);
        self.0.insert(at, value);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest value that at least `percent` of all values do not exceed (nearest rank); NaN
    /// if there is none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    /// The middle one; of an even number the lower of the two.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }
}

impl Extend<f64> for Samples {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.add(value));
    }
}

/// Median, 95th percentile, smallest and largest, with as many decimals as the precision says.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(1);
        write!(
            f,
            "median {:.decimals$}  p95 {:.decimals$}  min {:.decimals$}  max {:.decimals$}  (n={})",
            self.median(),
            self.percentile(95),
            self.percentile(0),
            self.percentile(100),
            self.len(),
        )
    }
}

/// Prints one line: what, the samples, the unit.
pub fn print(what: &str, samples: &Samples, unit: &str, decimals: usize) {
    println!("  {what:<44} {unit:>2}  {samples:.decimals$}");
}

/// Prints how the medians of a peer and of ours relate.
pub fn print_ratio(what: &str, peer: &Samples, ours: &Samples) {
    println!("  {what:<44} ×   {:.2}", peer.median() / ours.median());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut samples = Samples::default();
        assert!(samples.is_empty() && samples.median().is_nan());
        samples.extend([5.0, 1.0, 4.0, 2.0, 3.0]);
        for (percent, want) in [(0, 1.0), (20, 1.0), (21, 2.0), (50, 3.0), (95, 5.0), (100, 5.0)] {
            assert!((samples.percentile(percent) - want).abs() < 1e-9, "{percent}");
        }
        samples.add(6.0);
        assert!((samples.median() - 3.0).abs() < 1e-9, "the lower of the two in the middle");
    }
}
