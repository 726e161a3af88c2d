//! The fleet file's words as the packet programs take them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anycast_affinity::{Budgets, Config, Key, Mode, Peer, Rate, ServiceAddress, SiteId};
use anycast_fleet::affinity::Secret;
use anycast_fleet::{AffinityKey, AffinityMode, Fleet, Site};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// So many lowest bits of a timestamp are a site's number: room for
/// [`MOST_IDS`](anycast_fleet::affinity::MOST_IDS).
const ID_BITS: u8 = 6;
/// What may come at once is what comes in so many parts of a second.
const BURST: u32 = 10;

/// What the file says for this site, with the keys read and its interfaces found.
///
/// # Errors
/// In words: a key that cannot be read, or no interface.
pub(super) fn of(fleet: &Fleet, site: &Site) -> Result<Config, String> {
    let mut config = decisions(fleet, site)?;
    config.interfaces = interfaces(site)?;
    Ok(config)
}

/// The interfaces of the site: those that the file names, or those found.
///
/// # Errors
/// In words: none is up.
pub(super) fn interfaces(site: &Site) -> Result<Vec<String>, String> {
    match &site.affinity {
        Some(own) if !own.interfaces.is_empty() => Ok(own.interfaces.clone()),
        _ => interfaces_of(site),
    }
}

/// The same without interfaces: all that decides about packets.
///
/// # Errors
/// In words: no affinity, or a key that cannot be read.
pub fn decisions(fleet: &Fleet, site: &Site) -> Result<Config, String> {
    let (Some(common), Some(own)) = (&fleet.affinity, &site.affinity) else {
        return Err("the fleet file does not ask for it".to_owned());
    };
    let id = |number| SiteId::new(number).ok_or_else(|| "0 is no site's number".to_owned());
    let mut keys = common.keys.iter().map(key);
    let signing = keys.next().ok_or_else(|| "there is no key".to_owned())??;
    let others = fleet.sites.iter().filter(|it| it.name != site.name);
    let peers = others.filter_map(|it| Some((it, it.affinity.as_ref()?)));
    let peers = peers.map(|(it, its)| {
        let (name, alive) = (it.name.clone(), true);
        Ok(Peer { id: id(its.id)?, name, v4: its.v4, v6: its.v6, alive })
    });
    let mut budgets = Budgets::default();
    if let Some(most) = common.most_to_a_site {
        budgets.site = Some(rate(most));
    }
    if let Some(most) = common.most_of_a_source {
        budgets.source = Some(rate(most));
    }
    Ok(Config {
        me: id(own.id)?,
        id_bits: ID_BITS,
        services: services(fleet),
        tunnel_v4: own.v4,
        tunnel_v6: own.v6,
        port: common.port,
        peers: peers.collect::<Result<_, String>>()?,
        key: signing,
        other_key: keys.next().transpose()?,
        interfaces: Vec::new(),
        mode: mode(forced_mode()?.or(own.mode).unwrap_or(common.mode)),
        mtu: common.mtu,
        budgets,
    })
}

/// The site's number, and the key with which what is sent is marked.
///
/// # Errors
/// In words: no affinity, or a key that cannot be read.
pub(crate) fn signing(fleet: &Fleet, site: &Site) -> Result<(u8, Key), String> {
    let (Some(common), Some(own)) = (&fleet.affinity, &site.affinity) else {
        return Err("the fleet file does not ask for it".to_owned());
    };
    let first = common.keys.first().ok_or_else(|| "there is no key".to_owned())?;
    Ok((own.id, key(first)?))
}

/// `ANYCAST_AFFINITY_MODE` goes before the file: the lab, which runs files unchanged, knows what its
/// links can.
fn forced_mode() -> Result<Option<AffinityMode>, String> {
    let Ok(word) = std::env::var("ANYCAST_AFFINITY_MODE") else { return Ok(None) };
    let known = [AffinityMode::Auto, AffinityMode::Xdp, AffinityMode::XdpGeneric, AffinityMode::Tc];
    let found = known.into_iter().find(|mode| mode.as_str() == word);
    found.map(Some).ok_or_else(|| format!("ANYCAST_AFFINITY_MODE is {word:?}, which is no mode"))
}

const fn mode(mode: AffinityMode) -> Mode {
    match mode {
        AffinityMode::Auto => Mode::Auto,
        AffinityMode::Xdp => Mode::XdpNative,
        AffinityMode::XdpGeneric => Mode::XdpGeneric,
        AffinityMode::Tc => Mode::Tc,
    }
}

fn rate(per_second: u32) -> Rate {
    Rate { per_second, burst: (per_second / BURST).max(1) }
}

fn key(key: &AffinityKey) -> Result<Key, String> {
    let secret = Secret::read(&key.file);
    let secret = secret.map_err(|error| format!("the key {} {error}", key.file.display()))?;
    Ok(Key { epoch: key.epoch, secret: *secret.octets() })
}

