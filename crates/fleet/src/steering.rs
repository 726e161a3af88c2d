//! The fleet's services, prefixes and sites as `steer` takes them.

use anycast_steer::{CheckSpec, Member, PrefixSpec, ServiceSpec, Spec, Steer};

use crate::{Fleet, Site};

impl Fleet {
    /// Steering of `site`: nothing to announce, if it is a router.
    ///
    /// # Panics
    /// If the fleet was not read from a file but put together with names that do not fit.
    pub fn steer_at(&self, site: &Site) -> Steer {
        Steer::new(self.steering(site))
            .expect("the file's tables have unique names, and prefixes name services that exist")
    }

    /// What is steered at `site`. The indices of services, checks and neighbors are those of the
    /// fleet, of each service and of the site.
    pub fn steering(&self, site: &Site) -> Spec {
        if site.router {
            return Spec::default();
        }
        let services = self.services.iter().map(|service| ServiceSpec {
            name: service.name.clone(),
            checks: service
                .checks
                .iter()
                .map(|check| CheckSpec { name: check.name.clone(), thresholds: check.thresholds })
                .collect(),
            damping: service.damping.then_some(self.damping),
        });
        let prefixes = self.prefixes.iter().map(|prefix| PrefixSpec {
            services: prefix.services.clone(),
            weights: prefix.weights.clone(),
            require: prefix.require,
            degraded: prefix.degraded.clone(),
            shed: prefix.shed.clone(),
            damping: prefix.damping.then_some(self.damping),
            floor: prefix.floor.clone(),
            ..PrefixSpec::new(prefix.prefix)
        });
        let mut loads: Vec<String> = Vec::new();
        for shed in self.prefixes.iter().filter_map(|prefix| prefix.shed.as_ref()) {
            if !loads.contains(&shed.load) {
                loads.push(shed.load.clone());
            }
        }
        let members = self.sites.iter().filter(|site| !site.router);
        Spec {
            services: services.collect(),
            prefixes: prefixes.collect(),
            neighbors: site.neighbors.iter().map(|neighbor| neighbor.name.clone()).collect(),
            members: members
                .map(|site| Member { name: site.name.clone(), region: site.region.clone() })
                .collect(),
            lease: self.fleet_state.as_ref().map(|state| state.lease),
            leaving: self.leaving.clone(),
            site: site.name.clone(),
            loads,
        }
    }
}
