//! What the tests share: a configuration, and a neighbor's messages.

mod delay;
mod hard_reset;
mod negotiation;
mod octets;
mod offers;
mod random;
mod resume;
mod retry;
mod shown;
mod simulation;
mod tap;
mod transitions;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::message::{Announcement, Capabilities, Open};
use crate::{Attributes, IpNet};

use super::*;

const LOCAL: Asn = Asn(64500);
const PEER: Asn = Asn(64501);
const HOLD_TIME: Duration = Duration::from_secs(90);

/// Extended messages alone.
const PLAIN: Offer = Offer {
    role: None,
    strict_role: false,
    extended_message: true,
    extended_next_hop: false,
    enhanced_route_refresh: false,
    receive_paths: false,
    send_paths: 0,
    graceful_restart: None,
};

/// The configuration of 192.0.2.5 towards a neighbor of another AS.
fn config() -> Config {
    Config {
        local_asn: LOCAL,
        peer_asn: PEER,
        router_id: Ipv4Addr::new(192, 0, 2, 5),
        hold_time: HOLD_TIME,
        families: Family::ALL.to_vec(),
        connect_retry: Duration::from_secs(1),
        delay_open: Duration::ZERO,
        passive: false,
        offer: PLAIN,
        seed: 1,
    }
}

fn context() -> Context {
    Context::new(true)
}

/// The OPEN of a neighbor whose BGP Identifier is lower than ours, so that the connection which we
/// dialled survives a collision.
fn open() -> Open {
    Open {
        asn: PEER,
        hold_time: HOLD_TIME,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        capabilities: Capabilities {
            families: Some(Family::ALL.to_vec()),
            route_refresh: true,
            four_octet_asn: true,
            ..Capabilities::default()
        },
    }
}

fn update() -> Update {
    let next_hop = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let mut attributes = Attributes::new(next_hop);
    attributes.as_path = crate::AsPath::sequence(&[PEER.0]);
    Update {
        announced: vec![Announcement {
            attributes: Arc::new(attributes),
            prefixes: vec!["198.51.100.0/24".parse::<IpNet>().unwrap().into()],
        }],
        ..Update::default()
    }
}

fn emit(message: &Message) -> Vec<u8> {
    message.emit(&context())
}

fn drain(session: &mut Session) -> Vec<Action> {
    std::iter::from_fn(|| session.poll_action()).collect()
}

fn at(millis: u64) -> Instant {
    Instant::from_start(Duration::from_millis(millis))
}

/// A session of `config` that went up at the start over a connection that it dialled.
fn established(config: Config, open: &Open) -> Session {
    let mut session = Session::new(config);
    session.handle_start(Instant::START);
    session.handle_connected(Instant::START, Connection::Dialled);
    for message in [Message::Open(open.clone()), Message::Keepalive] {
        session.handle_octets(Instant::START, Connection::Dialled, &emit(&message));
    }
    assert_eq!(session.state(), StateName::Established);
    drain(&mut session);
    session
}