/// Each address once, with what any of its services keeps.
fn services(fleet: &Fleet) -> Vec<ServiceAddress> {
    let mut found: Vec<ServiceAddress> = Vec::new();
    for service in fleet.services.iter().filter(|it| it.affinity.any()) {
        for &address in &service.addresses {
            let kept = service.affinity;
            match found.iter_mut().find(|it| it.address == address) {
                Some(there) => {
                    there.tcp |= kept.tcp;
                    there.quic = there.quic.or(kept.quic);
                }
                None => {
                    found.push(ServiceAddress { address, tcp: kept.tcp, quic: kept.quic });
                }
            }
        }
    }
    found
}

/// The interfaces that lead to the site's neighbors and other sites: those that have one of the
/// addresses that the file gives the site. If none has, all that are up, lead anywhere, and are not below
/// another.
fn interfaces_of(site: &Site) -> Result<Vec<String>, String> {
    let mut own: BTreeSet<IpAddr> =
        site.neighbors.iter().filter_map(|it| it.local_address).collect();
    own.extend(site.affinity.iter().filter_map(|it| it.v4).map(IpAddr::V4));
    own.extend(site.affinity.iter().filter_map(|it| it.v6).map(IpAddr::V6));
    let mut named: BTreeSet<String> =
        site.neighbors.iter().filter_map(|it| it.interface.clone()).collect();
    let mut up = BTreeSet::new();
    let all = getifaddrs().map_err(|errno| format!("cannot list interfaces: {errno}"))?;
    for one in all {
        let leads = one.flags.contains(InterfaceFlags::IFF_UP)
            && !one.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let address = one.address.and_then(|it| {
            let v4 = it.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| it.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        });
        let (true, Some(address)) = (leads, address) else { continue };
        if own.contains(&address) {
            named.insert(one.interface_name.clone());
        }
        up.insert(one.interface_name);
    }
    if !named.is_empty() {
        return Ok(named.into_iter().collect());
    }
    if up.is_empty() {
        return Err("no interface is up: name them by `interfaces`".to_owned());
    }
    Ok(anycast_affinity::uppermost(up.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = r#"
[fleet]
name = "x"
asn = 64500
[prefix."192.0.2.0/24"]
services = ["web", "dns"]
[service.web]
addresses = ["192.0.2.1", "192.0.2.2"]
affinity = ["quic"]
quic-port = 8443
[service.dns]
addresses = ["192.0.2.1"]
[affinity]
port = 4000
packets-of-a-source = 50
key = [{ epoch = 255, file = "NEW" }, { epoch = 0, file = "OLD" }]
[site.fra.affinity]
id = 7
v4 = "203.0.113.1"
interfaces = ["eth7"]
mode = "tc"
[site.fra.neighbor.a]
address = "198.51.100.2"
asn = 64510
export = "fleet"
[site.nyc.affinity]
id = 8
v4 = "203.0.113.2"
v6 = "2001:db8::2"
[site.nyc.neighbor.a]
address = "198.51.100.4"
asn = 64510
export = "fleet"
router-id = "198.51.100.4"
"#;

    #[test]
    fn a_file_becomes_tables_with_each_address_once_and_both_keys() {
        let folder = std::env::temp_dir().join(format!("anycast-affinity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("new"), "01".repeat(32)).unwrap();
        std::fs::write(folder.join("old"), "fF".repeat(32)).unwrap();
        let text = FLEET
            .replace("router-id = \"198.51.100.4\"\n", "")
            .replace(
                "[site.fra.neighbor.a]",
                "[site.fra]\nrouter-id = \"198.51.100.1\"\n[site.fra.neighbor.a]",
            )
            .replace(
                "[site.nyc.neighbor.a]",
                "[site.nyc]\nrouter-id = \"198.51.100.3\"\n[site.nyc.neighbor.a]",
            )
            .replace("NEW", folder.join("new").to_str().unwrap())
            .replace("OLD", folder.join("old").to_str().unwrap());
        let report = anycast_fleet::parse("x", &text);
        let fleet = report.fleet.clone().unwrap_or_else(|| panic!("{}", report.render(false)));
        let config = of(&fleet, &fleet.sites[0]).unwrap();
        config.check().unwrap();
        let address =
            |text: &str, tcp, quic| ServiceAddress { address: text.parse().unwrap(), tcp, quic };
        assert_eq!(
            config.services,
            [address("192.0.2.1", true, Some(8443)), address("192.0.2.2", false, Some(8443))]
        );
        assert_eq!((config.me.get(), config.port, config.mode), (7, 4000, Mode::Tc));
        assert_eq!((config.key.epoch, config.key.secret), (255, [1; 32]));
        assert_eq!(config.other_key.map(|it| (it.epoch, it.secret)), Some((0, [255; 32])));
        assert_eq!(config.interfaces, ["eth7"]);
        assert_eq!(config.budgets.source, Some(Rate { per_second: 50, burst: 5 }));
        assert_eq!(config.budgets.site, Budgets::default().site);
        assert_eq!(config.peers.len(), 1);
        assert_eq!((config.peers[0].id.get(), config.peers[0].alive), (8, true));

        std::fs::remove_file(folder.join("old")).unwrap();
        let why = of(&fleet, &fleet.sites[0]).unwrap_err();
        assert!(why.contains("old cannot be read"), "{why}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
