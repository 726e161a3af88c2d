//! What an operator sees of the routes.
//!
//! A look at many routes goes in two steps, so that the loop that owns the tables is never kept
//! long: first the prefixes are gathered, some ten thousand entries of the table at a time, and
//! sorted outside of the loop; then the routes to them are fetched page by page. Their attributes
//! are shared, not copied; what is made of them is made outside of the loop.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use anycast_bgp::message::PathId;
use anycast_bgp::rib::{ExplainedRoute, Ineligible, Outcome, PeerId, RouteView, View};
use anycast_bgp::rov::Validity;
use anycast_bgp::{Attributes, Family, IpNet};
use serde::{Deserialize, Serialize};

use super::{Handle, UnknownNeighbor};
use crate::driver::Driver;
use crate::peer::peer_id;

/// Entries of the table that are looked at in one go: about a millisecond.
const ENTRIES: u32 = 32_768;
/// Prefixes whose routes are fetched in one go: about as long.
const PREFIXES: usize = 1000;

/// Which routes are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RouteLook {
    /// Out of which table.
    pub table: RouteTable,
    /// To where.
    pub subject: RouteSubject,
    /// Only of this family.
    pub family: Option<Family>,
}

/// A table of routes; neighbors by their names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum RouteTable {
    /// Every route after import policy, and our own.
    #[default]
    All,
    /// What a neighbor sent, before import policy.
    Received(String),
    /// What import policy made of the routes that it took from a neighbor.
    Accepted(String),
    /// What a neighbor was told.
    Advertised(String),
    /// The best routes that a neighbor was not told although they are not its own.
    Withheld(String),
}

/// Where routes lead to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RouteSubject {
    /// Anywhere.
    #[default]
    Any,
    /// Exactly this prefix.
    Prefix(IpNet),
    /// The longest prefix that holds this address.
    Address(IpAddr),
    /// This prefix and all within it.
    Within(IpNet),
}

/// A look at routes failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LookError {
    /// There is no such neighbor.
    #[error(transparent)]
    Unknown(#[from] UnknownNeighbor),
    /// The speaker has ended.
    #[error("the daemon is stopping")]
    Ended,
}

/// One route, as a look finds it.
#[derive(Clone, Debug)]
pub struct FoundRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Its attributes, as the table that was looked at has them.
    pub attributes: Arc<Attributes>,
    /// The name of the neighbor that sent it; `None`: it is our own.
    pub neighbor: Option<String>,
    /// That neighbor's address.
    pub neighbor_address: Option<IpAddr>,
    /// The next hop; of our own routes there is none, unless it is what a neighbor was told.
    pub next_hop: Option<IpAddr>,
    /// Seconds since the session with it is up, or since the start: the route is not older.
    pub since_seconds: f64,
    /// Which of several paths it is (RFC 7911); of what a neighbor was told, by our numbers.
    pub path_id: PathId,
    /// Whether the decision process chose it.
    pub best: bool,
    /// Whether it shares the packets of its prefix with others.
    pub shares: bool,
    /// Why it cannot become best.
    pub ineligible: Option<Ineligible>,
    /// What the RPKI says of its origin; `None`: there are no VRPs.
    pub rpki: Option<Validity>,
    /// Its neighbor does not stand by it at the moment.
    pub stale: bool,
}

/// Routes by prefix, page by page.
pub struct RouteStream {
    handle: Handle,
    view: View,
    prefixes: std::vec::IntoIter<IpNet>,
}

/// One row of `show routes`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RouteRow {
    /// The prefix.
    pub prefix: IpNet,
    /// Whether the decision process chose it.
    pub best: bool,
    /// Whether it shares the packets of its prefix with others, by `multipath`.
    #[serde(default)]
    pub shares: bool,
    /// Which of several paths it is, where there may be several (RFC 7911).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_id: Option<u32>,
    /// The neighbor's name; `None` for our own.
    pub neighbor: Option<String>,
    /// The next hop; of our own routes there is none.
    pub next_hop: Option<IpAddr>,
    /// The AS path as text.
    pub as_path: String,
    /// ORIGIN in words.
    pub origin: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities of all kinds as text.
    pub communities: Vec<String>,
    /// Why it cannot become best: import policy, a loop, an unreachable next hop.
    pub ineligible: Option<String>,
    /// `valid`, `not-found` or `invalid`; `None`: there are no VRPs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpki: Option<String>,
    /// Its neighbor does not stand by it at the moment: it restarts, or sends its routes anew.
    #[serde(default)]
    pub stale: bool,
}

/// Every candidate for a prefix: `show routes --explain`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainReport {
    /// The prefix.
    pub prefix: IpNet,
    /// The routes, the best first, and what became of each.
    pub routes: Vec<ExplainRow>,
    /// The same for people.
    pub text: String,
}

/// One candidate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainRow {
    /// The route.
    #[serde(flatten)]
    pub route: RouteRow,
    /// Best, at which step it lost to which other, or why it was no candidate.
    pub outcome: String,
}

