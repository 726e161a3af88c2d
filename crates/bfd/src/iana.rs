//! Numbers from RFC 5880 §4.1 and from the registries "BFD Diagnostic Codes" and "BFD
//! Authentication Types" of "[Bidirectional Forwarding Detection (BFD) Parameters][bfd]".
//!
//! [bfd]: https://www.iana.org/assignments/bfd-parameters

use std::fmt;

/// The states of a session (RFC 5880 §4.1, §6.2); any two bits are one of them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum State {
    AdminDown = 0,
    Down = 1,
    Init = 2,
    Up = 3,
}

impl State {
    /// Every state, in the order of the codes.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    /// The state of the two high bits of an octet.
    pub(crate) const fn from_high_bits(octet: u8) -> Self {
        match octet >> 6 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Why a session last changed its state: five bits, of which some codes are assigned.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Diagnostic(u8);

#[expect(missing_docs, reason = "the names are the registry's own")]
impl Diagnostic {
    pub const NONE: Self = Self(0);
    pub const CONTROL_DETECTION_TIME_EXPIRED: Self = Self(1);
    pub const ECHO_FUNCTION_FAILED: Self = Self(2);
    pub const NEIGHBOR_SIGNALED_SESSION_DOWN: Self = Self(3);
    pub const FORWARDING_PLANE_RESET: Self = Self(4);
    pub const PATH_DOWN: Self = Self(5);
    pub const CONCATENATED_PATH_DOWN: Self = Self(6);
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
    pub const REVERSE_CONCATENATED_PATH_DOWN: Self = Self(8);
    pub const MIS_CONNECTIVITY_DEFECT: Self = Self(9);
}

impl Diagnostic {
    /// The diagnostic of this code, assigned or not, if it fits in five bits.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        if code < 32 { Some(Self(code)) } else { None }
    }

    /// The diagnostic of the five low bits of an octet.
    pub(crate) const fn from_low_bits(octet: u8) -> Self {
        Self(octet & 0x1f)
    }

    /// The code, below 32.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "No Diagnostic",
            1 => "Control Detection Time Expired",
            2 => "Echo Function Failed",
            3 => "Neighbor Signaled Session Down",
            4 => "Forwarding Plane Reset",
            5 => "Path Down",
            6 => "Concatenated Path Down",
            7 => "Administratively Down",
            8 => "Reverse Concatenated Path Down",
            9 => "Mis-connectivity Defect",
            code => return write!(f, "diagnostic {code}"),
        })
    }
}

/// What an Authentication Section says it holds. None of these is implemented here.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AuthenticationType(pub u8);

impl fmt::Display for AuthenticationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "Simple Password",
            2 => "Keyed MD5",
            3 => "Meticulous Keyed MD5",
            4 => "Keyed SHA1",
            5 => "Meticulous Keyed SHA1",
            code => return write!(f, "authentication type {code}"),
        })
    }
}
