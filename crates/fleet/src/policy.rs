//! The BGP policies that a neighbor's words stand for.

use std::collections::BTreeMap;

use anycast_bgp::Community;
use anycast_bgp::policy::{Action, Match, Policy, PrefixPattern, Rule, Set};
use anycast_bgp::rov::Validity;
use anycast_steer::Manner;
use ipnet::IpNet;

use crate::{ExportPolicy, Fleet, ImportPolicy, Neighbor, Site};

/// How a neighbor is told of the prefixes that it is not told of plainly; `None`: not at all.
pub type Told = BTreeMap<IpNet, Option<Manner>>;

impl Neighbor {
    /// What is taken from the neighbor. Unless a named policy says otherwise, a route that the
    /// neighbor is about to take down becomes the last choice (RFC 8326 §4.1).
    pub fn import_policy(&self, fleet: &Fleet) -> Policy {
        let defaults = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        // What the RPKI calls invalid is refused before anything else is asked.
        let invalid = fleet
            .reject_invalid
            .then(|| Rule::new(Action::Reject).when(Match::Rpki(Validity::Invalid)));
        let accept = match &self.import {
            ImportPolicy::Nothing => return Policy::reject_all(),
            ImportPolicy::Named(name) => {
                let named = self.named_policy(fleet, name).rules;
                return Policy { rules: invalid.into_iter().chain(named).collect() };
            }
            ImportPolicy::Everything => Rule::new(Action::Accept),
            ImportPolicy::Fleet => Rule::new(Action::Accept).when(fleets_own(fleet)),
            ImportPolicy::DefaultRoute => {
                let defaults = defaults.map(PrefixPattern::exactly).to_vec();
                Rule::new(Action::Accept).when(Match::Prefix(defaults))
            }
        };
        let leaving = Rule::new(Action::Next)
            .when(Match::Community(vec![Community::GRACEFUL_SHUTDOWN.into()]))
            .set(Set::LocalPref(0));
        Policy { rules: invalid.into_iter().chain([leaving, accept]).collect() }
    }

    /// What the neighbor is told: whatever the words, only prefixes of the fleet that `site`
    /// originates itself or, if it is a router, has by iBGP, with the neighbor's MED, communities and prepends on top of what its
    /// policy sets. `extra_prepend` is added to the neighbor's own (by an operator's command).
    pub fn export_policy(&self, fleet: &Fleet, site: &Site, extra_prepend: u8) -> Policy {
        let mut policy = match &self.export {
            ExportPolicy::Nothing => Policy::reject_all(),
            ExportPolicy::Fleet => Policy::accept_all(),
            ExportPolicy::Named(name) => self.named_policy(fleet, name),
        };
        let origin = if site.router { Match::Internal } else { Match::Local };
        let own = fleets_own(fleet);
        let on_top = self.export_sets(extra_prepend);
        for rule in &mut policy.rules {
            rule.matches.splice(0..0, [origin.clone(), own.clone()]);
            if rule.action == Action::Accept {
                rule.sets.extend(on_top.iter().cloned());
            }
        }
        policy
    }

    /// The same while the steering has a say: what `told` holds is told in that manner, on top of
    /// what the policy sets.
    pub fn steered_export_policy(
        &self,
        fleet: &Fleet,
        site: &Site,
        extra_prepend: u8,
        told: &Told,
    ) -> Policy {
        let plain = self.export_policy(fleet, site, extra_prepend).rules;
        let mut groups: Vec<(&Option<Manner>, Vec<PrefixPattern>)> = Vec::new();
        for (prefix, manner) in told {
            let prefix = PrefixPattern::exactly(*prefix);
            match groups.iter_mut().find(|(of, _)| *of == manner) {
                Some((_, group)) => group.push(prefix),
                None => groups.push((manner, vec![prefix])),
            }
        }
        let mut rules = Vec::new();
        for (manner, group) in groups {
            let own = [Match::Local, Match::Prefix(group)];
            for rule in manner.iter().flat_map(|_| &plain) {
                let mut rule = rule.clone();
                rule.matches.splice(0..0, own.clone());
                if rule.action == Action::Accept {
                    rule.sets.extend(manner.iter().flat_map(manner_sets));
                }
                rules.push(rule);
            }
            // What no rule of the group accepts is not to be seen by the rules for the others.
            rules.push(Rule { matches: own.to_vec(), ..Rule::new(Action::Reject) });
        }
        rules.extend(plain);
        Policy { rules }
    }

    fn named_policy(&self, fleet: &Fleet, name: &str) -> Policy {
        fleet.policy(name).map(|named| named.towards(self)).unwrap_or_default()
    }

    fn export_sets(&self, extra_prepend: u8) -> Vec<Set> {
        let mut sets = Vec::new();
        sets.extend(self.med.map(|med| Set::Med(Some(med))));
        sets.extend(self.communities.iter().copied().map(Set::AddCommunity));
        sets.extend(self.large_communities.iter().copied().map(Set::AddLargeCommunity));
        let prepend = self.prepend.saturating_add(extra_prepend);
        sets.extend((prepend > 0).then_some(Set::Prepend(prepend)));
        sets
    }
}

fn manner_sets(manner: &Manner) -> Vec<Set> {
    let mut sets = Vec::new();
    sets.extend(manner.med.map(|med| Set::Med(Some(med))));
    sets.extend(manner.communities.iter().map(|&it| Set::AddCommunity(Community(it))));
    sets.extend((manner.prepend > 0).then_some(Set::Prepend(manner.prepend)));
    sets
}

fn fleets_own(fleet: &Fleet) -> Match {
    Match::Prefix(fleet.prefixes.iter().map(|own| PrefixPattern::exactly(own.prefix)).collect())
}
