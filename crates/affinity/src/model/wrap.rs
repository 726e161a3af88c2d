//! Into a frame and out of one.

use std::net::IpAddr;

use super::decide::Place;
use super::frame::{self, Frame};
use super::octets::{address, be16, octet, sum};
use super::{Action, Context, Course, From, Plan, Purpose};
use crate::config::{Peer, SiteId};
use crate::counters::Reason;

/// How old a frame may be, and how far ahead of our clock, in its units of time.
const PAST: u32 = 8;
const FUTURE: u32 = 4;

/// What a frame held: where its headers lie, what its address is for, how it came.
type Unwrapped = (Place, Purpose, From);

impl Course<'_> {
    /// Wraps the packet for another site.
    pub(super) fn wrap(&mut self, place: Place, plan: Plan) -> Action {
        let config = self.world.config;
        let xdp = self.world.context == Context::Xdp;
        let Some(peer) = config.peers.iter().find(|peer| peer.id == plan.to) else {
            return Action::Pass;
        };
        if !xdp && place.l3 != 14 {
            self.reasons.push(Reason::Failed);
            return Action::Pass;
        }
        let Some(length) = self.whole(place) else {
            self.reasons.push(Reason::Malformed);
            return Action::Pass;
        };
        let (l3, v6) = (place.l3, place.v6);
        let hop_limit_at = l3 + if v6 { 7 } else { 8 };
        if self.octets[hop_limit_at] <= 1 {
            self.reasons.push(Reason::HopLimit);
            return Action::Drop;
        }
        let outer6 = config.outer_is_v6(peer) == Some(true);
        let room = if outer6 { 68 } else { 48 };
        if length + room > usize::from(config.mtu) {
            self.reasons.push(Reason::TooBig);
            return self.too_big(place, usize::from(config.mtu) - room);
        }
        if xdp {
            self.complete_checksum(place, length);
        }
        self.octets[hop_limit_at] -= 1;
        if !v6 {
            let check = be16(&self.octets, l3 + 10).unwrap_or_default();
            // RFC 1141, with the carry around: the highest octet of a word became smaller by one.
            let check = u32::from(check) + 0x100;
            let check = u16::try_from(check & 0xffff)
                .expect("masked")
                .wrapping_add(u16::from(check >= 0xffff));
            self.octets[l3 + 10..l3 + 12].copy_from_slice(&check.to_be_bytes());
        }
        let header = self.outer(peer, place, length, outer6);
        let frame = Frame {
            ring: plan.ring,
            inner6: v6,
            loose: !xdp,
            epoch: config.key.epoch,
            sender: config.me.get(),
            origin: plan.origin.get(),
            asked: plan.asked.map_or(0, SiteId::get),
            hops: plan.hops,
            length: if xdp { u16::try_from(length).expect("an IP packet") } else { 0 },
            time: self.world.frame_time(),
        };
        let frame = frame.emit(&config.key, &self.octets[l3..], plan.to).expect("it is whole");
        self.octets.splice(l3..l3, header.into_iter().chain(frame));
        self.set_family(l3, outer6);
        self.turn_around();
        self.reasons.push(plan.reason);
        Action::Send
    }

    /// The length of an IP packet that is there as a whole, with 20 octets behind its header.
    fn whole(&self, place: Place) -> Option<usize> {
        let header = if place.v6 { 40 } else { 20 };
        let said = usize::from(be16(&self.octets, place.l3 + if place.v6 { 4 } else { 2 })?);
        let length = if place.v6 { said + 40 } else { said };
        (length >= header + 20 && self.octets.len() >= place.l3 + length).then_some(length)
    }

    /// The outer IP and UDP headers.
    fn outer(&self, peer: &Peer, place: Place, length: usize, outer6: bool) -> Vec<u8> {
        let config = self.world.config;
        let packet = &self.octets[place.l3..];
        let class = if place.v6 { packet[0] << 4 | packet[1] >> 4 } else { packet[1] };
        let word =
            |at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().expect("four octets"));
        let spread = if place.v6 { word(40) ^ word(20) } else { word(20) ^ word(12) };
        let spread = spread.wrapping_mul(0x9e37_79b1) >> 18;
        let behind = u16::try_from(length + 8 + frame::LENGTH).expect("it fits the MTU");
        let mut header = Vec::new();
        if outer6 {
            header.extend_from_slice(&[0x60 | class >> 4, class << 4, 0, 0]);
            header.extend_from_slice(&behind.to_be_bytes());
            header.extend_from_slice(&[17, 64]);
            for end in [config.tunnel_v6, peer.v6] {
                header.extend_from_slice(&end.expect("the way is IPv6").octets());
            }
        } else {
            header.extend_from_slice(&[0x45, class]);
            header.extend_from_slice(&(behind + 20).to_be_bytes());
            header.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
            for end in [config.tunnel_v4, peer.v4] {
                header.extend_from_slice(&end.expect("the way is IPv4").octets());
            }
            let check = !sum(&[&header]);
            header[10..12].copy_from_slice(&check.to_be_bytes());
        }
        let source = 0xc000 | u16::try_from(spread).expect("fourteen bits");
        for word in [source, config.port, behind, 0] {
            header.extend_from_slice(&word.to_be_bytes());
        }
        header
    }

    /// Back to the router that it came from. The programs do so where they know no other way.
    fn turn_around(&mut self) {
        let (to, from) = self.octets.split_at_mut(6);
        to.swap_with_slice(&mut from[..6]);
    }

    fn set_family(&mut self, l3: usize, v6: bool) {
        let kind: u16 = if v6 { 0x86dd } else { 0x0800 };
        self.octets[l3 - 2..l3].copy_from_slice(&kind.to_be_bytes());
    }

    /// The sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
    fn pseudo(&self, place: Place, length: usize) -> u16 {
        let packet = &self.octets[place.l3..];
        let (addresses, header) =
            if place.v6 { (&packet[8..40], 40) } else { (&packet[12..20], 20) };
        let behind = u16::try_from(length - header).expect("an IP packet").to_be_bytes();
        sum(&[addresses, &[0, place.protocol], &behind])
    }

    /// A checksum that was left to a network card holds the pseudo-header's sum only.
    fn complete_checksum(&mut self, place: Place, length: usize) {
        let at = match place.protocol {
            6 => place.l4() + 16,
            17 => place.l4() + 6,
            _ => return,
        };
        if be16(&self.octets, at) != Some(self.pseudo(place, length)) {
            return;
        }
        let mut check = !sum(&[&self.octets[place.l4()..place.l3 + length]]);
        if place.protocol == 17 && check == 0 {
            check = 0xffff;
        }
        self.octets[at..at + 2].copy_from_slice(&check.to_be_bytes());
        self.reasons.push(Reason::CompletedChecksum);
    }

    /// The packet becomes the error that its sender gets (RFC 792; RFC 4443, section 3.2), with as much
    /// of it as is always there.
    fn too_big(&mut self, place: Place, mtu: usize) -> Action {
        if matches!(place.protocol, 1 | 58) {
            return Action::Drop;
        }
        let (l3, v6) = (place.l3, place.v6);
        let mut quoted = self.octets[l3..l3 + if v6 { 60 } else { 40 }].to_vec();
        let l4 = quoted.len() - 20;
        let check = l4 + if place.protocol == 6 { 16 } else { 6 };
        // A datagram without a checksum has none to be filled in.
        let is_filled = place.protocol == 6 || quoted[check..check + 2] != [0, 0];
        if self.world.context == Context::Tc && is_filled {
            // A card that fills the checksum in leaves this value as it is: c = !(sum + c).
            quoted[check..check + 2].fill(0);
            let fixed = (!sum(&[&quoted[l4..]])).rotate_right(1);
            quoted[check..check + 2].copy_from_slice(&fixed.to_be_bytes());
        }
        let mut icmp = if v6 { vec![2, 0, 0, 0] } else { vec![3, 4, 0, 0] };
        icmp.extend_from_slice(&u32::try_from(mtu).expect("an MTU").to_be_bytes());
        icmp.extend_from_slice(&quoted);
        let mut header;
        let check;
        if v6 {
            header = vec![0x60, 0, 0, 0, 0, 68, 58, 64];
            header.extend_from_slice(&quoted[24..40]);
            header.extend_from_slice(&quoted[8..24]);
            check = !sum(&[&header[8..], &[0, 68, 0, 58], &icmp]);
        } else {
            header = vec![0x45, 0, 0, 68, 0, 0, 0, 0, 64, 1, 0, 0];
            header.extend_from_slice(&quoted[16..20]);
            header.extend_from_slice(&quoted[12..16]);
            let check_ip = !sum(&[&header]);
            header[10..12].copy_from_slice(&check_ip.to_be_bytes());
            check = !sum(&[&icmp]);
        }
        icmp[2..4].copy_from_slice(&check.to_be_bytes());
        self.octets.truncate(l3);
        self.octets.extend(header);
        self.octets.extend(icmp);
        self.turn_around();
        Action::Send
    }

    /// Takes a packet out of its frame. `None` where this context leaves it to the kernel.
    pub(super) fn unwrap(&mut self, place: Place) -> Option<Result<Unwrapped, Reason>> {
        if self.world.context == Context::Tc && place.l3 != 14 {
            return None;
        }
        Some(self.judge(place))
    }

    fn judge(&mut self, outer: Place) -> Result<Unwrapped, Reason> {
        let config = self.world.config;
        let packet = &self.octets;
        let (l3, udp) = (outer.l3, outer.l4());
        let behind = be16(packet, udp + 4).ok_or(Reason::RejectedFormat)?;
        let said = be16(packet, l3 + if outer.v6 { 4 } else { 2 }).ok_or(Reason::RejectedFormat)?;
        if u32::from(said) != u32::from(behind) + if outer.v6 { 0 } else { 20 } {
            return Err(Reason::RejectedFormat);
        }
        let start = udp + 8 + frame::LENGTH;
        let inner =
            packet.get(start..).filter(|inner| inner.len() >= 40).ok_or(Reason::RejectedFormat)?;
        let (frame, tag) = Frame::parse(&packet[udp + 8..]).ok_or(Reason::RejectedFormat)?;

        let sender =
            SiteId::new(frame.sender).and_then(|id| config.peers.iter().find(|peer| peer.id == id));
        let from = address(packet, l3 + if outer.v6 { 8 } else { 12 }, outer.v6);
        let sender = sender
            .filter(|peer| {
                from.is_some()
                    && from
                        == if outer.v6 { peer.v6.map(IpAddr::V6) } else { peer.v4.map(IpAddr::V4) }
            })
            .ok_or(Reason::RejectedSource)?;
        let straight = frame.hops == 1 && frame.origin == sender.id.get();
        if frame.hops == 0
            || usize::from(frame.hops) > config.ring().len() + 1
            || frame.origin == 0
            || frame.origin == config.me.get()
            || (!frame.ring && !straight)
        {
            return Err(Reason::RejectedHops);
        }
        if !frame.ring && frame.asked != config.me.get() {
            return Err(Reason::RejectedFormat);
        }
        let key = frame::key(config, frame.epoch).ok_or(Reason::RejectedEpoch)?;

        let place = Self::acceptable(&frame, inner, usize::from(behind), l3)?;
        let to = address(inner, if frame.inner6 { 24 } else { 16 }, frame.inner6)
            .ok_or(Reason::RejectedInner)?;
        let purpose = self.world.purpose(to).ok_or(Reason::RejectedInner)?;
        let Purpose::Service { tcp, quic } = purpose else { return Err(Reason::RejectedInner) };
        let l4 = place.l4() - l3;
        let served = match place.protocol {
            6 => tcp && octet(inner, l4 + 13).is_some_and(|flags| flags & 0x02 == 0),
            17 => quic.is_some() && quic == be16(inner, l4 + 2),
            1 => tcp && !frame.inner6,
            58 => tcp && frame.inner6,
            _ => false,
        };
        if !served {
            return Err(Reason::RejectedInner);
        }
        if frame.tag(key, inner, config.me) != Some(tag) {
            return Err(Reason::RejectedMac);
        }
        if self.world.frame_time().wrapping_sub(frame.time).wrapping_add(FUTURE) > PAST + FUTURE {
            return Err(Reason::RejectedAge);
        }
        let class = |at: usize, v6: bool| {
            if v6 { packet[at] << 4 | packet[at + 1] >> 4 } else { packet[at + 1] }
        };
        let (met, knows) = (class(l3, outer.v6) & 3, class(start, frame.inner6) & 3);
        if met == 3 && knows == 0 {
            return Err(Reason::RejectedEcn);
        }
        let origin = SiteId::new(frame.origin).ok_or(Reason::RejectedHops)?;
        self.reasons.push(Reason::Unwrapped);
        self.octets.drain(l3..start);
        self.set_family(l3, frame.inner6);
        if met == 3 && knows != 3 {
            self.mark_congested(place);
        }
        let from = if frame.ring {
            From::Ring { origin, asked: SiteId::new(frame.asked), hops: frame.hops }
        } else {
            From::Hint { origin }
        };
        Ok((place, purpose, from))
    }

    /// Whether the inner packet is one that we read, and as long as everything says.
    fn acceptable(frame: &Frame, inner: &[u8], behind: usize, l3: usize) -> Result<Place, Reason> {
        let (place, length, header);
        if frame.inner6 {
            if inner.len() < 60 || inner[0] >> 4 != 6 {
                return Err(Reason::RejectedInner);
            }
            place = Place { l3, v6: true, protocol: inner[6] };
            length = 40 + usize::from(be16(inner, 4).unwrap_or_default());
            header = 40;
        } else {
            if inner[0] != 0x45 || be16(inner, 6).unwrap_or_default() & 0x3fff != 0 {
                return Err(Reason::RejectedInner);
            }
            place = Place { l3, v6: false, protocol: inner[9] };
            length = usize::from(be16(inner, 2).unwrap_or_default());
            header = 20;
        }
        if length < header + 20 {
            return Err(Reason::RejectedInner);
        }
        let signed = if frame.loose { 0 } else { length };
        if length + frame::LENGTH + 8 != behind
            || length > inner.len()
            || usize::from(frame.length) != signed
        {
            return Err(Reason::RejectedFormat);
        }
        Ok(place)
    }

    /// Congestion that the frame met is handed on (RFC 6040, section 4.2).
    fn mark_congested(&mut self, place: Place) {
        let l3 = place.l3;
        if place.v6 {
            self.octets[l3 + 1] |= 0x30;
            return;
        }
        let before = be16(&self.octets, l3).unwrap_or_default();
        self.octets[l3 + 1] |= 3;
        let after = be16(&self.octets, l3).unwrap_or_default();
        let check = be16(&self.octets, l3 + 10).unwrap_or_default();
        // RFC 1624, equation 3.
        let check =
            !sum(&[&(!check).to_be_bytes(), &(!before).to_be_bytes(), &after.to_be_bytes()]);
        self.octets[l3 + 10..l3 + 12].copy_from_slice(&check.to_be_bytes());
    }
}
