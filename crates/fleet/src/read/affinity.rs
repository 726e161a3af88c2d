//! `[affinity]`, `[site.NAME.affinity]` and `affinity` of a service.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::transport::interface;
use super::without_repeats;
use crate::affinity::{Affinity, AffinityKey, AffinityMode, Kept, MOST_IDS, SiteAffinity};
use crate::problem::Problem;
use crate::section::{Places, Section};
use crate::value;

/// So many keys are valid at once: the old one and the new one.
const MOST_KEYS: usize = 2;

/// No service is likely to have it.
const PORT: u16 = 5687;
const MTU: u16 = 1500;
/// What is least in IPv6 (RFC 8200 §5), wrapped.
const LEAST_MTU: u16 = 1280 + 68;

const MODES: &[(&str, AffinityMode)] = &[
    ("auto", AffinityMode::Auto),
    ("xdp", AffinityMode::Xdp),
    ("xdp-generic", AffinityMode::XdpGeneric),
    ("tc", AffinityMode::Tc),
];

/// `[affinity]`.
#[derive(Debug)]
pub(crate) struct AffinityDraft {
    affinity: Affinity,
    pub(crate) keys: Vec<(AffinityKey, Places)>,
    pub(crate) at: Places,
}

/// `[site.NAME.affinity]`.
#[derive(Debug)]
pub(crate) struct SiteAffinityDraft {
    pub(crate) id: Option<u8>,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
    interfaces: Vec<String>,
    mode: Option<AffinityMode>,
    pub(crate) at: Places,
}

pub(super) fn read(mut section: Section<'_>) -> AffinityDraft {
    let tables = section.list_of_tables("key");
    if !section.places().has("key") {
        let problem = Problem::error("missing-key", section.places().name(), "there is no key");
        section.problem(
            problem.help(
                "Add `[[affinity.key]]` with `epoch = 0` and `file = \"secrets/affinity-0\"`.",
            ),
        );
    }
    let found = tables.len();
    let keys: Vec<_> = tables.into_iter().filter_map(read_key).collect();
    if found > MOST_KEYS {
        let span = section.places().of("key");
        let message = format!("there are {found} keys; {MOST_KEYS} can be valid at once");
        section.problem(
            Problem::error("bad-value", span, message)
                .help("Keep the one that is used and the one that comes next or went before."),
        );
    }
    if let [(first, _), (second, at)] = keys.as_slice()
        && ![1, u8::MAX].contains(&first.epoch.wrapping_sub(second.epoch))
    {
        let message =
            format!("the epochs {} and {} cannot be valid at once", first.epoch, second.epoch);
        section.problem(
            Problem::error("bad-value", at.of("epoch"), message)
                .help("Count on by one from key to key; 0 follows 255."),
        );
    }
    let mode = section.get("mode", value::word(MODES)).unwrap_or_default();
    let port = section.get("port", value::port).unwrap_or(PORT);
    let mtu = section.get("mtu", value::number(LEAST_MTU..=9216)).unwrap_or(MTU);
    let budget = value::number(1..=u32::MAX);
    let most_to_a_site = section.get("packets-to-a-site", budget.clone());
    let most_of_a_source = section.get("packets-of-a-source", budget);
    let at = section.finish();
    let affinity = Affinity { keys: Vec::new(), mode, port, mtu, most_to_a_site, most_of_a_source };
    AffinityDraft { affinity, keys, at }
}

fn read_key(mut section: Section<'_>) -> Option<(AffinityKey, Places)> {
    let epoch = section.require("epoch", "0", value::number(0..=u8::MAX));
    let file = section.require("file", "\"secrets/affinity-0\"", value::text);
    let at = section.finish();
    Some((AffinityKey { epoch: epoch?, file: PathBuf::from(file?) }, at))
}

pub(super) fn read_of_site(mut section: Section<'_>) -> SiteAffinityDraft {
    let id = section.get("id", value::number(1..=MOST_IDS));
    let v4 = section.get("v4", value::parsed("an IPv4 address", "203.0.113.10"));
    let v6 = section.get("v6", value::parsed("an IPv6 address", "2001:db8:100::10"));
    let interfaces = section.get_list("interfaces", interface).unwrap_or_default();
    let interfaces = without_repeats(&section, "interfaces", interfaces);
    let mode = section.get("mode", value::word(MODES));
    let at = section.finish();
    SiteAffinityDraft { id, v4, v6, interfaces, mode, at }
}

/// What the service says of it, else `by_default`.
pub(super) fn read_of_service(section: &mut Section<'_>, by_default: Kept, quic: u16) -> Kept {
    const TCP: &str = "tcp";
    const QUIC: &str = "quic";
    match section.get_list("affinity", value::word(&[(TCP, TCP), (QUIC, QUIC)])) {
        Some(words) => {
            Kept { tcp: words.contains(&TCP), quic: words.contains(&QUIC).then_some(quic) }
        }
        None => by_default,
    }
}

impl AffinityDraft {
    pub(crate) const fn port(&self) -> u16 {
        self.affinity.port
    }

    /// The checked table; its paths are resolved against `folder`.
    pub(crate) fn into_affinity(self, folder: &Path) -> Affinity {
        let keys = self.keys.into_iter();
        let keys = keys.map(|(key, _)| AffinityKey { file: folder.join(key.file), ..key });
        Affinity { keys: keys.collect(), ..self.affinity }
    }
}

impl SiteAffinityDraft {
    pub(crate) fn into_site(self) -> Option<SiteAffinity> {
        let Self { id, v4, v6, interfaces, mode, .. } = self;
        Some(SiteAffinity { id: id?, v4, v6, interfaces, mode })
    }
}
