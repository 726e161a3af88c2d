//! The fleet that is confirmed while the file says something else, over restarts of the daemon: a
//! file in the state folder.
//!
//! A reload that waits for its confirmation, and one that was taken back, leave a file on disk that
//! must not come in force because the daemon starts again. As long as the file still has that very
//! text, a start puts in force what was confirmed before; once somebody has changed it, it counts
//! again.

use std::io;
use std::path::{Path, PathBuf};

use anycast_fleet::Fleet;
use serde::{Deserialize, Serialize};

use crate::state;

const NAME: &str = "confirmed-fleet.json";
/// Two fleet files of the largest kind, escaped.
const LARGEST: u64 = 128 << 20;
/// What is said of a file that is not in force.
pub(crate) const BEFORE: &str = "what was before is in force";

/// Two texts of the fleet file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// What was confirmed.
    confirmed: String,
    /// What is in the file and was not.
    unconfirmed: String,
    /// Why it is not in force; without, it waits to be confirmed.
    taken_back: Option<String>,
}

impl Kept {
    pub(crate) fn waiting(confirmed: &str, unconfirmed: &str) -> Self {
        let (confirmed, unconfirmed) = (confirmed.to_owned(), unconfirmed.to_owned());
        Self { confirmed, unconfirmed, taken_back: None }
    }

    /// Whether it waits to be confirmed.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.taken_back.is_none()
    }

    pub(crate) fn taken_back(confirmed: &str, unconfirmed: &str, why: &str) -> Self {
        Self { taken_back: Some(why.to_owned()), ..Self::waiting(confirmed, unconfirmed) }
    }
}

/// What is written down.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    folder: PathBuf,
    kept: Option<Kept>,
    /// Whether the file may be another than `kept`, since something went wrong at the last change.
    is_doubtful: bool,
}

/// What a daemon that starts has to know. Nothing has been changed before [`Found::carry_out`].
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) confirmed: Confirmed,
    /// The text that is in force.
    pub(crate) source: String,
    /// The fleet of that text, if it is not the file's.
    pub(crate) instead: Option<Fleet>,
    /// Why the file is not in force.
    pub(crate) rolled_back: Option<String>,
    pub(crate) news: News,
    next: Next,
}

