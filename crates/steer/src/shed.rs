//! Overload: load is shed by steps, and taken again as it falls.

use std::time::Duration;

use serde::Serialize;

use crate::{Instant, Response};

/// When a prefix sheds load.
#[derive(Clone, Debug, PartialEq)]
pub struct ShedSpec {
    /// Which of the site's loads it heeds, by name.
    pub load: String,
    /// From the mildest on; each adds to those before it.
    pub steps: Vec<ShedStep>,
    /// The least time between two steps, up or down: what was done must show first.
    pub pause: Duration,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShedStep {
    /// Taken when the load is above this.
    pub above: f64,
    /// Taken back when the load is below this; not more than `above`.
    pub below: f64,
    /// What is done.
    pub response: Response,
}

/// How far a prefix has gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shedding {
    /// Steps taken.
    pub(crate) level: usize,
    changed: Option<Instant>,
    pub(crate) reading: Option<f64>,
    /// Whether the step that the load asks for was said not to be taken.
    pub(crate) is_refused: bool,
}

impl Shedding {
    /// The level that a reading asks for, at most one from the present.
    pub(crate) fn wanted(&self, spec: &ShedSpec, now: Instant, reading: f64) -> usize {
        if self.changed.is_some_and(|at| now - at < spec.pause) {
            return self.level;
        }
        let up = spec.steps.get(self.level).is_some_and(|step| reading > step.above);
        let below = self.level.checked_sub(1).and_then(|last| spec.steps.get(last));
        let down = below.is_some_and(|step| reading < step.below);
        match (up, down) {
            (true, _) => self.level + 1,
            (false, true) => self.level - 1,
            (false, false) => self.level,
        }
    }

    pub(crate) fn set(&mut self, now: Instant, level: usize) {
        self.level = level;
        self.changed = Some(now);
        self.is_refused = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effect, Manner};

    #[test]
    fn steps_are_taken_one_by_one_with_a_pause_and_taken_back_below_a_lower_mark() {
        let step = |above: f64, below: f64| ShedStep {
            above,
            below,
            response: Response { neighbors: None, effect: Effect::Tell(Manner::default()) },
        };
        let spec = ShedSpec {
            load: "cpu".to_owned(),
            steps: vec![step(80.0, 60.0), step(90.0, 70.0)],
            pause: Duration::from_secs(10),
        };
        let mut shedding = Shedding::default();
        // (second, reading, level after)
        let table = [
            (0, 80.0, 0),
            (1, 80.1, 1),
            (2, 99.0, 1),
            (11, 99.0, 2),
            (12, 10.0, 2),
            (21, 75.0, 2),
            (22, 69.0, 1),
            (31, 10.0, 1),
            (32, 60.0, 1),
            (33, 59.0, 0),
            (60, 10.0, 0),
        ];
        for (second, reading, level) in table {
            let now = Instant::START + Duration::from_secs(second);
            let wanted = shedding.wanted(&spec, now, reading);
            if wanted != shedding.level {
                shedding.set(now, wanted);
            }
            assert_eq!(shedding.level, level, "second {second}");
        }
    }
}
