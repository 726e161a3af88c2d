//! Any policy and any route: what comes of it is what a plain reading of the rules says, prefixes
//! of one class are treated alike, and patterns are read as they are written. The same input is
//! also read as the rules of a fleet file.
//!
//! `cargo fuzz run bgp_policy` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anycast_bgp::as_path::{Segment, SegmentKind};
use anycast_bgp::policy::{
    Action, CommunityPattern, LargeCommunityPattern, Match, PathPattern, Policy, PrefixPattern,
    RouteFacts, Rule, Set,
};
use anycast_bgp::rov::Validity;
use anycast_bgp::{
    AsPath, Asn, Attributes, Community, ExtendedCommunity, Family, IpNet, LargeCommunity, Origin,
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

const OURS: Asn = Asn(64500);

fuzz_target!(|input: &[u8]| {
    texts(input);
    let _ = play(&mut Unstructured::new(input));
});

/// Texts of the fleet file: no panic, and a pattern that parses is written as it reads.
fn texts(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(pattern) = text.parse::<PrefixPattern>() {
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }
    if let Ok(pattern) = text.parse::<CommunityPattern>() {
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }
    if let Ok(pattern) = text.parse::<LargeCommunityPattern>() {
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }
    if let Ok(pattern) = text.parse::<PathPattern>() {
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }
    let file = format!("[fleet]\nname = \"a\"\nasn = 64500\n[policy.a]\nrules = [{{ {text} }}]\n");
    let report = anycast_fleet::parse("fleet.toml", &file);
    let _ = report.to_json();
}

/// Few numbers, so that what is asked for is often there.
fn asn(input: &mut Unstructured<'_>) -> Result<u32> {
    Ok(64500 + u32::from(input.arbitrary::<u8>()? & 3))
}

fn net(input: &mut Unstructured<'_>) -> Result<IpNet> {
    let bits = u32::from(input.arbitrary::<u8>()? & 7) << 24;
    let len = input.int_in_range(0..=32)?;
    Ok(if input.ratio(1, 4)? {
        let address = std::net::Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(bits) << 64);
        IpNet::new(address.into(), len * 4).expect("a length").trunc()
    } else {
        let address = Ipv4Addr::from(0x0a00_0000 | bits >> 8);
        IpNet::new(address.into(), len).expect("a length").trunc()
    })
}

fn community(input: &mut Unstructured<'_>) -> Result<Community> {
    let [a, b]: [u8; 2] = input.arbitrary()?;
    Ok(Community(u32::from(a & 3) << 16 | u32::from(b & 3)))
}

fn large(input: &mut Unstructured<'_>) -> Result<LargeCommunity> {
    let [a, b, c]: [u8; 3] = input.arbitrary()?;
    let part = |octet: u8| u32::from(octet & 1);
    Ok(LargeCommunity { global: part(a), local1: part(b), local2: part(c) })
}

fn extended(input: &mut Unstructured<'_>) -> Result<ExtendedCommunity> {
    Ok(ExtendedCommunity([0, 2, 0, 0, 0, 0, 0, input.arbitrary::<u8>()? & 3]))
}

fn origin(input: &mut Unstructured<'_>) -> Result<Origin> {
    Ok(*input.choose(&[Origin::Igp, Origin::Egp, Origin::Incomplete])?)
}

fn some<T>(
    input: &mut Unstructured<'_>,
    one: fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..input.int_in_range(0..=3)?).map(|_| one(input)).collect()
}

fn set_of<T: Ord>(
    input: &mut Unstructured<'_>,
    one: fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut items = some(input, one)?;
    items.sort_unstable();
    items.dedup();
    Ok(items)
}

fn hop(input: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(Ipv4Addr::new(10, 0, 0, input.arbitrary::<u8>()? & 3).into())
}

fn path(input: &mut Unstructured<'_>) -> Result<AsPath> {
    use SegmentKind::{AsConfedSequence, AsSequence, AsSet};
    let segments = some(input, |input| {
        let kind = *input.choose(&[AsSequence, AsSequence, AsSet, AsConfedSequence])?;
        let mut asns = some(input, |input| asn(input).map(Asn))?;
        asns.push(OURS);
        Ok((kind, asns))
    })?;
    Ok(AsPath::of(segments.iter().map(|(kind, asns)| Segment { kind: *kind, asns })))
}

