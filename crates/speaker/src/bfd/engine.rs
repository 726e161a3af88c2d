//! The thread: its loop, and which session a packet is for.

use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::time::Instant as Clock;

use anycast_bfd::time::Instant;
use anycast_bfd::{Control, Event, Session};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use std::os::fd::AsFd;
use tokio::sync::oneshot;

use super::socket::{self, Arrived, Receiver, Sender};
use super::{BfdStatus, OpenError, milliseconds};
use crate::config::Place;
use crate::handover::HandedBfd;

/// Packets taken from one socket before the others, and our own packets, have their turn: what a
/// flood can cost.
const PACKETS_PER_TURN: usize = 256;

/// What the thread is told.
pub(super) enum Command {
    Status(oneshot::Sender<Vec<(usize, BfdStatus)>>),
    /// What can go on elsewhere; if true, neighbors are asked for patience first.
    Carry(bool, oneshot::Sender<(Vec<HandedBfd>, bool)>),
    Add(Box<Served>, oneshot::Sender<Result<(), OpenError>>),
    Remove(usize),
    Stop,
}

/// A session and what it needs to be served.
pub(super) struct Served {
    /// The neighbor's number.
    pub(super) peer: usize,
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) local_address: Option<IpAddr>,
    /// The index of the interface of a link-local address.
    pub(super) interface: Option<u32>,
    pub(super) multihop: bool,
    /// What arrives with less comes from further than the neighbor is.
    pub(super) min_ttl: Option<u8>,
    pub(super) session: Session,
    pub(super) sender: Sender,
    pub(super) dropped: u64,
    pub(super) send_error: Option<String>,
}

pub(super) struct Loop<R> {
    sessions: Vec<Served>,
    report: R,
    started: Clock,
}

impl<R: Fn(usize, Event)> Loop<R> {
    pub(super) fn new(sessions: Vec<Served>, report: R) -> Self {
        Self { sessions, report, started: Clock::now() }
    }

    fn now(&self) -> Instant {
        Instant::from_start(self.started.elapsed())
    }

    /// Serves the sessions until it is told to stop, or nobody is left to tell it.
    pub(super) fn run(
        mut self,
        mut receivers: Vec<Receiver>,
        place: &Arc<dyn Place>,
        wake: &EventFd,
        commands: &mpsc::Receiver<Command>,
    ) {
        loop {
            match self.serve(&receivers, wake, commands) {
                Command::Add(served, answer) => {
                    self.sessions.push(*served);
                    let opened = socket::listen(&mut receivers, &self.sessions, place.as_ref());
                    if opened.is_err() {
                        self.sessions.pop();
                        // What was heard before is heard again, as far as that goes.
                        let _ = socket::listen(&mut receivers, &self.sessions, place.as_ref());
                    }
                    let _ = answer.send(opened);
                }
                Command::Remove(peer) => {
                    let now = self.now();
                    let ends = |served: &&mut Served| served.peer == peer;
                    self.sessions.iter_mut().filter(ends).for_each(|it| it.session.admin_down(now));
                    self.flush();
                    self.sessions.retain(|served| served.peer != peer);
                    let _ = socket::listen(&mut receivers, &self.sessions, place.as_ref());
                }
                Command::Status(_) | Command::Carry(..) | Command::Stop => {
                    return self.say_goodbye();
                }
            }
            // What else was told meanwhile.
            let _ = wake.write(1);
        }
    }

