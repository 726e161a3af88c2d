//! What each decoder finds in an UPDATE, in one form.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anycast_bgp::IpNet;
use anycast_bgp::as_path::SegmentKind;
use anycast_bgp::message::{Context, Message, Reaction as Revised};
use bgpkit_parser::models::{
    AsnLength, AttributeValue, BgpMessage as TheirMessage, Safi as TheirSafi,
};
use bytes::Bytes;
use netgauze_bgp_pkt::BgpMessage as GauzeMessage;
use netgauze_bgp_pkt::community::Community;
use netgauze_bgp_pkt::path_attribute::{AsPath, MpReach, MpUnreach, PathAttributeValue};
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use rustbgpd_wire::{
    Afi, AsPathSegment, ErrorDisposition, Message as WireMessage, PathAttribute, Prefix, Safi,
};

/// What becomes of the UPDATE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Routes(Routes),
    /// All its prefixes are withdrawn.
    Withdrawn,
    /// The session ends.
    Reset,
}

/// The same without the routes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reaction {
    Routes,
    Withdrawn,
    Reset,
}

/// Prefixes withdrawn, and announced with what their routes say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Routes {
    withdrawn: BTreeSet<IpNet>,
    announced: BTreeMap<IpNet, Says>,
}

/// The attributes that all decoders know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Says {
    next_hop: Option<IpAddr>,
    origin: u8,
    path: Vec<u32>,
    med: Option<u32>,
    communities: BTreeSet<u32>,
}

impl Found {
    pub(crate) fn reaction(&self) -> Reaction {
        match self {
            Self::Routes(_) => Reaction::Routes,
            Self::Withdrawn => Reaction::Withdrawn,
            Self::Reset => Reaction::Reset,
        }
    }
}

impl Routes {
    pub(crate) fn prefixes(&self) -> (Vec<IpNet>, Vec<IpNet>) {
        (self.withdrawn.iter().copied().collect(), self.announced.keys().copied().collect())
    }

    fn announce(
        &mut self,
        says: &Says,
        next_hop: Option<IpAddr>,
        nets: impl Iterator<Item = IpNet>,
    ) {
        for net in nets {
            self.announced.insert(net.trunc(), Says { next_hop, ..says.clone() });
        }
    }
}

pub(crate) fn ours(octets: &[u8]) -> Found {
    let update = match Message::parse(octets, &Context::new(true)) {
        Ok(Message::Update(update)) => update,
        Ok(other) => panic!("{other:?}"),
        Err(_) => return Found::Reset,
    };
    if update.faults.iter().any(|fault| fault.reaction == Revised::TreatAsWithdraw) {
        return Found::Withdrawn;
    }
    let mut routes = Routes::default();
    routes.withdrawn.extend(update.withdrawn.iter().map(|nlri| nlri.prefix));
    for announcement in &update.announced {
        let attributes = &announcement.attributes;
        let segments = attributes.as_path.segments();
        let known =
            segments.filter(|it| matches!(it.kind, SegmentKind::AsSequence | SegmentKind::AsSet));
        let says = Says {
            next_hop: None,
            origin: attributes.origin as u8,
            path: known.flat_map(|it| it.asns.iter().map(|asn| asn.0)).collect(),
            med: attributes.med,
            communities: attributes.communities.iter().map(|community| community.0).collect(),
        };
        let nets = announcement.prefixes.iter().map(|nlri| nlri.prefix);
        routes.announce(&says, Some(attributes.next_hop.address), nets);
    }
    Found::Routes(routes)
}

fn net(address: impl Into<IpAddr>, len: u8) -> IpNet {
    IpNet::new(address.into(), len).unwrap().trunc()
}

fn wire_net(prefix: &Prefix) -> IpNet {
    match prefix {
        Prefix::V4(prefix) => net(prefix.addr, prefix.len),
        Prefix::V6(prefix) => net(prefix.addr, prefix.len),
    }
}

