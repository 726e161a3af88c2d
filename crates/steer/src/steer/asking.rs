//! The fleet's floor: asking for a permit, holding without one, and deciding alone.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Action, Answer, Steer};
use crate::floor::FleetView;
use crate::prefix::{Permit, Wish, join};
use crate::status::ReasonKind;
use crate::{Instant, WhenAlone};

/// How long after a refusal the fleet is asked again, if nothing is heard of it meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Steer {
    /// Takes in the fleet's answer to [`Action::Ask`].
    pub fn handle_permit(&mut self, now: Instant, prefix: &IpNet, answer: Answer) {
        let Some(index) = self.places.get(prefix).copied() else {
            // It went while the question was under way.
            if answer == Answer::Granted {
                self.actions.push_back(Action::Release { prefix: *prefix });
            }
            return;
        };
        let refused = Permit::Refused { retry: now + ASK_AGAIN };
        let (permit, no) = match answer {
            Answer::Granted => (Permit::Granted, None),
            Answer::Refused(why) => (refused, Some(why)),
            Answer::Unreachable => match self.alone(now, index) {
                Ok(()) => (Permit::Granted, None),
                Err(why) => (refused, Some(why)),
            },
        };
        self.prefixes[index].permit = permit;
        self.steer(now, index, no);
        self.advance_drains();
    }

    /// Takes in what is known of the fleet, now that it could be reached.
    pub fn handle_fleet(&mut self, now: Instant, view: impl Into<Arc<FleetView>>) {
        let view = view.into();
        self.heard = Some(now);
        for index in 0..self.prefixes.len() {
            let prefix = &self.prefixes[index];
            let refused = matches!(prefix.permit, Permit::Refused { .. });
            if refused && let Some(floor) = &prefix.spec.floor {
                let (members, me) = (&self.spec.members, &self.spec.site);
                if floor.may_withdraw(members, me, &prefix.spec.prefix, &view).is_ok() {
                    self.ask(index);
                }
            }
        }
        self.view = Some(view);
    }

    /// Time has passed in which the fleet's state was reached, even if nothing in it is new.
    pub fn handle_fleet_alive(&mut self, now: Instant) {
        if self.view.is_some() {
            self.heard = Some(now);
        }
    }

    /// What must not be withdrawn yet is told as the last choice to those who know of it.
    pub(super) fn hold(&mut self, index: usize, wish: &mut Wish, refusal: Option<String>) {
        let manner = &self.spec.leaving.manner;
        let prefix = &mut self.prefixes[index];
        wish.told = prefix.told.iter().map(|told| told.as_ref().map(|_| manner.clone())).collect();
        let newly = prefix.held.is_none();
        if let Some(refusal) = refusal {
            prefix.held = Some(format!("held by the floor: {refusal}"));
        }
        let floor = match &prefix.held {
            Some(held) => held.clone(),
            None => "the fleet is asked whether it may be withdrawn".to_owned(),
        };
        wish.because(ReasonKind::Floor, floor);
        if newly && prefix.held.is_some() {
            let why = join(&wish.reasons).unwrap_or_default();
            self.actions.push_back(Action::Held { prefix: prefix.spec.prefix, why });
        }
    }

    /// Asks the fleet, or decides alone where nothing is shared.
    pub(super) fn ask_or_decide(&mut self, now: Instant, index: usize) {
        if self.spec.lease.is_some() {
            self.ask(index);
            return;
        }
        match self.alone(now, index) {
            Ok(()) => {
                self.prefixes[index].permit = Permit::Granted;
                self.steer(now, index, None);
            }
            Err(why) => {
                self.prefixes[index].permit = Permit::Refused { retry: now + ASK_AGAIN };
                self.steer(now, index, Some(why));
            }
        }
    }

    fn ask(&mut self, index: usize) {
        let prefix = &mut self.prefixes[index];
        if prefix.permit != Permit::Asking {
            prefix.permit = Permit::Asking;
            self.actions.push_back(Action::Ask { prefix: prefix.spec.prefix });
        }
    }

    /// Whether the prefix may be withdrawn although the fleet cannot be asked. Before its lease
    /// is over the others still count on this site.
    fn alone(&self, now: Instant, index: usize) -> Result<(), String> {
        let prefix = &self.prefixes[index];
        let Some(floor) = &prefix.spec.floor else { return Ok(()) };
        let Some(lease) = self.spec.lease else {
            return match floor.when_alone {
                WhenAlone::Withdraw => Ok(()),
                WhenAlone::Hold => {
                    Err("nothing is known of the other sites (when-alone = \"hold\")".to_owned())
                }
            };
        };
        let silent = now - self.heard.unwrap_or(Instant::START);
        if silent < lease {
            return Err(
                "the fleet's state cannot be reached, and others count on us yet".to_owned()
            );
        }
        let (members, me) = (&self.spec.members, &self.spec.site);
        if floor.may_withdraw_alone(members, me, &prefix.spec.prefix, self.view.as_deref()) {
            return Ok(());
        }
        Err(match &self.view {
            Some(_) => "the fleet's state cannot be reached, and we are one of those who stay",
            None => "the fleet's state was never reached (when-alone = \"hold\")",
        }
        .to_owned())
    }

    /// Whether anybody else can take what this site sheds. Of a fleet that shares nothing nothing is
    /// known; of one that does, and was never reached, it cannot be said.
    ///
    /// # Errors
    /// Why it is not so.
    pub(super) fn fleet_can_take(&self, index: usize) -> Result<(), &'static str> {
        let prefix = &self.prefixes[index];
        let (can, why) = match (&self.view, &prefix.spec.floor) {
            (Some(view), _) => (
                view.another_can_take(&self.spec.site, &prefix.spec.prefix),
                "no other site announces it and sheds no load itself",
            ),
            (None, Some(floor)) => (
                floor.when_alone == WhenAlone::Withdraw,
                "nothing is known of the other sites (when-alone = \"hold\")",
            ),
            (None, None) => (self.spec.lease.is_none(), "the fleet's state was never reached"),
        };
        if can { Ok(()) } else { Err(why) }
    }
}
