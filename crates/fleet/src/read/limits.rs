//! How much is taken from a neighbor: words of `[site.NAME.neighbor.NAME]`.

use std::time::Duration;

use toml::de::DeValue;

use crate::section::{Fault, Section};
use crate::{AtLimit, Limits, MaxPrefixes, value};

/// Of the limit, unless the file says otherwise.
const WARN_AT_PERCENT: u32 = 80;
/// Long enough to spare the neighbor a session that flaps, short enough to heal overnight.
const RESTART_AFTER: Duration = Duration::from_secs(300);
/// No session can send more in a minute, and no machine hold it.
const MOST: u32 = 100_000_000;
/// Longer than any path that a message can carry.
const LONGEST_PATH: u32 = 65535;

/// `warn-at` as it is written.
enum WarnAt {
    Prefixes(u32),
    Percent(u32),
}

/// Whether a warning is all that follows.
const ACTIONS: &[(&str, bool)] = &[("warn", true), ("restart", false)];

pub(super) fn read(section: &mut Section<'_>) -> Limits {
    Limits {
        prefixes: read_prefixes(section),
        as_path_length: section.get("max-as-path-length", value::number(1..=LONGEST_PATH)),
    }
}

/// `max-prefixes = 100`, or a table that says how.
fn read_prefixes(section: &mut Section<'_>) -> Option<MaxPrefixes> {
    let count = value::number(1..=MOST);
    // The inner `None`: a table.
    let plain = section.get("max-prefixes", |value| match value {
        DeValue::Integer(_) => count(value).map(Some),
        DeValue::Table(_) => Ok(None),
        other => Err(Fault::wrong_type("a number or a table", other)),
    })?;
    if let Some(limit) = plain {
        let action = AtLimit::Restart(Some(RESTART_AFTER));
        return Some(MaxPrefixes { limit, warn_at: part_of(limit, WARN_AT_PERCENT), action });
    }
    let mut table = section.table("max-prefixes")?;
    let limit = table.require("limit", "100", count);
    let warn_at = table.get("warn-at", warn_at).unwrap_or(WarnAt::Percent(WARN_AT_PERCENT));
    let only_warn = table.get("action", value::word(ACTIONS)).unwrap_or(false);
    let restart_after = table.get("restart-after", restart_after).unwrap_or(Some(RESTART_AFTER));
    table.finish();
    let limit = limit?;
    let warn_at = match warn_at {
        WarnAt::Prefixes(count) => count,
        WarnAt::Percent(percent) => part_of(limit, percent),
    };
    let action = if only_warn { AtLimit::Warn } else { AtLimit::Restart(restart_after) };
    Some(MaxPrefixes { limit, warn_at, action })
}

/// At least one: a neighbor that sends nothing is not worth a warning.
fn part_of(limit: u32, percent: u32) -> u32 {
    let part = u64::from(limit) * u64::from(percent) / 100;
    u32::try_from(part).unwrap_or(limit).max(1)
}

fn warn_at(value: &DeValue<'_>) -> Result<WarnAt, Fault> {
    let Some(text) = value.as_str() else {
        return value::number(1..=MOST)(value).map(WarnAt::Prefixes);
    };
    let percent = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
    percent.filter(|percent| (1..=100).contains(percent)).map(WarnAt::Percent).ok_or_else(|| {
        Fault::value(
            format!("must be a number or a share, not {text:?}"),
            "Write a number of prefixes, or from \"1%\" to \"100%\" of the limit.",
        )
    })
}

fn restart_after(value: &DeValue<'_>) -> Result<Option<Duration>, Fault> {
    if value.as_str() == Some("never") {
        return Ok(None);
    }
    value::some_duration(value).map(Some)
}
