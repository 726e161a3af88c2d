//! Neighbors that operators have disabled, over restarts of the daemon: a file in the state folder.
//!
//! A file that cannot be read disables nobody: which neighbors were meant is not known, and a site
//! without any would be worse. It is moved aside and said.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state;

const NAME: &str = "disabled-neighbors.json";
/// Far more than there can be neighbors.
const LARGEST: u64 = 1 << 20;

/// Who is disabled, and what it was told then.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Disabled {
    folder: PathBuf,
    messages: BTreeMap<String, String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    /// Names of neighbors, and the shutdown messages.
    neighbors: BTreeMap<String, String>,
}

impl Disabled {
    /// Those that an earlier daemon left in `folder` and that are still neighbors; and why the file
    /// could not be read, if so.
    pub(crate) fn open(
        folder: &Path,
        is_neighbor: impl Fn(&str) -> bool,
    ) -> (Self, Option<String>) {
        let path = folder.join(NAME);
        let (mut messages, error) = match read(&path) {
            Ok(messages) => (messages, None),
            Err(error) => {
                let aside = folder.join(format!("{NAME}.unreadable"));
                let whither = match std::fs::rename(&path, &aside) {
                    Ok(()) => format!("; it is now {}", aside.display()),
                    Err(_) => String::new(),
                };
                (BTreeMap::new(), Some(format!("{}: {error}{whither}", path.display())))
            }
        };
        messages.retain(|name, _| is_neighbor(name));
        (Self { folder: folder.to_owned(), messages }, error)
    }

    /// Names and messages.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.messages.iter().map(|(name, message)| (name.as_str(), message.as_str()))
    }

    /// A neighbor is disabled now, or with `None` no more, and that is written down.
    ///
    /// # Errors
    /// It could not be written: the next daemon will not know.
    pub(crate) fn set(&mut self, name: &str, message: Option<&str>) -> io::Result<()> {
        match message {
            Some(message) => {
                self.messages.insert(name.to_owned(), message.to_owned());
            }
            None if self.messages.remove(name).is_none() => return Ok(()),
            None => {}
        }
        if self.messages.is_empty() {
            return state::remove(&self.folder, NAME);
        }
        state::replace(&self.folder, NAME, &Contents { neighbors: self.messages.clone() })
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    match std::fs::metadata(path) {
        Ok(there) if there.len() > LARGEST => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    }
    let contents: Contents = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    Ok(contents.neighbors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let unique = format!("anycast-disabled-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn who_is_disabled_is_so_for_the_next_daemon_as_long_as_it_is_a_neighbor() {
        let folder = folder("kept");
        let (mut disabled, error) = Disabled::open(&folder, |_| true);
        assert_eq!((disabled.iter().count(), error), (0, None));
        disabled.set("transit", Some("back at noon")).unwrap();
        disabled.set("ix", Some("")).unwrap();
        disabled.set("gone", Some("")).unwrap();
        disabled.set("never", None).unwrap();
        let (mut again, error) = Disabled::open(&folder, |name| name != "gone");
        assert_eq!(error, None);
        assert_eq!(again.iter().collect::<Vec<_>>(), [("ix", ""), ("transit", "back at noon")]);
        again.set("ix", None).unwrap();
        again.set("transit", None).unwrap();
        assert!(!folder.join(NAME).exists(), "nobody is disabled: there is no file");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_moved_aside_and_disables_nobody() {
        let folder = folder("unreadable");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(NAME), "{\"neighbors\": [").unwrap();
        let (disabled, error) = Disabled::open(&folder, |_| true);
        assert_eq!(disabled.iter().count(), 0);
        assert!(error.unwrap().contains("disabled-neighbors.json.unreadable"));
        assert!(folder.join(format!("{NAME}.unreadable")).exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
