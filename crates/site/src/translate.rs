//! From the fleet's types to those of the parts, which do not know each other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anycast_bgp::rib::Multipath;
use anycast_dns::probe::{Expected, Query};
use anycast_dns::{Rcode, Transport};
use anycast_fleet::{BmpStation, BmpTable, DnsData, Fleet, Neighbor, Offers, Probe, Service, Site};
use anycast_speaker::{
    AoAlgorithm, AtLimit, Bfd, Here, Limits, Offer, Password, Speaker, Station, Tables, TcpAo,
    Updates,
};

use crate::check::tls::Tls;
use crate::check::{Check, Kind, file, http, process, unit};
use crate::daemon::Error;
use crate::watch::{Protocol, Socket};

/// The first wait before a monitoring station is connected again.
const STATION_RETRY: Duration = Duration::from_secs(1);

/// The speaker of `site`.
///
/// # Errors
/// A password file that cannot be read or used.
pub(crate) fn speaker_config(fleet: &Fleet, site: &Site) -> Result<anycast_speaker::Config, Error> {
    let neighbors = site.neighbors.iter().map(|neighbor| speaker_neighbor(fleet, site, neighbor));
    Ok(anycast_speaker::Config {
        local_asn: site.asn,
        router_id: site.router_id,
        listen: if site.listen { Speaker::any_address(site.bgp_port).to_vec() } else { Vec::new() },
        install_routes: site.kernel_routes,
        place: Arc::new(Here),
        neighbors: neighbors.collect::<Result<_, _>>()?,
        cluster_id: site.cluster_id,
    })
}

fn speaker_neighbor(
    fleet: &Fleet,
    site: &Site,
    neighbor: &Neighbor,
) -> Result<anycast_speaker::Neighbor, Error> {
    let next_hop_other = match neighbor.address {
        IpAddr::V4(_) => neighbor.next_hop_v6.map(IpAddr::V6),
        IpAddr::V6(_) => neighbor.next_hop_v4.map(IpAddr::V4),
    };
    Ok(anycast_speaker::Neighbor {
        name: neighbor.name.clone(),
        address: neighbor.address,
        port: neighbor.port,
        local_address: neighbor.local_address,
        asn: neighbor.asn,
        hold_time: neighbor.hold_time,
        connect_retry: neighbor.connect_retry,
        families: neighbor.families.clone(),
        next_hop_other,
        passive: neighbor.passive,
        offer: offer(neighbor),
        multihop: (neighbor.hops > 1).then_some(neighbor.hops),
        ttl_security: neighbor.ttl_security,
        password: password(neighbor)?,
        import: neighbor.import_policy(fleet),
        export: neighbor.export_policy(fleet, site, 0),
        next_hop_self: neighbor.next_hop_self,
        bfd: neighbor.bfd.map(|bfd| Bfd { interval: bfd.interval, multiplier: bfd.multiplier }),
        interface: neighbor.interface.clone(),
        tcp_ao: tcp_ao(neighbor)?,
        delay_open: neighbor.delay_open,
        limits: limits(neighbor),
        at_limit: at_limit(neighbor),
        reflector_client: neighbor.reflector_client,
    })
}

/// Which routes of `site` share packets.
pub(crate) fn multipath(site: &Site) -> Multipath {
    Multipath { paths: site.multipath.into(), across_as: site.multipath_across_as }
}

fn offer(neighbor: &Neighbor) -> Offer {
    let Offers { role, strict_role, extended_next_hop, graceful_restart, .. } = neighbor.offers;
    let Offers { receive_paths, send_paths, .. } = neighbor.offers;
    Offer {
        role,
        strict_role,
        extended_next_hop,
        receive_paths,
        send_paths,
        graceful_restart,
        ..Offer::default()
    }
}

fn limits(neighbor: &Neighbor) -> Limits {
    let prefixes = neighbor.limits.prefixes;
    Limits {
        warn_at: prefixes.map(|most| most.warn_at as usize),
        prefixes: prefixes.map(|most| most.limit as usize),
        as_path_length: neighbor.limits.as_path_length.map(|most| most as usize),
    }
}

fn at_limit(neighbor: &Neighbor) -> AtLimit {
    match neighbor.limits.prefixes.map(|most| most.action) {
        Some(anycast_fleet::AtLimit::Warn) => AtLimit::Warn,
        Some(anycast_fleet::AtLimit::Restart(restart_after)) => AtLimit::End { restart_after },
        None => AtLimit::End { restart_after: None },
    }
}

fn tcp_ao(neighbor: &Neighbor) -> Result<Option<TcpAo>, Error> {
    let Some(ao) = &neighbor.tcp_ao else { return Ok(None) };
    let algorithm = match ao.algorithm {
        anycast_fleet::AoAlgorithm::HmacSha1 => AoAlgorithm::HmacSha1,
        anycast_fleet::AoAlgorithm::AesCmac => AoAlgorithm::AesCmac,
        anycast_fleet::AoAlgorithm::HmacSha256 => AoAlgorithm::HmacSha256,
    };
    let key = secret(neighbor, &ao.key_file)?;
    Ok(Some(TcpAo { key, send_id: ao.send_id, recv_id: ao.recv_id, algorithm }))
}

