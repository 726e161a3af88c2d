//! What the sites of a fleet share: permits to withdraw, and who is there. docs/floor.md has the
//! rules; the protocol itself is `steer`'s clerk. Here it meets the daemon's loop and NATS.
//!
//! | module | what it is |
//! |---|---|
//! | `keys` | entries as keys and values of a bucket |
//! | `nats` | the task that talks to NATS |
//!
//! Nothing here waits: what the steering asks is answered by a later message to the loop.

mod keys;
mod nats;

use std::collections::BTreeMap;

use anycast_fleet::{Fleet, Site};
use anycast_steer::clerk::{Entry, Output, Revision, Write, WriteError};
use anycast_steer::{Action, Answer, Clerk, Instant, Spec, Steer};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::events::{EventLog, Happening};

/// So many messages from NATS may wait for the loop.
const QUEUE: usize = 1024;

/// What the task tells the loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// All entries come anew, by the connection of this number.
    Connecting(u64),
    /// An entry, new or changed.
    Entry(Revision, Entry),
    /// All entries have come; changes come from now on.
    Connected,
    /// The connection is gone, or none could be had.
    Disconnected(String),
    /// What became of a write.
    Written(u64, Result<Revision, WriteError>),
    /// Another daemon says that it is this site.
    Twin(String),
    /// Time has passed.
    Due,
}

/// How far [`FleetState::settle`] came.
pub(crate) enum Settled {
    /// There is nothing more to do.
    Done,
    /// The steering was told something, which was this event if it was one.
    Told(Option<u64>),
}

/// What the loop tells the task.
#[derive(Debug)]
enum Order {
    Write(Write),
    /// The connection of this number is of no use any more.
    Reconnect(u64),
}

/// The site's share in the fleet's state; nothing, if the fleet shares none.
pub(crate) struct FleetState(Option<Shared>);

struct Shared {
    clerk: Clerk,
    orders: mpsc::UnboundedSender<Order>,
    from_task: mpsc::Receiver<Event>,
    started: tokio::time::Instant,
    connection: u64,
    reached: bool,
    since: Instant,
    /// Why it is not reached.
    why: String,
    /// The event of each question that is not answered with yes so far.
    asked: BTreeMap<IpNet, u64>,
}

impl FleetState {
    /// Starts the task that keeps the connection, if the fleet shares anything and the site
    /// announces anything. `started` is when the steering's time begins.
    pub(crate) fn start(fleet: &Fleet, site: &Site, started: tokio::time::Instant) -> Self {
        let spec = fleet.steering(site);
        let Some((settings, clerk)) = fleet.fleet_state.clone().zip(Clerk::new(&spec)) else {
            return Self(None);
        };
        let (orders, for_task) = mpsc::unbounded_channel();
        let (to_loop, from_task) = mpsc::channel(QUEUE);
        // It ends when the loop lets go of its ends.
        tokio::spawn(nats::run(settings, site.name.clone(), for_task, to_loop));
        Self(Some(Shared {
            clerk,
            orders,
            from_task,
            started,
            connection: 0,
            reached: false,
            since: Instant::START,
            why: "not reached yet".to_owned(),
            asked: BTreeMap::new(),
        }))
    }

    /// Judges by another fleet file from now on. Where the state is kept stays the same.
    pub(crate) fn replace(&mut self, spec: &Spec) {
        if let Some(shared) = &mut self.0 {
            shared.clerk.replace(spec);
        }
    }

    /// The next message or moment that concerns it.
    pub(crate) async fn next(&mut self) -> Event {
        let Some(shared) = &mut self.0 else { return std::future::pending().await };
        let due = shared.clerk.poll_timeout().map(|at| shared.started + at.0);
        let due = async move {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = shared.from_task.recv() => match event {
                Some(event) => event,
                None => std::future::pending().await,
            },
            () = due => Event::Due,
        }
    }

    /// Takes in what [`FleetState::next`] gave.
    pub(crate) fn handle(&mut self, now: Instant, event: Event, events: &mut EventLog) {
        let Some(Shared { clerk, why, connection, .. }) = &mut self.0 else { return };
        match event {
            Event::Connecting(number) => {
                *connection = number;
                clerk.handle_connecting();
            }
            Event::Entry(revision, entry) => clerk.handle_entry(now, revision, &entry),
            Event::Connected => clerk.handle_connected(now),
            Event::Disconnected(reason) => {
                why.clone_from(&reason);
                clerk.handle_disconnected(reason);
            }
            Event::Written(number, result) => clerk.handle_written(now, number, result),
            Event::Twin(who) => {
                let words = format!(
                    "another daemon runs as this site: {who}; both take each other's permits, so stop one"
                );
                events.warn("site-twice", "fleet-state", &words);
            }
            Event::Due => clerk.handle_timeout(now),
        }
    }

