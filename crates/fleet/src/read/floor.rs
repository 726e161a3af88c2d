//! `[floor]`, `[prefix."…".floor]` and `[fleet-state]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anycast_steer::{Bound, FloorSpec, WhenAlone};
use toml::de::DeValue;

use super::{Placed, without_repeats};
use crate::floor::{Credentials, FleetState};
use crate::problem::Problem;
use crate::section::{Fault, Places, Section};
use crate::value;

const LEASE: Duration = Duration::from_secs(10);
/// Four records must be written in it, by sites at both ends of the world.
const LEASE_MIN: Duration = Duration::from_secs(2);
const BUCKET: &str = "anycast";
/// JetStream takes no more.
const MOST_REPLICAS: u8 = 5;

const WHEN_ALONE: &[(&str, WhenAlone)] =
    &[("hold", WhenAlone::Hold), ("withdraw", WhenAlone::Withdraw)];

/// A floor's keys as they stand there: what a prefix does not say, the fleet says.
#[derive(Debug, Default)]
pub(crate) struct FloorDraft {
    pub(crate) min_sites: Option<u32>,
    pub(crate) max_withdrawn: Option<u8>,
    pub(crate) min_per_region: Option<u32>,
    when_alone: Option<WhenAlone>,
    pub(crate) at: Places,
}

pub(super) fn read(mut section: Section<'_>) -> FloorDraft {
    let sites = value::number(0..=1000_u32);
    let min_sites = section.get("min-sites", sites.clone());
    let max_withdrawn = section.get("max-withdrawn-share", value::percent(100));
    let min_per_region = section.get("min-sites-per-region", sites);
    let when_alone = section.get("when-alone", value::word(WHEN_ALONE));
    let at = section.finish();
    FloorDraft { min_sites, max_withdrawn, min_per_region, when_alone, at }
}

impl FloorDraft {
    /// Whether it has any of the keys that make a floor, well or badly.
    pub(crate) fn has_bound(&self) -> bool {
        let bounds = ["min-sites", "max-withdrawn-share", "min-sites-per-region"];
        bounds.iter().any(|key| self.at.has(key))
    }

    /// The floor of a prefix that says `own` where the fleet says `fleets`; `None`: every site may
    /// go.
    pub(crate) fn merge(own: Option<&Self>, fleets: Option<&Self>) -> Option<FloorSpec> {
        fn pick<T>(
            own: Option<&FloorDraft>,
            fleets: Option<&FloorDraft>,
            key: fn(&FloorDraft) -> Option<T>,
        ) -> Option<T> {
            own.and_then(key).or_else(|| fleets.and_then(key))
        }
        let min_sites = pick(own, fleets, |it| it.min_sites).unwrap_or(0);
        let max_withdrawn = pick(own, fleets, |it| it.max_withdrawn).filter(|share| *share < 100);
        let per_region = pick(own, fleets, |it| it.min_per_region).filter(|it| *it > 0);
        if min_sites == 0 && max_withdrawn.is_none() && per_region.is_none() {
            return None;
        }
        Some(FloorSpec {
            fleet: Bound { min_sites, max_withdrawn },
            region: per_region.map(|min_sites| Bound { min_sites, max_withdrawn: None }),
            when_alone: pick(own, fleets, |it| it.when_alone).unwrap_or_default(),
        })
    }
}

