//! What an OPEN must say, what two OPENs agree on, and which of two connections survives.

use crate::iana::{capability, error_code, open_subcode};
use crate::message::{
    AddPath, Capabilities, Context, EXTENDED_MAX_LEN, GracefulRestart, MAX_LEN, Nlri, Notification,
    Open, Update,
};
use crate::{Asn, Family, FamilySet, Role};

use super::{Config, Connection, Established, Offer};

impl Config {
    /// Our OPEN; a bare one has no capabilities.
    pub(super) fn open(&self, bare: bool) -> Open {
        Open {
            asn: self.local_asn,
            hold_time: self.hold_time,
            router_id: self.router_id,
            capabilities: self.capabilities(bare),
        }
    }

    pub(super) fn capabilities(&self, bare: bool) -> Capabilities {
        if bare {
            return Capabilities::default();
        }
        let Offer { extended_message, extended_next_hop, enhanced_route_refresh, .. } = self.offer;
        Capabilities {
            families: Some(self.families.clone()),
            route_refresh: true,
            extended_next_hop: extended_next_hop && self.families.contains(&Family::Ipv4Unicast),
            extended_message,
            role: self.role().map(Role::code),
            graceful_restart: self
                .offer
                .graceful_restart
                .map(|_| GracefulRestart { notification: true, ..GracefulRestart::default() }),
            long_lived_graceful_restart: self.offer.graceful_restart.map(|_| Vec::new()),
            four_octet_asn: true,
            enhanced_route_refresh,
            add_path: self.add_path(),
            ..Capabilities::default()
        }
    }

    /// The same of each family (RFC 7911 §4).
    fn add_path(&self) -> Vec<AddPath> {
        let (receive, send) = (self.offer.receive_paths, self.offer.send_paths > 0);
        let families = self.families.iter().filter(|_| receive || send);
        families.map(|family| AddPath { family: *family, receive, send }).collect()
    }

    /// Our role, which only another AS is told (RFC 9234 §4).
    fn role(&self) -> Option<Role> {
        self.offer.role.filter(|_| self.is_ebgp())
    }

    /// How messages are encoded before the OPENs are exchanged.
    pub(super) const fn first_context(&self) -> Context {
        Context::new(self.is_ebgp())
    }

    const fn is_ebgp(&self) -> bool {
        let (Asn(local), Asn(peer)) = (self.local_asn, self.peer_asn);
        local != peer
    }

    /// What we and the sender of `open` agree on, or what is wrong with it:
    /// 1. the ASN is not the neighbor's (RFC 4271 §6.2);
    /// 2. inside an AS, the BGP Identifier is our own (RFC 6286 §2.2);
    /// 3. the roles do not fit, or the neighbor's is missing and we insist (RFC 9234 §4.2);
    /// 4. no address family is common (RFC 5492 §3 has us list those that we need).
    ///
    /// `bare`: our own OPEN had no capabilities.
    pub(super) fn negotiate(
        &self,
        connection: Connection,
        bare: bool,
        open: &Open,
    ) -> Result<Established, Notification> {
        if open.asn != self.peer_asn {
            return Err(Notification::new(error_code::OPEN_MESSAGE, open_subcode::BAD_PEER_AS));
        }
        if !self.is_ebgp() && open.router_id == self.router_id {
            return Err(Notification::new(
                error_code::OPEN_MESSAGE,
                open_subcode::BAD_BGP_IDENTIFIER,
            ));
        }
        let (ours, theirs) = (self.capabilities(bare), &open.capabilities);
        let peer_role = theirs.role.and_then(Role::from_code);
        let roles_fit = match (self.role(), theirs.role) {
            (None, _) => true,
            (Some(_), None) => !self.offer.strict_role,
            (Some(role), Some(_)) => peer_role == Some(role.counterpart()),
        };
        if !roles_fit {
            return Err(Notification::new(error_code::OPEN_MESSAGE, open_subcode::ROLE_MISMATCH));
        }
        let ipv4_alone = || vec![Family::Ipv4Unicast];
        let their_families = theirs.families.clone().unwrap_or_else(ipv4_alone);
        let mut families = ours.families.clone().unwrap_or_else(ipv4_alone);
        families.retain(|family| their_families.contains(family));
        if families.is_empty() {
            let data = self.families.iter().copied().flat_map(multiprotocol_capability).collect();
            let refusal =
                Notification::new(error_code::OPEN_MESSAGE, open_subcode::UNSUPPORTED_CAPABILITY);
            return Err(Notification { data, ..refusal });
        }
        let path_ids_in = families_with(&ours.add_path, &theirs.add_path, &families);
        let path_ids_out = families_with(&theirs.add_path, &ours.add_path, &families);
        Ok(Established {
            connection,
            peer_router_id: open.router_id,
            hold_time: self.hold_time.min(open.hold_time),
            families,
            route_refresh: theirs.route_refresh,
            peer_role,
            context: Context {
                four_octet_asn: ours.four_octet_asn && theirs.four_octet_asn,
                max_len: if ours.extended_message && theirs.extended_message {
                    EXTENDED_MAX_LEN
                } else {
                    MAX_LEN
                },
                extended_next_hop: ours.extended_next_hop && theirs.extended_next_hop,
                enhanced_route_refresh: ours.enhanced_route_refresh
                    && theirs.enhanced_route_refresh,
                path_ids_in,
                path_ids_out,
                ..self.first_context()
            },
            peer_capabilities: theirs.clone(),
        })
    }

    /// Which connection survives a collision: the one that the speaker with the higher BGP
    /// Identifier opened (RFC 4271 §6.8), or with the higher ASN if those are equal (RFC 6286
    /// §2.3).
    pub(super) fn survivor(&self, open: &Open) -> Connection {
        if (self.router_id, self.local_asn) > (open.router_id, open.asn) {
            Connection::Dialled
        } else {
            Connection::Accepted
        }
    }
}

impl Established {
    /// Takes out of `update` the routes of families that were not agreed on; RFC 4760 §8 lets
    /// nobody send them.
    pub(super) fn keep_negotiated(&self, update: &mut Update) {
        let wanted = |nlri: &Nlri| self.families.contains(&nlri.family());
        update.withdrawn.retain(wanted);
        for announcement in &mut update.announced {
            announcement.prefixes.retain(wanted);
        }
        update.announced.retain(|announcement| !announcement.prefixes.is_empty());
        update.end_of_rib = update.end_of_rib.filter(|family| self.families.contains(family));
    }
}

/// The agreed families of which one end offered to receive several paths, and the other to send
/// them (RFC 7911 §4).
fn families_with(receiver: &[AddPath], sender: &[AddPath], agreed: &[Family]) -> FamilySet {
    let receives = |family| receiver.iter().any(|one| one.family == family && one.receive);
    let sends = |family| sender.iter().any(|one| one.family == family && one.send);
    agreed.iter().copied().filter(|family| receives(*family) && sends(*family)).collect()
}

/// The capability as it stands in an OPEN: code, length, AFI, a reserved octet, SAFI.
const fn multiprotocol_capability(family: Family) -> [u8; 6] {
    let [afi_high, afi_low] = family.afi().to_be_bytes();
    [capability::MULTIPROTOCOL, 4, afi_high, afi_low, 0, family.safi()]
}
