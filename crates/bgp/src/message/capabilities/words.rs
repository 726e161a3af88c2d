//! Capabilities in words for operators: what the codes alone do not say.

use super::{AddPath, Capabilities, GracefulRestart, KNOWN, LongLived, code};
use crate::role::Role;

impl Capabilities {
    /// What is offered, one item a capability, with what it says: families, the role, times.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let families = self.families.as_deref().unwrap_or_default();
        let flag = |holds: bool, words: &str| holds.then(|| words.to_owned());
        let flags = [
            flag(self.route_refresh, "route refresh"),
            flag(self.enhanced_route_refresh, "enhanced route refresh"),
            flag(self.extended_next_hop, "IPv4 with IPv6 next hops"),
            flag(self.extended_message, "extended messages"),
            flag(self.four_octet_asn, "four-octet AS numbers"),
            self.role.map(|value| match Role::from_code(value) {
                Some(role) => format!("role {role}"),
                None => format!("role {value}"),
            }),
            self.graceful_restart.as_ref().map(restart),
            self.long_lived_graceful_restart.as_deref().map(long_lived),
        ];
        let known = |code: &u8| KNOWN.iter().any(|known| known.code == *code);
        let others = self.codes.iter().filter(|code| !known(code)).map(|code| {
            code::name(*code).map_or_else(|| format!("capability {code}"), str::to_owned)
        });
        (families.iter().map(ToString::to_string))
            .chain(flags.into_iter().flatten())
            .chain(self.add_path.iter().copied().map(add_path))
            .chain(others)
            .collect()
    }
}

fn add_path(one: AddPath) -> String {
    let way = match (one.send, one.receive) {
        (true, true) => "send and receive",
        (true, false) => "send",
        (false, _) => "receive",
    };
    format!("add-path {} ({way})", one.family)
}

fn restart(restart: &GracefulRestart) -> String {
    let families: Vec<String> = restart.families.iter().map(|one| one.family.to_string()).collect();
    let mut words = match families.as_slice() {
        [] => "graceful restart (helper only)".to_owned(),
        some => {
            let seconds = restart.restart_time.as_secs();
            format!("graceful restart ({seconds} s: {})", some.join(", "))
        }
    };
    if restart.notification {
        words.push_str(" with NOTIFICATIONs");
    }
    if restart.restarted {
        words.push_str(", it has restarted");
    }
    words
}

fn long_lived(families: &[LongLived]) -> String {
    let of = |one: &LongLived| format!("{} {} s", one.family, one.stale_time.as_secs());
    let families: Vec<String> = families.iter().map(of).collect();
    if families.is_empty() {
        return "long-lived graceful restart (helper only)".to_owned();
    }
    format!("long-lived graceful restart ({})", families.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Family;
    use crate::message::Preserved;

    #[test]
    fn each_capability_has_its_words() {
        assert_eq!(Capabilities::default().words(), [""; 0]);
        let all = Capabilities {
            families: Some(Family::ALL.to_vec()),
            route_refresh: true,
            extended_next_hop: true,
            extended_message: true,
            role: Some(Role::Provider.code()),
            graceful_restart: Some(GracefulRestart {
                restarted: true,
                notification: true,
                restart_time: Duration::from_secs(120),
                families: vec![Preserved { family: Family::Ipv4Unicast, forwarding: true }],
            }),
            four_octet_asn: true,
            add_path: vec![AddPath { family: Family::Ipv6Unicast, receive: true, send: false }],
            enhanced_route_refresh: true,
            long_lived_graceful_restart: Some(vec![LongLived {
                family: Family::Ipv4Unicast,
                forwarding: false,
                stale_time: Duration::from_secs(3600),
            }]),
            // Route Refresh, which is said above, its forerunner, and one that nobody knows.
            codes: vec![2, 128, 239],
        };
        assert_eq!(
            all.words(),
            [
                "ipv4",
                "ipv6",
                "route refresh",
                "enhanced route refresh",
                "IPv4 with IPv6 next hops",
                "extended messages",
                "four-octet AS numbers",
                "role provider",
                "graceful restart (120 s: ipv4) with NOTIFICATIONs, it has restarted",
                "long-lived graceful restart (ipv4 3600 s)",
                "add-path ipv6 (receive)",
                "prestandard-route-refresh",
                "capability 239",
            ]
        );
        let odd = Capabilities {
            role: Some(77),
            graceful_restart: Some(GracefulRestart::default()),
            add_path: vec![AddPath { family: Family::Ipv4Unicast, receive: true, send: true }],
            ..Capabilities::default()
        };
        assert_eq!(
            odd.words(),
            ["role 77", "graceful restart (helper only)", "add-path ipv4 (send and receive)"]
        );
    }
}
