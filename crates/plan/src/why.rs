//! Every route that one AS is offered, and why one of them won.

use anycast_bgp::Asn;
use anycast_catchment::explain::{From, Verdict};
use anycast_catchment::{Configuration, ConfigurationError, LearntFrom, explain};
use serde::Serialize;

use crate::outcome::Planner;
use crate::scene::Scene;

/// One AS explained.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// Its number.
    pub asn: u32,
    /// Its name, if known.
    pub name: String,
    /// Its city, if known.
    pub city: String,
    /// Its share of the weight.
    pub share: f64,
    /// The sites to which its best routes lead, the likeliest first.
    pub lands: Vec<Landing>,
    /// Where best routes lead to more than one site: the tie is broken by chance and geography.
    pub tied: bool,
    /// Whether where it lands follows what was observed, and not the routes that it is offered.
    pub learnt: bool,
    /// What it is offered, best first.
    pub offers: Vec<Offered>,
}

/// A site at which the AS may land.
#[derive(Clone, Debug, Serialize)]
pub struct Landing {
    /// Its name.
    pub site: String,
    /// How likely.
    pub likely: f64,
    /// Its distance, in kilometres.
    pub km: Option<f64>,
    /// The estimated round trip, in milliseconds.
    pub ms: Option<f64>,
}

/// A route that it is offered.
#[derive(Clone, Debug, Serialize)]
pub struct Offered {
    /// By whom, in words.
    pub from: String,
    /// What that neighbor is to it.
    pub learnt_from: &'static str,
    /// The local preference of such routes.
    pub local_pref: u32,
    /// The length of the AS path.
    pub length: u8,
    /// The sites to which it leads, each with one AS path.
    pub paths: Vec<(String, Vec<u32>)>,
    /// What became of it, in words.
    pub verdict: String,
    /// Whether it is among the best.
    pub best: bool,
}

/// Why an AS cannot be explained.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WhyError {
    /// The topology does not have it.
    #[error("AS{0} is not in the topology: it has no link there, or the number is wrong")]
    Unknown(Asn),
    /// The configuration cannot be resolved.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// Explains one AS.
///
/// # Errors
/// The topology does not have it, or the configuration cannot be resolved.
pub fn why(scene: &Scene, configuration: &Configuration, asn: Asn) -> Result<Why, WhyError> {
    let id = scene.graph.index_of(asn).ok_or(WhyError::Unknown(asn))?;
    let announced = configuration.resolve(&scene.graph)?;
    let mut planner = Planner::new(scene);
    let outcome = planner.run(configuration)?;
    let found = explain(&scene.graph, &announced, planner.overrides(), planner.routes(), id);
    let site = |at: usize| scene.sites[at].name.clone();
    let shares = outcome.shares(id).iter().zip(scene.km(id)).enumerate();
    let mut lands: Vec<Landing> = shares
        .filter(|(_, (share, _))| **share > 0.0)
        .map(|(at, (share, km))| {
            let km = Some(f64::from(*km)).filter(|km| !km.is_nan());
            Landing { site: site(at), likely: f64::from(*share), km, ms: km.map(|km| scene.ms(km)) }
        })
        .collect();
    lands.sort_by(|a, b| b.likely.total_cmp(&a.likely));
    let best = found.offers.iter().find(|offer| offer.verdict == Verdict::Best);
    let best = best.map(|offer| (offer.local_pref, offer.length));
    let offers = found.offers.iter().map(|offer| {
        let verdict = match (offer.verdict, best) {
            (Verdict::Best, _) => "best".to_owned(),
            (Verdict::Loop, _) => "its path leads through the network itself".to_owned(),
            (Verdict::Overridden, _) => "was seen to choose otherwise".to_owned(),
            (Verdict::Fell(_), _) if offer.last_resort => {
                "carries graceful-shutdown: only if there is no other".to_owned()
            }
            (Verdict::Fell(_), Some((pref, _))) if offer.local_pref < pref => {
                format!("lost by local preference: {} against {pref}", offer.local_pref)
            }
            (Verdict::Fell(_), Some((_, length))) if offer.length > length => {
                format!("lost by AS path length: {} against {length}", offer.length)
            }
            (Verdict::Fell(step), _) => format!("lost by {step:?}"),
        };
        let name = |asn: Asn| {
            let id = scene.graph.index_of(asn);
            id.map_or_else(|| format!("AS{asn}"), |id| scene.label(id))
        };
        let from = match offer.from {
            From::Site { site: at, route_server: None } => format!("{} itself", site(at)),
            From::Site { site: at, route_server: Some(server) } => {
                format!("{} by route server AS{server}", site(at))
            }
            From::Neighbor(asn) => name(asn),
            From::Member { route_server, neighbor } => {
                format!("{} by route server AS{route_server}", name(neighbor))
            }
        };
        Offered {
            from,
            learnt_from: match offer.learnt_from {
                LearntFrom::Origin => "own",
                LearntFrom::Customer => "customer",
                LearntFrom::Peer => "peer",
                LearntFrom::Provider => "provider",
            },
            local_pref: offer.local_pref,
            length: offer.length,
            paths: offer
                .paths
                .iter()
                .map(|(at, path)| (site(*at), path.iter().map(|asn| asn.0).collect()))
                .collect(),
            verdict,
            best: offer.verdict == Verdict::Best,
        }
    });
    Ok(Why {
        asn: asn.0,
        name: scene.network(id).name.clone(),
        city: scene.network(id).city.clone(),
        share: scene.network(id).weight / scene.weight.max(f64::MIN_POSITIVE),
        tied: lands.len() > 1,
        learnt: scene.model.as_ref().is_some_and(|model| model.knows(configuration)),
        lands,
        offers: offers.collect(),
    })
}
