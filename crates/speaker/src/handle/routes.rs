//! What an operator sees of the routes.

use std::net::IpAddr;

use anycast_bgp::rib::{ExplainedRoute, Ineligible, Outcome, PeerId, RouteView};
use anycast_bgp::{Attributes, IpNet};
use serde::{Deserialize, Serialize};

use super::Handle;
use crate::driver::Driver;

/// One row of `show routes`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RouteRow {
    /// The prefix.
    pub prefix: IpNet,
    /// Whether the decision process chose it.
    pub best: bool,
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

impl Handle {
    /// The routes to `prefix`, or all.
    pub async fn routes(&self, prefix: Option<IpNet>) -> Vec<RouteRow> {
        self.ask(move |driver| {
            driver
                .rib
                .routes()
                .filter(|route| prefix.is_none_or(|wanted| route.prefix == wanted))
                .map(|route| view(driver, &route))
                .collect()
        })
        .await
        .unwrap_or_default()
    }

    /// Every candidate for a prefix and why the best is best.
    pub async fn explain(&self, prefix: IpNet) -> Option<ExplainReport> {
        self.ask(move |driver| {
            let explanation = driver.rib.explain(&prefix)?;
            let row = |route: &ExplainedRoute| ExplainRow {
                route: row(
                    driver,
                    prefix,
                    &route.attributes,
                    route.peer,
                    route.outcome == Outcome::Best,
                    match route.outcome {
                        Outcome::Ineligible(why) => Some(why),
                        Outcome::Best | Outcome::Lost { .. } => None,
                    },
                ),
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

fn view(driver: &Driver, route: &RouteView<'_>) -> RouteRow {
    let RouteView { prefix, attributes, peer, best, ineligible } = *route;
    row(driver, prefix, attributes, peer, best, ineligible)
}

fn row(
    driver: &Driver,
    prefix: IpNet,
    attributes: &Attributes,
    peer: Option<PeerId>,
    best: bool,
    ineligible: Option<Ineligible>,
) -> RouteRow {
    let communities = attributes.communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    RouteRow {
        prefix,
        best,
        neighbor: peer.map(|id| driver.peers[id.0 as usize].neighbor.name.clone()),
        next_hop: peer.is_some().then_some(attributes.next_hop.address),
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin.to_string(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: communities.chain(extended).chain(large).collect(),
        ineligible: ineligible.map(|why| why.to_string()),
    }
}