impl RouteRow {
    fn new(
        prefix: IpNet,
        attributes: &Attributes,
        next_hop: Option<IpAddr>,
        neighbor: Option<String>,
        best: bool,
        (ineligible, rpki): (Option<Ineligible>, Option<Validity>),
    ) -> Self {
        let communities = attributes.communities.iter().map(ToString::to_string);
        let extended = attributes.extended_communities.iter().map(ToString::to_string);
        let large = attributes.large_communities.iter().map(ToString::to_string);
        Self {
            prefix,
            best,
            shares: false,
            path_id: None,
            next_hop,
            neighbor,
            as_path: attributes.as_path.to_string(),
            origin: attributes.origin.to_string(),
            local_pref: attributes.local_pref,
            med: attributes.med,
            communities: communities.chain(extended).chain(large).collect(),
            ineligible: ineligible.map(|why| why.to_string()),
            rpki: rpki.map(|state| state.to_string()),
            stale: false,
        }
    }
}

impl RouteRow {
    fn of_path(self, path_id: PathId, shares: bool) -> Self {
        let path_id = (path_id != PathId::NONE).then_some(path_id.0);
        Self { shares, path_id, ..self }
    }
}

impl From<FoundRoute> for RouteRow {
    fn from(route: FoundRoute) -> Self {
        let FoundRoute { prefix, attributes, next_hop, neighbor, best, .. } = route;
        let why = (route.ineligible, route.rpki);
        let row = Self::new(prefix, &attributes, next_hop, neighbor, best, why)
            .of_path(route.path_id, route.shares);
        Self { stale: route.stale, ..row }
    }
}

impl RouteStream {
    /// How many prefixes are left.
    #[must_use]
    pub fn prefixes_left(&self) -> usize {
        self.prefixes.len()
    }

    /// The routes to the next thousand prefixes, as they are now; `None`: that was all.
    ///
    /// # Errors
    /// The speaker has ended.
    pub async fn next_page(&mut self) -> Result<Option<Vec<FoundRoute>>, LookError> {
        let prefixes: Vec<IpNet> = self.prefixes.by_ref().take(PREFIXES).collect();
        if prefixes.is_empty() {
            return Ok(None);
        }
        let view = self.view;
        let page = self.handle.ask(move |driver| {
            let routes = prefixes.iter().flat_map(|prefix| driver.rib.look(view, prefix));
            routes.map(|route| driver.found(&route, view)).collect()
        });
        page.await.map(Some).ok_or(LookError::Ended)
    }

    /// All that is left, as rows: for few routes.
    ///
    /// # Errors
    /// The speaker has ended.
    pub async fn rows(mut self) -> Result<Vec<RouteRow>, LookError> {
        let mut rows = Vec::new();
        while let Some(page) = self.next_page().await? {
            rows.extend(page.into_iter().map(RouteRow::from));
        }
        Ok(rows)
    }
}

impl Handle {
    /// Looks for routes.
    ///
    /// # Errors
    /// There is no such neighbor, or the speaker has ended.
    pub async fn look(&self, look: RouteLook) -> Result<RouteStream, LookError> {
        let RouteLook { table, subject, family } = look;
        let view = self.ask(move |driver| driver.view(&table)).await.ok_or(LookError::Ended)??;
        let wanted = move |prefix: &IpNet| family.is_none_or(|it| it == Family::of(prefix));
        let prefixes = match subject {
            RouteSubject::Prefix(prefix) => vec![prefix.trunc()],
            RouteSubject::Address(address) => {
                let found = self.ask(move |driver| driver.rib.longest_match(view, address)).await;
                found.ok_or(LookError::Ended)?.into_iter().collect()
            }
            RouteSubject::Any => self.prefixes(view, wanted).await?,
            RouteSubject::Within(around) => {
                self.prefixes(view, move |prefix| wanted(prefix) && around.contains(prefix)).await?
            }
        };
        let prefixes: Vec<IpNet> = prefixes.into_iter().filter(wanted).collect();
        Ok(RouteStream { handle: self.clone(), view, prefixes: prefixes.into_iter() })
    }

