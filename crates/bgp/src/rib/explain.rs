//! Why a route is best, for operators to read.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::import::Ineligible;
use super::interner::Id;
use super::peer::PeerId;
use super::table::{Context, Route};
use crate::Attributes;
use crate::decision::{Candidate, Source, Step, select};
use crate::message::PathId;
use crate::rov::Finding;

/// All routes to a prefix and what became of each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// The prefix.
    pub prefix: IpNet,
    /// The best route, then the others: those that came nearest to it first, those that could
    /// not become best last.
    pub routes: Vec<ExplainedRoute>,
}

/// One route and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExplainedRoute {
    /// Who sent it; `None`: this speaker originates it.
    pub peer: Option<PeerId>,
    /// Which of the peer's paths it is.
    pub path_id: PathId,
    /// The peer's name, or `local`.
    pub name: String,
    /// The attributes before import policy.
    pub received: Arc<Attributes>,
    /// The attributes after import policy; as received if the route did not get that far.
    pub attributes: Arc<Attributes>,
    /// What the RPKI says of its origin; `None`: there are no VRPs.
    pub rpki: Option<Finding>,
    /// What became of it.
    pub outcome: Outcome,
    /// It shares the packets of its prefix with others: the best does so too.
    pub shares: bool,
    /// Its peer does not stand by it at the moment.
    pub stale: bool,
}

/// What became of a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is the best.
    Best,
    /// It shares the prefix's packets with the best: they are equal up to and with the step
    /// [`Step::IgpCost`].
    Shares,
    /// Another was better.
    Lost {
        /// The step of the decision process at which it fell.
        step: Step,
        /// Its own value there, in words.
        value: String,
        /// The name of the route that was better: the best, except at [`Step::Med`], where it
        /// is the best MED of the same neighbor AS.
        by: String,
        /// The value that was better, in words.
        better: String,
    },
    /// It could not become best.
    Ineligible(Ineligible),
}

pub(super) fn explain(
    prefix: IpNet,
    local: Option<Id>,
    routes: &[Route],
    sharing: &[Route],
    context: Context<'_>,
) -> Explanation {
    let name =
        |peer| context.peers.get(&peer).map(|peer| peer.config.name.clone()).unwrap_or_default();
    let explained = |route: &Route, outcome| {
        let (peer, path_id) = context.sources.of(route.source);
        ExplainedRoute {
            peer: Some(peer),
            path_id,
            name: name(peer),
            received: Arc::clone(context.sets.get(route.received)),
            attributes: Arc::clone(context.sets.get(route.set())),
            rpki: None,
            outcome,
            shares: sharing.iter().any(|it| it.source == route.source),
            stale: route.is_stale(),
        }
    };
    let mut candidates = Vec::new();
    let mut contenders = Vec::new();
    let mut ineligible = Vec::new();
    if let Some(attributes) = local.map(|set| context.sets.get(set)) {
        candidates.push(Candidate { attributes, source: Source::Local });
        contenders.push(ExplainedRoute {
            peer: None,
            path_id: PathId::NONE,
            name: "local".to_owned(),
            received: Arc::clone(attributes),
            attributes: Arc::clone(attributes),
            rpki: None,
            outcome: Outcome::Best,
            shares: false,
            stale: false,
        });
    }
    for route in routes {
        match route.candidate(context) {
            Ok(candidate) => {
                candidates.push(candidate);
                contenders.push(explained(route, Outcome::Best));
            }
            Err(why) => ineligible.push(explained(route, Outcome::Ineligible(why))),
        }
    }
    let mut routes = Vec::new();
    if let Some(selection) = select(&candidates) {
        routes.push(contenders[selection.best].clone());
        for fallen in selection.eliminated.iter().rev() {
            let outcome = Outcome::Lost {
                step: fallen.step,
                value: candidates[fallen.candidate].value(fallen.step),
                by: contenders[fallen.by].title(),
                better: candidates[fallen.by].value(fallen.step),
            };
            let contender = contenders[fallen.candidate].clone();
            let outcome = if contender.shares { Outcome::Shares } else { outcome };
            routes.push(ExplainedRoute { outcome, ..contender });
        }
    }
    routes.append(&mut ineligible);
    Explanation { prefix, routes }
}

impl ExplainedRoute {
    /// Whose it is, and which of several paths.
    fn title(&self) -> String {
        match self.path_id {
            PathId::NONE => self.name.clone(),
            path => format!("{} path {path}", self.name),
        }
    }
}

impl fmt::Display for Explanation {
    /// A line for the prefix; for each route one with what it says and one with what became of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.routes.len() == 1 { "route" } else { "routes" };
        write!(f, "{}: {} {plural}", self.prefix, self.routes.len())?;
        for route in &self.routes {
            let mark = match route.outcome {
                Outcome::Best => '*',
                Outcome::Shares => '=',
                Outcome::Lost { .. } | Outcome::Ineligible(_) => ' ',
            };
            let attributes = &route.attributes;
            write!(f, "\n{mark} {}: path ", route.title())?;
            if attributes.as_path.is_empty() {
                f.write_str("empty")?;
            } else {
                attributes.as_path.fmt(f)?;
            }
            if let Some(local_pref) = attributes.local_pref {
                write!(f, ", local preference {local_pref}")?;
            }
            write!(f, ", origin {}", attributes.origin)?;
            if let Some(med) = attributes.med {
                write!(f, ", MED {med}")?;
            }
            if route.peer.is_some() {
                write!(f, ", next hop {}", attributes.next_hop)?;
            }
            if let Some(finding) = &route.rpki {
                write!(f, ", RPKI {}", finding.validity)?;
                if let Some(why) = finding.why_invalid(&self.prefix) {
                    write!(f, " ({why})")?;
                }
            }
            if route.stale {
                f.write_str(", stale")?;
            }
            write!(f, "\n      {}", route.outcome)?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Shares => f.write_str("shares the packets with the best"),
            Self::Lost { step, value, by, better } => {
                write!(f, "lost to {by} by {step}: {value} against {better}")
            }
            Self::Ineligible(why) => write!(f, "not eligible: {why}"),
        }
    }
}
