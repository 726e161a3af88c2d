//! The Control packet (RFC 5880 §4.1), its only form here: 24 octets, the payload of a datagram.
//!
//! ```text
//! | version: 3 bits | diagnostic: 5 | state: 2 | P F C A D M: 6 | detect mult: 8 | length: 8 |
//! | my discriminator: 32 | your discriminator: 32 |
//! | desired min tx: 32 | required min rx: 32 | required min echo rx: 32 |   microseconds
//! ```
//!
//! Of the checks of §6.8.6, those that the packet alone can answer are made here. Whether Your
//! Discriminator names a session of ours is for the driver, which picks the session by it, and for
//! the session, which checks it once more.
//!
//! An Authentication Section is recognised, and always refused: no authentication is implemented,
//! so none can be in use, and §6.8.6 has such a packet discarded.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use crate::iana::{AuthenticationType, Diagnostic, State};

const VERSION: u8 = 1;
const POLL: u8 = 1 << 5;
const FINAL: u8 = 1 << 4;
const CONTROL_PLANE_INDEPENDENT: u8 = 1 << 3;
const AUTHENTICATION_PRESENT: u8 = 1 << 2;
const DEMAND: u8 = 1 << 1;
const MULTIPOINT: u8 = 1;

/// A Control packet without authentication.
///
/// Whoever makes one keeps one rule that the type does not: only in the states Down and AdminDown
/// may `your_discriminator` be unknown. A session keeps it; [`Control::parse`] checks it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Control {
    /// Why the sender's session last changed its state.
    pub diagnostic: Diagnostic,
    /// Where the sender's session stands.
    pub state: State,
    /// The P and F bits.
    pub exchange: Exchange,
    /// The sender's BFD lives on when its control plane dies (C).
    pub control_plane_independent: bool,
    /// The sender wants no periodic packets while both are Up (D).
    pub demand: bool,
    /// The packets in a row that the receiver must miss to call the sender dead.
    pub detect_mult: NonZeroU8,
    /// The sender's name for its session.
    pub my_discriminator: NonZeroU32,
    /// The receiver's name for its session, once the sender has heard it: zero on the wire if not.
    pub your_discriminator: Option<NonZeroU32>,
    /// The sender will not send faster than this.
    pub desired_min_tx: Interval,
    /// The sender cannot receive faster than this; zero: it wants no periodic packets.
    pub required_min_rx: Interval,
    /// The same for Echo packets; zero: it supports none.
    pub required_min_echo_rx: Interval,
}

/// The part that a packet plays in a Poll Sequence (RFC 5880 §6.5). The two bits that say it must
/// not both be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exchange {
    /// None.
    Plain,
    /// It asks for a packet with the Final bit, now (P).
    Poll,
    /// It answers a Poll (F).
    Final,
}

/// A length of time as the wire carries it: microseconds in 32 bits, at most some 71 minutes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Interval(pub u32);

impl Interval {
    /// Zero has meanings of its own on the wire.
    pub const ZERO: Self = Self(0);

    /// Whole microseconds, at most as many as the wire can carry.
    #[must_use]
    pub fn saturating_from(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX))
    }

    /// The same for the clock.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0 as u64)
    }
}

/// Why a datagram was refused; in every case it is dropped without an answer (RFC 5880 §6.8.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PacketError {
    /// Fewer octets than any Control packet has.
    #[error("{0} octets are fewer than a Control packet has")]
    Truncated(usize),
    /// A version that we do not speak.
    #[error("version {0}, not 1")]
    Version(u8),
    /// The Length field does not suit the datagram or the bits set.
    #[error("Length says {length} octets in a datagram of {datagram}")]
    Length {
        /// What the field says.
        length: u8,
        /// What arrived.
        datagram: usize,
    },
    /// Detect Mult is zero.
    #[error("Detect Mult is zero")]
    DetectMultZero,
    /// The Multipoint bit is set.
    #[error("the Multipoint bit is set")]
    Multipoint,
    /// My Discriminator is zero.
    #[error("My Discriminator is zero")]
    MyDiscriminatorZero,
    /// Your Discriminator is zero in a state that can only follow from having heard it.
    #[error("Your Discriminator is zero in state {0}")]
    YourDiscriminatorZero(State),
    /// Both the Poll and the Final bit are set (§6.5).
    #[error("both the Poll and the Final bit are set")]
    PollAndFinal,
    /// The packet is authenticated, which we cannot check.
    #[error("the packet carries authentication ({0}), which is not supported")]
    Authentication(AuthenticationType),
}