    /// The prefixes of a view, in order.
    async fn prefixes(
        &self,
        view: View,
        wanted: impl Fn(&IpNet) -> bool + Clone + Send + 'static,
    ) -> Result<Vec<IpNet>, LookError> {
        let mut prefixes = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let wanted = wanted.clone();
            let page = self.ask(move |driver| {
                let mut page = driver.rib.prefixes(view, from, ENTRIES);
                page.prefixes.retain(wanted);
                page
            });
            let page = page.await.ok_or(LookError::Ended)?;
            prefixes.extend(page.prefixes);
            next = page.next;
        }
        let sort = move || {
            prefixes.sort_unstable();
            // An entry that goes and comes back between two steps is seen twice.
            prefixes.dedup();
            prefixes
        };
        tokio::task::spawn_blocking(sort).await.map_err(|_| LookError::Ended)
    }

    /// How many routes of each neighbor are the best, by its name.
    pub async fn preferred(&self) -> HashMap<String, usize> {
        let mut preferred = HashMap::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let step = self.ask(move |driver| {
                let mut counts = BTreeMap::new();
                let next = driver.rib.count_best_by_peer(from, ENTRIES, &mut counts);
                let name =
                    |id: PeerId| Some(driver.peers.get(id.0 as usize)?.neighbor.name.clone());
                let counts = counts.into_iter().filter_map(|(id, count)| Some((name(id?)?, count)));
                (counts.collect::<Vec<_>>(), next)
            });
            let Some((counts, rest)) = step.await else { break };
            for (name, count) in counts {
                *preferred.entry(name).or_default() += count;
            }
            next = rest;
        }
        preferred
    }

    /// The routes to `prefix`, or all, at once: for tables that are known to be small.
    pub async fn routes(&self, prefix: Option<IpNet>) -> Vec<RouteRow> {
        let subject = prefix.map_or(RouteSubject::Any, RouteSubject::Prefix);
        match self.look(RouteLook { subject, ..RouteLook::default() }).await {
            Ok(stream) => stream.rows().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Every candidate for a prefix and why the best is best.
    pub async fn explain(&self, prefix: IpNet) -> Option<ExplainReport> {
        self.ask(move |driver| {
            let explanation = driver.rib.explain(&prefix)?;
            let row = |route: &ExplainedRoute| ExplainRow {
                route: RouteRow {
                    stale: route.stale,
                    ..row(
                        driver,
                        prefix,
                        &route.attributes,
                        route.peer,
                        route.outcome == Outcome::Best,
                        match route.outcome {
                            Outcome::Ineligible(why) => Some(why),
                            Outcome::Best | Outcome::Shares | Outcome::Lost { .. } => None,
                        },
                    )
                    .of_path(route.path_id, route.shares)
                },
                outcome: route.outcome.to_string(),
            };
            Some(ExplainReport {
                prefix,
                routes: explanation.routes.iter().map(row).collect(),
                text: explanation.to_string(),
            })
        })
        .await
        .flatten()
    }

    /// The best route for the prefix, as a row.
    pub async fn best(&self, prefix: IpNet) -> Option<RouteRow> {
        self.ask(move |driver| driver.rib.best(&prefix).map(|route| view(driver, &route)))
            .await
            .flatten()
    }
}

impl Driver {
    /// What a table is in the speaker's own words.
    fn view(&self, table: &RouteTable) -> Result<View, UnknownNeighbor> {
        let id = |name: &str| self.peer_named(name).map(peer_id);
        Ok(match table {
            RouteTable::All => View::Table,
            RouteTable::Received(name) => View::Received(id(name)?),
            RouteTable::Accepted(name) => View::Accepted(id(name)?),
            RouteTable::Advertised(name) => View::Advertised(id(name)?),
            RouteTable::Withheld(name) => View::Withheld(id(name)?),
        })
    }

    fn found(&self, route: &RouteView<'_>, view: View) -> FoundRoute {
        let peer = route.peer.and_then(|id| self.peers.get(id.0 as usize));
        let told = matches!(view, View::Advertised(_));
        let since = peer.map_or(self.now().since_start(), |peer| self.now() - peer.since);
        FoundRoute {
            prefix: route.prefix,
            attributes: Arc::clone(route.attributes),
            neighbor: peer.map(|peer| peer.neighbor.name.clone()),
            neighbor_address: peer.map(|peer| peer.neighbor.address),
            next_hop: (told || peer.is_some()).then_some(route.attributes.next_hop.address),
            since_seconds: since.as_secs_f64(),
            path_id: route.path_id,
            best: route.best,
            shares: route.shares,
            ineligible: route.ineligible,
            stale: route.stale,
            rpki: self.rib.validity(&route.prefix, &route.attributes.as_path),
        }
    }
}

fn view(driver: &Driver, route: &RouteView<'_>) -> RouteRow {
    let RouteView { prefix, attributes, peer, path_id, best, shares, ineligible, stale } = *route;
    let row = row(driver, prefix, attributes, peer, best, ineligible).of_path(path_id, shares);
    RouteRow { stale, ..row }
}

fn row(
    driver: &Driver,
    prefix: IpNet,
    attributes: &Attributes,
    peer: Option<PeerId>,
    best: bool,
    ineligible: Option<Ineligible>,
) -> RouteRow {
    let neighbor = peer.map(|id| driver.peers[id.0 as usize].neighbor.name.clone());
    let next_hop = peer.is_some().then_some(attributes.next_hop.address);
    let rpki = driver.rib.validity(&prefix, &attributes.as_path);
    RouteRow::new(prefix, attributes, next_hop, neighbor, best, (ineligible, rpki))
}
