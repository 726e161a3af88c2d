//! The walk over the parsed file: each table becomes a draft of its checked type, with a
//! placeholder where something is missing or wrong, so that one walk finds every problem. A
//! draft becomes a fleet only if there was none.

mod affinity;
mod api;
mod check;
mod drain;
mod floor;
mod http;
mod limits;
mod listen;
mod monitoring;
mod offers;
mod policy;
mod prefix;
mod probe;
mod response;
mod rpki;
mod service;
mod site;
mod transport;

use std::path::Path;
use std::time::Duration;

pub(crate) use affinity::{AffinityDraft, SiteAffinityDraft};
use anycast_bgp::Asn;
use anycast_steer::{Damping, Leaving};
pub(crate) use api::ApiDraft;
pub(crate) use floor::FloorDraft;
pub(crate) use listen::Listeners;
pub(crate) use monitoring::MrtDraft;
pub(crate) use policy::References;
pub(crate) use rpki::RpkiDraft;
pub(crate) use site::family_of;
use toml::de::DeTable;

use crate::problem::{Problem, Problems, Span};
use crate::section::{Places, Section};
use crate::value;
use crate::{BmpStation, Builtin, Fleet, FleetState, NamedPolicy, Neighbor, Prefix, Service, Site};

/// A thing and where the file says it.
#[derive(Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: Places,
}

/// All that was read.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    /// Zero, a number of no network, if it is missing or wrong.
    pub(crate) asn: Asn,
    pub(crate) at: Places,
    pub(crate) prefixes: Vec<Placed<Prefix>>,
    /// What each of them says of its floor, in the same order.
    pub(crate) floors: Vec<Option<FloorDraft>>,
    /// Whether there are others, which could not be read.
    pub(crate) has_bad_prefixes: bool,
    /// What holds for prefixes that do not say so themselves.
    pub(crate) floor: Option<FloorDraft>,
    pub(crate) fleet_state: Option<Placed<FleetState>>,
    /// Whether there is one that could not be read.
    pub(crate) has_bad_fleet_state: bool,
    pub(crate) services: Vec<Placed<Service>>,
    pub(crate) damping: Damping,
    pub(crate) policies: Vec<Placed<NamedPolicy>>,
    pub(crate) references: References,
    /// Of the sites that do not say so themselves.
    pub(crate) listeners: Listeners,
    pub(crate) api: Option<ApiDraft>,
    pub(crate) sites: Vec<SiteDraft>,
    pub(crate) rpki: Option<RpkiDraft>,
    /// Those whose address and port could be read.
    pub(crate) bmp: Vec<Placed<BmpStation>>,
    pub(crate) mrt: Option<MrtDraft>,
    pub(crate) leaving: (Leaving, Duration),
    pub(crate) affinity: Option<AffinityDraft>,
}

/// A site whose neighbors still know their places.
#[derive(Debug)]
pub(crate) struct SiteDraft {
    /// Without its neighbors.
    pub(crate) site: Site,
    pub(crate) at: Places,
    /// Those whose address and number could be read.
    pub(crate) neighbors: Vec<Placed<Neighbor>>,
    /// Whether there are others.
    pub(crate) has_bad_neighbors: bool,
    pub(crate) rpki: Option<RpkiDraft>,
    /// What it says of these itself.
    pub(crate) listeners: Listeners,
    pub(crate) api: Option<ApiDraft>,
    pub(crate) affinity: Option<SiteAffinityDraft>,
}

impl Draft {
    /// Reads the whole file, calling unknown what nothing asked for.
    pub(crate) fn read(problems: &Problems, table: &DeTable<'_>) -> Self {
        let mut root = Section::root(problems, table);
        let (name, asn, at) = read_fleet(&mut root);
        let lists = named(&mut root, "prefix-list", policy::read_list);
        let references = References { lists, ..References::default() };
        let prefixes = root.tables("prefix").into_iter();
        let prefixes: Vec<_> = prefixes.map(|it| prefix::read(it, &references)).collect();
        let has_bad_prefixes = prefixes.iter().any(Option::is_none);
        let (prefixes, floors) = prefixes.into_iter().flatten().unzip();
        let affinity = root.table("affinity").map(affinity::read);
        let services = named(&mut root, "service", |name, section| {
            service::read(name, section, affinity.is_some())
        });
        let policies =
            named(&mut root, "policy", |name, section| policy::read(name, section, &references));
        let listeners = listen::read(&mut root);
        let api = root.table("api").map(api::read);
        let defaults = site::read_defaults(problems, &mut root);
        let sites =
            named(&mut root, "site", |name, section| site::read(name, section, asn, defaults));
        let rpki = root.table("rpki").map(rpki::read);
        let bmp = named(&mut root, "bmp", monitoring::read_station);
        let mrt = root.table("mrt").map(monitoring::read_mrt);
        let damping = root.table("damping").map(response::read_damping).unwrap_or_default();
        let leaving = root.table("drain").map_or_else(drain::usual, drain::read);
        let floor = root.table("floor").map(floor::read);
        let fleet_state = root.table("fleet-state").map(floor::read_state);
        root.finish();
        Self {
            name,
            asn,
            at,
            prefixes,
            floors,
            has_bad_prefixes,
            floor,
            has_bad_fleet_state: matches!(fleet_state, Some(None)),
            fleet_state: fleet_state.flatten(),
            services,
            damping,
            policies,
            references,
            listeners,
            api,
            sites,
            rpki,
            bmp: bmp.into_iter().flatten().collect(),
            mrt,
            leaving,
            affinity,
        }
    }

