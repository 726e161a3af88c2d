//! Whose a packet is.

use std::net::SocketAddr;

use super::octets::{address, be16, be32, octet, timestamp};
use super::{Action, Course, From, Plan, Purpose, Verdict};
use crate::config::SiteId;
use crate::counters::Reason;
use crate::quic_lb;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where the headers of a packet lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) l3: usize,
    pub(super) v6: bool,
    pub(super) protocol: u8,
}

impl Place {
    pub(super) fn l4(self) -> usize {
        self.l3 + if self.v6 { 40 } else { 20 }
    }
}

impl Course<'_> {
    pub(super) fn ingress(&mut self) -> Action {
        let Some((place, purpose)) = self.look() else { return Action::Pass };
        let (place, verdict) = match purpose {
            Purpose::Tunnel => match self.unwrap(place) {
                Some(Ok((place, purpose, from))) => (place, self.serve(place, purpose, from)),
                Some(Err(reason)) => {
                    self.reasons.push(reason);
                    return Action::Drop;
                }
                None => return Action::Pass,
            },
            service @ Purpose::Service { .. } => (place, self.serve(place, service, From::Wire)),
        };
        match verdict {
            Verdict::Here => Action::Pass,
            Verdict::Refuse => Action::Drop,
            Verdict::Forward(plan) => self.wrap(place, plan),
        }
    }

    /// The headers of a packet to one of our addresses that are as we can read them.
    fn look(&mut self) -> Option<(Place, Purpose)> {
        let packet = &self.octets;
        if packet.len() < 34 {
            return None;
        }
        let mut l3 = 14;
        while l3 < 22 && matches!(be16(packet, l3 - 2)?, 0x8100 | 0x88a8) {
            l3 += 4;
        }
        let kind = be16(packet, l3 - 2)?;
        let v6 = match kind {
            0x0800 => false,
            0x86dd => true,
            _ => return None,
        };
        packet.get(l3..l3 + if v6 { 40 } else { 20 })?;
        let purpose = self.world.purpose(address(packet, l3 + if v6 { 24 } else { 16 }, v6)?)?;
        let plain = if v6 { octet(packet, l3)? >> 4 == 6 } else { octet(packet, l3)? == 0x45 };
        let protocol = octet(packet, l3 + if v6 { 6 } else { 9 })?;
        let fragment = if v6 { protocol == 44 } else { be16(packet, l3 + 6)? & 0x3fff != 0 };
        let place = Place { l3, v6, protocol };
        if purpose == Purpose::Tunnel {
            let ours = plain
                && !fragment
                && protocol == UDP
                && packet.get(..place.l4() + 8).is_some()
                && be16(packet, place.l4() + 2)? == self.world.config.port;
            return ours.then_some((place, purpose));
        }
        let extended = v6 && matches!(protocol, 0 | 43 | 60 | 51);
        // IPv6 tells a fragment by its header's kind alone, IPv4 only once its header is plain.
        let reason = match (v6, fragment) {
            (true, true) => Reason::Fragment,
            _ if !plain || extended => Reason::Options,
            (false, true) => Reason::Fragment,
            _ => return Some((place, purpose)),
        };
        self.reasons.push(reason);
        None
    }

    fn serve(&mut self, place: Place, purpose: Purpose, from: From) -> Verdict {
        let Purpose::Service { tcp, quic } = purpose else { return Verdict::Here };
        let to = be16(&self.octets, place.l4() + 2);
        match place.protocol {
            TCP if tcp => self.tcp(place, from),
            UDP if quic.is_some() && quic == to => self.quic(place, from),
            1 if tcp && !place.v6 => self.icmp(place, from).unwrap_or(Verdict::Here),
            58 if tcp && place.v6 => self.icmp(place, from).unwrap_or(Verdict::Here),
            _ => Verdict::Here,
        }
    }

    fn here(&mut self, reason: Reason) -> Verdict {
        self.reasons.push(reason);
        Verdict::Here
    }

    fn tcp(&mut self, place: Place, from: From) -> Verdict {
        let l4 = place.l4();
        let Some(header) = self.octets.get(l4..l4 + 20) else {
            return self.here(Reason::Malformed);
        };
        let (flags, offset) = (header[13], usize::from(header[12] >> 4) * 4);
        if flags & 0x02 != 0 {
            self.reasons.push(Reason::Syn);
            return if from == From::Wire { Verdict::Here } else { Verdict::Refuse };
        }
        let mut echoed = 0;
        if flags & 0x10 != 0 && offset >= 32 {
            let behind = &self.octets[l4 + 20..];
            // The usual layout is read even where later options are cut off.
            echoed = match behind.get(..12) {
                Some(usual) if usual.starts_with(&[1, 1, 8, 10]) => be32(usual, 8),
                _ => behind.get(..offset - 20).and_then(timestamp).map(|words| words[1]),
            }
            .unwrap_or(0);
        }
        let hint = self.hint(echoed);
        let v6 = place.v6;
        let ends = (|| {
            let packet = &self.octets;
            let source = address(packet, place.l3 + if v6 { 8 } else { 12 }, v6)?;
            let to = address(packet, place.l3 + if v6 { 24 } else { 16 }, v6)?;
            Some((
                SocketAddr::new(source, be16(packet, l4)?),
                SocketAddr::new(to, be16(packet, l4 + 2)?),
            ))
        })();
        // A SYN-ACK's TSval has no id, so its echo may name this site by chance.
        if hint == Some(self.world.config.me)
            && ends.is_some_and(|(client, service)| (self.world.has_socket)(client, service))
        {
            return self.here(Reason::OwnId);
        }
        self.owned(hint, ends, from, Reason::ForwardedHint)
    }

    /// The site that a timestamp names, if it names one. A timestamp of 0 was never sent.
    fn hint(&self, timestamp: u32) -> Option<SiteId> {
        let mask = (1_u32 << self.world.config.id_bits) - 1;
        SiteId::new(u8::try_from(timestamp & mask).ok()?)
    }

    fn owned(
        &mut self,
        hint: Option<SiteId>,
        ends: Option<(SocketAddr, SocketAddr)>,
        from: From,
        reason: Reason,
    ) -> Verdict {
        let config = self.world.config;
        if ends.is_some_and(|(client, service)| (self.world.has_socket)(client, service)) {
            return self.here(Reason::OwnSocket);
        }
        match from {
            From::Wire => {
                let alive = hint
                    .filter(|hint| config.peers.iter().any(|peer| peer.id == *hint && peer.alive));
                if let Some(to) = alive {
                    return Verdict::Forward(Plan {
                        to,
                        ring: false,
                        origin: config.me,
                        asked: Some(to),
                        hops: 1,
                        reason,
                    });
                }
                let to = config.after(config.me);
                if to == config.me {
                    return self.here(Reason::NoPeer);
                }
                Verdict::Forward(Plan {
                    to,
                    ring: true,
                    origin: config.me,
                    asked: None,
                    hops: 1,
                    reason: Reason::ForwardedRing,
                })
            }
            From::Hint { origin } => {
                // The ring begins where the origin would have begun it.
                let mut next = config.after(config.me);
                if config.peers.iter().any(|peer| peer.id == origin) {
                    next = config.after(origin);
                }
                if next == config.me {
                    next = config.after(config.me);
                }
                self.along(next, origin, Some(config.me), 1)
            }
            From::Ring { origin, asked, hops } => {
                let mut next = config.after(config.me);
                if Some(next) == asked {
                    next = config.after(next);
                }
                self.along(next, origin, asked, hops)
            }
        }
    }

    /// The ring goes on to the next site, unless that would ask somebody twice.
    fn along(&mut self, to: SiteId, origin: SiteId, asked: Option<SiteId>, hops: u8) -> Verdict {
        let config = self.world.config;
        if to == origin || to == config.me || usize::from(hops) > config.ring().len() {
            return self.here(Reason::LastOfRing);
        }
        Verdict::Forward(Plan {
            to,
            ring: true,
            origin,
            asked,
            hops: hops + 1,
            reason: Reason::ForwardedRing,
        })
    }

    fn quic(&mut self, place: Place, from: From) -> Verdict {
        let config = self.world.config;
        let site =
            self.octets.get(place.l4() + 8..).and_then(|datagram| quic_lb::owner(datagram, config));
        match site {
            Some(site) if site == config.me => self.here(Reason::OwnId),
            Some(site)
                if from == From::Wire
                    && config.peers.iter().any(|peer| peer.id == site && peer.alive) =>
            {
                Verdict::Forward(Plan {
                    to: site,
                    ring: false,
                    origin: config.me,
                    asked: Some(site),
                    hops: 1,
                    reason: Reason::ForwardedQuic,
                })
            }
            _ => self.here(Reason::NoConnectionId),
        }
    }

    /// An error about a TCP packet that was sent from the address that it came to. `None` if it is
    /// about something else.
    fn icmp(&mut self, place: Place, from: From) -> Option<Verdict> {
        let (packet, v6) = (&self.octets, place.v6);
        let kind = octet(packet, place.l4())?;
        let an_error = if v6 { matches!(kind, 1..=4) } else { matches!(kind, 3 | 11 | 12) };
        if !an_error {
            return None;
        }
        let quoted = place.l4() + 8;
        let quoted_l4 = quoted + if v6 { 40 } else { 20 };
        packet.get(quoted..quoted_l4)?;
        let plain = if v6 {
            octet(packet, quoted)? >> 4 == 6 && octet(packet, quoted + 6)? == TCP
        } else {
            octet(packet, quoted)? == 0x45
                && octet(packet, quoted + 9)? == TCP
                && matches!(be16(packet, quoted + 6)? & 0x1fff, 0)
        };
        let sender = address(packet, quoted + if v6 { 8 } else { 12 }, v6)?;
        if !plain || address(packet, place.l3 + if v6 { 24 } else { 16 }, v6)? != sender {
            return None;
        }
        let receiver = address(packet, quoted + if v6 { 24 } else { 16 }, v6)?;
        let (service, client) = (be16(packet, quoted_l4)?, be16(packet, quoted_l4 + 2)?);
        let sent = octet(packet, quoted_l4 + 12)
            .map(|offset| usize::from(offset >> 4) * 4)
            .filter(|offset| *offset >= 32)
            .and_then(|offset| timestamp(packet.get(quoted_l4 + 20..quoted_l4 + offset)?))
            .map_or(0, |words| words[0]);
        let ends = (SocketAddr::new(receiver, client), SocketAddr::new(sender, service));
        let hint = self.hint(sent);
        if hint == Some(self.world.config.me) && from == From::Wire {
            return Some(self.here(Reason::OwnId));
        }
        Some(self.owned(hint, Some(ends), from, Reason::ForwardedIcmp))
    }
}
