//! `[bmp.NAME]` and `[mrt]`: who is told what the sites see.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::{Placed, without_repeats};
use crate::problem::Problem;
use crate::section::{Fault, Places, Section};
use crate::value;
use crate::{BmpStation, BmpTable, Mrt};

const STATS_INTERVAL: Duration = Duration::from_secs(60);
/// Some million changes.
const BUFFER_MIB: u16 = 64;
const ROTATE: Duration = Duration::from_secs(15 * 60);

const TABLES: &[(&str, BmpTable)] = &[
    ("adj-rib-in-pre", BmpTable::AdjRibInPre),
    ("adj-rib-in-post", BmpTable::AdjRibInPost),
    ("loc-rib", BmpTable::LocRib),
    ("adj-rib-out", BmpTable::AdjRibOut),
];

/// `[mrt]` that still knows its places.
#[derive(Debug)]
pub(crate) struct MrtDraft {
    pub(crate) mrt: Option<Mrt>,
    pub(crate) at: Places,
}

/// `None` if its address or its port cannot be read.
pub(super) fn read_station(name: String, mut section: Section<'_>) -> Option<Placed<BmpStation>> {
    let address = section.require("address", "\"198.51.100.10\"", value::address);
    // No port is assigned to BMP.
    let port = section.require("port", "11019", value::port);
    let tables = read_tables(&mut section);
    let stats_interval = section.get("stats-interval", value::duration).unwrap_or(STATS_INTERVAL);
    let buffer = section.get("buffer-mib", value::number(1..=1024_u16)).unwrap_or(BUFFER_MIB);
    let station = address.zip(port).map(|(address, port)| BmpStation {
        name,
        address,
        port,
        tables,
        stats_interval: (!stats_interval.is_zero()).then_some(stats_interval),
        buffer_mib: buffer,
    });
    let at = section.finish();
    station.map(|value| Placed { value, at })
}

fn read_tables(section: &mut Section<'_>) -> Vec<BmpTable> {
    match section.get_list("tables", value::word(TABLES)) {
        Some(tables) if tables.is_empty() => {
            let span = section.places().of("tables");
            let problem = Problem::error("bad-value", span, "`tables` must not be empty");
            section.problem(problem.help("Leave it out for `adj-rib-in-pre` alone."));
            tables
        }
        Some(tables) => without_repeats(section, "tables", tables),
        None => vec![BmpTable::AdjRibInPre],
    }
}

pub(super) fn read_mrt(mut section: Section<'_>) -> MrtDraft {
    let example = "\"/var/log/anycast/updates.%Y%m%d.%H%M.mrt\"";
    let updates = section.require("updates", example, value::text);
    let rotate = section.get("rotate", whole_seconds).unwrap_or(ROTATE);
    let mrt = updates.map(|updates| Mrt { updates, rotate });
    MrtDraft { mrt, at: section.finish() }
}

fn whole_seconds(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let duration = value::duration(value)?;
    if duration.is_zero() || duration.subsec_nanos() != 0 {
        return Err(Fault::value("must be whole seconds, at least one", "Write it like \"15m\"."));
    }
    Ok(duration)
}

impl MrtDraft {
    /// The checked table; its path is resolved against `folder`.
    pub(super) fn into_mrt(self, folder: &Path) -> Option<Mrt> {
        let Mrt { updates, rotate } = self.mrt?;
        let updates = folder.join(updates).to_string_lossy().into_owned();
        Some(Mrt { updates, rotate })
    }
}
