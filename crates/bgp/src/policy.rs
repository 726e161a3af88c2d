//! Import and export policy: ordered rules, first decision wins, default deny (RFC 8212).
//!
//! A policy is data: the caller builds it from the operator's file, [`Policy::evaluate`] applies
//! it to one route. What a business relation means as a policy is in [`relation`].

pub mod relation;

mod community_pattern;
mod evaluate;
mod path_pattern;
mod prefix_pattern;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::rov::Validity;
use crate::{Asn, Community, ExtendedCommunity, Family, LargeCommunity, NextHop, Origin};

pub use community_pattern::{CommunityPattern, LargeCommunityPattern};
pub use path_pattern::{NotAPathPattern, PathPattern};
pub use prefix_pattern::NotAPrefixPattern;

/// Ordered rules; a route that no rule accepts is rejected.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// The rules, tried in order.
    pub rules: Vec<Rule>,
}

/// One rule: if every match holds, apply the sets in order, then act.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// All must hold; none means every route.
    pub matches: Vec<Match>,
    /// Changes to the route, in order.
    pub sets: Vec<Set>,
    /// What then becomes of the route.
    pub action: Action,
}

/// What to do with a route that a rule matched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Take it, try no further rule.
    Accept,
    /// Refuse it, try no further rule.
    Reject,
    /// Go on with the next rule.
    Next,
}

/// A condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Match {
    /// Any of the patterns covers the prefix.
    Prefix(Vec<PrefixPattern>),
    /// The prefix is of this family.
    Family(Family),
    /// The route carries any that fits one of these.
    Community(Vec<CommunityPattern>),
    /// The route carries any that fits one of these.
    LargeCommunity(Vec<LargeCommunityPattern>),
    /// The route carries any of these.
    ExtendedCommunity(Vec<ExtendedCommunity>),
    /// Any of the patterns fits the path.
    AsPath(Vec<PathPattern>),
    /// The path's length, as the decision process counts it, is within these bounds.
    AsPathLength(RangeInclusive<usize>),
    /// The AS is anywhere in the path.
    AsPathContains(Asn),
    /// The path's last AS is this.
    OriginAs(Asn),
    /// ORIGIN is this.
    Origin(Origin),
    /// LOCAL_PREF is within these bounds; a route without it counts as 100.
    LocalPref(RangeInclusive<u32>),
    /// MULTI_EXIT_DISC is within these bounds; a route without it counts as 0.
    Med(RangeInclusive<u32>),
    /// The next hop is in any of these prefixes.
    NextHop(Vec<IpNet>),
    /// The neighbor that sent the route has any of these addresses.
    Neighbor(Vec<IpAddr>),
    /// This speaker originates the route itself.
    Local,
    /// The RPKI says this of the route's origin (RFC 6811).
    Rpki(Validity),
    /// Our own AS originates the route, or brought it in: this speaker originates it itself, or
    /// an iBGP neighbor sent it.
    Internal,
}

/// A prefix with the lengths it covers: `10.0.0.0/8` exactly, or with `ge` and `le`.
///
/// It is read and written as routers' prefix lists are: `10.0.0.0/8 ge 16 le 24`. With `ge` alone
/// the longest length is that of an address, with `le` alone the shortest is the prefix's own;
/// `10.0.0.0/8+` is the prefix and all within it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PrefixPattern {
    /// The covering prefix.
    pub net: IpNet,
    /// The shortest length covered.
    pub ge: u8,
    /// The longest length covered.
    pub le: u8,
}

/// A change to a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Set {
    /// Set LOCAL_PREF.
    LocalPref(u32),
    /// Set or remove MULTI_EXIT_DISC.
    Med(Option<u32>),
    /// Prepend our own ASN so many times beyond the usual once (export), or the neighbor's (import).
    Prepend(u8),
    /// Set ORIGIN.
    Origin(Origin),
    /// Set the next hop. On export it stands in place of our own address; routes of the other
    /// family are then not sent.
    NextHop(NextHop),
    /// Put these in place of all communities.
    ReplaceCommunities(Vec<Community>),
    /// Put these in place of all extended communities.
    ReplaceExtendedCommunities(Vec<ExtendedCommunity>),
    /// Put these in place of all large communities.
    ReplaceLargeCommunities(Vec<LargeCommunity>),
    /// Add an extended community.
    AddExtendedCommunity(ExtendedCommunity),
    /// Remove an extended community.
    DeleteExtendedCommunity(ExtendedCommunity),
    /// Add a community.
    AddCommunity(Community),
    /// Remove every community that fits.
    DeleteCommunity(CommunityPattern),
    /// Add a large community.
    AddLargeCommunity(LargeCommunity),
    /// Remove every large community that fits.
    DeleteLargeCommunity(LargeCommunityPattern),
}

/// What a policy may ask about a route beyond its prefix and attributes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RouteFacts {
    /// This speaker originates the route itself.
    pub local: bool,
    /// It does, or an iBGP neighbor sent it.
    pub internal: bool,
    /// The address of the neighbor that sent it.
    pub neighbor: Option<IpAddr>,
    /// What the RPKI says of its origin; needs to be known only if the policy
    /// [asks](Policy::asks_rpki).
    pub rpki: Validity,
}

/// All that a policy sees of a prefix: two prefixes of one class it treats alike.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PrefixClass {
    /// Which of the policy's conditions on prefixes hold, a bit for each in their order.
    Conditions(u64),
    /// There are more such conditions than bits: each prefix is a class of its own.
    Alone(IpNet),
}

impl Policy {
    /// Takes every route as it is.
    #[must_use]
    pub fn accept_all() -> Self {
        Self { rules: vec![Rule::new(Action::Accept)] }
    }

    /// Whether what becomes of a route may depend on what the RPKI says of it.
    #[must_use]
    pub fn asks_rpki(&self) -> bool {
        let mut conditions = self.rules.iter().flat_map(|rule| &rule.matches);
        conditions.any(|condition| matches!(condition, Match::Rpki(_)))
    }

    /// Refuses every route: the default (RFC 8212).
    #[must_use]
    pub fn reject_all() -> Self {
        Self::default()
    }

    /// Whether it takes, if any, only routes that this speaker originates itself.
    #[must_use]
    pub fn is_for_local_routes(&self) -> bool {
        let local = |rule: &Rule| rule.matches.contains(&Match::Local);
        self.rules.iter().all(|rule| rule.action != Action::Accept || local(rule))
    }
}

impl Rule {
    /// A rule for every route that changes nothing.
    #[must_use]
    pub const fn new(action: Action) -> Self {
        Self { matches: Vec::new(), sets: Vec::new(), action }
    }

    /// The rule, for those of its routes only that `condition` holds for.
    #[must_use]
    pub fn when(mut self, condition: Match) -> Self {
        self.matches.push(condition);
        self
    }

    /// The rule, with `set` done after the changes before it.
    #[must_use]
    pub fn set(mut self, set: Set) -> Self {
        self.sets.push(set);
        self
    }
}
