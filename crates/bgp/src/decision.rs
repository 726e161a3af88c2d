//! The decision process (RFC 4271 §9.1): which of several routes to a prefix is best, and why.
//!
//! It is one pure function of the candidates, whatever their order and age: [`select`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::message::PathId;
use crate::{Asn, Attributes, Community};

/// The local preference of a route that carries none.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// One eligible route to a prefix.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its attributes after import policy.
    pub attributes: &'a Attributes,
    /// Where it is from.
    pub source: Source,
}

/// Where a route is from, as far as the decision process asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// This speaker originates it.
    Local,
    /// A peer sent it.
    Peer {
        /// The peer is in another AS.
        ebgp: bool,
        /// The peer's AS.
        asn: Asn,
        /// The peer's BGP Identifier.
        router_id: Ipv4Addr,
        /// The peer's address.
        address: IpAddr,
        /// Interior cost to the route's next hop; zero where there is no interior.
        igp_cost: u32,
        /// Which of the peer's paths it is.
        path_id: PathId,
    },
}

/// A step of the decision process, in the order in which they are taken.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "`select` explains each")]
pub enum Step {
    Local,
    LastResort,
    LocalPref,
    AsPathLength,
    Origin,
    Med,
    EbgpOverIbgp,
    IgpCost,
    RouterId,
    ClusterListLength,
    PeerAddress,
    PathId,
}

/// Which candidate is best, and where each other one fell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selection {
    /// The index of the best candidate.
    pub best: usize,
    /// All the others, in the order in which they fell.
    pub eliminated: Vec<Elimination>,
}

/// Where a candidate fell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Elimination {
    /// The index of the candidate that fell.
    pub candidate: usize,
    /// The step at which it fell.
    pub step: Step,
    /// The index of the candidate whose value was better. It is the best candidate, except at
    /// [`Step::Med`], where it is the best MED of the same neighbor AS.
    pub by: usize,
}

/// Selects the best of `candidates`; `None` if there are none.
///
/// The steps, each removing from consideration what is worse than the best value left:
///
/// 1. **Local**: a route that this speaker originates beats every learnt one. It is not in the
///    RFC; it is what other implementations reach by weight or protocol preference.
/// 2. **Last resort**: a route whose neighbor has been away for long (LLGR_STALE) loses to one of
///    which that is not so (RFC 9494 §4.3).
/// 3. **Local preference**: the highest; a route without one counts as 100 (RFC 4271 §9.1.1).
/// 4. **AS path length**: the shortest; an AS_SET counts one (§9.1.2.2 a), confederation
///    segments none (RFC 5065 §5.3).
/// 5. **Origin**: IGP, then EGP, then incomplete (§9.1.2.2 b).
/// 6. **MED**: within each group of routes from the same neighbor AS, the lowest; none counts as
///    zero (§9.1.2.2 c). Groups are never compared with each other, so that the order of the
///    candidates does not matter.
/// 7. **eBGP over iBGP** (§9.1.2.2 d).
/// 8. **IGP cost** to the next hop: the lowest (§9.1.2.2 e).
/// 9. **Router id**: the lowest BGP Identifier of the sender, or ORIGINATOR_ID if the route
///    carries one (§9.1.2.2 f, RFC 4456 §9).
/// 10. **Cluster list length**: the shortest (RFC 4456 §9).
/// 11. **Peer address**: the lowest, IPv4 before IPv6 (§9.1.2.2 g).
///
/// 12. **Path id**: the lowest. It decides between several paths of one peer (RFC 7911 §3), of
///     which no other step says anything.
///
/// Candidates that even then are equal stand in no relation of one speaker's table, where a peer
/// has one route to a prefix for each path id; the first of them is taken.
#[must_use]
pub fn select(candidates: &[Candidate<'_>]) -> Option<Selection> {
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let mut fallen: Vec<(usize, Step, Option<usize>)> = Vec::new();
    for step in Step::ALL {
        if left.len() <= 1 {
            break;
        }
        if step == Step::Med {
            let med = |index: usize| candidates[index].med();
            let lowest = lowest_meds(candidates, &left);
            left.retain(|&index| {
                let neighbor = candidates[index].neighbor_as();
                let rival = lowest
                    .binary_search_by_key(&neighbor, |(neighbor, _)| *neighbor)
                    .map(|at| lowest[at].1);
                let lower = rival.ok().filter(|&rival| med(rival) < med(index));
                fallen.extend(lower.map(|rival| (index, step, Some(rival))));
                lower.is_none()
            });
        } else {
            let least = left.iter().map(|&index| candidates[index].rank(step)).min()?;
            left.retain(|&index| {
                let stays = candidates[index].rank(step) == least;
                if !stays {
                    fallen.push((index, step, None));
                }
                stays
            });
        }
    }
    let (&best, equals) = left.split_first()?;
    fallen.extend(equals.iter().map(|&index| (index, Step::PathId, None)));
    let eliminated = fallen
        .into_iter()
        .map(|(candidate, step, by)| Elimination { candidate, step, by: by.unwrap_or(best) })
        .collect();
    Some(Selection { best, eliminated })
}

/// The indices of all `candidates`, the best first, then the best of the others, and so on; each
/// is worked out when it is asked for.
pub fn ranked<'a>(candidates: &[Candidate<'a>]) -> impl Iterator<Item = usize> + use<'a> {
    let mut left: Vec<(usize, Candidate<'a>)> = candidates.iter().copied().enumerate().collect();
    std::iter::from_fn(move || {
        let candidates: Vec<_> = left.iter().map(|(_, candidate)| *candidate).collect();
        Some(left.remove(select(&candidates)?.best).0)
    })
}