fn password(neighbor: &Neighbor) -> Result<Option<Password>, Error> {
    neighbor.password_file.as_ref().map(|path| secret(neighbor, path)).transpose()
}

/// The monitoring stations that every site tells what it sees.
pub(crate) fn stations(fleet: &Fleet) -> Vec<Station> {
    let station = |it: &BmpStation| Station {
        name: it.name.clone(),
        address: SocketAddr::new(it.address, it.port),
        local_address: None,
        tables: Tables {
            adj_rib_in_pre: it.tables.contains(&BmpTable::AdjRibInPre),
            adj_rib_in_post: it.tables.contains(&BmpTable::AdjRibInPost),
            loc_rib: it.tables.contains(&BmpTable::LocRib),
            adj_rib_out: it.tables.contains(&BmpTable::AdjRibOut),
        },
        statistics: it.stats_interval,
        buffer: usize::from(it.buffer_mib) << 20,
        connect_retry: STATION_RETRY,
    };
    fleet.bmp.iter().map(station).collect()
}

/// Where what comes in is written.
pub(crate) fn updates(fleet: &Fleet) -> Option<Updates> {
    let mrt = fleet.mrt.as_ref()?;
    Some(Updates { path: mrt.updates.clone(), rotate: mrt.rotate })
}

/// Reads a neighbor's secret; a final line break is not part of it.
fn secret(neighbor: &Neighbor, path: &Path) -> Result<Password, Error> {
    let mut octets = std::fs::read(path).map_err(|source| Error::Password {
        neighbor: neighbor.name.clone(),
        path: path.to_owned(),
        source,
    })?;
    while octets.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        octets.pop();
    }
    Password::new(octets).ok_or_else(|| Error::PasswordLength {
        neighbor: neighbor.name.clone(),
        path: path.to_owned(),
    })
}

/// A check as the runner takes it.
pub(crate) fn check(service: &Service, check: &anycast_fleet::Check) -> Check {
    let kind = match &check.probe {
        Probe::Tcp { .. } => Kind::Tcp,
        Probe::Udp { send, expect, .. } => Kind::Udp { send: send.clone(), expect: expect.clone() },
        Probe::Http(http) => Kind::Http(Arc::new(http_target(http))),
        Probe::Dns {
            query,
            qtype,
            class,
            transport,
            rcode,
            expect,
            recursion,
            authentic,
            cache_busting,
            ..
        } => {
            let query = Query::from_codes(0, query, qtype.0, *class as u16)
                .expect("a checked fleet's names are names");
            let query = Query { recursion: *recursion, authentic: *authentic, ..query };
            let transport = match transport {
                anycast_fleet::Transport::Udp => Transport::Udp,
                anycast_fleet::Transport::Tcp => Transport::Tcp,
            };
            let rcode = Rcode::masked_from_int(rcode.0.into());
            let expect = expect.as_ref().map(|expect| match expect {
                DnsData::Exactly(data) => Expected::Exactly(data.clone()),
                DnsData::Part(part) => Expected::Part(part.clone()),
            });
            let cache_busting = *cache_busting;
            Kind::Dns { query, transport, rcode, expect, cache_busting }
        }
        Probe::Icmp => Kind::Icmp,
        Probe::Command { argv } => {
            let env = vec![("ANYCAST_SERVICE".to_owned(), service.name.clone())];
            Kind::Command { argv: argv.clone(), env }
        }
        Probe::Process { pid_file, program } => {
            Kind::Process(Arc::new(process::Target::new(pid_file.clone(), program.clone())))
        }
        Probe::Unit { unit } => Kind::Unit(unit::Target::new(unit.clone())),
        Probe::File { path, absent, max_age } => {
            Kind::File(file::Target { path: path.clone(), absent: *absent, max_age: *max_age })
        }
    };
    let address = check.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let port = check.probe.port().map_or(0, |(_, port)| port);
    Check { kind, target: SocketAddr::new(address, port), timeout: check.timeout }
}

fn http_target(asked: &anycast_fleet::check::Http) -> http::Target {
    let anycast_fleet::check::Http { method, path, host, statuses, header, body, tls, .. } = asked;
    http::Target {
        method: *method,
        path: path.clone(),
        host: host.clone(),
        statuses: statuses.clone(),
        header: header.clone(),
        body: body.clone(),
        tls: tls.as_ref().map(|tls| Tls::new(tls, host.as_deref())),
    }
}

/// The listening sockets whose death means that something happened to the service.
pub(crate) fn sockets(service: &Service) -> Vec<Socket> {
    let socket = |check: &anycast_fleet::Check| {
        let (transport, port) = check.probe.port()?;
        let protocol = match transport {
            anycast_fleet::Transport::Udp => Protocol::Udp,
            anycast_fleet::Transport::Tcp => Protocol::Tcp,
        };
        Some(Socket { protocol, local: SocketAddr::new(check.address?, port) })
    };
    let mut sockets: Vec<Socket> = service.checks.iter().filter_map(socket).collect();
    sockets.sort();
    sockets.dedup();
    sockets
}