impl Control {
    /// Octets that a packet takes on the wire.
    pub const LEN: usize = 24;

    /// Reads the payload of one datagram; whatever it holds, this does not panic.
    ///
    /// # Errors
    /// The first fault in the order of §6.8.6. Stricter than it in two points: the datagram ends
    /// where the packet does, so a neighbor that pads (RFC 9764) is not heard, and P and F are not
    /// both set.
    pub fn parse(datagram: &[u8]) -> Result<Self, PacketError> {
        let Some(wire) = datagram.first_chunk::<{ Self::LEN }>() else {
            return Err(PacketError::Truncated(datagram.len()));
        };
        let [first, bits, detect_mult, length, ..] = *wire;
        if first >> 5 != VERSION {
            return Err(PacketError::Version(first >> 5));
        }
        let authentication = authentication(datagram, bits, length)?;
        let detect_mult = NonZeroU8::new(detect_mult).ok_or(PacketError::DetectMultZero)?;
        if bits & MULTIPOINT != 0 {
            return Err(PacketError::Multipoint);
        }
        let my_discriminator =
            NonZeroU32::new(word(wire, 1)).ok_or(PacketError::MyDiscriminatorZero)?;
        let your_discriminator = NonZeroU32::new(word(wire, 2));
        let state = State::from_high_bits(bits);
        if your_discriminator.is_none() && matches!(state, State::Init | State::Up) {
            return Err(PacketError::YourDiscriminatorZero(state));
        }
        if let Some(kind) = authentication {
            return Err(PacketError::Authentication(kind));
        }
        let exchange = match (bits & POLL != 0, bits & FINAL != 0) {
            (false, false) => Exchange::Plain,
            (true, false) => Exchange::Poll,
            (false, true) => Exchange::Final,
            (true, true) => return Err(PacketError::PollAndFinal),
        };
        Ok(Self {
            diagnostic: Diagnostic::from_low_bits(first),
            state,
            exchange,
            control_plane_independent: bits & CONTROL_PLANE_INDEPENDENT != 0,
            demand: bits & DEMAND != 0,
            detect_mult,
            my_discriminator,
            your_discriminator,
            desired_min_tx: Interval(word(wire, 3)),
            required_min_rx: Interval(word(wire, 4)),
            required_min_echo_rx: Interval(word(wire, 5)),
        })
    }

    /// Writes the packet: the exact inverse of [`parse`](Self::parse).
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let mut bits = (self.state as u8) << 6;
        bits |= match self.exchange {
            Exchange::Plain => 0,
            Exchange::Poll => POLL,
            Exchange::Final => FINAL,
        };
        if self.control_plane_independent {
            bits |= CONTROL_PLANE_INDEPENDENT;
        }
        if self.demand {
            bits |= DEMAND;
        }
        let mut wire = [0; Self::LEN];
        wire[0] = VERSION << 5 | self.diagnostic.code();
        wire[1] = bits;
        wire[2] = self.detect_mult.get();
        wire[3] = 24;
        let words = [
            self.my_discriminator.get(),
            self.your_discriminator.map_or(0, NonZeroU32::get),
            self.desired_min_tx.0,
            self.required_min_rx.0,
            self.required_min_echo_rx.0,
        ];
        for (place, word) in wire[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        wire
    }
}

