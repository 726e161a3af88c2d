//! `[rpki]` and `[site.NAME.rpki]`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::without_repeats;
use crate::section::{Fault, Places, Section};
use crate::{Rpki, value};

/// The port that IANA assigned to the RPKI to Router protocol.
const RTR_PORT: u16 = 323;
/// Long enough for a cache nearby to give all that there is; short for a site that starts.
const WAIT: Duration = Duration::from_secs(3);
/// A site that announces nothing for longer is a site that is down.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Sources that still know their places.
#[derive(Debug)]
pub(crate) struct RpkiDraft {
    /// As they stand there.
    pub(crate) caches: Vec<SocketAddr>,
    /// Each once.
    once: Vec<SocketAddr>,
    pub(crate) vrp_file: Option<PathBuf>,
    pub(crate) reject_invalid: bool,
    wait: Duration,
    pub(crate) at: Places,
}

pub(super) fn read(mut section: Section<'_>) -> RpkiDraft {
    let reject_invalid = section.get("reject-invalid", value::boolean).unwrap_or(false);
    read_sources(section, reject_invalid)
}

pub(super) fn read_of_site(mut section: Section<'_>) -> RpkiDraft {
    let place = "It is for the whole fleet: write it in `[rpki]`.";
    section.belongs_elsewhere("reject-invalid", place.to_owned());
    read_sources(section, false)
}

fn read_sources(mut section: Section<'_>, reject_invalid: bool) -> RpkiDraft {
    let caches = section.get_list("caches", cache).unwrap_or_default();
    let once = without_repeats(&section, "caches", caches.clone());
    let vrp_file = section.get("vrp-file", value::text).map(PathBuf::from);
    let wait = section.get("wait", wait).unwrap_or(WAIT);
    RpkiDraft { caches, once, vrp_file, reject_invalid, wait, at: section.finish() }
}

impl RpkiDraft {
    /// The checked sources; the file is resolved against `folder`.
    pub(super) fn into_rpki(self, folder: &Path) -> Rpki {
        let vrp_file = self.vrp_file.map(|path| folder.join(path));
        Rpki { caches: self.once, vrp_file, wait: self.wait }
    }

    /// Whether anything could ever come from it.
    pub(crate) fn is_empty(&self) -> bool {
        self.caches.is_empty() && self.vrp_file.is_none()
    }
}

fn wait(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let duration = value::duration(value)?;
    if duration <= LONGEST_WAIT {
        return Ok(duration);
    }
    Err(Fault::value(
        "is too long: a site that starts announces nothing meanwhile",
        "Write at most \"60s\"; with data that come later, everything is judged anew.",
    ))
}

/// An address with a port, or the usual one.
fn cache(value: &DeValue<'_>) -> Result<SocketAddr, Fault> {
    let text = value.as_str().ok_or_else(|| Fault::wrong_type("a string", value))?;
    let usual = |address: IpAddr| SocketAddr::new(address, RTR_PORT);
    let parsed = text.parse().or_else(|_| text.parse().map(usual));
    match parsed {
        Ok(cache) if cache.port() != 0 && !cache.ip().is_unspecified() => Ok(cache),
        _ => Err(Fault::value(
            format!("must be the address of a cache, not {text:?}"),
            "Write it like \"192.0.2.10\", \"192.0.2.10:3323\" or \"[2001:db8::10]:323\".",
        )),
    }
}