/// `None` if it has no servers.
pub(super) fn read_state(mut section: Section<'_>) -> Option<Placed<FleetState>> {
    let servers = section.get_list("servers", server).unwrap_or_default();
    if !section.places().has("servers") {
        section.missing("servers", "[\"nats://192.0.2.10:4222\"]");
    } else if section.places().is_empty_list("servers") {
        let span = section.places().of("servers");
        let problem = Problem::error("bad-value", span, "`servers` must not be empty");
        section.problem(problem.help("Write it like `[\"nats://192.0.2.10:4222\"]`."));
    }
    let servers = without_repeats(&section, "servers", servers);
    let credentials = read_credentials(&mut section);
    let tls = section.get("tls", value::boolean).unwrap_or(false);
    let ca_file = section.get("ca-file", value::text).map(PathBuf::from);
    let lease = section.get("lease", lease).unwrap_or(LEASE);
    let bucket = section.get("bucket", bucket).unwrap_or_else(|| BUCKET.to_owned());
    let most = u8::try_from(servers.len()).unwrap_or(u8::MAX).clamp(1, 3);
    let replicas = section.get("replicas", value::number(1..=MOST_REPLICAS)).unwrap_or(most);
    let at = section.finish();
    let value = FleetState { servers, credentials, tls, ca_file, lease, bucket, replicas };
    (!value.servers.is_empty()).then_some(Placed { value, at })
}

fn read_credentials(section: &mut Section<'_>) -> Option<Credentials> {
    let file = section.get("credentials-file", value::text).map(PathBuf::from);
    let user = section.get("user", value::text);
    let password = section.get("password-file", value::text).map(PathBuf::from);
    let token = section.get("token-file", value::text).map(PathBuf::from);
    let seed = section.get("nkey-seed-file", value::text).map(PathBuf::from);
    if user.is_some() {
        if !section.places().has("password-file") {
            section.missing("password-file", "\"/etc/anycast/nats.password\"");
        }
    } else if password.is_some() && !section.places().has("user") {
        section.missing("user", "\"anycast\"");
    }
    let password = user
        .zip(password)
        .map(|(user, password_file)| Credentials::Password { user, password_file });
    let ways = [
        file.map(Credentials::File),
        password,
        token.map(Credentials::Token),
        seed.map(Credentials::NkeySeed),
    ];
    let mut ways = ways.into_iter().flatten();
    let first = ways.next();
    if let (Some(first), Some(second)) = (&first, ways.next()) {
        let at = section.places();
        let message = format!("`{}` and `{}` are both there", first.key(), second.key());
        section.problem(
            Problem::error("bad-value", at.of(second.key()), message)
                .also(at.of(first.key()), "the other")
                .help("NATS takes one of them: remove the other."),
        );
    }
    first
}

/// `nats://host:port` or `tls://host:port`.
fn server(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value::text(value)?;
    let fault = |what: &str| {
        Err(Fault::value(
            format!("must be the URL of a NATS server, not {text:?}{what}"),
            "Write it like \"nats://192.0.2.10:4222\" or \"tls://nats.example.net\".",
        ))
    };
    let Some((scheme, rest)) = text.split_once("://") else { return fault("") };
    if rest.contains('@') {
        return Err(Fault::value(
            "has a name or a secret in it",
            "Leave out what is before `@`: use `user` and `password-file`, or `token-file`.",
        ));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()),
        _ => (rest, Some(4222)),
    };
    let is_literal = host.starts_with('[') && host.ends_with(']');
    let is_address = is_literal && host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
    let is_name = !host.is_empty()
        && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet));
    let good_port = port.is_some_and(|port| port != 0);
    if !["nats", "tls"].contains(&scheme) || !good_port || !(is_name || is_address) {
        return fault("");
    }
    Ok(text)
}

fn lease(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let lease = value::duration(value)?;
    if lease < LEASE_MIN {
        return Err(Fault::value("is too short", "Write at least \"2s\"."));
    }
    Ok(lease)
}

fn bucket(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value::text(value)?;
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
    if !text.bytes().all(fits) || text.len() > 64 {
        return Err(Fault::value(
            format!("must be the name of a bucket, not {text:?}"),
            "Use at most 64 letters, digits, `-` and `_`.",
        ));
    }
    Ok(text)
}

/// The checked table; its paths are resolved against `folder`.
pub(super) fn into_state(placed: Placed<FleetState>, folder: &Path) -> FleetState {
    let mut state = placed.value;
    state.ca_file = state.ca_file.map(|path| folder.join(path));
    if let Some(credentials) = &mut state.credentials {
        *credentials.file_mut() = folder.join(credentials.file());
    }
    state
}