fn route(input: &mut Unstructured<'_>) -> Result<Attributes> {
    Ok(Attributes {
        origin: origin(input)?,
        as_path: path(input)?,
        med: input.arbitrary::<Option<u8>>()?.map(u32::from),
        local_pref: input.arbitrary::<Option<u8>>()?.map(u32::from),
        communities: set_of(input, community)?,
        extended_communities: set_of(input, extended)?.into(),
        large_communities: set_of(input, large)?.into(),
        ..Attributes::new(hop(input)?)
    })
}

fn validity(input: &mut Unstructured<'_>) -> Result<Validity> {
    Ok(*input.choose(&[Validity::Valid, Validity::Invalid, Validity::NotFound])?)
}

fn condition(input: &mut Unstructured<'_>) -> Result<Match> {
    Ok(match input.int_in_range(0..=14)? {
        0 | 1 => Match::Prefix(some(input, |input| {
            let net = net(input)?;
            let (ge, le): (u8, u8) = (input.arbitrary()?, input.arbitrary()?);
            let most = if net.addr().is_ipv4() { 33 } else { 129 };
            Ok(PrefixPattern { net, ge: ge % most, le: le % most })
        })?),
        2 => Match::Family(*input.choose(&Family::ALL)?),
        3 => Match::Community(some(input, |input| {
            let [high, low]: [u8; 2] = input.arbitrary()?;
            let part = |octet: u8| (octet & 4 == 0).then_some(u16::from(octet & 3));
            Ok(CommunityPattern { high: part(high), low: part(low) })
        })?),
        4 => Match::LargeCommunity(some(input, large_pattern)?),
        5 => Match::ExtendedCommunity(some(input, extended)?),
        6 => Match::AsPath(some(input, |input| {
            Ok(pattern(input)?.0.parse().expect("a pattern as it should be written"))
        })?),
        7 => {
            let (from, to): (u8, u8) = (input.arbitrary()?, input.arbitrary()?);
            Match::AsPathLength(usize::from(from & 7)..=usize::from(to & 15))
        }
        8 => Match::AsPathContains(Asn(asn(input)?)),
        9 => Match::OriginAs(Asn(asn(input)?)),
        10 => Match::Origin(origin(input)?),
        11 => Match::LocalPref(u32::from(input.arbitrary::<u8>()?)..=u32::from(u8::MAX)),
        12 => Match::Med(0..=u32::from(input.arbitrary::<u8>()?)),
        13 => Match::NextHop(some(input, net)?),
        _ => match input.int_in_range(0..=3)? {
            0 => Match::Neighbor(some(input, hop)?),
            1 => Match::Local,
            2 => Match::Internal,
            _ => Match::Rpki(validity(input)?),
        },
    })
}

fn large_pattern(input: &mut Unstructured<'_>) -> Result<LargeCommunityPattern> {
    let [a, b, c]: [u8; 3] = input.arbitrary()?;
    let part = |octet: u8| (octet & 2 == 0).then_some(u32::from(octet & 1));
    Ok(LargeCommunityPattern { global: part(a), local1: part(b), local2: part(c) })
}

/// One place of a path pattern: which ASes fit it (none: any), how often at least and at most.
type Place = (Vec<u32>, usize, usize);

/// A pattern as text, and its meaning.
fn pattern(input: &mut Unstructured<'_>) -> Result<(String, bool, Vec<Place>, bool)> {
    let (from_start, to_end) = (input.arbitrary()?, input.arbitrary()?);
    let places = some(input, |input| {
        let asns = some(input, asn)?;
        let (least, most) = *input.choose(&[(1, 1), (0, 1), (0, usize::MAX), (1, usize::MAX)])?;
        Ok((asns, least, most))
    })?;
    let mut text = if from_start { "^".to_owned() } else { String::new() };
    for (asns, least, most) in &places {
        let words: Vec<String> = asns.iter().map(ToString::to_string).collect();
        text += &match &words[..] {
            [] => ".".to_owned(),
            [one] => one.clone(),
            several => format!("[{}]", several.join(" ")),
        };
        text += match (least, most) {
            (1, 1) => "",
            (0, 1) => "?",
            (0, _) => "*",
            _ => "+",
        };
        text += " ";
    }
    Ok((text + if to_end { "$" } else { "" }, from_start, places, to_end))
}