    /// Serves the sessions until it is told something that changes them.
    fn serve(
        &mut self,
        receivers: &[Receiver],
        wake: &EventFd,
        commands: &mpsc::Receiver<Command>,
    ) -> Command {
        let mut watched: Vec<PollFd<'_>> =
            receivers.iter().map(|r| PollFd::new(r.as_fd(), PollFlags::POLLIN)).collect();
        watched.push(PollFd::new(wake.as_fd(), PollFlags::POLLIN));
        loop {
            self.flush();
            let now = self.now();
            let timeout = self.sessions.iter().filter_map(|s| s.session.poll_timeout()).min();
            // An interruption is one more reason to look.
            let _ = ppoll(&mut watched, timeout.map(|at| (at - now).into()), None);
            // Read before the sockets: whatever arrived until now is then handed over before a
            // timer of now fires.
            let now = self.now();
            let _ = wake.read();
            loop {
                match commands.try_recv() {
                    Ok(Command::Status(sender)) => {
                        // Whoever asked may have stopped waiting.
                        let _ = sender.send(self.status(now));
                    }
                    Ok(Command::Carry(slow_down, sender)) => {
                        let _ = sender.send(self.carry(now, slow_down));
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return Command::Stop,
                    Ok(other) => return other,
                }
            }
            let mut drained = true;
            for receiver in receivers {
                drained &= self.receive(now, receiver);
            }
            // While packets wait, silence cannot be told from our own delay.
            for served in self.sessions.iter_mut().filter(|_| drained) {
                if served.session.poll_timeout().is_some_and(|at| at <= now) {
                    served.session.handle_timeout(now);
                }
            }
        }
    }

    /// Hands over what waits in a socket; returns whether nothing is left there.
    fn receive(&mut self, now: Instant, receiver: &Receiver) -> bool {
        for _ in 0..PACKETS_PER_TURN {
            let Some(arrived) = receiver.receive() else { return true };
            self.take(now, receiver, &arrived);
        }
        false
    }

    /// Gives one packet to the session that it is for, if it may have come from the neighbor.
    fn take(&mut self, now: Instant, receiver: &Receiver, arrived: &Arrived) {
        let parsed = Control::parse(arrived.octets());
        let names = parsed.ok().and_then(|control| control.your_discriminator);
        let found = self.sessions.iter_mut().find(|served| {
            served.multihop == receiver.multihop()
                && match names {
                    Some(name) => served.session.local_discriminator() == name,
                    // Only the first packets are known by their addresses (RFC 5880 §6.3).
                    None => {
                        served.address == arrived.from
                            && served.interface.is_none_or(|it| arrived.interface == it)
                            && receiver.hears(served.local_address, served.interface)
                    }
                }
        });
        let Some(served) = found else { return };
        match parsed {
            Ok(control) if served.min_ttl.is_none_or(|min| arrived.ttl >= Some(min)) => {
                // A packet for another discriminator cannot come here: it found no session.
                let _ = served.session.handle_packet(now, &control);
            }
            _ => served.dropped += 1,
        }
    }

    /// Tells what happened, then sends what is due.
    fn flush(&mut self) {
        let now = self.now();
        for served in &mut self.sessions {
            while let Some(event) = served.session.poll_event() {
                (self.report)(served.peer, event);
            }
            while let Some(control) = served.session.poll_transmit(now) {
                let sent = served.sender.send(&control.emit());
                served.send_error = sent.err().map(|error| error.to_string());
            }
        }
    }

    /// Tells each neighbor that this end is meant, so that it does not take it for a failure.
    fn say_goodbye(mut self) {
        let now = self.now();
        for served in &mut self.sessions {
            served.session.admin_down(now);
        }
        self.flush();
    }

    fn carry(&mut self, now: Instant, slow_down: bool) -> (Vec<HandedBfd>, bool) {
        for served in self.sessions.iter_mut().filter(|_| slow_down) {
            served.session.slow_down(now);
        }
        let carried = self.sessions.iter().filter_map(|served| {
            let carried = served.session.carry()?;
            let port = served.sender.port()?;
            Some(HandedBfd::new(served.name.clone(), served.address, port, &carried))
        });
        let agreed = self.sessions.iter().all(|served| served.session.is_confirmed());
        (carried.collect(), agreed)
    }

    fn status(&self, now: Instant) -> Vec<(usize, BfdStatus)> {
        self.sessions.iter().map(|served| (served.peer, served.status(now))).collect()
    }
}

impl Served {
    fn status(&self, now: Instant) -> BfdStatus {
        let status = self.session.status();
        BfdStatus {
            neighbor: self.name.clone(),
            address: self.address,
            local_address: self.local_address,
            multihop: self.multihop,
            state: status.state.to_string(),
            up_seconds: status.up_since.map(|since| (now - since).as_secs_f64()),
            remote_state: status.remote.map(|remote| remote.state.to_string()),
            interval_ms: status.tx_interval.map(milliseconds),
            detection_ms: status.detection_time.map(milliseconds),
            local_discriminator: status.local_discriminator.get(),
            remote_discriminator: status.remote.map(|remote| remote.discriminator.get()),
            packets_in: status.counters.packets_in,
            packets_out: status.counters.packets_out,
            packets_dropped: self.dropped + status.counters.packets_refused,
            ups: status.counters.ups,
            downs: status.counters.downs,
            last_down: status.last_down.map(|diagnostic| diagnostic.to_string()),
            send_error: self.send_error.clone(),
        }
    }
}
