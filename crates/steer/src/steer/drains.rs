//! Operators' drains: begun, taken from stage to stage, and ended.

use super::{Action, Steer};
use crate::drain::{Draining, Stage};
use crate::{Drain, Instant, Target};

impl Steer {
    /// An operator drains; a second drain of the same target takes the place of the first and
    /// goes on where that was.
    ///
    /// # Errors
    /// In words, if there is no such service or neighbor.
    pub fn handle_drain(&mut self, now: Instant, drain: Drain) -> Result<(), String> {
        let target = drain.target.clone();
        if !self.has(&target) {
            return Err(format!("there is no {target}"));
        }
        let straight = drain.now;
        let same = |it: &&mut Draining| it.drain.target == target;
        if let Some(before) = self.drains.iter_mut().find(same) {
            before.drain = drain;
        } else {
            let stage = Stage::Leaving { ends: now + self.spec.leaving.wait };
            self.drains.push(Draining::new(drain, stage, now));
        }
        let index = self.drains.iter().position(|it| it.drain.target == target);
        let index = index.expect("it is there or was just put there");
        let leaving = matches!(self.drains[index].stage, Stage::Leaving { .. });
        if leaving && (straight || !self.is_told(&self.drains[index], |_| true)) {
            let why = if straight { "at once" } else { "nothing is announced" };
            self.advance(index, Stage::Withdrawing, why);
        } else if leaving {
            let why = self.drains[index].drain.to_string();
            self.advance(index, self.drains[index].stage, &why);
        }
        self.steer_all(now);
        Ok(())
    }

    /// An operator ends a drain; returns whether there was one.
    pub fn handle_undrain(&mut self, now: Instant, target: &Target) -> bool {
        self.end_drains(now, "an operator has ended it", |it| it.drain.target == *target)
    }

    /// Takes in how many packets per second still come for what is drained.
    pub fn handle_traffic(&mut self, now: Instant, target: &Target, packets_per_second: f64) {
        let index = self.drains.iter().position(|it| it.drain.target == *target);
        if let Some(index) = index
            && matches!(self.drains[index].stage, Stage::Leaving { .. })
            && self.drains[index].has_fallen(packets_per_second)
        {
            self.advance(index, Stage::Withdrawing, "the traffic has gone");
            self.steer_all(now);
        }
    }

    pub(super) fn has(&self, target: &Target) -> bool {
        match target {
            Target::Site => true,
            Target::Service(name) => self.services.iter().any(|it| it.spec.name == *name),
            Target::Neighbor(name) => self.spec.neighbors.contains(name),
        }
    }

    pub(super) fn advance(&mut self, index: usize, stage: Stage, why: &str) {
        let draining = &mut self.drains[index];
        draining.stage = stage;
        let target = draining.drain.target.clone();
        self.actions.push_back(Action::Drain { target, stage, why: why.to_owned() });
    }

    /// A drain is done when nothing that it is about is announced any more, and back at
    /// withdrawing should something be again.
    pub(super) fn advance_drains(&mut self) {
        for index in 0..self.drains.len() {
            let draining = &self.drains[index];
            if draining.stage == Stage::Withdrawing && !self.is_told(draining, |_| true) {
                self.advance(index, Stage::Drained, "nothing is announced any more");
            } else if draining.stage == Stage::Drained && self.is_told(draining, Stage::is_left) {
                self.advance(index, Stage::Withdrawing, "it is still needed");
            }
        }
    }

    /// Whether anything is announced that the drain is about, at a stage that counts.
    fn is_told(&self, draining: &Draining, counts: impl Fn(Stage) -> bool) -> bool {
        let whom = match &draining.drain.target {
            Target::Neighbor(name) => self.spec.neighbors.iter().position(|it| it == name),
            Target::Site | Target::Service(_) => None,
        };
        if draining.drain.target == Target::Site {
            // It concerns all of them alike.
            return self.announcing > 0 && counts(draining.stage);
        }
        self.prefixes.iter().any(|prefix| {
            self.stage_for(prefix, draining).is_some_and(&counts)
                && match whom {
                    Some(index) => prefix.told[index].is_some(),
                    None => prefix.announced(),
                }
        })
    }

    pub(super) fn end_drains(
        &mut self,
        now: Instant,
        why: &str,
        ended: impl Fn(&Draining) -> bool,
    ) -> bool {
        let before = self.drains.len();
        let actions = &mut self.actions;
        self.drains.retain(|it| {
            let stays = !ended(it);
            if !stays {
                let target = it.drain.target.clone();
                actions.push_back(Action::Undrain { target, why: why.to_owned() });
            }
            stays
        });
        let any = self.drains.len() < before;
        if any {
            self.steer_all(now);
        }
        any
    }
}
