//! What a site that starts waits for: the first VRPs. Who looks meanwhile is answered, who orders is
//! told to come again: nothing is steered yet.

use std::time::Duration;

use anycast_speaker::{RpkiEvent, SpeakerEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Daemon;
use crate::control::Question;
use crate::reload::ReloadReport;

/// What is waited for, in words.
pub(super) const WAITS: &str = "waits for the first VRPs; nothing is announced yet";

impl Daemon {
    /// Takes in what the RPKI tells until the first VRPs are there, or `patience` has passed. What
    /// becomes of the sessions is noted; the fleet's shared state is not heard, as nothing may follow.
    pub(super) async fn await_first_vrps(
        &mut self,
        patience: Duration,
        from_rpki: &mut mpsc::UnboundedReceiver<RpkiEvent>,
        from_speaker: &mut mpsc::UnboundedReceiver<SpeakerEvent>,
        questions: &mut mpsc::Receiver<Question>,
    ) {
        self.state = "starting";
        let began = Instant::now();
        self.vrps_until = Some(began + patience);
        loop {
            let Self { origins, events, .. } = &mut *self;
            tokio::select! {
                () = origins.await_first((began, patience), from_rpki, events) => break,
                Some(event) = from_speaker.recv() => {
                    self.note_of_speaker(event);
                }
                Some(question) = questions.recv() => self.answer_while_waiting(question),
            }
        }
    }

    /// No longer waits: the VRPs are there, the time is up, or it is to stop.
    pub(super) fn end_wait_for_vrps(&mut self) {
        self.vrps_until = None;
        self.state = "running";
    }

    /// That it waits, and for how long at most.
    pub(super) fn waits_in_words(&self) -> Option<String> {
        let left = self.vrps_until?.saturating_duration_since(Instant::now());
        Some(format!(
            "it {WAITS}; in {:.0} s at most it goes on without",
            left.as_secs_f64().ceil()
        ))
    }

    fn answer_while_waiting(&mut self, question: Question) {
        let why = || {
            let words = self.waits_in_words().unwrap_or_default();
            format!("the site has just started: {words}. Then order it again")
        };
        // Whoever asked may have gone.
        match question {
            Question::Prepend(_, _, sender) => drop(sender.send(Err(why()))),
            Question::Drain(_, _, sender) => drop(sender.send(Err(why()))),
            Question::Undrain(_, _, sender) => drop(sender.send(Err(why()))),
            Question::ClearDamping(_, _, sender) => drop(sender.send(Err(why()))),
            Question::OrderAffinity(_, _, sender) => drop(sender.send(Err(why()))),
            Question::Confirm(_, sender) | Question::RollBack(_, sender) => {
                drop(sender.send(Err(why())));
            }
            Question::Upgrade(_, _, sender) => drop(sender.send(Err(why()))),
            Question::Reload(_, _, sender) => {
                drop(sender.send(ReloadReport::refused(self.reload.file(), why())));
            }
            Question::ReloadStatus(sender) => drop(sender.send(self.reload.status())),
            Question::Sites(_)
            | Question::Services(_)
            | Question::Events(..)
            | Question::WatchEvents(_)
            | Question::Rpki(_)
            | Question::Drains(_)
            | Question::Affinity(_)
            | Question::NeighborsInFile(_)
            | Question::Metrics(_)
            | Question::Overview(_)
            | Question::Note { .. } => self.answer(question),
        }
    }
}