/// Tries everything.
fn fits(places: &[Place], path: &[Vec<u32>], to_end: bool) -> bool {
    let Some(((asns, least, most), rest)) = places.split_first() else {
        return !to_end || path.is_empty();
    };
    let fit = |element: &Vec<u32>| asns.is_empty() || element.iter().any(|it| asns.contains(it));
    let longest = path.iter().take_while(|element| fit(element)).count().min(*most);
    (*least..=longest).any(|taken| fits(rest, &path[taken..], to_end))
}

fn change(input: &mut Unstructured<'_>) -> Result<Set> {
    Ok(match input.int_in_range(0..=13)? {
        0 => Set::LocalPref(u32::from(input.arbitrary::<u8>()?)),
        1 => Set::Med(input.arbitrary::<Option<u8>>()?.map(u32::from)),
        2 => Set::Prepend(input.arbitrary()?),
        3 => Set::Origin(origin(input)?),
        4 => Set::NextHop(hop(input)?.into()),
        5 => Set::ReplaceCommunities(some(input, community)?),
        6 => Set::ReplaceExtendedCommunities(some(input, extended)?),
        7 => Set::ReplaceLargeCommunities(some(input, large)?),
        8 => Set::AddExtendedCommunity(extended(input)?),
        9 => Set::DeleteExtendedCommunity(extended(input)?),
        10 => Set::AddCommunity(community(input)?),
        11 => Set::DeleteCommunity(community(input)?.into()),
        12 => Set::AddLargeCommunity(large(input)?),
        _ => Set::DeleteLargeCommunity(large_pattern(input)?),
    })
}

fn rule(input: &mut Unstructured<'_>) -> Result<Rule> {
    Ok(Rule {
        matches: some(input, condition)?,
        sets: some(input, change)?,
        action: *input.choose(&[Action::Accept, Action::Reject, Action::Next, Action::Next])?,
    })
}

fn play(input: &mut Unstructured<'_>) -> Result<()> {
    path_patterns(input)?;
    let facts = RouteFacts {
        local: input.arbitrary()?,
        internal: input.arbitrary()?,
        neighbor: if input.arbitrary()? { Some(hop(input)?) } else { None },
        rpki: validity(input)?,
    };
    let attributes = Arc::new(route(input)?);
    let nets = [net(input)?, net(input)?];
    let rules = (0..input.int_in_range(0..=6)?).map(|_| rule(input)).collect::<Result<_>>()?;
    let policy = Policy { rules };

    let [one, other] = nets.map(|net| policy.evaluate(&net, &facts, &attributes, OURS));
    let plain = nets.map(|net| evaluate(&policy, &net, facts, (*attributes).clone()));
    assert_eq!([one.as_deref(), other.as_deref()], plain.each_ref().map(Option::as_ref));
    if policy.class(&nets[0]) == policy.class(&nets[1]) {
        assert_eq!(one, other);
    }
    if policy.is_for_local_routes() && !facts.local {
        assert_eq!(one, None);
    }
    if !policy.asks_rpki() {
        let unknown = RouteFacts { rpki: Validity::default(), ..facts };
        assert_eq!(policy.evaluate(&nets[0], &unknown, &attributes, OURS), one);
    }
    Ok(())
}

fn path_patterns(input: &mut Unstructured<'_>) -> Result<()> {
    let (text, from_start, places, to_end) = pattern(input)?;
    let path = path(input)?;
    let parsed: PathPattern = text.parse().expect("a pattern as it should be written");
    let mut elements = Vec::new();
    for Segment { kind, asns } in path.segments() {
        let asns = asns.iter().map(|asn| asn.0);
        match kind {
            SegmentKind::AsSequence => elements.extend(asns.map(|asn| vec![asn])),
            SegmentKind::AsSet => elements.push(asns.collect()),
            _ => {}
        }
    }
    let starts = if from_start { 0 } else { elements.len() };
    let plain = (0..=starts).any(|start| fits(&places, &elements[start..], to_end));
    assert_eq!(parsed.matches(&path), plain, "{text} and {path}");
    Ok(())
}

/// The rules, read plainly.
fn evaluate(
    policy: &Policy,
    net: &IpNet,
    facts: RouteFacts,
    mut route: Attributes,
) -> Option<Attributes> {
    for rule in &policy.rules {
        if !rule.matches.iter().all(|condition| holds(condition, net, facts, &route)) {
            continue;
        }
        if rule.action == Action::Reject {
            return None;
        }
        rule.sets.iter().for_each(|set| apply(set, &mut route));
        if rule.action == Action::Accept {
            return Some(route);
        }
    }
    None
}

