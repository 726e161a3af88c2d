//! Any sequence of events: octets, timers, connections, starts and stops. At most one connection
//! is Established, nothing is done on one that is closed, and no timer lies in the past.
//!
//! `cargo fuzz run bgp_session` (with a stable compiler: `RUSTC_BOOTSTRAP=1`).
#![no_main]

use std::net::Ipv4Addr;
use std::time::Duration;

use anycast_bgp::message::{
    Capabilities, Context, EXTENDED_MAX_LEN, Message, Notification, Open, Update, frame_len,
};
use anycast_bgp::session::Connection::{Accepted, Dialled};
use anycast_bgp::session::{Action, Config, Connection, Offer, Session, StateName};
use anycast_bgp::time::Instant;
use anycast_bgp::{Asn, Family, Role};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Out of input is the end of the play.
    let _ = play(&mut Unstructured::new(input));
});

/// What a driver and the tables hold, against which each action is checked.
#[derive(Debug, Default)]
struct Driver {
    dialling: bool,
    dialled: bool,
    accepted: bool,
    established: Option<Connection>,
}

fn config(input: &mut Unstructured<'_>) -> Result<Config> {
    let choice: u8 = input.arbitrary()?;
    let seconds = [0, 3, 9, 90][usize::from(input.arbitrary::<u8>()? & 3)];
    Ok(Config {
        local_asn: Asn(64500),
        peer_asn: Asn(if choice & 1 == 0 { 64501 } else { 64500 }),
        router_id: Ipv4Addr::new(192, 0, 2, 5),
        hold_time: Duration::from_secs(seconds),
        families: Family::ALL[usize::from(choice >> 1 & 1)..].to_vec(),
        connect_retry: Duration::from_millis(input.int_in_range(0..=5000)?),
        delay_open: Duration::from_secs(u64::from(input.arbitrary::<u8>()? & 3) * 10),
        passive: choice & 4 != 0,
        offer: Offer {
            role: (choice & 8 != 0).then_some(Role::Customer),
            strict_role: choice & 16 != 0,
            extended_message: choice & 32 != 0,
            extended_next_hop: choice & 64 != 0,
            enhanced_route_refresh: choice & 128 != 0,
            ..Offer::default()
        },
        seed: input.arbitrary()?,
    })
}

fn connection(input: &mut Unstructured<'_>) -> Result<Connection> {
    Ok(if input.arbitrary()? { Dialled } else { Accepted })
}

/// What the neighbor says: mostly sound, so that the session gets somewhere.
fn octets(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let ctx = Context::default();
    let mut said = Vec::new();
    for _ in 0..input.int_in_range(1..=3)? {
        let message = match input.int_in_range(0..=9)? {
            0 | 1 => {
                let choice: u8 = input.arbitrary()?;
                Message::Open(Open {
                    asn: Asn(if choice & 1 == 0 { 64501 } else { 64500 }),
                    hold_time: Duration::from_secs(if choice & 2 == 0 { 90 } else { 3 }),
                    router_id: Ipv4Addr::new(192, 0, 2, choice >> 5 | 1),
                    capabilities: Capabilities {
                        families: (choice & 4 != 0).then(|| Family::ALL.to_vec()),
                        route_refresh: true,
                        four_octet_asn: choice & 8 != 0,
                        enhanced_route_refresh: choice & 16 != 0,
                        extended_message: choice & 16 != 0,
                        ..Capabilities::default()
                    },
                })
            }
            2..=4 => Message::Keepalive,
            5 => Message::Update(Update::end_of_rib(Family::Ipv4Unicast)),
            6 => Message::RouteRefresh(Family::Ipv6Unicast),
            7 => Message::Notification(Notification::new(input.arbitrary()?, input.arbitrary()?)),
            8 => {
                // With a good header, so that bodies are read.
                let len = input.int_in_range(0..=60_u8)?;
                let body = input.bytes(usize::from(len))?;
                said.extend_from_slice(&[0xff; 16]);
                said.extend_from_slice(&[0, 19 + len, input.int_in_range(0..=6)?]);
                said.extend_from_slice(body);
                continue;
            }
            _ => {
                let len = input.int_in_range(0..=30)?;
                said.extend_from_slice(input.bytes(len)?);
                continue;
            }
        };
        said.extend(message.emit(&ctx));
    }
    if input.ratio(1, 8)? {
        said.truncate(input.int_in_range(0..=said.len())?);
    }
    Ok(said)
}

