//! What two sides agreed on, in words for operators.

use crate::Role;
use crate::message::MAX_LEN;

use super::Established;

impl Established {
    /// What is in force on the session, one item a capability; what only one side offered is not.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let families = self.families.iter().map(ToString::to_string);
        let flag = |holds: bool, words: &str| holds.then(|| words.to_owned());
        let context = &self.context;
        let flags = [
            flag(self.route_refresh, "route refresh"),
            flag(context.enhanced_route_refresh, "enhanced route refresh"),
            flag(context.extended_next_hop, "IPv4 with IPv6 next hops"),
            flag(context.max_len > MAX_LEN, "extended messages"),
            flag(context.four_octet_asn, "four-octet AS numbers"),
            self.peer_role
                .map(Role::counterpart)
                .zip(self.peer_role)
                .map(|(ours, theirs)| format!("roles: we are {ours}, it is {theirs}")),
        ];
        let paths = self.families.iter().filter_map(|family| {
            let (receive, send) = (context.path_ids_in, context.path_ids_out);
            let way = match (receive.contains(*family), send.contains(*family)) {
                (false, false) => return None,
                (true, false) => "receive",
                (false, true) => "send",
                (true, true) => "send and receive",
            };
            Some(format!("add-path {family} ({way})"))
        });
        families.chain(flags.into_iter().flatten()).chain(paths).collect()
    }
}
