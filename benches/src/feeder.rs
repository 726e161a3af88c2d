//! The neighbor's end of a session, as simple as can be: it opens the session, sends octets that
//! were made before, and counts prefixes that it is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anycast_bgp::message::{Capabilities, Context, Message, Open};
use anycast_bgp::{Asn, Family};
use socket2::{Domain, Socket, Type};

use crate::Failure;
use crate::speakers::{HOLD_TIME, PATIENCE, PORT, SPEAKER, neighbor};

/// The types of RFC 4271 §4.1 that are told apart here.
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const HEADER: usize = 19;

/// A session that is Established, from the neighbor's end.
pub struct Feeder {
    socket: Socket,
}

/// The OPEN of the neighbor with this address and ASN.
#[must_use]
pub fn open(address: Ipv4Addr, asn: u32) -> Vec<u8> {
    let open = Open {
        asn: Asn(asn),
        hold_time: HOLD_TIME,
        router_id: address,
        capabilities: Capabilities {
            families: Some(vec![Family::Ipv4Unicast]),
            four_octet_asn: true,
            ..Capabilities::default()
        },
    };
    Message::Open(open).emit(&Context::default())
}

impl Feeder {
    /// Dials as the neighbor at `index` until somebody listens, and opens the session.
    ///
    /// # Errors
    /// Nobody listens, or the session is refused.
    pub fn dial(index: usize) -> Result<Self, Failure> {
        let (address, asn) = neighbor(index);
        let deadline = Instant::now() + Duration::from_secs(20);
        let socket = loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((address, 0)).into())?;
            socket.set_read_timeout(Some(PATIENCE))?;
            match socket.connect(&SocketAddr::from((SPEAKER.0, PORT)).into()) {
                Ok(()) => break socket,
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let feeder = Self { socket };
        feeder.send(&open(address, asn))?;
        // Its OPEN, then our KEEPALIVE, then its own: Established.
        feeder.read()?;
        feeder.send(&Message::Keepalive.emit(&Context::default()))?;
        feeder.read()?;
        Ok(feeder)
    }

    /// Sends octets.
    ///
    /// # Errors
    /// Of the connection.
    pub fn send(&self, octets: &[u8]) -> Result<(), Failure> {
        Ok((&self.socket).write_all(octets)?)
    }

    fn read(&self) -> Result<(), Failure> {
        let mut header = [0; HEADER];
        (&self.socket).read_exact(&mut header)?;
        let mut body = vec![0; length(&header).saturating_sub(HEADER)];
        (&self.socket).read_exact(&mut body)?;
        if header[18] == NOTIFICATION {
            return Err(format!("the speaker refuses the session: {body:?}").into());
        }
        Ok(())
    }

    /// Reads until it was told so many prefixes.
    ///
    /// # Errors
    /// The session ends before.
    pub fn receive(&self, prefixes: usize) -> Result<(), Failure> {
        let (mut octets, mut filled, mut told) = (vec![0; 1 << 18], 0, 0);
        while told < prefixes {
            let count = (&self.socket).read(&mut octets[filled..])?;
            if count == 0 {
                return Err(format!("the session ended after {told} prefixes").into());
            }
            filled += count;
            let mut at = 0;
            while let Some(message) = octets[at..filled].get(..length(&octets[at..filled])) {
                if message.is_empty() {
                    break;
                }
                match message[18] {
                    UPDATE => told += announced(message),
                    NOTIFICATION => return Err("the session ended by a NOTIFICATION".into()),
                    _ => {}
                }
                at += message.len();
            }
            octets.copy_within(at..filled, 0);
            filled -= at;
        }
        Ok(())
    }
}

/// The length of the message that begins here; zero: not known yet.
#[must_use]
pub fn length(octets: &[u8]) -> usize {
    match octets.get(16..HEADER) {
        Some(rest) => usize::from(u16::from_be_bytes([rest[0], rest[1]])),
        None => 0,
    }
}

/// How many IPv4 prefixes an UPDATE announces (RFC 4271 §4.3).
#[must_use]
pub fn announced(message: &[u8]) -> usize {
    let skip = |at: usize| {
        let length = message.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
        at + 2 + usize::from(length)
    };
    let mut at = skip(skip(HEADER));
    let mut count = 0;
    while let Some(bits) = message.get(at) {
        at += 1 + usize::from(bits.div_ceil(8));
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use anycast_bgp::message::Update;
    use anycast_bgp::{Attributes, IpNet};

    use super::*;

    #[test]
    fn prefixes_are_counted_without_being_read() {
        let prefixes: Vec<IpNet> = ["10.0.0.0/8", "192.0.2.0/24", "0.0.0.0/0", "198.51.100.7/32"]
            .map(|text| text.parse().expect("a prefix"))
            .to_vec();
        let attributes = Arc::new(Attributes::new(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let context = Context::default();
        let update = Update::announce(attributes, prefixes.clone()).emit(&context).concat();
        assert_eq!((length(&update), announced(&update)), (update.len(), 4));
        let withdrawal = Update::withdraw(prefixes).emit(&context).concat();
        assert_eq!(announced(&withdrawal), 0);
    }
}
