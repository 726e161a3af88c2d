//! What holds for every message and for every octet string.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::*;
use super::EBGP;
use crate::as_path::{Segment, SegmentKind};
use crate::attribute::UnknownAttribute;
use crate::{
    AsPath, Asn, Attributes, Community, ExtendedCommunity, FamilySet, IpNet, LargeCommunity, List,
    NextHop, Origin,
};

fn context() -> impl Strategy<Value = Context> {
    let max_len = prop_oneof![Just(MAX_LEN), Just(EXTENDED_MAX_LEN)];
    (any::<[bool; 4]>(), max_len, path_ids()).prop_map(
        |([four_octet_asn, ebgp, extended_next_hop, enhanced_route_refresh], max_len, path_ids)| {
            Context {
                four_octet_asn,
                ebgp,
                max_len,
                extended_next_hop,
                enhanced_route_refresh,
                path_ids_in: path_ids,
                path_ids_out: path_ids,
            }
        },
    )
}

/// The families with path identifiers, the same in both directions: what we write, we can read.
fn path_ids() -> impl Strategy<Value = FamilySet> {
    let (ipv4, ipv6) = (Family::Ipv4Unicast, Family::Ipv6Unicast);
    let none = FamilySet::NONE;
    prop::sample::select(vec![none, none.with(ipv4), none.with(ipv6), FamilySet::ALL])
}

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65535_u32, 1..=u32::MAX, Just(23456)].prop_map(Asn)
}

fn host4() -> impl Strategy<Value = Ipv4Addr> {
    (0x0100_0000..0xe000_0000_u32).prop_map(Ipv4Addr::from)
}

fn next_hop(ctx: Context, family: Family) -> BoxedStrategy<NextHop> {
    match family {
        Family::Ipv4Unicast if ctx.extended_next_hop => {
            prop_oneof![next_hop(EBGP, family), next_hop(ctx, Family::Ipv6Unicast)].boxed()
        }
        Family::Ipv4Unicast => host4().prop_map(|address| IpAddr::V4(address).into()).boxed(),
        Family::Ipv6Unicast => (any::<u128>(), option::of(any::<u64>()))
            .prop_map(|(low, link_local)| NextHop {
                address: Ipv6Addr::from(0x2001 << 112 | low >> 16).into(),
                link_local: link_local.map(|low| Ipv6Addr::from(0xfe80 << 112 | u128::from(low))),
            })
            .boxed(),
    }
}

fn prefix(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::Ipv4Unicast => (any::<Ipv4Addr>(), 0..=32_u8)
            .prop_map(|(address, len)| IpNet::new(address.into(), len).unwrap().trunc())
            .boxed(),
        Family::Ipv6Unicast => (any::<Ipv6Addr>(), 0..=128_u8)
            .prop_map(|(address, len)| IpNet::new(address.into(), len).unwrap().trunc())
            .boxed(),
    }
}

fn nlri(ctx: Context, family: Family) -> impl Strategy<Value = Nlri> {
    let path_ids = ctx.path_ids_in.contains(family);
    (prefix(family), any::<u32>())
        .prop_map(move |(prefix, id)| Nlri::new(prefix, PathId(if path_ids { id } else { 0 })))
}

fn as_path(ctx: Context) -> impl Strategy<Value = AsPath> {
    use SegmentKind::{AsConfedSequence, AsConfedSet, AsSequence, AsSet};
    // Two-octet speakers lose confederation segments (RFC 6793 §4.2.3).
    let kinds = if ctx.ebgp || !ctx.four_octet_asn {
        vec![AsSet, AsSequence]
    } else {
        vec![AsSet, AsSequence, AsConfedSequence, AsConfedSet]
    };
    let asns = prop_oneof![4 => vec(asn(), 1..6), 1 => vec(asn(), 1..=255)];
    let segments = vec((prop::sample::select(kinds), asns), 0..3);
    segments.prop_map(|segments| {
        AsPath::of(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns }))
    })
}

