//! The router's end of a session with one cache (RFC 8210 §8).
//!
//! The owner opens a connection when [`Action::Connect`] asks for it and says what became of it;
//! then it carries octets in both directions. Data outlives connections, up to the cache's expire
//! interval.
//!
//! Versions (§7): the newest is proposed first. A cache that names a lower one, by an Error Report
//! or by answering in it, gets that one; one that closes without a word is asked one version lower
//! at the next attempt, and after version 0 the newest again. A connection that resumes a session
//! speaks that session's version, as sessions belong to versions (§5.1).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::pdu::{ErrorCode, Fault, Pdu, Timing, VERSION};
use crate::rov::{Vrp, VrpTable};
use crate::time::Instant;

/// A cache that owes an answer and says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the first failed attempt to the next; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The RFC's 600 s are long for a cache that restarts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// More than the whole RPKI can hold for a long time to come; less than would fill our memory.
const MOST_VRPS: usize = 10_000_000;
/// Of a PDU that is wrong, so much is sent back.
const ABOUT: usize = 64;

/// What the owner is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Open a connection; the answer is [`Client::handle_connected`] or
    /// [`Client::handle_closed`].
    Connect,
    /// Send octets.
    Send(Vec<u8>),
    /// Close the connection; it needs no answer.
    Close,
    /// [`Client::data`] is other than before.
    Data,
}

/// What goes on between us and the cache, in words for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// No connection; another attempt will be made.
    Down,
    /// A connection is being opened.
    Connecting,
    /// The cache owes an answer.
    Asking,
    /// Data are coming in.
    Loading,
    /// All that the cache has is here.
    UpToDate,
    /// The cache has no data yet.
    NoData,
}

/// A session of a cache, to be resumed (RFC 8210 §5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Session {
    /// The version that it belongs to.
    pub version: u8,
    /// Its id.
    pub id: u16,
    /// What we have of it.
    pub serial: u32,
}

/// The router's end of the sessions with one cache.
#[derive(Clone, Debug)]
pub struct Client {
    link: Link,
    session: Option<Session>,
    data: Option<Arc<VrpTable>>,
    timing: Timing,
    updated: Option<Instant>,
    /// What to propose without a session to resume.
    propose: u8,
    failures: u32,
    trouble: Option<String>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug)]
enum Link {
    Down { until: Instant },
    Dialling,
    Up(Up),
}