/// By neighbor AS, the first candidate with its lowest MED. A neighbor may send many paths to one
/// prefix, so this must not take the square of their number.
fn lowest_meds(candidates: &[Candidate<'_>], among: &[usize]) -> Vec<(Option<Asn>, usize)> {
    let mut lowest: Vec<(Option<Asn>, usize)> =
        among.iter().map(|&index| (candidates[index].neighbor_as(), index)).collect();
    lowest.sort_unstable_by_key(|&(neighbor, index)| (neighbor, candidates[index].med(), index));
    lowest.dedup_by_key(|(neighbor, _)| *neighbor);
    lowest
}

impl Step {
    /// Every step, in the order in which they are taken.
    pub const ALL: [Self; 12] = [
        Self::Local,
        Self::LastResort,
        Self::LocalPref,
        Self::AsPathLength,
        Self::Origin,
        Self::Med,
        Self::EbgpOverIbgp,
        Self::IgpCost,
        Self::RouterId,
        Self::ClusterListLength,
        Self::PeerAddress,
        Self::PathId,
    ];
}

impl Candidate<'_> {
    /// What stands for the candidate at `step`, in operators' words.
    #[must_use]
    pub fn value(&self, step: Step) -> String {
        match (step, self.source) {
            (Step::Local | Step::EbgpOverIbgp, Source::Local) => "local".to_owned(),
            (Step::Local, Source::Peer { .. }) => "learnt".to_owned(),
            (Step::LastResort, _) if self.is_last_resort() => "long-lived stale".to_owned(),
            (Step::LastResort, _) => "fresh".to_owned(),
            (Step::LocalPref, _) => self.local_pref().to_string(),
            (Step::AsPathLength, _) => self.attributes.as_path.length().to_string(),
            (Step::Origin, _) => self.attributes.origin.to_string(),
            (Step::Med, _) => self.med().to_string(),
            (Step::EbgpOverIbgp, Source::Peer { ebgp: true, .. }) => "eBGP".to_owned(),
            (Step::EbgpOverIbgp, Source::Peer { ebgp: false, .. }) => "iBGP".to_owned(),
            (Step::ClusterListLength, _) => self.attributes.cluster_list.len().to_string(),
            (Step::IgpCost, Source::Local) => "0".to_owned(),
            (Step::IgpCost, Source::Peer { igp_cost, .. }) => igp_cost.to_string(),
            (Step::RouterId | Step::PeerAddress | Step::PathId, Source::Local) => "own".to_owned(),
            (Step::RouterId, Source::Peer { router_id, .. }) => {
                self.attributes.originator_id.unwrap_or(router_id).to_string()
            }
            (Step::PeerAddress, Source::Peer { address, .. }) => address.to_string(),
            (Step::PathId, Source::Peer { path_id, .. }) => path_id.to_string(),
        }
    }

    /// The neighbor AS whose MEDs the candidate's is compared with (RFC 4271 §9.1.2.2 c); `None`
    /// for a local route, which has none.
    #[must_use]
    pub fn neighbor_as(&self) -> Option<Asn> {
        match self.source {
            Source::Local => None,
            Source::Peer { asn, .. } => Some(self.attributes.as_path.first().unwrap_or(asn)),
        }
    }

    fn is_last_resort(&self) -> bool {
        self.attributes.has_community(Community::LLGR_STALE)
    }

    fn local_pref(&self) -> u32 {
        self.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)
    }

    fn med(&self) -> u32 {
        self.attributes.med.unwrap_or(0)
    }

    /// The candidate's place at `step`: the lowest is best. MED ranks only within a group.
    fn rank(&self, step: Step) -> u128 {
        match (step, self.source) {
            (Step::LastResort, _) => self.is_last_resort().into(),
            (Step::LocalPref, _) => (u32::MAX - self.local_pref()).into(),
            (Step::AsPathLength, _) => self.attributes.as_path.length() as u128,
            (Step::Origin, _) => self.attributes.origin as u128,
            (Step::Med, _) => self.med().into(),
            (Step::ClusterListLength, _) => self.attributes.cluster_list.len() as u128,
            (_, Source::Local) => 0,
            (Step::Local, Source::Peer { .. }) => 1,
            (Step::EbgpOverIbgp, Source::Peer { ebgp, .. }) => (!ebgp).into(),
            (Step::IgpCost, Source::Peer { igp_cost, .. }) => igp_cost.into(),
            (Step::RouterId, Source::Peer { router_id, .. }) => {
                self.attributes.originator_id.unwrap_or(router_id).to_bits().into()
            }
            (Step::PeerAddress, Source::Peer { address: IpAddr::V4(address), .. }) => {
                address.to_ipv6_mapped().to_bits()
            }
            (Step::PeerAddress, Source::Peer { address: IpAddr::V6(address), .. }) => {
                address.to_bits()
            }
            (Step::PathId, Source::Peer { path_id, .. }) => path_id.0.into(),
        }
    }
}

impl fmt::Display for Step {
    /// The operators' words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "locally originated",
            Self::LastResort => "last resort",
            Self::LocalPref => "local preference",
            Self::AsPathLength => "AS path length",
            Self::Origin => "origin",
            Self::Med => "MED",
            Self::EbgpOverIbgp => "eBGP over iBGP",
            Self::IgpCost => "IGP cost",
            Self::RouterId => "router id",
            Self::ClusterListLength => "cluster list length",
            Self::PeerAddress => "peer address",
            Self::PathId => "path id",
        })
    }
}

#[cfg(test)]
mod tests;