/// Holds the Length field against the datagram; gives the kind of the Authentication Section, if
/// there is one, after holding its own length against the rest (§4.1).
fn authentication(
    datagram: &[u8],
    bits: u8,
    length: u8,
) -> Result<Option<AuthenticationType>, PacketError> {
    let fault = PacketError::Length { length, datagram: datagram.len() };
    if usize::from(length) != datagram.len() {
        return Err(fault);
    }
    match (bits & AUTHENTICATION_PRESENT != 0, &datagram[Control::LEN..]) {
        (false, []) => Ok(None),
        (true, section @ [kind, len, ..]) if usize::from(*len) == section.len() => {
            Ok(Some(AuthenticationType(*kind)))
        }
        _ => Err(fault),
    }
}

/// The word at `index`, in words of four octets.
fn word(wire: &[u8; Control::LEN], index: usize) -> u32 {
    let at = 4 * index;
    u32::from_be_bytes([wire[at], wire[at + 1], wire[at + 2], wire[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet octet by octet: version 1, diagnostic 3, Init, Poll, three times 10 ms.
    const WIRE: [u8; 24] =
        [0x23, 0xa0, 3, 24, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0x27, 0x10, 0, 0, 0x4e, 0x20, 0, 0, 0, 0];

    fn any_control() -> impl Strategy<Value = Control> {
        let exchange =
            prop_oneof![Just(Exchange::Plain), Just(Exchange::Poll), Just(Exchange::Final)];
        let names = (0..4_usize, 1..=u32::MAX, any::<u32>());
        (any::<[bool; 2]>(), 0..32_u8, exchange, 1..=u8::MAX, names, any::<[u32; 3]>()).prop_map(
            |([independent, demand], diagnostic, exchange, detect_mult, names, times)| {
                let (state, my, your) = names;
                let state = State::ALL[state];
                let your_discriminator = match state {
                    State::AdminDown | State::Down => NonZeroU32::new(your),
                    State::Init | State::Up => NonZeroU32::new(your.max(1)),
                };
                Control {
                    diagnostic: Diagnostic::from_code(diagnostic).unwrap(),
                    state,
                    exchange,
                    control_plane_independent: independent,
                    demand,
                    detect_mult: NonZeroU8::new(detect_mult).unwrap(),
                    my_discriminator: NonZeroU32::new(my).unwrap(),
                    your_discriminator,
                    desired_min_tx: Interval(times[0]),
                    required_min_rx: Interval(times[1]),
                    required_min_echo_rx: Interval(times[2]),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_emitted_parses_as_itself(control in any_control()) {
            prop_assert_eq!(Control::parse(&control.emit()), Ok(control));
        }

        #[test]
        fn what_parses_is_emitted_octet_for_octet(
            head in any::<[u8; 2]>(), rest in any::<[u8; 20]>(), sound in any::<bool>(),
        ) {
            let mut wire = WIRE;
            wire[..2].copy_from_slice(&head);
            wire[4..].copy_from_slice(&rest);
            if sound {
                wire[0] = 0x20 | head[0] & 0x1f;
                wire[1] &= !(AUTHENTICATION_PRESENT | MULTIPOINT | FINAL);
            }
            if let Ok(control) = Control::parse(&wire) {
                prop_assert_eq!(control.emit(), wire);
            }
        }

        #[test]
        fn any_octets_are_taken_without_panic(
            octets in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(control) = Control::parse(&octets) {
                prop_assert_eq!(&control.emit()[..], &octets[..]);
            }
        }
    }

    #[test]
    fn every_pair_of_first_octets_is_refused_or_survives_the_round_trip() {
        let mut sound = 0;
        for head in 0..=u16::MAX {
            let mut wire = WIRE;
            wire[..2].copy_from_slice(&head.to_be_bytes());
            if let Ok(control) = Control::parse(&wire) {
                assert_eq!(control.emit(), wire);
                sound += 1;
            }
        }
        // 32 diagnostics, 4 states, 3 of the 4 values of P and F, C and D.
        assert_eq!(sound, 32 * 4 * 3 * 2 * 2);
    }

    #[test]
    fn fields_stand_where_the_rfc_draws_them() {
        let control = Control {
            diagnostic: Diagnostic::NEIGHBOR_SIGNALED_SESSION_DOWN,
            state: State::Init,
            exchange: Exchange::Poll,
            control_plane_independent: false,
            demand: false,
            detect_mult: NonZeroU8::new(3).unwrap(),
            my_discriminator: NonZeroU32::new(7).unwrap(),
            your_discriminator: NonZeroU32::new(9),
            desired_min_tx: Interval(10_000),
            required_min_rx: Interval(20_000),
            required_min_echo_rx: Interval::ZERO,
        };
        assert_eq!(control.emit(), WIRE);
        assert_eq!(Control::parse(&WIRE), Ok(control));
    }

    #[test]
    fn faults() {
        // Name, octets to set, octets to append, what is refused.
        type Case = (&'static str, &'static [(usize, u8)], &'static [u8], PacketError);
        let length = |length, datagram| PacketError::Length { length, datagram };
        let keyed_sha1 = PacketError::Authentication(AuthenticationType(4));
        let nameless = PacketError::YourDiscriminatorZero;
        #[rustfmt::skip]
        let table: &[Case] = &[
            ("version 0", &[(0, 0x03)], &[], PacketError::Version(0)),
            ("version 2", &[(0, 0x43)], &[], PacketError::Version(2)),
            ("Length below the minimum", &[(3, 23)], &[], length(23, 24)),
            ("Length beyond the datagram", &[(3, 25)], &[], length(25, 24)),
            ("an octet after the packet", &[], &[0], length(24, 25)),
            ("an octet that Length counts, of no section", &[(3, 25)], &[0], length(25, 25)),
            ("Detect Mult 0", &[(2, 0)], &[], PacketError::DetectMultZero),
            ("Multipoint", &[(1, 0xa1)], &[], PacketError::Multipoint),
            ("My Discriminator 0", &[(7, 0)], &[], PacketError::MyDiscriminatorZero),
            ("Your Discriminator 0 in Init", &[(11, 0)], &[], nameless(State::Init)),
            ("Your Discriminator 0 in Up", &[(11, 0), (1, 0xc0)], &[], nameless(State::Up)),
            ("Poll and Final", &[(1, 0xb0)], &[], PacketError::PollAndFinal),
            ("A without a section", &[(1, 0xa4)], &[], length(24, 24)),
            ("A with half a section", &[(1, 0xa4), (3, 25)], &[4], length(25, 25)),
            ("a section that counts too much", &[(1, 0xa4), (3, 27)], &[4, 4, 0], length(27, 27)),
            ("a section that counts too little", &[(1, 0xa4), (3, 27)], &[4, 2, 0], length(27, 27)),
            ("authentication", &[(1, 0xa4), (3, 27)], &[4, 3, 0], keyed_sha1),
            ("a worse fault first", &[(1, 0xa5), (3, 27)], &[4, 3, 0], PacketError::Multipoint),
        ];
        for (name, set, append, want) in table {
            let mut wire = WIRE.to_vec();
            for (at, octet) in *set {
                wire[*at] = *octet;
            }
            wire.extend(*append);
            assert_eq!(Control::parse(&wire), Err(*want), "{name}");
        }
        for len in 0..WIRE.len() {
            assert_eq!(Control::parse(&WIRE[..len]), Err(PacketError::Truncated(len)));
        }
    }

    #[test]
    fn only_a_sender_that_has_not_heard_us_may_leave_our_discriminator_out() {
        for (bits, state) in [(0x00, State::AdminDown), (0x40, State::Down)] {
            let mut wire = WIRE;
            wire[1] = bits;
            wire[11] = 0;
            let control = Control::parse(&wire).unwrap();
            assert_eq!((control.state, control.your_discriminator), (state, None));
        }
    }

    #[test]
    fn intervals_beyond_the_wire_are_the_longest_that_it_carries() {
        for (duration, micros) in [
            (Duration::from_nanos(999), 0),
            (Duration::from_nanos(10_000_999), 10_000),
            (Duration::from_micros(u64::from(u32::MAX) + 1), u32::MAX),
            (Duration::MAX, u32::MAX),
        ] {
            assert_eq!(Interval::saturating_from(duration), Interval(micros));
        }
    }
}
