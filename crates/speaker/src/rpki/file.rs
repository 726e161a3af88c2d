//! The task that reads a VRP file whenever it is another.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anycast_bgp::rov::{VrpTable, file};
use tokio::sync::mpsc;

use super::keeper::Report;

/// How often to look whether it has changed.
const LOOK: Duration = Duration::from_secs(1);
/// The whole RPKI takes some 60 MB today.
const LARGEST: u64 = 1 << 30;

/// By which one knows a file that was written anew or put in the place of another.
type Mark = (u64, u64, i64, i64);

fn mark(metadata: &Metadata) -> Mark {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

pub(super) async fn keep(index: usize, path: PathBuf, reports: mpsc::UnboundedSender<Report>) {
    let mut seen: Option<Result<Mark, String>> = None;
    let mut data: Option<(Arc<VrpTable>, SystemTime)> = None;
    loop {
        let found = tokio::fs::metadata(&path).await;
        let found = found.map(|it| (mark(&it), it.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        let current = found.as_ref().map(|(mark, _)| *mark).map_err(ToString::to_string);
        if seen.as_ref() != Some(&current) {
            let (state, trouble) = match found {
                Ok((_, modified)) => match read(&path).await {
                    Ok(table) => {
                        data = Some((Arc::new(table), modified));
                        ("loaded", None)
                    }
                    Err(why) => ("broken", Some(why)),
                },
                Err(error) => ("absent", Some(error.to_string())),
            };
            let kept = match (&trouble, &data) {
                (Some(why), Some(_)) => Some(format!("{why}; what it was before still counts")),
                _ => trouble,
            };
            let report = Report {
                index,
                state,
                is_up: kept.is_none(),
                session: None,
                data: data.as_ref().map(|(table, _)| Arc::clone(table)),
                updated: None,
                written: data.as_ref().map(|(_, written)| *written),
                fresh_until: None,
                expires: None,
                trouble: kept,
            };
            if reports.send(report).is_err() {
                return;
            }
            seen = Some(current);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn read(path: &Path) -> Result<VrpTable, String> {
    let path = path.to_owned();
    let read = move || {
        let length = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
        if length > LARGEST {
            return Err("it is larger than 1 GiB".to_owned());
        }
        let octets = std::fs::read(&path).map_err(|error| error.to_string())?;
        file::parse(&octets).map_err(|error| error.to_string())
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
}
