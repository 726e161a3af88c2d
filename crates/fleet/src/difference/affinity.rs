//! What differs in how connections are kept at their sites.

use std::net::IpAddr;

use super::{Difference, Effect, Subject};
use crate::{Fleet, Kept, Site};

impl Difference {
    pub(super) fn of_affinity(&mut self, old: (&Fleet, &Site), new: (&Fleet, &Site)) {
        let details = match (&old.0.affinity, &new.0.affinity) {
            (None, None) => return,
            (None, Some(_)) => return self.add(Subject::Affinity, Effect::Added, Vec::new()),
            (Some(_), None) => return self.add(Subject::Affinity, Effect::Removed, Vec::new()),
            (Some(before), Some(after)) => {
                let mut details = Vec::new();
                if before.keys != after.keys {
                    let list = |keys: &[crate::AffinityKey]| {
                        let epochs: Vec<String> =
                            keys.iter().map(|key| key.epoch.to_string()).collect();
                        epochs.join(", ")
                    };
                    details.push(format!(
                        "keys: epochs {} → {}; the first is used for what is sent",
                        list(&before.keys),
                        list(&after.keys)
                    ));
                }
                let budgets = |it: &crate::Affinity| (it.most_to_a_site, it.most_of_a_source);
                if budgets(before) != budgets(after) {
                    details.push("how many packets are passed on".to_owned());
                }
                if mode(old) != mode(new) {
                    let (before, after) = (mode(old).as_str(), mode(new).as_str());
                    details.push(format!("mode {before} → {after}: the programs are put anew"));
                }
                details
            }
        };
        let mut details = details;
        details.extend(of_itself(old.1, new.1));
        details.extend(of_peers(old, new));
        details.extend(of_services(old.0, new.0));
        if !details.is_empty() {
            self.add(Subject::Affinity, Effect::Changed, details);
        }
    }
}

fn mode((fleet, site): (&Fleet, &Site)) -> crate::AffinityMode {
    let own = site.affinity.as_ref().and_then(|it| it.mode);
    own.or_else(|| fleet.affinity.as_ref().map(|it| it.mode)).unwrap_or_default()
}

fn of_itself(old: &Site, new: &Site) -> Vec<String> {
    let mut details = Vec::new();
    let id = |site: &Site| site.affinity.as_ref().map(|it| it.id);
    if let (Some(before), Some(after)) = (id(old), id(new))
        && before != after
    {
        details.push(format!(
            "id {before} → {after}: other sites no longer bring it what began under {before}"
        ));
    }
    let rest = |site: &Site| site.affinity.as_ref().map(|it| (it.v4, it.v6, it.interfaces.clone()));
    if rest(old) != rest(new) {
        details.push("its own addresses or interfaces".to_owned());
    }
    details
}

fn of_peers(old: (&Fleet, &Site), new: (&Fleet, &Site)) -> Vec<String> {
    let peers = |(fleet, site): (&Fleet, &Site)| -> Vec<_> {
        let others = fleet.sites.iter().filter(|it| it.name != site.name);
        others
            .filter_map(|it| {
                let its = it.affinity.as_ref()?;
                Some((it.name.clone(), its.id, its.v4, its.v6))
            })
            .collect()
    };
    if peers(old) == peers(new) {
        Vec::new()
    } else {
        vec!["where the other sites are reached".to_owned()]
    }
}

fn of_services(old: &Fleet, new: &Fleet) -> Vec<String> {
    let kept = |fleet: &Fleet| -> Vec<(IpAddr, Kept)> {
        let services = fleet.services.iter().filter(|it| it.affinity.any());
        services.flat_map(|it| it.addresses.iter().map(|at| (*at, it.affinity))).collect()
    };
    if kept(old) == kept(new) { Vec::new() } else { vec!["whose connections are kept".to_owned()] }
}