fn attributes(ctx: Context, family: Family) -> impl Strategy<Value = Attributes> {
    let inside = !ctx.ebgp;
    let path = (
        prop::sample::select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]),
        as_path(ctx),
        next_hop(ctx, family),
        option::of(any::<u32>()),
        any::<bool>(),
        option::of((asn(), any::<Ipv4Addr>())),
        option::of(asn()),
    );
    let communities = (
        btree_set(any::<u32>().prop_map(Community), 0..80),
        btree_set(any::<[u8; 8]>().prop_map(ExtendedCommunity), 0..4),
        btree_set(any::<[u32; 3]>(), 0..4),
    );
    let within =
        (option::of(any::<u32>()), option::of(any::<Ipv4Addr>()), vec(any::<Ipv4Addr>(), 0..4));
    let unknown = prop::collection::btree_map(
        prop_oneof![Just(11_u8), 20..=24_u8, 26..=31_u8, 36..=255_u8],
        vec(any::<u8>(), 0..300),
        0..3,
    );
    (path, communities, within, unknown).prop_map(move |(path, communities, within, unknown)| {
        let (origin, as_path, next_hop, med, atomic_aggregate, aggregator, otc) = path;
        let (local_pref, originator_id, cluster_list) = within;
        Attributes {
            origin,
            as_path,
            next_hop,
            med,
            local_pref: local_pref.filter(|_| inside),
            atomic_aggregate,
            aggregator,
            communities: communities.0.into_iter().collect(),
            extended_communities: communities.1.into_iter().collect(),
            large_communities: communities
                .2
                .into_iter()
                .map(|[global, local1, local2]| LargeCommunity { global, local1, local2 })
                .collect(),
            originator_id: originator_id.filter(|_| inside),
            cluster_list: if inside { cluster_list.into() } else { List::new() },
            otc,
            unknown: unknown
                .into_iter()
                .map(|(code, value)| UnknownAttribute { flags: 0xe0, code, value })
                .collect(),
        }
    })
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::ALL.to_vec())
}

fn announcement(ctx: Context, len: usize) -> impl Strategy<Value = Announcement> {
    family()
        .prop_flat_map(move |family| (attributes(ctx, family), vec(nlri(ctx, family), 1..len)))
        .prop_map(|(attributes, prefixes)| Announcement {
            attributes: Arc::new(attributes),
            prefixes,
        })
}

fn some_families() -> impl Strategy<Value = Vec<Family>> {
    prop::sample::subsequence(Family::ALL.to_vec(), 0..=2).prop_shuffle()
}

/// Each family with flags and a number.
fn each_family(most: u64) -> impl Strategy<Value = Vec<(Family, [bool; 2], Duration)>> {
    (some_families(), any::<[[bool; 2]; 2]>(), 0..=most).prop_map(|(families, flags, seconds)| {
        let seconds = Duration::from_secs(seconds);
        families.into_iter().zip(flags).map(|(family, flags)| (family, flags, seconds)).collect()
    })
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    let restart = (any::<[bool; 2]>(), 0..=4095_u64, each_family(0)).prop_map(
        |([restarted, notification], seconds, families)| GracefulRestart {
            restarted,
            notification,
            restart_time: Duration::from_secs(seconds),
            families: families
                .into_iter()
                .map(|(family, [forwarding, _], _)| Preserved { family, forwarding })
                .collect(),
        },
    );
    (
        option::of(some_families().prop_filter("not empty", |families| !families.is_empty())),
        any::<[bool; 5]>(),
        option::of(any::<u8>()),
        option::of(restart),
        each_family(0),
        option::of(each_family(0x00ff_ffff)),
    )
        .prop_map(|(families, flags, role, graceful_restart, add_path, long_lived)| {
            let [route_refresh, extended_next_hop, extended_message, four_octet_asn, enhanced] =
                flags;
            let mut capabilities = Capabilities {
                families,
                route_refresh,
                extended_next_hop,
                extended_message,
                role,
                graceful_restart,
                four_octet_asn,
                add_path: add_path
                    .into_iter()
                    .map(|(family, [receive, send], _)| AddPath {
                        family,
                        receive: receive || !send,
                        send,
                    })
                    .collect(),
                enhanced_route_refresh: enhanced,
                long_lived_graceful_restart: long_lived.map(|families| {
                    families
                        .into_iter()
                        .map(|(family, [forwarding, _], stale_time)| LongLived {
                            family,
                            forwarding,
                            stale_time,
                        })
                        .collect()
                }),
                codes: Vec::new(),
            };
            let there = [
                (1, capabilities.families.is_some()),
                (2, route_refresh),
                (5, extended_next_hop),
                (6, extended_message),
                (9, role.is_some()),
                (64, capabilities.graceful_restart.is_some()),
                (65, four_octet_asn),
                (69, !capabilities.add_path.is_empty()),
                (70, enhanced),
                (71, capabilities.long_lived_graceful_restart.is_some()),
            ];
            capabilities.codes =
                there.into_iter().filter_map(|(code, there)| there.then_some(code)).collect();
            capabilities
        })
}

