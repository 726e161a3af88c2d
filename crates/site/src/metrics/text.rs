//! The text format: for each family its HELP and TYPE, then its samples, a line each.

use std::collections::HashMap;
use std::fmt::Write;

use super::families::{FAMILIES, Family, Kind};

/// The upper bounds of a histogram's buckets, in seconds.
pub(super) const BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Counted times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// How many were at most as long as the bound of the same index, and longer than the one
    /// before.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    /// Seconds.
    sum: f64,
}

impl Histogram {
    /// Counts one more.
    pub(crate) fn add(&mut self, seconds: f64) {
        if let Some(index) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[index] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// Samples by family, being gathered.
#[derive(Debug, Default)]
pub(super) struct Exposition(HashMap<&'static str, String>);

impl Exposition {
    /// Adds a sample; `labels` are the values of the family's labels, in its order.
    pub(super) fn add(&mut self, family: &Family, labels: &[&str], value: f64) {
        self.line(family, "", family.labels, labels, value);
    }

    /// The same for a whole number; it is exact up to 2^53.
    pub(super) fn count(&mut self, family: &Family, labels: &[&str], value: u64) {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        self.add(family, labels, value as f64);
    }

    /// The same for yes (1) or no (0).
    pub(super) fn flag(&mut self, family: &Family, labels: &[&str], value: bool) {
        self.add(family, labels, if value { 1.0 } else { 0.0 });
    }

    /// Adds the samples of a histogram.
    pub(super) fn histogram(&mut self, family: &Family, labels: &[&str], times: &Histogram) {
        let names: Vec<&str> = family.labels.iter().chain(&["le"]).copied().collect();
        let mut below = 0;
        let bounds = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (index, bound) in bounds.enumerate() {
            below = times.buckets.get(index).map_or(times.count, |bucket| below + bucket);
            let values: Vec<&str> = labels.iter().chain(&[bound.as_str()]).copied().collect();
            #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
            self.line(family, "_bucket", &names, &values, below as f64);
        }
        self.line(family, "_sum", family.labels, labels, times.sum);
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        self.line(family, "_count", family.labels, labels, times.count as f64);
    }

    fn line(&mut self, family: &Family, suffix: &str, names: &[&str], labels: &[&str], value: f64) {
        assert_eq!(names.len(), labels.len(), "{} has other labels", family.name);
        let text = self.0.entry(family.name).or_default();
        let _ = write!(text, "{}{suffix}", family.name);
        for (index, (name, value)) in names.iter().zip(labels).enumerate() {
            let begin = if index == 0 { '{' } else { ',' };
            let _ = write!(text, "{begin}{name}=\"{}\"", escaped(value));
        }
        let end = if names.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
    }

    /// All of it. Families without samples are left out.
    pub(super) fn text(mut self) -> String {
        let mut text = String::new();
        for Family { name, kind, help, .. } in FAMILIES {
            let Some(samples) = self.0.remove(name) else { continue };
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let help = help.replace('\\', "\\\\");
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        debug_assert!(self.0.is_empty(), "not in the table of families: {:?}", self.0.keys());
        text
    }
}

/// A label's value between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
