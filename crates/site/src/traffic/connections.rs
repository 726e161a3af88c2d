//! TCP connections to some addresses, counted by sock_diag(7).

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// TCP_ESTABLISHED, as a mask of states (tcp_states.h).
pub(crate) const ESTABLISHED: u32 = 1 << 1;
/// States in which one side at least has something to say: TCP_ESTABLISHED, TCP_FIN_WAIT1,
/// TCP_FIN_WAIT2, TCP_CLOSE_WAIT and TCP_LAST_ACK.
pub(crate) const OPEN: u32 = ESTABLISHED | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9;
const HEADER: usize = 16;
/// Where the local address is in a message.
const SOURCE: usize = 24;
/// A header and `struct inet_diag_req_v2`.
const REQUEST: u8 = 72;
/// More than the kernel puts into one datagram of a dump.
const LONGEST_DATAGRAM: usize = 1 << 16;

/// How many connections to these addresses are in one of the states. It takes a while if there
/// are many.
///
/// # Errors
/// What the kernel says.
pub(crate) fn connections(addresses: &BTreeSet<IpAddr>, states: u32) -> io::Result<u64> {
    Ok(of_family(AF_INET, addresses, states)? + of_family(AF_INET6, addresses, states)?)
}

fn of_family(family: u8, addresses: &BTreeSet<IpAddr>, states: u32) -> io::Result<u64> {
    let mut request = Vec::with_capacity(usize::from(REQUEST));
    request.extend(u32::from(REQUEST).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.resize(HEADER, 0);
    request.extend([family, IPPROTO_TCP, 0, 0]);
    request.extend(states.to_ne_bytes());
    request.resize(usize::from(REQUEST), 0);
    let netlink = netlink_sys::Socket::new(NETLINK_SOCK_DIAG)?;
    netlink.send(&request, 0)?;
    let mut count = 0;
    let mut answer = Vec::with_capacity(LONGEST_DATAGRAM);
    loop {
        answer.clear();
        netlink.recv(&mut answer, 0)?;
        let (found, is_done) = parse(&answer, addresses)?;
        count += found;
        if is_done {
            return Ok(count);
        }
    }
}

/// How many of a datagram's connections are to the addresses, and whether it ends the dump.
fn parse(mut octets: &[u8], addresses: &BTreeSet<IpAddr>) -> io::Result<(u64, bool)> {
    let mut count = 0;
    // Nothing at all would be asked for again and again.
    let mut is_done = octets.is_empty();
    while let Some(len) = octets.get(..4).and_then(|len| len.try_into().ok()) {
        let len = u32::from_ne_bytes(len) as usize;
        let Some(message) = octets.get(..len).filter(|_| len >= HEADER) else { break };
        match u16::from_ne_bytes([message[4], message[5]]) {
            NLMSG_DONE => is_done = true,
            NLMSG_ERROR => return Err(io::Error::other("the kernel tells of no connections")),
            SOCK_DIAG_BY_FAMILY => {
                let local = local_address(message);
                count += u64::from(local.is_some_and(|local| addresses.contains(&local)));
            }
            _ => {}
        }
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((count, is_done))
}

fn local_address(message: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 16] = message.get(SOURCE..SOURCE + 16)?.try_into().ok()?;
    match message[HEADER] {
        AF_INET => Some(IpAddr::from([octets[0], octets[1], octets[2], octets[3]])),
        AF_INET6 => Some(IpAddr::from(octets).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_their_local_address() {
        let listener = std::net::TcpListener::bind("127.0.0.77:0").unwrap();
        let here: BTreeSet<IpAddr> = [listener.local_addr().unwrap().ip()].into();
        let before = connections(&here, ESTABLISHED).unwrap();
        let connect = || std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let clients: Vec<_> = (0..3).map(|_| connect()).collect();
        assert_eq!(connections(&here, ESTABLISHED).unwrap(), before + 3);
        assert_eq!(connections(&BTreeSet::new(), ESTABLISHED).unwrap(), 0);
        clients[0].shutdown(std::net::Shutdown::Write).unwrap();
        let _half_closed = listener.accept().unwrap();
        assert_eq!(connections(&here, OPEN).unwrap(), before + 3, "one is half closed");
        drop(clients);
    }

    #[test]
    fn any_octets_are_read_without_a_panic() {
        let addresses = BTreeSet::new();
        for len in 0..80_u8 {
            for fill in [0, 1, 20, 255] {
                let mut octets = vec![fill; usize::from(len)];
                let _ = parse(&octets, &addresses);
                if octets.len() > 5 {
                    octets[..6].copy_from_slice(&[len, 0, 0, 0, 20, 0]);
                    let _ = parse(&octets, &addresses);
                }
            }
        }
        assert!(parse(&[], &addresses).unwrap().1, "nothing at all is an end too");
    }
}