    /// The checked fleet. Paths are resolved against `folder`.
    pub(crate) fn into_fleet(self, folder: &Path) -> Fleet {
        let everywhere = self.listeners;
        let fleet_api = self.api;
        let finish_site = |draft: SiteDraft| {
            let neighbors = draft.neighbors.into_iter().map(|neighbor| {
                let mut neighbor = neighbor.value;
                neighbor.password_file = neighbor.password_file.map(|path| folder.join(path));
                if let Some(ao) = &mut neighbor.tcp_ao {
                    ao.key_file = folder.join(&ao.key_file);
                }
                neighbor
            });
            let rpki = draft.rpki.map(|rpki| rpki.into_rpki(folder));
            let (looking_glass, metrics) = draft.listeners.or(&everywhere);
            Site {
                neighbors: neighbors.collect(),
                looking_glass: looking_glass.map(|placed| placed.value),
                metrics: metrics.map(|placed| placed.value),
                api: api::of_site(draft.api.as_ref(), fleet_api.as_ref(), folder),
                rpki,
                affinity: draft.affinity.and_then(SiteAffinityDraft::into_site),
                state_dir: draft.site.state_dir.map(|path| folder.join(path)),
                ..draft.site
            }
        };
        let finish_service = |placed: Placed<Service>| {
            let mut service = placed.value;
            for tls in service.checks.iter_mut().filter_map(|check| check.probe.tls_mut()) {
                tls.ca_file = tls.ca_file.take().map(|path| folder.join(path));
            }
            if let Some(Builtin::Whoami { quic: Some(quic), .. }) = &mut service.builtin {
                quic.certificate = folder.join(&quic.certificate);
                quic.key = folder.join(&quic.key);
            }
            service
        };
        let fleets_floor = self.floor;
        let prefixes = self.prefixes.into_iter().zip(self.floors).map(|(placed, own)| Prefix {
            floor: FloorDraft::merge(own.as_ref(), fleets_floor.as_ref()),
            ..placed.value
        });
        Fleet {
            affinity: self.affinity.map(|draft| draft.into_affinity(folder)),
            name: self.name,
            asn: self.asn,
            prefixes: prefixes.collect(),
            services: self.services.into_iter().map(finish_service).collect(),
            damping: self.damping,
            policies: self.policies.into_iter().map(|placed| placed.value).collect(),
            sites: self.sites.into_iter().map(finish_site).collect(),
            reject_invalid: self.rpki.as_ref().is_some_and(|rpki| rpki.reject_invalid),
            rpki: self.rpki.map(|rpki| rpki.into_rpki(folder)),
            bmp: self.bmp.into_iter().map(|placed| placed.value).collect(),
            mrt: self.mrt.and_then(|mrt| mrt.into_mrt(folder)),
            leaving: self.leaving.0,
            finishing: self.leaving.1,
            fleet_state: self.fleet_state.map(|state| floor::into_state(state, folder)),
        }
    }
}

fn read_fleet(root: &mut Section<'_>) -> (String, Asn, Places) {
    let Some(mut section) = root.table("fleet") else {
        if !root.places().has("fleet") {
            let problem = Problem::error("missing-key", 0..0, "there is no `[fleet]` section");
            root.problem(problem.help(
                "Start the file with `[fleet]`, a `name = \"…\"` and the `asn = …` that the sites \
                 announce from.",
            ));
        }
        return (String::new(), Asn(0), Places::default());
    };
    let name = section.require("name", "\"example\"", value::text).unwrap_or_default();
    let asn = section.require("asn", "64500", value::asn).unwrap_or_default();
    (name, asn, section.finish())
}

/// Reads the tables `[key.NAME]`, holding the names to the rules for names.
fn named<'a, T>(
    parent: &mut Section<'a>,
    key: &'static str,
    read: impl Fn(String, Section<'a>) -> T,
) -> Vec<T> {
    let tables = parent.tables(key);
    tables
        .into_iter()
        .map(|(name, section)| {
            if let Some(problem) = bad_name(key, &name, section.places().name()) {
                section.problem(problem);
            }
            read(name, section)
        })
        .collect()
}

fn bad_name(what: &str, name: &str, span: Span) -> Option<Problem> {
    let fault = value::check_name(name).err()?;
    let problem = Problem::error("bad-name", span, format!("the name of this {what} {fault}"));
    Some(problem.help("Use at most 63 letters, digits, `-`, `_` and `.`."))
}

/// Takes out what a list names again, with a warning for each.
fn without_repeats<T: PartialEq + std::fmt::Display>(
    section: &Section<'_>,
    key: &'static str,
    items: Vec<T>,
) -> Vec<T> {
    let mut once: Vec<T> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        if once.contains(&item) {
            let span = section.places().item(key, index);
            let message = format!("`{key}` names {item} twice");
            section.problem(
                Problem::warning("listed-twice", span, message)
                    .label("the second time")
                    .help("Remove one of the two."),
            );
        } else {
            once.push(item);
        }
    }
    once
}
