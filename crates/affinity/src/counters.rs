//! What became of packets, as the programs count it.

use std::collections::BTreeMap;

use crate::config::SiteId;

macro_rules! reasons {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// Why a packet went where it went. The order is that of `enum reason` in `bpf/shared.h`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $doc] $variant,)* }

        impl Reason {
            /// All, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, for tables and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

reasons! {
    Syn "syn" "A connection is opened here.",
    OwnId "own-id" "The packet names this site.",
    OwnSocket "own-socket" "This host has the connection.",
    LastOfRing "last-of-ring" "All sites were asked; the kernel here may refuse it.",
    NoPeer "no-peer" "Not known here, and there is no live site to ask.",
    NoConnectionId "no-connection-id" "QUIC whose connection id names no other site.",
    ForwardedHint "forwarded-hint" "TCP, forwarded to the site that it names.",
    ForwardedRing "forwarded-ring" "Forwarded to the next site of the ring.",
    ForwardedQuic "forwarded-quic" "QUIC, forwarded to the site that its connection id names.",
    ForwardedIcmp "forwarded-icmp" "An ICMP error, forwarded to the owner of what it quotes.",
    Unwrapped "unwrapped" "Taken out of another site's frame.",
    Fragment "fragment" "A fragment, left to the kernel.",
    Options "options" "IP options or extension headers, left to the kernel.",
    Malformed "malformed" "Shorter than it says, left to the kernel.",
    TooBig "too-big" "Too long for a frame; the sender was told if it was XDP.",
    HopLimit "hop-limit" "Its hop limit was used up.",
    LimitedSource "limited-source" "Dropped: its sender's budget is used up.",
    LimitedSite "limited-site" "Dropped: the budget towards its owner is used up.",
    LimitedRing "limited-ring" "Dropped: the ring's budget is used up.",
    LimitedPeer "limited-peer" "Dropped: the budget of the site it came from is used up.",
    RejectedFormat "rejected-format" "Not a frame: truncated, of another version, of another length than it says.",
    RejectedSource "rejected-source" "A frame from no site, or not from that site's address.",
    RejectedEpoch "rejected-epoch" "A frame under a key that is not known here.",
    RejectedMac "rejected-mac" "A frame that no site has signed like this.",
    RejectedAge "rejected-age" "A frame that is too old, or from the future.",
    RejectedInner "rejected-inner" "A frame whose packet is not one of a service's connections.",
    RejectedEcn "rejected-ecn" "Congestion met by a packet whose sender does not know the mark.",
    RejectedHops "rejected-hops" "A frame that went round.",
    Stamped "stamped" "Sent with the site's id in its timestamp.",
    Clamped "clamped" "A SYN-ACK whose MSS was lowered.",
    CompletedChecksum "completed-checksum" "Its checksum had been left to a network card.",
    Failed "failed" "The kernel had no room, or tags at tc.",
}

/// What was exchanged with one site, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteCounters {
    /// Forwarded to it because they name it.
    pub hint: u64,
    /// Forwarded to it as the next of the ring.
    pub ring: u64,
    /// Unwrapped from it.
    pub received: u64,
    /// Not forwarded to it for a limit.
    pub limited: u64,
}

/// Packets since the maps were made, over all CPUs. They outlive the process, as the programs do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// By reason, in [`Reason::ALL`]'s order.
    pub of: Vec<(Reason, u64)>,
    /// By the other site.
    pub sites: BTreeMap<SiteId, SiteCounters>,
}

impl Counters {
    /// Packets of one reason.
    pub fn get(&self, reason: Reason) -> u64 {
        self.of.iter().find(|(other, _)| *other == reason).map_or(0, |(_, packets)| *packets)
    }

    /// Packets that were refused as frames, for whatever reason.
    pub fn rejected(&self) -> u64 {
        self.of
            .iter()
            .filter(|(reason, _)| reason.name().starts_with("rejected-"))
            .map(|(_, packets)| packets)
            .sum()
    }

    /// Packets that were dropped for a limit.
    pub fn limited(&self) -> u64 {
        self.of
            .iter()
            .filter(|(reason, _)| reason.name().starts_with("limited-"))
            .map(|(_, packets)| packets)
            .sum()
    }

    /// Packets that were forwarded, for whatever reason.
    pub fn forwarded(&self) -> u64 {
        self.of
            .iter()
            .filter(|(reason, _)| reason.name().starts_with("forwarded-"))
            .map(|(_, packets)| packets)
            .sum()
    }
}
