//! Writes MRT (RFC 6396): what comes in on sessions into files that rotate, and the whole table
//! for whoever asks.
//!
//! The files are written by a thread of their own. What it has not written yet is bounded: when
//! the disk is too slow, records are lost, and how many is said in the log; sessions never wait.

mod name;
mod table;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anycast_bgp::Asn;
use anycast_bgp::mrt::{Encoding, Ends, emit_message, emit_state_change};
use anycast_bgp::session::StateName;
use tracing::warn;

use crate::bmp::now;
use crate::peer::Peer;

pub use table::TableDump;

/// Records that may wait for the disk.
const QUEUE: usize = 16 * 1024;

/// Where what comes in is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Updates {
    /// The file. `%Y`, `%m`, `%d`, `%H`, `%M` and `%S` stand for the time (UTC) at which it
    /// begins, `%s` for that time in seconds since the beginning of 1970, `%%` for `%`.
    pub path: String,
    /// After so long another file begins; at full multiples of it since 1970.
    pub rotate: Duration,
}

/// Writes what happens on sessions.
pub(crate) struct Recorder {
    pub(crate) updates: Updates,
    local_asn: Asn,
    queue: SyncSender<(u32, Vec<u8>)>,
    lost: u64,
    states: HashMap<usize, StateName>,
}

impl Recorder {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// There can be no other thread.
    pub(crate) fn start(updates: Updates, local_asn: Asn) -> io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        let files = Files::new(updates.clone());
        std::thread::Builder::new().name("mrt".into()).spawn(move || files.run(&records))?;
        Ok(Self { updates, local_asn, queue, lost: 0, states: HashMap::new() })
    }

    /// A neighbor sent a message.
    pub(crate) fn received(&mut self, peer: &Peer, octets: &[u8]) {
        let context = peer.session.negotiated().map(|link| link.context);
        let encoding = Encoding {
            four_octet_asn: context.is_none_or(|context| context.four_octet_asn),
            path_ids: context.is_some_and(|context| !context.path_ids_in.is_empty()),
        };
        let (time, mut record) = (now(), Vec::with_capacity(octets.len() + 64));
        emit_message(time, &self.ends(peer), encoding, octets, &mut record);
        self.push(time.seconds, record);
    }

    /// Notes the state of a session, and writes that it is another than it was.
    pub(crate) fn note_state(&mut self, index: usize, peer: &Peer) {
        let new = peer.session.state();
        let old = self.states.insert(index, new).unwrap_or(StateName::Idle);
        if old != new {
            let (time, mut record) = (now(), Vec::new());
            emit_state_change(time, &self.ends(peer), old, new, &mut record);
            self.push(time.seconds, record);
        }
    }

    /// The neighbor of that index is removed.
    pub(crate) fn forget(&mut self, index: usize) {
        self.states.remove(&index);
    }

    fn ends(&self, peer: &Peer) -> Ends {
        let address = peer.neighbor.address;
        let unknown = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let local = peer.ends().map(|(local, _)| local.ip().to_canonical());
        let local = local.filter(|local| local.is_ipv4() == address.is_ipv4()).unwrap_or(unknown);
        Ends { peer_asn: peer.neighbor.asn, local_asn: self.local_asn, peer: address, local }
    }

    fn push(&mut self, seconds: u32, record: Vec<u8>) {
        match self.queue.try_send((seconds, record)) {
            Ok(()) if self.lost > 0 => {
                warn!(lost = self.lost, "the disk was too slow for MRT records");
                self.lost = 0;
            }
            Ok(()) => {}
            // A thread that has ended has said why.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.lost += 1,
        }
    }
}

/// The thread's side: the file that is open now.
struct Files {
    updates: Updates,
    /// The period that it is for.
    period: Option<u64>,
    open: Option<BufWriter<File>>,
    /// What is wrong with it, if that has been said.
    said: Option<String>,
}

impl Files {
    fn new(updates: Updates) -> Self {
        Self { updates, period: None, open: None, said: None }
    }

    fn run(mut self, records: &Receiver<(u32, Vec<u8>)>) {
        while let Ok(first) = records.recv() {
            let mut next = Some(first);
            while let Some((seconds, record)) = next {
                if let Err(error) = self.write(seconds, &record) {
                    self.say(&error);
                }
                next = records.try_recv().ok();
            }
            // Nothing waits: what readers find ends with a whole record.
            if let Some(Err(error)) = self.open.as_mut().map(Write::flush) {
                self.say(&error);
            }
        }
    }

    fn write(&mut self, seconds: u32, record: &[u8]) -> io::Result<()> {
        let length = self.updates.rotate.as_secs().max(1);
        let period = u64::from(seconds) / length;
        if self.period != Some(period) || self.open.is_none() {
            if let Some(mut old) = self.open.take() {
                old.flush()?;
            }
            let path = PathBuf::from(name::expand(&self.updates.path, period * length));
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            // A file of an earlier process that began in the same period goes on.
            let file = File::options().append(true).create(true).open(path)?;
            (self.open, self.period) = (Some(BufWriter::new(file)), Some(period));
        }
        match &mut self.open {
            Some(open) => open.write_all(record),
            None => Ok(()),
        }
    }

    /// Once for each thing that is wrong.
    fn say(&mut self, error: &io::Error) {
        let words = error.to_string();
        if self.said.as_ref() != Some(&words) {
            warn!(file = self.updates.path, "cannot write MRT records: {words}");
            self.said = Some(words);
        }
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_period_has_its_file_and_one_that_is_there_goes_on() {
        let folder = std::env::temp_dir().join(format!("anycast-mrt-{}", std::process::id()));
        let path = folder.join("%Y/updates.%Y%m%d.%H%M").to_string_lossy().into_owned();
        let updates = Updates { path, rotate: Duration::from_secs(900) };
        // 2026-11-22 23:14:59 and on, in two lives of the process.
        for records in
            [&[(1_795_389_299, b"a"), (1_795_389_300, b"b")][..], &[(1_795_389_301, b"c")]]
        {
            let (sender, receiver) = sync_channel(9);
            for (seconds, record) in records {
                sender.send((*seconds, record.to_vec())).unwrap();
            }
            drop(sender);
            Files::new(updates.clone()).run(&receiver);
        }
        let read = |name: &str| std::fs::read_to_string(folder.join("2026").join(name)).unwrap();
        assert_eq!(read("updates.20261122.2300"), "a");
        assert_eq!(read("updates.20261122.2315"), "bc");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
