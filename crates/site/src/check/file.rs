//! A file that is there, or is not: a flag that people and scripts set.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Failure, inotify};

/// Which file, and when it passes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// By absolute path.
    pub path: PathBuf,
    /// Whether its absence passes, and not its presence.
    pub absent: bool,
    /// For so long after it was last changed it passes.
    pub max_age: Option<Duration>,
}

pub(super) async fn check(target: &Target) -> Result<(), Failure> {
    let Target { path, absent, max_age } = target;
    let shown = path.display();
    let metadata = match tokio::fs::metadata(path).await {
        Ok(_) if *absent => return Err(Failure::Local(format!("{shown} is there"))),
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if *absent {
                Ok(())
            } else {
                Err(Failure::Local(format!("{shown} is not there")))
            };
        }
        Err(error) => return Err(Failure::Local(format!("cannot look at {shown}: {error}"))),
    };
    let Some(limit) = max_age else { return Ok(()) };
    // One from the future, by a clock that was set back since, is new.
    let age = metadata.modified()?.elapsed().unwrap_or_default();
    if age <= *limit {
        return Ok(());
    }
    let (age, limit) = (age.as_secs(), limit.as_secs_f64());
    Err(Failure::Local(format!("{shown} was last changed {age} s ago, expected {limit} s at most")))
}

/// Says `changed` when the file comes, goes or is changed.
pub(super) async fn watch(target: &Target, changed: impl FnMut()) -> io::Error {
    inotify::follow(&target.path, changed).await
}
