//! Answers to what comes in at the control socket.

use super::Daemon;
use crate::control::{Caller, Question};
use crate::events::Happening;
use crate::status::PrependOrder;

impl Daemon {
    pub(super) fn answer(&mut self, question: Question) {
        // Whoever asked may have gone.
        match question {
            Question::Sites(sender) => drop(sender.send(self.sites())),
            Question::Services(sender) => drop(sender.send(self.services())),
            Question::Metrics(sender) => drop(sender.send(self.metrics())),
            Question::Overview(sender) => drop(sender.send(Box::new(self.overview()))),
            Question::Rpki(sender) => {
                drop(sender.send(self.origins.look(&self.announcer.announced())));
            }
            Question::Events(after, sender) => drop(sender.send(self.events.after(after))),
            Question::WatchEvents(sender) => drop(sender.send(self.events.watch())),
            Question::Prepend(order, caller, sender) => {
                drop(sender.send(self.prepend(&order, &caller)));
            }
            Question::Affinity(sender) => drop(sender.send(self.affinity())),
            Question::OrderAffinity(load, caller, sender) => {
                self.order_keeping(load, &caller, sender);
            }
            Question::Drains(sender) => drop(sender.send(self.drain_rows())),
            Question::Drain(order, caller, sender) => {
                drop(sender.send(self.drain(&order, &caller)));
            }
            Question::Undrain(order, caller, sender) => {
                drop(sender.send(self.undrain(&order, &caller)));
            }
            Question::ClearDamping(order, caller, sender) => {
                drop(sender.send(self.clear_damping(&order, &caller)));
            }
            Question::NeighborsInFile(sender) => drop(sender.send(self.neighbors_in_file())),
            // The daemon is stopping.
            Question::Reload(..)
            | Question::ReloadStatus(_)
            | Question::Upgrade(..)
            | Question::Confirm(..)
            | Question::RollBack(..) => {}
            Question::Note { changed, kind, subject, detail, by, noted } => {
                let (subject, detail, by) = (&*subject, &*detail, by.name());
                if changed {
                    let what = Happening { kind, subject, detail, by, ..Happening::default() };
                    self.events.record(what);
                }
                // Also if nothing changed: it may not have been written down before.
                self.keep_disabled(kind, subject, detail);
                let _ = noted.send(());
            }
        }
    }

    pub(super) fn prepend(&mut self, order: &PrependOrder, caller: &Caller) -> Result<(), String> {
        if let Some(name) = &order.neighbor
            && self.site.neighbor(name).is_none()
        {
            let known: Vec<&str> = self.site.neighbors.iter().map(|n| n.name.as_str()).collect();
            return Err(format!("no neighbor is called {name}; there are {}", known.join(", ")));
        }
        for (index, neighbor) in self.site.neighbors.iter().enumerate() {
            if order.neighbor.as_ref().is_none_or(|name| *name == neighbor.name) {
                self.announcer.prepend(&self.fleet, &self.site, index, order.count);
                let detail = format!("{} more than the file says", order.count);
                self.events.record(Happening {
                    kind: "prepend",
                    subject: &neighbor.name,
                    detail: &detail,
                    by: caller.name(),
                    ..Happening::default()
                });
            }
        }
        Ok(())
    }
}
