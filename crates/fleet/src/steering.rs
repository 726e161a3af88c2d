//! The fleet's services and prefixes as `steer` takes them.

use anycast_steer::{CheckSpec, PrefixSpec, ServiceSpec, Steer};

use crate::{Fleet, Site};

impl Fleet {
    /// Steering of `site`: nothing to announce, if it is a router.
    ///
    /// # Panics
    /// As [`steer`](Self::steer).
    pub fn steer_at(&self, site: &Site) -> Steer {
        if site.router {
            return Steer::new(Vec::new(), Vec::new()).expect("nothing contradicts nothing");
        }
        self.steer()
    }

    /// Steering of one site of the fleet. Its indices are those of [`Fleet::services`] and of
    /// each service's checks.
    ///
    /// # Panics
    /// If the fleet was not read from a file but put together with names that do not fit.
    pub fn steer(&self) -> Steer {
        let services = self.services.iter().map(|service| ServiceSpec {
            name: service.name.clone(),
            checks: service
                .checks
                .iter()
                .map(|check| CheckSpec { name: check.name.clone(), thresholds: check.thresholds })
                .collect(),
        });
        let prefixes = self.prefixes.iter().map(|prefix| PrefixSpec {
            prefix: prefix.prefix,
            services: prefix.services.clone(),
            require: prefix.require,
        });
        Steer::new(services.collect(), prefixes.collect())
            .expect("the file's tables have unique names, and prefixes name services that exist")
    }
}
