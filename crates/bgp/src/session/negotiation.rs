//! What an OPEN must say, what two OPENs agree on, and which of two connections survives.

use crate::iana::{capability, error_code, open_subcode};
use crate::message::{Capabilities, Context, MAX_LEN, Notification, Open, Update};
use crate::{Asn, Family};

use super::{Config, Connection, Established};

impl Config {
    /// Our OPEN.
    pub(super) fn open(&self) -> Open {
        Open {
            asn: self.local_asn,
            hold_time: self.hold_time,
            router_id: self.router_id,
            capabilities: Capabilities {
                families: Some(self.families.clone()),
                route_refresh: true,
                four_octet_asn: true,
                ..Capabilities::default()
            },
        }
    }

    /// How messages are encoded before the OPENs are exchanged.
    pub(super) const fn first_context(&self) -> Context {
        Context { four_octet_asn: true, ebgp: self.is_ebgp(), max_len: MAX_LEN }
    }

    const fn is_ebgp(&self) -> bool {
        let (Asn(local), Asn(peer)) = (self.local_asn, self.peer_asn);
        local != peer
    }

    /// What we and the sender of `open` agree on, or what is wrong with it:
    /// 1. the ASN is not the neighbor's (RFC 4271 §6.2);
    /// 2. inside an AS, the BGP Identifier is our own (RFC 6286 §2.2);
    /// 3. no address family is common (RFC 5492 §3 has us list those that we need).
    pub(super) fn negotiate(
        &self,
        connection: Connection,
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
        let theirs = open.capabilities.families.as_deref().unwrap_or(&[Family::Ipv4Unicast]);
        let families: Vec<Family> =
            self.families.iter().copied().filter(|family| theirs.contains(family)).collect();
        if families.is_empty() {
            let data = self.families.iter().copied().flat_map(multiprotocol_capability).collect();
            let refusal =
                Notification::new(error_code::OPEN_MESSAGE, open_subcode::UNSUPPORTED_CAPABILITY);
            return Err(Notification { data, ..refusal });
        }
        Ok(Established {
            connection,
            peer_router_id: open.router_id,
            hold_time: self.hold_time.min(open.hold_time),
            families,
            route_refresh: open.capabilities.route_refresh,
            context: Context {
                four_octet_asn: open.capabilities.four_octet_asn,
                ..self.first_context()
            },
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
        let wanted = |prefix: &_| self.families.contains(&Family::of(prefix));
        update.withdrawn.retain(wanted);
        for announcement in &mut update.announced {
            announcement.prefixes.retain(wanted);
        }
        update.announced.retain(|announcement| !announcement.prefixes.is_empty());
        update.end_of_rib = update.end_of_rib.filter(|family| self.families.contains(family));
    }
}

/// The capability as it stands in an OPEN: code, length, AFI, a reserved octet, SAFI.
const fn multiprotocol_capability(family: Family) -> [u8; 6] {
    let [afi_high, afi_low] = family.afi().to_be_bytes();
    [capability::MULTIPROTOCOL, 4, afi_high, afi_low, 0, family.safi()]
}
