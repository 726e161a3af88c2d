//! Values in words, much as the file would have them. Words of different values differ.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anycast_bgp::policy::relation::Relation;
use anycast_bgp::retention::Limits as StaleLimits;
use anycast_bgp::{Asn, Community, Family, LargeCommunity, Role};

use crate::api::{Api, Role as ApiRole};
use crate::{AtLimit, Bfd, Coordinates, ExportPolicy, ImportPolicy, MaxPrefixes, TcpAo};

pub(super) trait Words {
    fn words(&self) -> String;
}

macro_rules! as_displayed {
    ($($type:ty),+) => {
        $(impl Words for $type {
            fn words(&self) -> String {
                self.to_string()
            }
        })+
    };
}

as_displayed!(u8, u16, u32, u64, String, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, Asn, Community);
as_displayed!(LargeCommunity, Family, Role, ImportPolicy, ExportPolicy);

impl Words for bool {
    fn words(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Words for Duration {
    fn words(&self) -> String {
        if self.is_zero() { "0s".to_owned() } else { format!("{self:?}") }
    }
}

impl Words for Api {
    fn words(&self) -> String {
        let role = |role| if role == ApiRole::Operate { "operate" } else { "read" };
        let tokens = self.tokens.iter().map(|token| {
            format!("{} ({}, {})", token.name, role(token.role), token.file.display())
        });
        let clients =
            self.clients.iter().map(|it| format!("certificate {} ({})", it.name, role(it.role)));
        let callers: Vec<String> = tokens.chain(clients).collect();
        format!(
            "on {} with {}, {} and {} for {}",
            self.listen,
            self.certificate.display(),
            self.key.display(),
            self.client_ca.words(),
            callers.join(", ")
        )
    }
}

impl Words for PathBuf {
    fn words(&self) -> String {
        self.display().to_string()
    }
}

impl<T: Words> Words for Option<T> {
    fn words(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Words::words)
    }
}

impl<T: Words> Words for Vec<T> {
    fn words(&self) -> String {
        match self.as_slice() {
            [] => "none".to_owned(),
            some => some.iter().map(Words::words).collect::<Vec<_>>().join(", "),
        }
    }
}

impl Words for Relation {
    fn words(&self) -> String {
        match self {
            Self::Customer => "customer",
            Self::Peer => "peer",
            Self::Provider => "provider",
        }
        .to_owned()
    }
}

impl Words for Coordinates {
    fn words(&self) -> String {
        format!("{} {}", self.lat, self.lon)
    }
}

impl Words for Bfd {
    fn words(&self) -> String {
        format!("{} × {}", self.interval.words(), self.multiplier)
    }
}

impl Words for MaxPrefixes {
    fn words(&self) -> String {
        let then = match self.action {
            AtLimit::Warn => "then a warning".to_owned(),
            AtLimit::Restart(None) => "then the session ends".to_owned(),
            AtLimit::Restart(Some(after)) => format!("then the session rests for {after:?}"),
        };
        format!("{} (warning at {}, {then})", self.limit, self.warn_at)
    }
}

impl Words for TcpAo {
    fn words(&self) -> String {
        let Self { key_file, send_id, recv_id, algorithm } = self;
        format!("{} {send_id} {recv_id} {algorithm:?}", key_file.display())
    }
}

impl Words for StaleLimits {
    fn words(&self) -> String {
        format!("{} (long-lived {})", self.stale.words(), self.long_lived.words())
    }
}
