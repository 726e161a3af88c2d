//! What is wanted of each prefix: a function of everything that is known.

use crate::drain::{Draining, Stage};
use crate::prefix::{Prefix, Wish};
use crate::status::ReasonKind;
use crate::{Effect, Response, Steer, Target, Verdict};

impl Steer {
    /// How each neighbor should be told of the prefix, and why. The steps, in order:
    ///
    /// 1. a site that stops announces nothing;
    /// 2. enough of the services that the prefix stands for must be up;
    /// 3. a prefix that was withdrawn too often stays withdrawn for a while;
    /// 4. if some services are down, though not too many: what the file says for that;
    /// 5. under load: the steps taken;
    /// 6. drains: what is being left is told as the last choice, to those only who were told
    ///    before; what is left, no more.
    ///
    /// The fleet's floor is not asked here: it does not change what is wanted.
    pub(crate) fn wish(&self, prefix: &Prefix) -> Wish {
        let neighbors = self.spec.neighbors.len();
        let nothing = |kind, text| Wish::nothing(neighbors, kind, text);
        if self.stopping {
            return Wish {
                forced: true,
                ..nothing(ReasonKind::Stopping, "the site is stopping".to_owned())
            };
        }
        let mut wish = match (self.shortfall(prefix), prefix.penalty.suppressed) {
            (Some(why), _) => nothing(ReasonKind::Services, why),
            (None, true) => {
                nothing(ReasonKind::Damping, "damped: it was withdrawn too often".to_owned())
            }
            (None, false) => Wish::plain(neighbors),
        };
        if wish.announces() {
            self.degrade(prefix, &mut wish);
            shed(prefix, &mut wish);
        }
        for draining in &self.drains {
            self.drain(prefix, draining, &mut wish);
        }
        wish
    }

    /// Why too few of the prefix's services are up, or nothing.
    pub(crate) fn shortfall(&self, prefix: &Prefix) -> Option<String> {
        let total = prefix.total_weight();
        let needed = prefix.spec.require.needed(total);
        let up = self.weight_up(prefix, |_| true);
        if up >= needed {
            return None;
        }
        if prefix.services.is_empty() {
            return Some("it stands for no service".to_owned());
        }
        let missing = self.missing(prefix);
        let weighted = prefix.services.iter().any(|(_, weight)| *weight != 1);
        Some(match (total == needed, weighted) {
            (true, _) => missing,
            (false, false) => format!("{up} of {total} services up, {needed} needed: {missing}"),
            (false, true) => {
                format!("services that weigh {up} of {total} up, {needed} needed: {missing}")
            }
        })
    }

    /// What those of the prefix's services weigh together that are up and that `counts` takes.
    fn weight_up(&self, prefix: &Prefix, counts: impl Fn(usize) -> bool) -> u64 {
        let up = |index: usize| self.services[index].verdict == Verdict::Up;
        let counted = prefix.services.iter().filter(|(index, _)| up(*index) && counts(*index));
        counted.map(|(_, weight)| weight).sum()
    }

    /// Which of the prefix's services are not up, and why.
    fn missing(&self, prefix: &Prefix) -> String {
        let services = prefix.services.iter();
        let missing = services.filter_map(|(index, _)| self.services[*index].obstacle());
        missing.collect::<Vec<_>>().join("; ")
    }

    fn degrade(&self, prefix: &Prefix, wish: &mut Wish) {
        if prefix.spec.degraded.is_empty() {
            return;
        }
        let missing = self.missing(prefix);
        if !missing.is_empty() {
            for (response, whom) in prefix.spec.degraded.iter().zip(&prefix.degraded_to) {
                respond(response, whom, wish);
            }
            wish.because(ReasonKind::Degraded, missing);
        }
    }

    fn drain(&self, prefix: &Prefix, draining: &Draining, wish: &mut Wish) {
        let Some(stage) = self.stage_for(prefix, draining) else { return };
        let whom = |index: usize| match &draining.drain.target {
            Target::Neighbor(name) => self.spec.neighbors[index] == *name,
            Target::Site | Target::Service(_) => true,
        };
        match stage {
            Stage::Leaving { .. } => {
                // Who was not told before is not told now that we are about to leave.
                wish.withdraw(|index| whom(index) && prefix.told[index].is_none());
                wish.add(&self.spec.leaving.manner, whom);
            }
            Stage::Withdrawing | Stage::Drained => wish.withdraw(whom),
        }
        wish.forced |= draining.drain.force;
        wish.because(ReasonKind::Drain, draining.drain.to_string());
    }

    /// How far a drain is for the prefix; `None`: it does not concern it. A service's drain
    /// concerns a prefix that cannot do without the services that are drained.
    pub(crate) fn stage_for(&self, prefix: &Prefix, draining: &Draining) -> Option<Stage> {
        let Target::Service(name) = &draining.drain.target else { return Some(draining.stage) };
        let stands_for = |index: &usize| self.services[*index].spec.name == *name;
        if !prefix.services.iter().any(|(index, _)| stands_for(index)) {
            return None;
        }
        let needed = prefix.spec.require.needed(prefix.total_weight());
        let without = |left_too: bool| {
            self.weight_up(prefix, |index| {
                let name = &self.services[index].spec.name;
                !self.drains.iter().any(|it| {
                    let leaving = matches!(it.stage, Stage::Leaving { .. });
                    matches!(&it.drain.target, Target::Service(drained) if drained == name)
                        && (left_too || !leaving)
                })
            })
        };
        if without(true) >= needed {
            None
        } else if without(false) >= needed {
            // Only with those that are still being left would it be too few.
            let ends = |it: &Draining| match it.stage {
                Stage::Leaving { ends } => Some(ends),
                Stage::Withdrawing | Stage::Drained => None,
            };
            let ends = self.drains.iter().filter_map(ends).max();
            Some(ends.map_or(draining.stage, |ends| Stage::Leaving { ends }))
        } else {
            Some(Stage::Withdrawing)
        }
    }
}

/// The steps taken.
fn shed(prefix: &Prefix, wish: &mut Wish) {
    let Some(spec) = &prefix.spec.shed else { return };
    let taken = &spec.steps[..prefix.shedding.level.min(spec.steps.len())];
    for (step, whom) in taken.iter().zip(&prefix.shed_to) {
        respond(&step.response, whom, wish);
    }
    if let Some(last) = taken.last() {
        let reading = prefix.shedding.reading.unwrap_or_default();
        wish.because(
            ReasonKind::Shed,
            format!(
                "load {} went above {}, step {} of {} (now {reading:.0})",
                spec.load,
                last.above,
                taken.len(),
                spec.steps.len(),
            ),
        );
    }
}

/// Towards the neighbors that `whom` has.
fn respond(response: &Response, whom: &[bool], wish: &mut Wish) {
    match &response.effect {
        Effect::Withdraw => wish.withdraw(|index| whom[index]),
        Effect::Tell(manner) => wish.add(manner, |index| whom[index]),
    }
}