fn play(input: &mut Unstructured<'_>) -> Result<()> {
    let config = config(input)?;
    let passive = config.passive;
    let mut session = Session::new(config);
    let mut driver = Driver::default();
    let mut now = Instant::START;
    let mut stopped = true;
    while !input.is_empty() {
        match input.int_in_range(0..=15)? {
            0 => {
                stopped = false;
                session.handle_start(now);
            }
            1 => {
                stopped = true;
                session.handle_stop(now, input.arbitrary()?, "bye");
            }
            2 if driver.dialling => {
                driver.dialling = false;
                driver.dialled = true;
                session.handle_connected(now, Dialled);
            }
            3 if !driver.accepted => {
                driver.accepted = true;
                session.handle_connected(now, Accepted);
            }
            4 => {
                driver.dialling = false;
                session.handle_dial_failed(now);
            }
            5 => {
                let on = connection(input)?;
                *driver.open(on) = false;
                session.handle_closed(now, on);
            }
            6..=10 => {
                let on = connection(input)?;
                session.handle_octets(now, on, &octets(input)?);
            }
            11 => session.send_update(now, &Update::end_of_rib(Family::Ipv4Unicast)),
            12 => {
                if input.arbitrary()? {
                    session.handle_write_blocked(now);
                } else {
                    session.handle_write_progress();
                }
            }
            13 => {
                session.send_route_refresh(now, Family::Ipv4Unicast);
                session.send_beginning_of_route_refresh(now, Family::Ipv4Unicast);
                session.send_end_of_route_refresh(now, Family::Ipv4Unicast);
            }
            14 => {
                let later = now + Duration::from_millis(input.int_in_range(0..=100_000)?);
                now = session.poll_timeout().map_or(later, |timer| timer.min(later));
            }
            _ => {
                if let Some(timer) = session.poll_timeout() {
                    now = timer;
                    session.handle_timeout(now);
                    assert!(session.poll_timeout().is_none_or(|next| next > now), "it spins");
                }
            }
        }
        while let Some(action) = session.poll_action() {
            driver.perform(action);
        }
        driver.check(&session, now, stopped, passive);
    }
    Ok(())
}

impl Driver {
    fn open(&mut self, connection: Connection) -> &mut bool {
        match connection {
            Dialled => &mut self.dialled,
            Accepted => &mut self.accepted,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial => {
                assert!(!self.dialling && !self.dialled, "a second attempt or connection");
                self.dialling = true;
            }
            Action::CancelDial => {
                assert!(self.dialling, "cancels what is not");
                self.dialling = false;
            }
            Action::Send(on, octets) => {
                assert!(*self.open(on), "sends on {on:?}, which is not open");
                assert_eq!(frame_len(&octets, EXTENDED_MAX_LEN), Ok(Some(octets.len())));
            }
            Action::Close(on) => {
                assert!(*self.open(on), "closes {on:?}, which is not open");
                *self.open(on) = false;
                assert_ne!(self.established, Some(on), "closes without Down");
            }
            Action::Established(link) => {
                assert_eq!(self.established, None, "Established twice");
                let (other, this) = match link.connection {
                    Dialled => (self.accepted, self.dialled),
                    Accepted => (self.dialled, self.accepted),
                };
                assert!(this && !other && !self.dialling, "one connection and no attempt");
                self.established = Some(link.connection);
            }
            Action::Down(_) => {
                assert!(self.established.take().is_some(), "Down without Established");
            }
            _ => assert!(self.established.is_some(), "routes while not Established"),
        }
    }

    fn check(&self, session: &Session, now: Instant, stopped: bool, passive: bool) {
        assert!(session.poll_timeout().is_none_or(|next| next >= now), "a timer of the past");
        let state = session.state();
        assert_eq!(self.established.is_some(), state == StateName::Established);
        assert_eq!(self.established, session.negotiated().map(|link| link.connection));
        let counters = session.counters();
        assert_eq!(
            counters.established - counters.dropped,
            u64::from(self.established.is_some()),
            "each session that came up and is gone was dropped"
        );
        let alive = self.dialling || self.dialled || self.accepted;
        if stopped {
            assert_eq!((state, session.poll_timeout()), (StateName::Idle, None));
            assert!(!alive, "stopped, and something is left");
        } else if !passive {
            assert!(alive || session.poll_timeout().is_some(), "stuck in {state}");
        }
    }
}