#[derive(Clone, Debug)]
struct Up {
    /// In force once the cache has answered in it.
    version: u8,
    agreed: bool,
    stage: Stage,
    /// When to give up, or to ask again.
    deadline: Instant,
    buffer: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Stage {
    Asked { reset: bool },
    Loading { reset: bool, id: u16, news: Vec<(bool, Vrp)> },
    Settled,
    NoData,
}

/// Why a connection ends.
enum End {
    Fault(Fault, Vec<u8>),
    Cache(String),
}

impl Client {
    /// A client that will ask for a connection at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            link: Link::Down { until: now },
            session: None,
            data: None,
            timing: Timing::default(),
            updated: None,
            propose: VERSION,
            failures: 0,
            trouble: None,
            actions: VecDeque::new(),
        }
    }

    /// The VRPs of the cache, while they have not expired.
    #[must_use]
    pub const fn data(&self) -> Option<&Arc<VrpTable>> {
        self.data.as_ref()
    }

    /// What goes on.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match &self.link {
            Link::Down { .. } => Phase::Down,
            Link::Dialling => Phase::Connecting,
            Link::Up(up) => match up.stage {
                Stage::Asked { .. } => Phase::Asking,
                Stage::Loading { .. } => Phase::Loading,
                Stage::Settled => Phase::UpToDate,
                Stage::NoData => Phase::NoData,
            },
        }
    }

    /// The session that the data are of.
    #[must_use]
    pub const fn session(&self) -> Option<Session> {
        self.session
    }

    /// When the cache last completed an answer.
    #[must_use]
    pub const fn updated(&self) -> Option<Instant> {
        self.updated
    }

    /// Until when the data are as new as the cache promises: a query and the next after it may
    /// have failed since, not more.
    #[must_use]
    pub fn fresh_until(&self) -> Option<Instant> {
        let Timing { refresh, retry, expire } = self.timing;
        self.data.as_ref().and(self.updated).map(|at| at + (refresh + retry).min(expire))
    }

    /// When the data are no more to be used (RFC 8210 §6).
    #[must_use]
    pub fn expires(&self) -> Option<Instant> {
        self.data.as_ref().and(self.updated).map(|at| at + self.timing.expire)
    }

    /// What last went wrong, if nothing went well since.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What the owner is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Down { until } => Some(*until),
            Link::Dialling => None,
            Link::Up(up) => Some(up.deadline),
        };
        link.into_iter().chain(self.expires()).min()
    }

    /// The connection is open.
    pub fn handle_connected(&mut self, now: Instant) {
        let version = self.session.map_or(self.propose, |session| session.version);
        let stage = Stage::Settled;
        self.link =
            Link::Up(Up { version, agreed: false, stage, deadline: now, buffer: Vec::new() });
        self.ask(now);
    }

    /// The connection could not be opened, or the cache has closed it.
    pub fn handle_closed(&mut self, now: Instant, why: &str) {
        if let Link::Up(up) = &self.link
            && matches!(up.stage, Stage::Asked { .. })
            && !up.agreed
        {
            // Caches that do not know a version may say so by closing.
            self.propose = up.version.checked_sub(1).unwrap_or(VERSION);
            self.session = None;
        }
        self.down(now, why.to_owned());
    }

    /// The cache sent octets.
    pub fn handle_octets(&mut self, now: Instant, octets: &[u8]) {
        let Link::Up(up) = &mut self.link else { return };
        if matches!(up.stage, Stage::Asked { .. } | Stage::Loading { .. }) {
            up.deadline = now + PATIENCE;
        }
        let mut buffer = std::mem::take(&mut up.buffer);
        buffer.extend_from_slice(octets);
        let mut at = 0;
        loop {
            let rest = &buffer[at..];
            let about = || rest[..rest.len().min(ABOUT)].to_vec();
            let handled = match Pdu::parse(rest) {
                Ok(None) => break,
                Ok(Some((version, pdu, length))) => {
                    at += length;
                    let about = rest[..length.min(ABOUT)].to_vec();
                    let handled = self.handle_pdu(now, version, pdu);
                    handled.map_err(|end| match end {
                        End::Fault(fault, _) => End::Fault(fault, about),
                        End::Cache(why) => End::Cache(why),
                    })
                }
                Err(fault) => Err(End::Fault(fault, about())),
            };
            match handled {
                Ok(()) => {}
                Err(End::Cache(why)) => {
                    self.actions.push_back(Action::Close);
                    return self.down(now, why);
                }
                Err(End::Fault(fault, about)) => return self.refuse(now, fault, about),
            }
        }
        buffer.drain(..at);
        if let Link::Up(up) = &mut self.link {
            up.buffer = buffer;
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.expires().is_some_and(|at| at <= now) {
            self.forget();
        }
        match &mut self.link {
            Link::Down { until } if *until <= now => {
                self.link = Link::Dialling;
                self.actions.push_back(Action::Connect);
            }
            Link::Up(up) if up.deadline <= now => match up.stage {
                Stage::Settled | Stage::NoData => self.ask(now),
                Stage::Asked { .. } | Stage::Loading { .. } => {
                    self.actions.push_back(Action::Close);
                    self.down(now, "the cache has fallen silent".to_owned());
                }
            },
            Link::Down { .. } | Link::Dialling | Link::Up(_) => {}
        }
    }

    /// The data are no more to be used.
    fn forget(&mut self) {
        self.session = None;
        if self.data.take().is_some() {
            self.actions.push_back(Action::Data);
        }
    }

    fn ask(&mut self, now: Instant) {
        let Link::Up(up) = &mut self.link else { return };
        let resumed = self.session.filter(|session| session.version == up.version);
        let query = match resumed {
            Some(Session { id, serial, .. }) => Pdu::SerialQuery { session: id, serial },
            None => Pdu::ResetQuery,
        };
        up.stage = Stage::Asked { reset: resumed.is_none() };
        up.deadline = now + PATIENCE;
        self.actions.push_back(Action::Send(query.emit(up.version)));
    }

    /// Tells the cache what it did wrong, and starts over.
    fn refuse(&mut self, now: Instant, fault: Fault, about: Vec<u8>) {
        let Link::Up(up) = &self.link else { return };
        let report =
            Pdu::ErrorReport { code: fault.code as u16, about, text: fault.what.to_owned() };
        let version = up.version;
        self.actions.push_back(Action::Send(report.emit(version)));
        self.actions.push_back(Action::Close);
        self.session = None;
        self.down(now, format!("the cache sent what it should not: {fault}"));
    }

    fn down(&mut self, now: Instant, why: String) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(6)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(why);
        self.link = Link::Down { until: now + wait };
    }

    fn handle_pdu(&mut self, now: Instant, version: u8, pdu: Pdu) -> Result<(), End> {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        if let Pdu::ErrorReport { code, text, .. } = pdu {
            return self.handle_error(now, version, code, &text);
        }
        if !up.agreed {
            match pdu {
                // Before a version is agreed on it says nothing (RFC 8210 §7).
                Pdu::SerialNotify { .. } => return Ok(()),
                Pdu::CacheResponse { .. } | Pdu::CacheReset if version <= up.version => {
                    if version < up.version {
                        // Its session cannot be the one that we wanted to resume.
                        self.session = None;
                    }
                    (up.version, up.agreed) = (version, true);
                }
                _ => {}
            }
        }
        if version != up.version {
            let what = "a PDU is of another version than the session";
            return fault(ErrorCode::UnexpectedProtocolVersion, what);
        }
        let other = "the session is another than before";
        match (pdu, &mut up.stage) {
            (Pdu::SerialNotify { session, serial }, Stage::Settled | Stage::NoData) => {
                match self.session {
                    Some(known) if known.id != session => self.flush(other),
                    Some(known) if known.serial == serial => Ok(()),
                    _ => {
                        self.ask(now);
                        Ok(())
                    }
                }
            }
            (Pdu::CacheResponse { session: id }, Stage::Asked { reset }) => {
                let reset = *reset;
                // A lower version was agreed on just now: what comes cannot be a difference.
                if !reset && self.session.is_none_or(|known| known.id != id) {
                    return self.flush(other);
                }
                up.stage = Stage::Loading { reset, id, news: Vec::new() };
                Ok(())
            }
            (Pdu::CacheReset, Stage::Asked { reset: false }) => {
                self.session = None;
                self.ask(now);
                Ok(())
            }
            (Pdu::Prefix { announced, vrp }, Stage::Loading { reset, news, .. }) => {
                if *reset && !announced {
                    let what = "a VRP is withdrawn in an answer that begins with none";
                    return fault(ErrorCode::WithdrawalOfUnknownRecord, what);
                }
                if news.len() == MOST_VRPS {
                    return fault(ErrorCode::InternalError, "there are more VRPs than we take");
                }
                news.push((announced, vrp));
                Ok(())
            }
            // A notification that crossed our query: the answer will have what it tells of.
            (Pdu::SerialNotify { .. }, _) | (Pdu::Other { .. }, Stage::Loading { .. }) => Ok(()),
            (Pdu::EndOfData { session, serial, timing }, Stage::Loading { reset, id, news }) => {
                if session != *id {
                    return self.flush(other);
                }
                let (reset, news) = (*reset, std::mem::take(news));
                self.complete(now, reset, news, session, serial, timing)
            }
            _ => fault(ErrorCode::CorruptData, "a PDU comes where it has no place"),
        }
    }

    /// An answer is complete.
    fn complete(
        &mut self,
        now: Instant,
        reset: bool,
        news: Vec<(bool, Vrp)>,
        id: u16,
        serial: u32,
        timing: Option<Timing>,
    ) -> Result<(), End> {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        let old = self.data.clone().filter(|_| !reset);
        let same = !reset && news.is_empty();
        let table = match old {
            Some(old) if same => old,
            Some(old) => Arc::new(changed(&old, &news)?),
            None => Arc::new(news.into_iter().map(|(_, vrp)| vrp).collect()),
        };
        self.timing = timing.unwrap_or_default().bounded();
        (up.stage, up.deadline) = (Stage::Settled, now + self.timing.refresh);
        self.session = Some(Session { version: up.version, id, serial });
        self.propose = VERSION;
        self.updated = Some(now);
        self.failures = 0;
        self.trouble = None;
        self.data = Some(table);
        self.actions.push_back(Action::Data);
        Ok(())
    }

    /// The cache's session id is not what it was: all that it said is void (RFC 8210 §5.1).
    fn flush(&mut self, what: &'static str) -> Result<(), End> {
        self.forget();
        fault(ErrorCode::CorruptData, what)
    }

    fn handle_error(
        &mut self,
        now: Instant,
        version: u8,
        code: u16,
        text: &str,
    ) -> Result<(), End> {
        let Link::Up(up) = &mut self.link else { return Ok(()) };
        let asked = matches!(up.stage, Stage::Asked { .. });
        let name = ErrorCode::name(code);
        let why = match text.trim() {
            "" => format!("the cache reports {name} ({code})"),
            text => format!("the cache reports {name} ({code}): {text:?}"),
        };
        if code == ErrorCode::UnsupportedProtocolVersion as u16 {
            if asked && !up.agreed && version < up.version {
                up.version = version;
                self.propose = version;
                self.ask(now);
                return Ok(());
            }
        } else if code == ErrorCode::NoDataAvailable as u16 && asked {
            // Not an end (RFC 8210 §12): a Serial Notify may come before the time is over.
            if version <= up.version {
                (up.version, up.agreed) = (version, true);
            }
            (up.stage, up.deadline) = (Stage::NoData, now + self.timing.retry);
            self.trouble = Some(why);
            return Ok(());
        }
        self.session = None;
        Err(End::Cache(why))
    }
}

fn fault(code: ErrorCode, what: &'static str) -> Result<(), End> {
    Err(End::Fault(Fault { code, what }, Vec::new()))
}

/// The set after a difference (RFC 8210 §§5.6, 12).
fn changed(old: &VrpTable, news: &[(bool, Vrp)]) -> Result<VrpTable, End> {
    let mut after: BTreeMap<Vrp, bool> = BTreeMap::new();
    for (announced, vrp) in news {
        let there = after.get(vrp).copied().unwrap_or_else(|| old.contains(vrp));
        match (there, announced) {
            (true, true) => {
                let what = "a VRP is announced that is there already";
                fault(ErrorCode::DuplicateAnnouncementReceived, what)?;
            }
            (false, false) => {
                let what = "a VRP is withdrawn that is not there";
                fault(ErrorCode::WithdrawalOfUnknownRecord, what)?;
            }
            _ => {}
        }
        after.insert(*vrp, *announced);
    }
    let kept = old.iter().filter(|vrp| !after.contains_key(vrp));
    let new = after.iter().filter(|(_, announced)| **announced).map(|(vrp, _)| *vrp);
    Ok(kept.chain(new).collect())
}
