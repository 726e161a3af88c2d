//! Several paths to one prefix (ADD-PATH, RFC 7911).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use anycast_bgp::policy::Policy;
use anycast_bgp::{Asn, Attributes, Community, Family};
use anycast_speaker::{Config, Neighbor, Speaker};

use super::peers::only;
use super::stand::{Knobs, OUR_ASN, OURS, Stand, both_families};

/// The addresses of the machines behind our router, on its own host.
const MACHINES: [u8; 2] = [2, 3];

/// The daemon is a router, so that it has several paths to tell: one by each machine behind it.
/// ExaBGP 4.2 keeps no table, and OpenBGPD 7.7 sends no more than one path of its own networks.
pub(super) fn several_paths_to_a_prefix_go_both_ways() {
    let mut knobs = Knobs::with("add-path = \"both\"");
    knobs.paths = true;
    "router = true\n".clone_into(&mut knobs.site);
    for host in MACHINES {
        let _ = write!(
            knobs.fleet,
            "[site.here.neighbor.machine-{host}]\naddress = \"127.0.0.{host}\"\n\
             local-address = \"127.0.0.1\"\nasn = {OUR_ASN}\npassive = true\nimport = \"fleet\"\n\
             families = [\"ipv4\", \"ipv6\"]\nnext-hop-v6 = \"::1\"\nexport = \"nothing\"\n"
        );
    }
    let stand = Stand::new(knobs);
    for host in MACHINES {
        stand.runtime().spawn(machine(host));
    }
    stand.beside(&only(&["bird", "frr", "gobgp"]), both_families, |peer| {
        peer.meets();
        for session in &peer.sessions {
            let family = if session.v6 { "ipv6" } else { "ipv4" };
            let agreed = format!("add-path {family} (send and receive)");
            let status = peer.status(session);
            let in_force = &status["capabilities_in_words"]["in_force"];
            let in_force = in_force.as_array().expect("a list");
            assert!(in_force.contains(&agreed.clone().into()), "{agreed}: {in_force:?}");

            let prefix = &peer.prefixes(session.v6)[0];
            peer.until("the daemon has both of its paths", || {
                let routes = peer.routes(prefix);
                let theirs = routes.iter().filter(|it| it["neighbor"] == session.name.as_str());
                let mut ids: Vec<_> = theirs.filter_map(|it| it["path_id"].as_u64()).collect();
                ids.dedup();
                ids.len() == 2
            });
            let ours = OURS[usize::from(session.v6)];
            peer.until("it has both of the daemon's paths", || {
                let text = peer.program.route(peer, session, ours).unwrap_or_default();
                // BIRD has a comma there.
                let words = |host| [':', ','].map(|it| format!("{OUR_ASN}{it}{host}"));
                MACHINES.iter().all(|host| words(host).iter().any(|it| text.contains(it)))
            });
        }
    });
}

/// A machine behind our router announces what the fleet does, with a community by which its path
/// is known.
async fn machine(host: u8) {
    let (asn, address) = (Asn(OUR_ASN), Ipv4Addr::new(127, 0, 0, host));
    let router = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let neighbor = Neighbor {
        local_address: Some(address.into()),
        families: Family::ALL.to_vec(),
        next_hop_other: Some("2001:db8:ffff::1".parse().expect("an address")),
        export: Policy::accept_all(),
        ..Neighbor::new("router", router, asn)
    };
    let router_id = Ipv4Addr::new(192, 0, 2, 200 + host);
    let config = Config { neighbors: vec![neighbor], ..Config::new(asn, router_id) };
    let speaker = Speaker::bind(config, None).expect("it needs no socket yet");
    for prefix in OURS {
        let mut attributes = Attributes::new(IpAddr::V4(address));
        let community = (OUR_ASN << 16) + u32::from(host);
        attributes.communities = vec![Community(community)];
        speaker.handle().originate(prefix.parse().expect("a prefix"), attributes);
    }
    speaker.run().await;
}