    /// Takes in what the steering wants of the fleet; `cause` is the event that it follows from.
    pub(crate) fn order(
        &mut self,
        now: Instant,
        action: &Action,
        cause: Option<u64>,
        events: &mut EventLog,
    ) {
        let Some(shared) = &mut self.0 else { return };
        match action {
            Action::Ask { prefix } => {
                shared.asked.entry(*prefix).or_insert_with(|| {
                    events.add_after(cause, "asked", &prefix.to_string(), "may it be withdrawn?")
                });
                shared.clerk.ask(now, *prefix);
            }
            Action::Release { prefix } => {
                shared.asked.remove(prefix);
                shared.clerk.release(now, *prefix);
            }
            Action::Freed { prefix } => drop(shared.asked.remove(prefix)),
            _ => {}
        }
    }

    /// Does what is to be done next, until the steering has been told something: then it wants to
    /// be called again once what follows has been carried out. `changed` is whether the site's record may differ; `sessions` is how many
    /// neighbors there are to hear an announcement.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        steer: &mut Steer,
        (changed, sessions): (bool, usize),
        events: &mut EventLog,
    ) -> Settled {
        let Some(shared) = &mut self.0 else { return Settled::Done };
        let record = |steer: &Steer| {
            let mut record = steer.record();
            if sessions == 0 {
                // Nobody hears it.
                record.announces.clear();
            }
            record
        };
        if changed {
            shared.clerk.handle_record(now, &record(steer));
        }
        while let Some(output) = shared.clerk.poll_output() {
            match output {
                Output::Compose => {
                    if shared.clerk.compose(now, record(steer)) {
                        steer.handle_fleet_alive(now);
                    }
                }
                Output::Write(write) => drop(shared.orders.send(Order::Write(write))),
                Output::Answer { prefix, answer } => {
                    let number = shared.note_answer(prefix, &answer, events);
                    steer.handle_permit(now, &prefix, answer);
                    return Settled::Told(number);
                }
                Output::View(view) => {
                    steer.handle_fleet(now, view);
                    return Settled::Told(None);
                }
                Output::Reached => {
                    (shared.reached, shared.since) = (true, now);
                    events.add("fleet-reached", "fleet-state", "");
                }
                Output::Lost(why) => {
                    if shared.reached {
                        (shared.reached, shared.since) = (false, now);
                        let loud = true;
                        let (kind, subject, detail) = ("fleet-lost", "fleet-state", why.as_str());
                        let happening =
                            Happening { kind, subject, detail, loud, ..Happening::default() };
                        events.record(happening);
                    }
                    shared.why = why;
                    let _ = shared.orders.send(Order::Reconnect(shared.connection));
                }
            }
        }
        Settled::Done
    }

    /// Whether it can be read and written; `None`: nothing is shared.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        self.0.as_ref().map(|shared| shared.reached)
    }

    /// How it stands; `None`: nothing is shared.
    pub(crate) fn look(&self, now: Instant) -> Option<FleetStateRow> {
        let shared = self.0.as_ref()?;
        let view = shared.clerk.view();
        let sites = view.sites.iter().map(|(name, record)| {
            let permits = view.ledgers.iter().filter(|(_, it)| it.withdrawn.contains(name));
            FleetSiteRow {
                name: name.clone(),
                announces: record.announces.iter().map(IpNet::to_string).collect(),
                held: record.held.iter().map(IpNet::to_string).collect(),
                permits: permits.map(|(prefix, _)| prefix.to_string()).collect(),
                drained: record.drained,
            }
        });
        Some(FleetStateRow {
            reached: shared.reached,
            since_seconds: (now - shared.since).as_secs_f64(),
            why: (!shared.reached).then(|| shared.why.clone()),
            sites: sites.collect(),
        })
    }
}

impl Shared {
    /// Writes down a yes; a no is written down when the steering holds.
    fn note_answer(
        &mut self,
        prefix: IpNet,
        answer: &Answer,
        events: &mut EventLog,
    ) -> Option<u64> {
        match answer {
            Answer::Granted => {
                let cause = self.asked.remove(&prefix);
                Some(events.add_after(cause, "granted", &prefix.to_string(), ""))
            }
            Answer::Refused(_) | Answer::Unreachable => self.asked.get(&prefix).copied(),
        }
    }
}

/// What is known of the fleet's shared state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FleetStateRow {
    /// Whether it can be read and written.
    pub reached: bool,
    /// Seconds since that is so.
    pub since_seconds: f64,
    /// Why it is not reached.
    pub why: Option<String>,
    /// The sites that are there, this one too; as last known, if it is not reached.
    pub sites: Vec<FleetSiteRow>,
}

/// What is known of a site.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FleetSiteRow {
    /// Its name.
    pub name: String,
    /// Prefixes that it announces.
    pub announces: Vec<String>,
    /// Those that it announces only because of the floor.
    pub held: Vec<String>,
    /// Those that it may withdraw, or has withdrawn.
    pub permits: Vec<String>,
    /// Whether an operator drains it.
    pub drained: bool,
}

#[cfg(test)]
mod tests;
