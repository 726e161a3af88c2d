//! Connection ids of QUIC: the site's own kind, or random.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anycast_affinity::quic_lb::{LENGTH, NONCE_LENGTH, Owner};
use anycast_affinity::{Key, SiteId};
use quinn::{ConnectionId, ConnectionIdGenerator};
use rustls::crypto::SecureRandom;
use serde::{Deserialize, Serialize};

/// How connection ids are to be made from now on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Orders {
    /// Whose connections they are; `None`: ids say nothing.
    pub owner: Option<Named>,
}

/// The owner that ids name, and how.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Named {
    /// The site's number.
    pub site: u8,
    /// What the key is called.
    pub epoch: u8,
    /// The key.
    pub secret: [u8; 32],
}

/// Without the key.
impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named")
            .field("site", &self.site)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Makes ids. Clones make ids of the same kind.
#[derive(Clone)]
pub(super) struct Ids {
    owner: Arc<RwLock<Option<Owner>>>,
    random: &'static dyn SecureRandom,
    lifetime: Duration,
}

impl Ids {
    pub(super) fn new(lifetime: Duration) -> Self {
        let random = rustls::crypto::ring::default_provider().secure_random;
        Self { owner: Arc::default(), random, lifetime }
    }

    /// Goes by other orders from now on.
    pub(super) fn follow(&self, orders: &Orders) {
        let owner = orders.owner.as_ref().and_then(|named| {
            let key = Key { epoch: named.epoch, secret: named.secret };
            // The service's servers at a site are one.
            Some(Owner::new(SiteId::new(named.site)?, &key, 0))
        });
        *self.owner.write().unwrap_or_else(PoisonError::into_inner) = owner;
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut octets = [0; N];
        self.random.fill(&mut octets).expect("the kernel has random octets");
        octets
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let owner = self.owner.read().unwrap_or_else(PoisonError::into_inner).clone();
        match owner {
            // A count would begin anew with each start, under the same key: twelve random octets do not.
            Some(owner) => ConnectionId::new(&owner.connection_id(&self.random::<NONCE_LENGTH>())),
            None => ConnectionId::new(&self.random::<LENGTH>()),
        }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        Some(self.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn orders(site: u8, epoch: u8) -> Orders {
        Orders { owner: Some(Named { site, epoch, secret: [epoch | 0x40; 32] }) }
    }

    #[test]
    fn ids_name_the_site_under_the_key_of_the_moment_and_never_repeat() {
        let mut ids = Ids::new(Duration::MAX);
        let owner = |site, epoch| {
            let key = Key { epoch, secret: [epoch | 0x40; 32] };
            Owner::new(SiteId::new(site).unwrap(), &key, 0)
        };
        let mut seen = HashSet::new();
        for (site, epoch) in [(7, 0), (7, 1), (9, 1)] {
            ids.follow(&orders(site, epoch));
            for _ in 0..1000 {
                let id = ids.clone().generate_cid();
                assert_eq!(id.len(), LENGTH);
                assert_eq!(owner(site, epoch).server(&id), Some(0), "{site} {epoch}");
                assert!(seen.insert(id.to_vec()), "{id} twice");
            }
        }
        ids.follow(&Orders::default());
        let named = (0..1000).filter(|_| owner(9, 1).server(&ids.generate_cid()).is_some());
        assert!(named.count() < 10, "random ids name nobody");
    }

    #[test]
    fn orders_come_as_json_and_do_not_show_the_key() {
        let orders = orders(3, 1);
        let text = serde_json::to_string(&orders).unwrap();
        assert_eq!(serde_json::from_str::<Orders>(&text).unwrap(), orders);
        let shown = format!("{orders:?}");
        assert!(shown.contains("site: 3") && !shown.contains("65"), "{shown}");
    }
}
