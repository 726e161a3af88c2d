//! Applying a policy to a route.

use std::sync::Arc;

use ipnet::IpNet;

use super::{Action, Match, Policy, PrefixClass, RouteFacts, Rule, Set};
use crate::decision::DEFAULT_LOCAL_PREF;
use crate::{Asn, Attributes, Family};

impl Policy {
    /// What becomes of a route: its attributes as the policy leaves them, or `None` if it is
    /// rejected.
    ///
    /// `prepend_asn` is the number that [`Set::Prepend`] puts in front. A rule sees what the
    /// rules before it changed. The attributes are copied only if something changes.
    #[must_use]
    pub fn evaluate(
        &self,
        prefix: &IpNet,
        route: &RouteFacts,
        attributes: &Arc<Attributes>,
        prepend_asn: Asn,
    ) -> Option<Arc<Attributes>> {
        let mut current = Arc::clone(attributes);
        for rule in &self.rules {
            if !rule.matches(prefix, *route, &current) {
                continue;
            }
            if rule.action == Action::Reject {
                return None;
            }
            for set in &rule.sets {
                if set.is_effective(&current) {
                    set.apply(Arc::make_mut(&mut current), prepend_asn);
                }
            }
            if rule.action == Action::Accept {
                return Some(current);
            }
        }
        None
    }

    /// The class of a prefix. Routes with equal facts and attributes whose prefixes are of one
    /// class become the same by [`evaluate`](Self::evaluate).
    #[must_use]
    pub fn class(&self, prefix: &IpNet) -> PrefixClass {
        let (mut conditions, mut bit) = (0, 1_u64);
        for condition in self.rules.iter().flat_map(|rule| &rule.matches) {
            let Some(holds) = condition.holds_for_prefix(prefix) else { continue };
            if bit == 0 {
                return PrefixClass::Alone(*prefix);
            }
            conditions |= if holds { bit } else { 0 };
            bit <<= 1;
        }
        PrefixClass::Conditions(conditions)
    }
}

impl Rule {
    fn matches(&self, prefix: &IpNet, route: RouteFacts, attributes: &Attributes) -> bool {
        self.matches.iter().all(|condition| condition.holds(prefix, route, attributes))
    }
}

impl Match {
    /// Whether the condition holds, if it is one on the prefix.
    fn holds_for_prefix(&self, prefix: &IpNet) -> Option<bool> {
        match self {
            Self::Prefix(patterns) => Some(patterns.iter().any(|pattern| pattern.matches(prefix))),
            Self::Family(family) => Some(Family::of(prefix) == *family),
            Self::Community(_)
            | Self::LargeCommunity(_)
            | Self::ExtendedCommunity(_)
            | Self::AsPath(_)
            | Self::AsPathLength(_)
            | Self::AsPathContains(_)
            | Self::OriginAs(_)
            | Self::Origin(_)
            | Self::LocalPref(_)
            | Self::Med(_)
            | Self::NextHop(_)
            | Self::Neighbor(_)
            | Self::Local
            | Self::Internal
            | Self::Rpki(_) => None,
        }
    }

    fn holds(&self, prefix: &IpNet, route: RouteFacts, attributes: &Attributes) -> bool {
        match self {
            Self::Prefix(patterns) => patterns.iter().any(|pattern| pattern.matches(prefix)),
            Self::Family(family) => Family::of(prefix) == *family,
            Self::Community(any) => any.iter().any(|it| it.is_in(&attributes.communities)),
            Self::LargeCommunity(any) => {
                any.iter().any(|it| it.is_in(&attributes.large_communities))
            }
            Self::ExtendedCommunity(any) => any
                .iter()
                .any(|wanted| attributes.extended_communities.binary_search(wanted).is_ok()),
            Self::AsPath(any) => any.iter().any(|pattern| pattern.matches(&attributes.as_path)),
            Self::AsPathLength(bounds) => bounds.contains(&attributes.as_path.length()),
            Self::Origin(origin) => attributes.origin == *origin,
            Self::LocalPref(bounds) => {
                bounds.contains(&attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF))
            }
            Self::Med(bounds) => bounds.contains(&attributes.med.unwrap_or(0)),
            Self::NextHop(any) => any.iter().any(|net| net.contains(&attributes.next_hop.address)),
            Self::Neighbor(any) => route.neighbor.is_some_and(|address| any.contains(&address)),
            Self::AsPathContains(asn) => attributes.as_path.contains(*asn),
            Self::OriginAs(asn) => attributes.as_path.origin() == Some(*asn),
            Self::Local => route.local,
            Self::Rpki(validity) => route.rpki == *validity,
            Self::Internal => route.internal,
        }
    }
}