fn holds(condition: &Match, net: &IpNet, facts: RouteFacts, route: &Attributes) -> bool {
    let path = &route.as_path;
    match condition {
        Match::Prefix(any) => any.iter().any(|pattern| {
            let covers = pattern.net.addr().is_ipv4() == net.addr().is_ipv4()
                && pattern.net.contains(&net.addr())
                && pattern.net.prefix_len() <= net.prefix_len();
            covers && pattern.ge <= net.prefix_len() && net.prefix_len() <= pattern.le
        }),
        Match::Family(family) => net.addr().is_ipv4() == (*family == Family::Ipv4Unicast),
        Match::Community(any) => {
            route.communities.iter().any(|it| any.iter().any(|pattern| is_plain(*pattern, *it)))
        }
        Match::LargeCommunity(any) => {
            route.large_communities.iter().any(|it| any.iter().any(|pattern| is(pattern, it)))
        }
        Match::ExtendedCommunity(any) => {
            route.extended_communities.iter().any(|community| any.contains(community))
        }
        // Held against a plain reading by itself, above.
        Match::AsPath(any) => any.iter().any(|pattern| pattern.matches(path)),
        Match::AsPathLength(bounds) => {
            let lengths = path.segments().map(|segment| match segment.kind {
                SegmentKind::AsSequence => segment.asns.len(),
                SegmentKind::AsSet => 1,
                _ => 0,
            });
            bounds.contains(&lengths.sum())
        }
        Match::AsPathContains(asn) => path.segments().any(|it| it.asns.contains(asn)),
        Match::OriginAs(asn) => path.segments().last().is_some_and(|segment| {
            segment.kind == SegmentKind::AsSequence && segment.asns.last() == Some(asn)
        }),
        Match::Origin(origin) => route.origin == *origin,
        Match::LocalPref(bounds) => bounds.contains(&route.local_pref.unwrap_or(100)),
        Match::Med(bounds) => bounds.contains(&route.med.unwrap_or(0)),
        Match::NextHop(any) => any.iter().any(|net| net.contains(&route.next_hop.address)),
        Match::Neighbor(any) => any.iter().any(|address| facts.neighbor == Some(*address)),
        Match::Local => facts.local,
        Match::Internal => facts.internal,
        Match::Rpki(validity) => facts.rpki == *validity,
    }
}

fn is_plain(pattern: CommunityPattern, community: Community) -> bool {
    pattern.high.is_none_or(|high| u32::from(high) == community.0 >> 16)
        && pattern.low.is_none_or(|low| u32::from(low) == community.0 & 0xffff)
}

fn is(pattern: &LargeCommunityPattern, community: &LargeCommunity) -> bool {
    pattern.global.is_none_or(|part| part == community.global)
        && pattern.local1.is_none_or(|part| part == community.local1)
        && pattern.local2.is_none_or(|part| part == community.local2)
}

fn apply(set: &Set, route: &mut Attributes) {
    let tidy = |route: &mut Attributes| {
        route.communities.sort_unstable();
        route.communities.dedup();
        route.extended_communities.sort_unstable();
        route.extended_communities.edit(Vec::dedup);
        route.large_communities.sort_unstable();
        route.large_communities.edit(Vec::dedup);
    };
    match set {
        Set::LocalPref(value) => route.local_pref = Some(*value),
        Set::Med(value) => route.med = *value,
        Set::Prepend(times) => route.as_path.prepend(OURS, *times),
        Set::Origin(origin) => route.origin = *origin,
        Set::NextHop(next_hop) => route.next_hop = *next_hop,
        Set::ReplaceCommunities(all) => route.communities.clone_from(all),
        Set::ReplaceExtendedCommunities(all) => route.extended_communities = all.clone().into(),
        Set::ReplaceLargeCommunities(all) => route.large_communities = all.clone().into(),
        Set::AddExtendedCommunity(one) => route.extended_communities.push(*one),
        Set::DeleteExtendedCommunity(one) => {
            route.extended_communities.edit(|all| all.retain(|it| it != one));
        }
        Set::AddCommunity(one) => route.communities.push(*one),
        Set::DeleteCommunity(pattern) => {
            route.communities.retain(|it| !is_plain(*pattern, *it));
        }
        Set::AddLargeCommunity(one) => route.large_communities.push(*one),
        Set::DeleteLargeCommunity(pattern) => {
            route.large_communities.edit(|all| all.retain(|it| !is(pattern, it)));
        }
    }
    tidy(route);
}
