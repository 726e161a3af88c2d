//! Time as the protocol sees it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, counted in nanoseconds from the start of the driver; only the driver knows a
/// real clock, which must be a monotonic one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(Duration);

impl Instant {
    /// The start of the driver.
    pub const START: Self = Self(Duration::ZERO);

    /// The point `since_start` after the start of the driver.
    #[must_use]
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long after the start of the driver this is.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// The end of time stays the end of time.
    fn add(self, later_by: Duration) -> Self {
        Self(self.0.saturating_add(later_by))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// How long after `earlier` this is; zero if it is not after it.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