/// A message that fits one message on the wire.
fn single(ctx: Context) -> impl Strategy<Value = Message> {
    let open = (asn(), prop_oneof![Just(0_u16), 3..=u16::MAX], 1..=u32::MAX, capabilities())
        .prop_map(|(asn, hold_time, router_id, capabilities)| {
            let four_octet_asn = capabilities.four_octet_asn;
            Message::Open(Open {
                asn: if four_octet_asn { asn } else { Asn(asn.0.clamp(1, 65535)) },
                hold_time: Duration::from_secs(hold_time.into()),
                router_id: router_id.into(),
                capabilities,
            })
        });
    let notification =
        (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..300)).prop_map(|(code, subcode, data)| {
            Message::Notification(Notification { code, subcode, data })
        });
    let refresh =
        (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| match Family::from_codes(afi, safi) {
            Some(family) => Message::RouteRefresh(family),
            None => Message::UnknownRouteRefresh { afi, subtype: 0, safi },
        });
    prop_oneof![
        2 => open,
        1 => notification,
        1 => Just(Message::Keepalive),
        1 => refresh,
        1 => family().prop_map(Message::RouteRefresh),
        1 => (family(), any::<bool>()).prop_map(move |(family, begin)| {
            match (ctx.enhanced_route_refresh, begin) {
                (false, _) => Message::RouteRefresh(family),
                (true, true) => Message::BeginningOfRouteRefresh(family),
                (true, false) => Message::EndOfRouteRefresh(family),
            }
        }),
        1 => family().prop_map(|family| Message::Update(Update::end_of_rib(family))),
        2 => family().prop_flat_map(move |family| vec(nlri(ctx, family), 1..20))
            .prop_map(|prefixes| Message::Update(Update::withdraw(prefixes))),
        6 => announcement(ctx, 20)
            .prop_map(|one| Message::Update(Update { announced: vec![one], ..Update::default() })),
    ]
}

/// An UPDATE that may need many messages.
fn many(ctx: Context) -> impl Strategy<Value = Update> {
    let withdrawn = vec(family().prop_flat_map(move |family| nlri(ctx, family)), 0..1500);
    (withdrawn, vec(announcement(ctx, 1000), 0..3), option::of(family())).prop_map(
        |(withdrawn, announced, end_of_rib)| Update {
            withdrawn,
            announced,
            end_of_rib,
            faults: Vec::new(),
        },
    )
}

/// The messages in a stream of octets.
fn parse_all(mut octets: &[u8], ctx: &Context) -> Vec<Message> {
    let mut messages = Vec::new();
    while !octets.is_empty() {
        let len = frame_len(octets, ctx.max_len).unwrap().unwrap();
        messages.push(Message::parse(&octets[..len], ctx).unwrap());
        octets = &octets[len..];
    }
    messages
}

