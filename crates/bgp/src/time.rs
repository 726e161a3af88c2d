//! Time as the protocols see it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, counted from the start of the driver; only the driver knows a real clock.
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

    fn add(self, later_by: Duration) -> Self {
        Self(self.0 + later_by)
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// How long after `earlier` this is; zero if it is not after it.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
