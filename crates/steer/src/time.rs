//! Time as steering sees it.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A point in time, counted from the start of the driver; only the driver knows a real clock.
/// Serialised as seconds.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(pub Duration);

impl Instant {
    /// The start of the driver.
    pub const START: Self = Self(Duration::ZERO);
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, later_by: Duration) -> Self {
        Self(self.0.saturating_add(later_by))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// How long after `earlier`; zero if it was not.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}