/// What UPDATEs say, however they are split.
fn said<'a>(updates: impl IntoIterator<Item = &'a Update>) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for Update { withdrawn, announced, end_of_rib, .. } in updates {
        said.extend(withdrawn.iter().map(|prefix| format!("no {prefix}")));
        for Announcement { attributes, prefixes } in announced {
            let mut attributes = (**attributes).clone();
            for unknown in &mut attributes.unknown {
                unknown.flags |= 0x20;
            }
            said.extend(prefixes.iter().map(|prefix| format!("{prefix} {attributes:?}")));
        }
        said.extend(end_of_rib.iter().map(|family| format!("end of {family}")));
    }
    said
}

fn updates(messages: &[Message]) -> Vec<&Update> {
    messages
        .iter()
        .map(|message| match message {
            Message::Update(update) => update,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Parses, and if that succeeds, checks that `emit` says the same again.
fn holds_together(octets: &[u8], ctx: &Context) {
    let _ = frame_len(octets, ctx.max_len);
    let parsed = match Message::parse(octets, ctx) {
        Ok(parsed) => parsed,
        Err(error) => {
            let notification = Message::Notification(error.to_notification());
            assert_eq!(parse_all(&notification.emit(ctx), ctx), [notification]);
            return;
        }
    };
    let again = parse_all(&parsed.emit(ctx), ctx);
    match &parsed {
        Message::Update(update) => {
            // A two-octet AS_PATH has no room for what confederations did.
            let confederate = update.announced.iter().any(|announcement| {
                let path = &announcement.attributes.as_path;
                path.segments().any(|segment| segment.kind.is_confederation())
            });
            if ctx.four_octet_asn || !confederate {
                assert_eq!(said([update]), said(updates(&again)));
            }
        }
        Message::Open(open) => {
            let [Message::Open(again)] = &again[..] else { panic!("{again:?}") };
            let mut want = open.clone();
            // Capabilities that we do not act on are not ours to send.
            want.capabilities.codes.clone_from(&again.capabilities.codes);
            want.capabilities.families = want.capabilities.families.filter(|all| !all.is_empty());
            assert_eq!(again, &want);
        }
        other => assert_eq!(&again[..], std::slice::from_ref(other)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn emit_is_the_inverse_of_parse(
        (ctx, message) in context().prop_flat_map(|ctx| (Just(ctx), single(ctx)))
    ) {
        let octets = message.emit(&ctx);
        prop_assert_eq!(frame_len(&octets, ctx.max_len), Ok(Some(octets.len())));
        prop_assert_eq!(Message::parse(&octets, &ctx), Ok(message));
    }

    #[test]
    fn any_octets_are_safe_to_read(ctx in context(), octets in vec(any::<u8>(), 0..400)) {
        holds_together(&octets, &ctx);
        for kind in 1..=5 {
            let body = &octets[..octets.len().min(399)];
            holds_together(&super::message(kind, body), &ctx);
        }
    }

    #[test]
    fn a_message_with_wrong_octets_is_safe_to_read(
        (ctx, message) in context().prop_flat_map(|ctx| (Just(ctx), single(ctx))),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut octets = message.emit(&ctx);
        for (at, octet) in changes {
            // The body; the header's faults have a table.
            if octets.len() > 19 {
                let at = 19 + at.index(octets.len() - 19);
                octets[at] = octet;
            }
        }
        if let Some(cut) = cut.filter(|_| octets.len() > 19) {
            octets.truncate(19 + cut.index(octets.len() - 19));
            let len = u16::try_from(octets.len()).unwrap();
            octets[16..18].copy_from_slice(&len.to_be_bytes());
        }
        holds_together(&octets, &ctx);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn splitting_an_update_changes_nothing_of_what_it_says(
        (ctx, update) in context().prop_flat_map(|ctx| (Just(ctx), many(ctx)))
    ) {
        let messages = update.emit(&ctx);
        prop_assert!(messages.iter().all(|octets| octets.len() <= ctx.max_len));
        let parsed = parse_all(&messages.concat(), &ctx);
        prop_assert_eq!(said([&update]), said(updates(&parsed)));
    }
}
