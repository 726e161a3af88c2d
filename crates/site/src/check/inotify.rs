//! What happens to files, as the kernel tells it (inotify(7)).

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::sys;

/// Room for a few events with names of any length.
const BUFFER: usize = 4096;

/// Watches of one's own.
pub(super) struct Inotify {
    fd: AsyncFd<OwnedFd>,
}

/// One event.
pub(super) struct Seen {
    /// Which watch saw it; -1 if events were lost.
    pub(super) watch: i32,
    pub(super) flags: ReadFlags,
    /// The entry of a directory that it is about.
    pub(super) name: Option<OsString>,
}

impl Seen {
    /// Whether the watch has ended, or events were lost: look again at everything.
    pub(super) fn is_the_end(&self) -> bool {
        let ends = ReadFlags::IGNORED
            | ReadFlags::QUEUE_OVERFLOW
            | ReadFlags::UNMOUNT
            | ReadFlags::DELETE_SELF
            | ReadFlags::MOVE_SELF;
        self.flags.intersects(ends)
    }
}

impl Inotify {
    /// The number of these is limited for each user: `fs.inotify.max_user_instances`.
    pub(super) fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { fd: sys::readable(fd)? })
    }

    pub(super) fn watch(&self, path: &Path, flags: WatchFlags) -> io::Result<i32> {
        Ok(inotify::add_watch(self.fd.get_ref(), path, flags)?)
    }

    /// A watch that has ended by itself is no error.
    pub(super) fn unwatch(&self, watch: i32) {
        let _ = inotify::remove_watch(self.fd.get_ref(), watch);
    }

    /// The next events, at least one.
    pub(super) async fn next(&self) -> io::Result<Vec<Seen>> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); BUFFER];
            let mut reader = Reader::new(self.fd.get_ref(), &mut buffer);
            let mut seen = Vec::new();
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_bytes().to_vec());
                        seen.push(Seen {
                            watch: event.wd(),
                            flags: event.events(),
                            name: name.map(OsString::from_vec),
                        });
                    }
                    Err(rustix::io::Errno::AGAIN) => break ready.clear_ready(),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if !seen.is_empty() {
                return Ok(seen);
            }
        }
    }
}

/// Says `changed` when something may have become of the file at `path`: it is there, is gone, has
/// been written or touched. Also once at the beginning, for what was before is not known.
///
/// Its directory is watched, or as long as that is not there the deepest one above that is.
/// What a symbolic link on the way points to may change unseen.
pub(super) async fn follow(path: &Path, mut changed: impl FnMut()) -> io::Error {
    let flags = WatchFlags::ATTRIB
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MODIFY
        | WatchFlags::MOVE
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    let inotify = match Inotify::new() {
        Ok(inotify) => inotify,
        Err(error) => return error,
    };
    loop {
        let (directory, entry) = deepest(path);
        let watch = match inotify.watch(&directory, flags) {
            Ok(watch) => watch,
            // Gone since a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tokio::task::yield_now().await;
                continue;
            }
            Err(error) => return error,
        };
        changed();
        while deepest(path).0 == directory {
            let seen = match inotify.next().await {
                Ok(seen) => seen,
                Err(error) => return error,
            };
            let mut ended = false;
            let mut concerned = false;
            for seen in seen {
                // Of an earlier watch perhaps.
                let ours = seen.watch == watch || seen.flags.contains(ReadFlags::QUEUE_OVERFLOW);
                ended |= ours && seen.is_the_end();
                concerned |= ours && seen.name.as_ref() == Some(&entry);
            }
            if ended {
                break;
            }
            if concerned {
                changed();
            }
        }
        inotify.unwatch(watch);
    }
}

/// The deepest directory on the way to `path` that is there, and its entry on that way.
fn deepest(path: &Path) -> (PathBuf, OsString) {
    let mut entry = path.file_name().unwrap_or_default();
    for directory in path.ancestors().skip(1) {
        if directory.is_dir() {
            return (directory.to_owned(), entry.to_owned());
        }
        entry = directory.file_name().unwrap_or_default();
    }
    (PathBuf::from("/"), entry.to_owned())
}