impl Set {
    /// Whether [`apply`](Self::apply) would change anything.
    fn is_effective(&self, attributes: &Attributes) -> bool {
        match self {
            Self::LocalPref(value) => attributes.local_pref != Some(*value),
            Self::Med(value) => attributes.med != *value,
            Self::Prepend(times) => *times > 0,
            Self::Origin(origin) => attributes.origin != *origin,
            Self::NextHop(next_hop) => attributes.next_hop != *next_hop,
            Self::ReplaceCommunities(all) => attributes.communities != *all,
            Self::ReplaceExtendedCommunities(all) => *attributes.extended_communities != **all,
            Self::ReplaceLargeCommunities(all) => *attributes.large_communities != **all,
            Self::AddExtendedCommunity(community) => {
                attributes.extended_communities.binary_search(community).is_err()
            }
            Self::DeleteExtendedCommunity(community) => {
                attributes.extended_communities.binary_search(community).is_ok()
            }
            Self::AddCommunity(community) => !attributes.has_community(*community),
            Self::DeleteCommunity(pattern) => pattern.is_in(&attributes.communities),
            Self::AddLargeCommunity(community) => {
                attributes.large_communities.binary_search(community).is_err()
            }
            Self::DeleteLargeCommunity(pattern) => pattern.is_in(&attributes.large_communities),
        }
    }

    fn apply(&self, attributes: &mut Attributes, prepend_asn: Asn) {
        match self {
            Self::LocalPref(value) => attributes.local_pref = Some(*value),
            Self::Med(value) => attributes.med = *value,
            Self::Prepend(times) => attributes.as_path.prepend(prepend_asn, *times),
            Self::Origin(origin) => attributes.origin = *origin,
            Self::NextHop(next_hop) => attributes.next_hop = *next_hop,
            Self::ReplaceCommunities(all) => attributes.communities = sorted(all),
            Self::ReplaceExtendedCommunities(all) => {
                attributes.extended_communities = sorted(all).into();
            }
            Self::ReplaceLargeCommunities(all) => {
                attributes.large_communities = sorted(all).into();
            }
            Self::AddExtendedCommunity(community) => {
                attributes.extended_communities.edit(|all| insert(all, *community));
            }
            Self::DeleteExtendedCommunity(community) => {
                attributes.extended_communities.edit(|all| all.retain(|it| it != community));
            }
            Self::AddCommunity(community) => insert(&mut attributes.communities, *community),
            Self::DeleteCommunity(pattern) => {
                attributes.communities.retain(|community| !pattern.matches(*community));
            }
            Self::AddLargeCommunity(community) => {
                attributes.large_communities.edit(|all| insert(all, *community));
            }
            Self::DeleteLargeCommunity(pattern) => {
                attributes.large_communities.edit(|all| all.retain(|it| !pattern.matches(*it)));
            }
        }
    }
}

/// Sorted, each item once.
fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    items
}

/// Keeps `sorted` sorted and each item once.
fn insert<T: Ord>(sorted: &mut Vec<T>, item: T) {
    if let Err(at) = sorted.binary_search(&item) {
        sorted.insert(at, item);
    }
}
