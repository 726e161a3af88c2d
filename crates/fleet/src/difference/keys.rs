//! Which key takes effect how.

use super::words::Words;
use crate::{Neighbor, Site};

/// A key of a table of the file.
pub(super) struct Key<T> {
    name: &'static str,
    /// Of a neighbor: its session must begin anew. Of a site: the daemon must.
    pub(super) resets: bool,
    value: fn(&T) -> String,
    same: fn(&T, &T) -> bool,
    take: fn(&mut T, &T),
}

impl<T> Key<T> {
    pub(super) fn same(&self, before: &T, after: &T) -> bool {
        (self.same)(before, after)
    }

    /// `hold-time 90s → 30s`.
    pub(super) fn words(&self, before: &T, after: &T) -> String {
        format!("{} {} → {}", self.name, (self.value)(before), (self.value)(after))
    }
}

/// Whether all that is in no key of the table is the same.
pub(super) fn rest_is_same<T: Clone + PartialEq>(keys: &[Key<T>], before: &T, after: &T) -> bool {
    let mut taken = before.clone();
    for key in keys {
        (key.take)(&mut taken, after);
    }
    taken == *after
}

macro_rules! key {
    ($name:literal, $resets:literal, $($field:ident).+) => {
        Key {
            name: $name,
            resets: $resets,
            value: |it| it.$($field).+.words(),
            same: |before, after| before.$($field).+ == after.$($field).+,
            take: |to, from| to.$($field).+ = from.$($field).+.clone(),
        }
    };
}

/// The keys of a neighbor. What is part of the connection or of our OPEN needs a new session;
/// what is done with routes does not.
pub(super) const NEIGHBOR: &[Key<Neighbor>] = &[
    key!("relation", false, relation),
    key!("import", false, import),
    key!("export", false, export),
    key!("prepend", false, prepend),
    key!("med", false, med),
    key!("communities", false, communities),
    key!("large-communities", false, large_communities),
    key!("max-prefixes", false, limits.prefixes),
    key!("max-as-path-length", false, limits.as_path_length),
    key!("bfd", false, bfd),
    key!("port", false, port),
    key!("route-reflector-client", false, reflector_client),
    key!("address", true, address),
    key!("asn", true, asn),
    key!("local-address", true, local_address),
    key!("hold-time", true, hold_time),
    key!("connect-retry", true, connect_retry),
    key!("delay-open", true, delay_open),
    key!("families", true, families),
    key!("next-hop-v4", true, next_hop_v4),
    key!("next-hop-v6", true, next_hop_v6),
    key!("next-hop-self", true, next_hop_self),
    key!("multihop", true, hops),
    key!("ttl-security", true, ttl_security),
    key!("password-file", true, password_file),
    key!("tcp-ao", true, tcp_ao),
    key!("passive", true, passive),
    key!("interface", true, interface),
    key!("role", true, offers.role),
    key!("strict-role", true, offers.strict_role),
    key!("extended-next-hop", true, offers.extended_next_hop),
    key!("graceful-restart", true, offers.graceful_restart),
    key!("add-path (receive)", true, offers.receive_paths),
    key!("add-path (send)", true, offers.send_paths),
];

/// The keys of a site beside its neighbors.
pub(super) const SITE: &[Key<Site>] = &[
    key!("city", false, city),
    key!("location", false, location),
    key!("region", false, region),
    key!("capacity", false, capacity),
    key!("multipath", false, multipath),
    key!("multipath-across-as", false, multipath_across_as),
    key!("stop-wait", false, stop_wait),
    key!("start-drained", false, start_drained),
    key!("looking-glass", false, looking_glass),
    key!("metrics", false, metrics),
    key!("api", false, api),
    key!("asn", true, asn),
    key!("router-id", true, router_id),
    key!("bgp-port", true, bgp_port),
    key!("listen", true, listen),
    key!("kernel-routes", true, kernel_routes),
    key!("router", true, router),
    key!("cluster-id", true, cluster_id),
    key!("state-dir", true, state_dir),
    // Looked at by themselves.
    Key {
        name: "neighbor",
        resets: false,
        value: |_| String::new(),
        same: |_, _| true,
        take: |to, from| to.neighbors.clone_from(&from.neighbors),
    },
    Key {
        name: "rpki",
        resets: false,
        value: |_| String::new(),
        same: |_, _| true,
        take: |to, from| to.rpki.clone_from(&from.rpki),
    },
    Key {
        name: "affinity",
        resets: false,
        value: |_| String::new(),
        same: |_, _| true,
        take: |to, from| to.affinity.clone_from(&from.affinity),
    },
];
