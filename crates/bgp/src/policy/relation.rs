//! Business relations as policies: who may be sent what (Gao and Rexford, "Stable Internet
//! Routing Without Global Coordination"; RFC 9234 §3 for the words).
//!
//! A route is tagged on receipt with the large community `ASN:1:N`, where `N` says who sent it:
//! 1 a customer, 2 a peer, 3 a provider. The tag decides to whom the route may go, at every
//! border of the AS, and never leaves the AS. A route of the AS itself that reaches another
//! border by iBGP needs the customers' tag from where it is originated.

use super::{Action, LargeCommunityPattern, Match, Policy, Rule, Set};
use crate::{Asn, Community, LargeCommunity};

/// What the neighbor is to us.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Relation {
    /// It pays us: we send it all that we have.
    Customer,
    /// Each sends the other its own routes and its customers'.
    Peer,
    /// We pay it: it sends us all that it has.
    Provider,
}

/// The first local part of the tag.
const TAG: u32 = 1;

impl Relation {
    /// The tag of routes from such a neighbor of `local_asn`.
    #[must_use]
    pub const fn tag(self, local_asn: Asn) -> LargeCommunity {
        let local2 = match self {
            Self::Customer => 1,
            Self::Peer => 2,
            Self::Provider => 3,
        };
        LargeCommunity { global: local_asn.0, local1: TAG, local2 }
    }

    /// Earn before exchanging, exchange before paying.
    const fn local_pref(self) -> u32 {
        match self {
            Self::Customer => 200,
            Self::Peer => 150,
            Self::Provider => 100,
        }
    }
}

/// Takes every route from the neighbor: local preference and tag by relation, and what the
/// neighbor wrote in the tag's place deleted. A route that the neighbor is about to take down
/// becomes the last choice (GRACEFUL_SHUTDOWN, RFC 8326 §4).
#[must_use]
pub fn import_policy(relation: Relation, local_asn: Asn) -> Policy {
    let rules = vec![
        Rule::new(Action::Next)
            .set(delete_tags(local_asn))
            .set(Set::AddLargeCommunity(relation.tag(local_asn)))
            .set(Set::LocalPref(relation.local_pref())),
        Rule::new(Action::Next)
            .when(Match::Community(vec![Community::GRACEFUL_SHUTDOWN.into()]))
            .set(Set::LocalPref(0)),
        Rule::new(Action::Accept),
    ];
    Policy { rules }
}

/// Sends a customer everything, a peer or provider our own and our customers' routes; without
/// the tag.
#[must_use]
pub fn export_policy(relation: Relation, local_asn: Asn) -> Policy {
    let send = || Rule::new(Action::Accept).set(delete_tags(local_asn));
    let rules = match relation {
        Relation::Customer => vec![send()],
        Relation::Peer | Relation::Provider => vec![
            send().when(Match::Local),
            send().when(Match::LargeCommunity(vec![Relation::Customer.tag(local_asn).into()])),
        ],
    };
    Policy { rules }
}

const fn delete_tags(local_asn: Asn) -> Set {
    Set::DeleteLargeCommunity(LargeCommunityPattern {
        global: Some(local_asn.0),
        local1: Some(TAG),
        local2: None,
    })
}
