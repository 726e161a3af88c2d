//! BGP roles (RFC 9234): what the two ends of an eBGP session are to each other.

use std::fmt;

/// What one end of an eBGP session is to the other (RFC 9234 §3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names are the RFC's own")]
pub enum Role {
    Provider,
    RouteServer,
    RouteServerClient,
    Customer,
    Peer,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 5] =
        [Self::Provider, Self::RouteServer, Self::RouteServerClient, Self::Customer, Self::Peer];

    /// The value of the capability, from the registry "BGP Role Value".
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
        }
    }

    /// The role with this value, if it is assigned.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }

    /// What the other end must be (RFC 9234 §4.2, table 2).
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Customer => Self::Provider,
            Self::Peer => Self::Peer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::RouteServer => "route-server",
            Self::RouteServerClient => "route-server-client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_pairs_are_those_of_rfc_9234() {
        use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
        let table = [
            (0, Provider, Customer),
            (1, RouteServer, RouteServerClient),
            (2, RouteServerClient, RouteServer),
            (3, Customer, Provider),
            (4, Peer, Peer),
        ];
        for (code, role, counterpart) in table {
            assert_eq!((role.code(), role.counterpart()), (code, counterpart), "{role}");
            assert_eq!(Role::from_code(code), Some(role));
        }
        assert!((5..=255).all(|code| Role::from_code(code).is_none()));
    }
}
