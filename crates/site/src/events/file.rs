//! Events on disk: a line of JSON each, in `events.jsonl`, which becomes `events.1.jsonl` when it
//! is full, so that there is a bound. A thread of its own writes, so that a disk that hangs does
//! not hold up the steering.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::SiteEvent;
use crate::state;

/// A file of this size, in octets, is full. There are two.
const FULL: u64 = 4 << 20;
/// Events that may wait to be written; with more the newest are not.
const QUEUE: usize = 256;
/// So many events may be lost in a crash, at most: those that wait and the one being written.
pub(super) const MOST_LOST: u64 = QUEUE as u64 + 1;
/// How long the end waits for the disk.
const FAREWELL: Duration = Duration::from_secs(2);
/// A number beyond this is no number of an event: JSON's numbers are exact up to here.
const HIGHEST: u64 = 1 << 53;

const NOW: &str = "events.jsonl";
const BEFORE: &str = "events.1.jsonl";
const LOCK: &str = "events.lock";

/// The files of a site's events, being written.
#[derive(Debug)]
pub(super) struct EventFile {
    folder: PathBuf,
    lines: SyncSender<Vec<u8>>,
    unwritten: Arc<AtomicU64>,
    done: Receiver<()>,
}

impl EventFile {
    /// Opens the files in `folder`, which is made if need be, and reads what is there.
    ///
    /// # Errors
    /// The folder or a file cannot be made or read, or another daemon writes there.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<SiteEvent>)> {
        Self::open_with(folder, FULL)
    }

    pub(super) fn open_with(folder: &Path, full: u64) -> io::Result<(Self, Vec<SiteEvent>)> {
        state::make(folder)?;
        let lock = File::options().create(true).append(true).open(folder.join(LOCK))?;
        let lock =
            Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    nix::errno::Errno::EWOULDBLOCK => io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        "another daemon keeps its events there",
                    ),
                    errno => errno.into(),
                },
            )?;
        let found = read_folder(folder)?;
        let writer = Writer::open(folder, full)?;
        let (lines, queue) = sync_channel(QUEUE);
        let unwritten = Arc::new(AtomicU64::new(0));
        let (ended, done) = sync_channel(1);
        let count = Arc::clone(&unwritten);
        std::thread::Builder::new().name("events".to_owned()).spawn(move || {
            writer.write_all(&queue, &count);
            drop(lock);
            let _ = ended.send(());
        })?;
        Ok((Self { folder: folder.to_owned(), lines, unwritten, done }, found))
    }

    /// Where the files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has the event written, soon.
    pub(super) fn write(&self, event: &SiteEvent) {
        if self.lines.try_send(line(event)).is_err() {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events could not be written.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Waits until all is written, but not for ever.
    pub(super) fn close(self) {
        drop(self.lines);
        let _ = self.done.recv_timeout(FAREWELL);
    }
}

fn line(event: &SiteEvent) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).expect("an event is plain data");
    line.push(b'\n');
    line
}

/// What the thread owns.
struct Writer {
    folder: PathBuf,
    file: File,
    len: u64,
    full: u64,
    /// The file may end within a line.
    is_torn: bool,
}

impl Writer {
    fn open(folder: &Path, full: u64) -> io::Result<Self> {
        let path = folder.join(NOW);
        let mut file = File::options().create(true).append(true).read(true).open(path)?;
        let mut octets = Vec::new();
        let len = file.read_to_end(&mut octets)? as u64;
        let is_torn = octets.last().is_some_and(|octet| *octet != b'\n');
        Ok(Self { folder: folder.to_owned(), file, len, full, is_torn })
    }

    fn write_all(mut self, queue: &Receiver<Vec<u8>>, unwritten: &AtomicU64) {
        let mut is_failing = false;
        while let Ok(line) = queue.recv() {
            let written = self.write(&line);
            if let Err(error) = &written {
                unwritten.fetch_add(1, Ordering::Relaxed);
                self.is_torn = true;
                if !is_failing {
                    tracing::warn!("cannot write events to {}: {error}", self.folder.display());
                }
            }
            is_failing = written.is_err();
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.len > 0 && self.len + line.len() as u64 > self.full {
            let now = self.folder.join(NOW);
            std::fs::rename(&now, self.folder.join(BEFORE))?;
            self.file = File::options().create(true).append(true).open(&now)?;
            (self.len, self.is_torn) = (0, false);
        }
        if self.is_torn {
            self.file.write_all(b"\n")?;
            (self.len, self.is_torn) = (self.len + 1, false);
        }
        self.file.write_all(line)?;
        self.len += line.len() as u64;
        Ok(())
    }
}

/// All events in the files of a folder, oldest first.
///
/// # Errors
/// A file is there and cannot be read.
pub(crate) fn read_folder(folder: &Path) -> io::Result<Vec<SiteEvent>> {
    let mut octets = Vec::new();
    for name in [BEFORE, NOW] {
        match File::open(folder.join(name)) {
            // What is more was not written by us.
            Ok(file) => drop(file.take(2 * FULL).read_to_end(&mut octets)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        octets.push(b'\n');
    }
    Ok(read(&octets))
}

/// The events of a file. What is no event, or not newer than the one before, is passed over: a
/// crash may leave half a line, and what follows it is still of use.
pub(super) fn read(octets: &[u8]) -> Vec<SiteEvent> {
    let mut last = 0;
    let lines = octets.split(|octet| *octet == b'\n');
    let events = lines.filter_map(|line| serde_json::from_slice::<SiteEvent>(line).ok());
    let in_order = events.filter(|event| {
        let is_next =
            event.number > last && event.number < HIGHEST && !event.kind.contains(char::is_control);
        if is_next {
            last = event.number;
        }
        is_next
    });
    in_order.collect()
}