pub(crate) fn rustbgpd(octets: &[u8]) -> Found {
    let mut bytes = Bytes::copy_from_slice(octets);
    let Ok(WireMessage::Update(raw)) = rustbgpd_wire::decode_message(&mut bytes, 4096) else {
        return Found::Reset;
    };
    let Ok(parsed) = raw.parse_revised(true, false, false, &[]) else { return Found::Reset };
    let mut worst = parsed.malformed.iter().map(|it| it.disposition).max_by_key(|it| *it as u8);
    let update = parsed.update;
    let unicast = |afi, safi| matches!(afi, Afi::Ipv4 | Afi::Ipv6) && safi == Safi::Unicast;
    let mp = update.attributes.iter().any(|it| matches!(it, PathAttribute::MpReachNlri(_)));
    let in_body = !update.announced.is_empty();
    if let Err(error) = rustbgpd_wire::validate::validate_update_attributes(
        &update.attributes,
        in_body || mp,
        in_body,
        true,
    ) {
        worst = worst.into_iter().chain([error.disposition]).max_by_key(|it| *it as u8);
    }
    match worst {
        Some(ErrorDisposition::SessionReset) => return Found::Reset,
        Some(ErrorDisposition::TreatAsWithdraw) => return Found::Withdrawn,
        _ => {}
    }
    let mut routes = Routes::default();
    let mut says = Says::default();
    let mut next_hop = None;
    routes.withdrawn.extend(update.withdrawn.iter().map(|it| net(it.prefix.addr, it.prefix.len)));
    let mut reach = None;
    for attribute in &update.attributes {
        match attribute {
            PathAttribute::Origin(origin) => says.origin = *origin as u8,
            PathAttribute::AsPath(path) => {
                let asns = |segment: &AsPathSegment| match segment {
                    AsPathSegment::AsSet(asns) | AsPathSegment::AsSequence(asns) => asns.clone(),
                };
                says.path = path.segments.iter().flat_map(asns).collect();
            }
            PathAttribute::NextHop(address) => next_hop = Some(IpAddr::V4(*address)),
            PathAttribute::Med(med) => says.med = Some(*med),
            PathAttribute::Communities(all) | PathAttribute::CommunitiesPartial(all) => {
                says.communities = all.iter().copied().collect();
            }
            PathAttribute::MpReachNlri(it) if unicast(it.afi, it.safi) => reach = Some(it),
            PathAttribute::MpUnreachNlri(it) if unicast(it.afi, it.safi) => {
                routes.withdrawn.extend(it.withdrawn.iter().map(|it| wire_net(&it.prefix)));
            }
            _ => {}
        }
    }
    let body = update.announced.iter().map(|it| net(it.prefix.addr, it.prefix.len));
    routes.announce(&says, next_hop, body);
    if let Some(reach) = reach {
        let nets = reach.announced.iter().map(|it| wire_net(&it.prefix));
        routes.announce(&says, Some(reach.next_hop), nets);
    }
    Found::Routes(routes)
}

pub(crate) fn netgauze(octets: &[u8]) -> Found {
    let mut context = BgpParsingContext::default();
    let mut reader = SliceReader::new(octets);
    let Ok(GauzeMessage::Update(update)) = GauzeMessage::parse(&mut reader, &mut context) else {
        return Found::Reset;
    };
    let mut routes = Routes::default();
    let mut says = Says::default();
    let mut next_hop = None;
    let mut reach = None;
    let v4 = |it: &netgauze_bgp_pkt::nlri::Ipv4UnicastAddress| IpNet::V4(it.network().address());
    let v6 = |it: &netgauze_bgp_pkt::nlri::Ipv6UnicastAddress| IpNet::V6(it.network().address());
    routes.withdrawn.extend(update.withdraw_routes().iter().map(v4).map(|it| it.trunc()));
    for attribute in update.path_attributes() {
        match attribute.value() {
            PathAttributeValue::Origin(origin) => says.origin = *origin as u8,
            PathAttributeValue::AsPath(AsPath::As4PathSegments(segments)) => {
                says.path = segments.iter().flat_map(|it| it.as_numbers().to_vec()).collect();
            }
            PathAttributeValue::NextHop(hop) => next_hop = Some(IpAddr::V4(hop.next_hop())),
            PathAttributeValue::MultiExitDiscriminator(med) => says.med = Some(med.metric()),
            PathAttributeValue::Communities(all) => {
                says.communities = all.communities().iter().map(Community::value).collect();
            }
            PathAttributeValue::MpReach(it) => reach = Some(it),
            PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                routes.withdrawn.extend(nlri.iter().map(v6).map(|it| it.trunc()));
            }
            _ => {}
        }
    }
    routes.announce(&says, next_hop, update.nlri().iter().map(v4));
    if let Some(MpReach::Ipv6Unicast { next_hop_global, nlri, .. }) = reach {
        routes.announce(&says, Some((*next_hop_global).into()), nlri.iter().map(v6));
    }
    Found::Routes(routes)
}

pub(crate) fn bgpkit(octets: &[u8]) -> Found {
    let mut bytes = Bytes::copy_from_slice(octets);
    let parsed =
        bgpkit_parser::parser::bgp::parse_bgp_message(&mut bytes, false, &AsnLength::Bits32);
    let Ok(TheirMessage::Update(update)) = parsed else { return Found::Reset };
    let mut routes = Routes::default();
    routes.withdrawn.extend(update.withdrawn_prefixes.iter().map(|it| it.prefix.trunc()));
    let says = Says::default();
    routes.announce(&says, None, update.announced_prefixes.iter().map(|it| it.prefix));
    for value in &update.attributes {
        match &value {
            AttributeValue::MpReachNlri(nlri) if nlri.safi == TheirSafi::Unicast => {
                routes.announce(&says, None, nlri.prefixes.iter().map(|it| it.prefix));
            }
            AttributeValue::MpUnreachNlri(nlri) if nlri.safi == TheirSafi::Unicast => {
                routes.withdrawn.extend(nlri.prefixes.iter().map(|it| it.prefix.trunc()));
            }
            _ => {}
        }
    }
    Found::Routes(routes)
}