/// Kinds of events and their words, all of them loud. Those that nobody has taken when the start fails
/// are logged.
#[derive(Debug, Default)]
pub(crate) struct News(Vec<(&'static str, String)>);

/// What becomes of the file.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Stays,
    /// It cannot be read: why.
    GoesAside(io::Error),
    IsWritten(Option<Kept>),
}

impl Confirmed {
    /// What an earlier daemon left in `folder`, at the start of this one; `source` is what `file`
    /// says now.
    pub(crate) fn open(folder: &Path, file: &Path, source: String) -> Found {
        let (kept, next) = match read(folder) {
            Ok(kept) => (kept, Next::Stays),
            Err(error) => (None, Next::GoesAside(error)),
        };
        let confirmed = Self { folder: folder.to_owned(), kept, is_doubtful: false };
        let (instead, rolled_back, news) = (None, None, News::default());
        let mut found = Found { confirmed, source, instead, rolled_back, news, next };
        found.decide(file);
        found
    }

    pub(crate) fn get(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// Writes it down for the next daemon; with `None` the file is what counts.
    ///
    /// # Errors
    /// It could not be written: what the next daemon will know is not certain.
    pub(crate) fn set(&mut self, kept: Option<Kept>) -> io::Result<()> {
        if kept == self.kept && !self.is_doubtful {
            return Ok(());
        }
        self.is_doubtful = true;
        match &kept {
            Some(kept) => state::replace(&self.folder, NAME, kept)?,
            None => state::remove(&self.folder, NAME)?,
        }
        (self.kept, self.is_doubtful) = (kept, false);
        Ok(())
    }
}

impl Found {
    /// Whether the file counts or what was confirmed before.
    fn decide(&mut self, file: &Path) {
        let Some(kept) = self.confirmed.get().cloned() else { return };
        if kept.unconfirmed == self.source {
            self.go_back(file, kept);
            return;
        }
        if kept.confirmed != self.source && kept.taken_back.is_none() {
            let words = "a reload was not confirmed when the daemon ended; the file has changed \
                         since then and is in force";
            self.news.add("reload-unconfirmed", words.to_owned());
        }
        self.next = Next::IsWritten(None);
    }

    /// Changes what is written down, once nobody else has the site and nothing can keep the daemon
    /// from starting.
    pub(crate) fn carry_out(&mut self) {
        match std::mem::take(&mut self.next) {
            Next::Stays => {}
            Next::GoesAside(error) => {
                let path = self.confirmed.folder.join(NAME);
                let aside = self.confirmed.folder.join(format!("{NAME}.unreadable"));
                let whither = match std::fs::rename(&path, &aside) {
                    Ok(()) => format!("; it is now {}", aside.display()),
                    Err(_) => String::new(),
                };
                let words = format!(
                    "{}: {error}{whither}; the fleet file is in force, whether it was confirmed \
                     or not",
                    path.display()
                );
                self.news.add("rollback-failed", words);
            }
            Next::IsWritten(kept) => {
                if let Err(error) = self.confirmed.set(kept) {
                    let words =
                        format!("{error}; the next start of the daemon does not know of it");
                    self.news.add("reload-not-kept", words);
                }
            }
        }
    }

    fn go_back(&mut self, file: &Path, kept: Kept) {
        let report = anycast_fleet::read_text(file, &kept.confirmed);
        let Some(fleet) = report.fleet else {
            let words = format!(
                "what was confirmed before the file's text has errors for this program; the file \
                 is in force, unconfirmed:\n{}",
                report.render(false)
            );
            self.news.add("rollback-failed", words);
            return;
        };
        let ended = "the daemon ended before it was confirmed";
        let why = kept.taken_back.as_deref().unwrap_or(ended).to_owned();
        let words = format!(
            "{why}; {BEFORE}: change the file back, or put it in force by `anycast reload`"
        );
        self.news.add("rollback", words);
        self.rolled_back = Some(format!("{why}; {BEFORE}"));
        self.source.clone_from(&kept.confirmed);
        self.instead = Some(fleet);
        self.next = Next::IsWritten(Some(Kept { taken_back: Some(why), ..kept }));
    }
}

impl News {
    fn add(&mut self, kind: &'static str, words: String) {
        self.0.push((kind, words));
    }

    pub(crate) fn take(&mut self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for News {
    fn drop(&mut self) {
        for (kind, words) in &self.0 {
            tracing::warn!("{kind}: {words}");
        }
    }
}

fn read(folder: &Path) -> io::Result<Option<Kept>> {
    let path = folder.join(NAME);
    match std::fs::metadata(&path) {
        Ok(there) if there.len() > LARGEST => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(serde_json::from_str(&std::fs::read_to_string(path)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "[fleet]\nname = \"a\"\nasn = 64500\n[prefix.\"192.0.2.0/24\"]\n\
                     services = [\"web\"]\n[service.web]\naddresses = [\"192.0.2.1\"]\n\
                     builtin = \"whoami\"\n[site.fra]\nrouter-id = \"198.51.100.1\"\n\
                     [site.fra.neighbor.left]\naddress = \"198.51.100.2\"\nasn = 64501\n";

    fn b() -> String {
        A.replace("\"a\"", "\"b\"")
    }

    fn folder(name: &str) -> PathBuf {
        let unique = format!("anycast-confirmed-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    /// What a start in `folder` does if `source` is in the file: the fleet that is in force in its
    /// place, what is said of the file, and the kinds of the news.
    fn start(folder: &Path, source: &str) -> (Option<String>, Option<String>, Vec<&'static str>) {
        let file = Path::new("/etc/fleet.toml");
        let mut found = Confirmed::open(folder, file, source.to_owned());
        // A start that fails has changed nothing.
        let before = std::fs::read(folder.join(NAME)).ok();
        drop(Confirmed::open(folder, file, source.to_owned()));
        assert_eq!(std::fs::read(folder.join(NAME)).ok(), before);
        found.carry_out();
        let instead = found.instead.map(|fleet| fleet.name);
        assert_eq!(found.source == source, instead.is_none());
        (instead, found.rolled_back, found.news.take().into_iter().map(|(kind, _)| kind).collect())
    }

    fn left(folder: &Path, kept: Kept) {
        let mut confirmed = Confirmed::open(folder, Path::new("f"), String::new()).confirmed;
        confirmed.set(Some(kept)).unwrap();
    }

    #[test]
    fn what_is_not_confirmed_comes_in_force_by_no_start_until_the_file_changes() {
        let name = |name: &str| Some(name.to_owned());
        let never = "the daemon ended before it was confirmed; what was before is in force";
        let order = "an operator took it back; what was before is in force";
        let waiting = Kept::waiting(A, &b());
        let taken = Kept::taken_back(A, &b(), "an operator took it back");
        let broken = Kept::waiting("[fleet]\n", &b());
        for (case, kept, file, wanted) in [
            ("nothing was left", None, b(), (None, None, vec![])),
            ("unconfirmed", Some(&waiting), b(), (name("a"), name(never), vec!["rollback"])),
            ("taken back", Some(&taken), b(), (name("a"), name(order), vec!["rollback"])),
            ("put right", Some(&waiting), A.to_owned(), (None, None, vec![])),
            ("another", Some(&waiting), b() + "#", (None, None, vec!["reload-unconfirmed"])),
            ("taken back, another", Some(&taken), b() + "#", (None, None, vec![])),
            ("of another version", Some(&broken), b(), (None, None, vec!["rollback-failed"])),
        ] {
            let folder = folder("starts");
            if let Some(kept) = kept {
                left(&folder, kept.clone());
            }
            assert_eq!(start(&folder, &file), wanted, "{case}");
            // The next start finds the same, but for what is over.
            let over = wanted.0.is_none() && case != "of another version";
            let wanted = if over { (None, None, vec![]) } else { wanted };
            assert_eq!(start(&folder, &file), wanted, "{case}, again");
            assert_eq!(folder.join(NAME).exists(), !over, "{case}");
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_and_put_aside() {
        let folder = folder("unreadable");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(NAME), "{\"confirmed\": ").unwrap();
        assert_eq!(start(&folder, A), (None, None, vec!["rollback-failed"]));
        assert!(folder.join(format!("{NAME}.unreadable")).exists());
        assert_eq!(start(&folder, A), (None, None, vec![]));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_not_kept() {
        let found = Confirmed::open(Path::new("/proc/none"), Path::new("f"), A.to_owned());
        let mut confirmed = found.confirmed;
        assert_eq!(found.news.0, []);
        assert!(confirmed.set(Some(Kept::waiting(A, &b()))).is_err());
        assert_eq!(confirmed.get(), None);
    }
}
