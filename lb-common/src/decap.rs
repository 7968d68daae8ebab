//! Taking packets out of tunnels: what `xlb decap` decides, from header fields alone.
//!
//! The maps and settings here live as long as the command that loads them, so they are no part of
//! [`LAYOUT_VERSION`](crate::LAYOUT_VERSION).

use crate::{map_struct, wire_enum};

/// The program, and the same for frames longer than one buffer.
pub const PROGRAM: &str = "xlb_decap";
pub const FRAGS_PROGRAM: &str = "xlb_decap_frags";
/// Destinations of this host: LPM trie of `Addr`. What is in none of them is neither taken out of a tunnel nor let out of one.
pub const LOCALS: &str = "LOCALS";
/// Networks that tunnels may come from: LPM trie of `Addr`.
pub const SOURCES: &str = "TUNNEL_SOURCES";
/// Per-CPU array of `Count`, by [`Decap`].
pub const COUNTS: &str = "DECAP_COUNTS";
/// Load-time global: [`Settings`].
pub const SETTINGS: &str = "DECAP_SETTINGS";
/// Capacity of [`LOCALS`] and of [`SOURCES`].
pub const MAX_PREFIXES: u32 = 4_096;

map_struct! {
    /// What the command was told.
    pub struct Settings {
        /// UDP port that GUE comes to, in network order.
        pub port: u16,
        /// Whether only [`SOURCES`] may send tunnels.
        pub restricted: u8,
        /// Whether frames may be longer than one buffer (`xdp.frags`, Linux 5.18).
        pub multi_buffer: u8,
        pub _pad: [u8; 4],
    }
}

wire_enum! {
    /// What became of a packet. Every packet has exactly one.
    pub enum Decap {
        /// Out of its tunnel, and on to the kernel.
        Taken = 0 => "taken",
        /// No tunnel to this host: left to the kernel, untouched, as all that follow down to `BadOuter` are.
        NotTunnel = 1 => "not_tunnel",
        /// A tunnel from outside the networks that may send them.
        ForeignSource = 2 => "foreign_source",
        /// What is in the tunnel is for another host.
        NotLocal = 3 => "not_local",
        /// A fragment of a tunnel's packet.
        Fragment = 4 => "fragment",
        /// GUE with a header of a kind that we do not read.
        UnknownGue = 5 => "unknown_gue",
        /// An outer header with a wrong checksum or length, which the kernel drops.
        BadOuter = 6 => "bad_outer",
        /// What is in the tunnel is not the IP packet that it should be: dropped.
        BadInner = 7 => "bad_inner",
        /// Congestion was experienced by a packet whose sender would not hear of it (RFC 6040 §4.2): dropped.
        Congested = 8 => "congested",
    }
}

impl Decap {
    /// Whether the kernel gets the packet.
    #[must_use]
    #[inline(always)]
    pub const fn passes(self) -> bool {
        match self {
            Self::Taken
            | Self::NotTunnel
            | Self::ForeignSource
            | Self::NotLocal
            | Self::Fragment
            | Self::UnknownGue
            | Self::BadOuter => true,
            Self::BadInner | Self::Congested => false,
        }
    }
}

/// The family of a packet in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    V4,
    V6,
}

impl Inner {
    /// By the protocol number of an outer header: IPv4 and IPv6 in IP.
    #[must_use]
    #[inline(always)]
    pub const fn of_protocol(protocol: u8) -> Option<Self> {
        match protocol {
            4 => Some(Self::V4),
            41 => Some(Self::V6),
            _ => None,
        }
    }

    /// By the version that the packet itself has in its first byte.
    #[must_use]
    #[inline(always)]
    pub const fn of_version(first: u8) -> Option<Self> {
        match first >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    #[must_use]
    #[inline(always)]
    pub const fn ether_type(self) -> u16 {
        match self {
            Self::V4 => 0x0800,
            Self::V6 => 0x86dd,
        }
    }
}

/// Reads the first four bytes behind GUE's UDP header (draft-ietf-intarea-gue-09 §3): the packet's family, and how many bytes
/// it begins behind. Of variant 0 only data without flags, fields and private data is read: without knowing a flag nobody
/// knows how long its field is, and xlb sends none.
#[must_use]
#[inline(always)]
pub const fn gue(first: [u8; 4]) -> Option<(Inner, u16)> {
    match first {
        // Control messages and longer headers have a bit in the first byte.
        [0, protocol, 0, 0] => match Inner::of_protocol(protocol) {
            Some(inner) => Some((inner, 4)),
            None => None,
        },
        [0x40..=0x7f, ..] => match Inner::of_version(first[0]) {
            Some(inner) => Some((inner, 0)),
            None => None,
        },
        _ => None,
    }
}

/// Whether the ten words of an IPv4 header without options, as they stand in memory, are those that its checksum was made
/// of (RFC 1071 §2: together they are all ones).
#[must_use]
#[inline(always)]
pub const fn is_intact(words: [u16; 10]) -> bool {
    let mut sum = 0;
    let mut at = 0;
    while at < words.len() {
        sum += words[at] as u32;
        at += 1;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff
}

/// The two ECN bits that a packet leaves its tunnel with, from those of both headers (RFC 6040 §4.2, figure 4); `None` where it
/// must not.
#[must_use]
#[inline(always)]
pub const fn ecn(outer: u8, inner: u8) -> Option<u8> {
    match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// The ECN bits of a type of service or traffic class (RFC 3168 §5).
pub const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_index_an_array_without_gaps() {
        for (index, outcome) in Decap::ALL.iter().enumerate() {
            assert_eq!(usize::from(outcome.wire()), index);
        }
    }

    #[test]
    fn ecn_is_that_of_rfc_6040() {
        // Figure 4, in its order: inner header by row, outer header by column.
        let columns = [NOT_ECT, ECT_0, ECT_1, CE];
        for (inner, row) in [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ] {
            for (outer, expected) in columns.into_iter().zip(row) {
                assert_eq!(
                    ecn(outer, inner),
                    expected,
                    "outer {outer:02b}, inner {inner:02b}"
                );
                // The DSCP above has no part in it.
                assert_eq!(ecn(outer | 0xb8, inner | 0x28), expected);
            }
        }
    }

    #[test]
    fn gue_is_read_as_far_as_it_is_plain() {
        assert_eq!(gue([0x45, 0, 0, 20]), Some((Inner::V4, 0)));
        assert_eq!(gue([0x60, 0, 0, 0]), Some((Inner::V6, 0)));
        assert_eq!(gue([0x00, 4, 0, 0]), Some((Inner::V4, 4)));
        assert_eq!(gue([0x00, 41, 0, 0]), Some((Inner::V6, 4)));
        for (bytes, what) in [
            ([0x50, 0, 0, 0], "version 5"),
            ([0x00, 47, 0, 0], "GRE inside"),
            ([0x20, 4, 0, 0], "a control message"),
            ([0x01, 4, 0, 0], "a field"),
            ([0x00, 4, 0, 1], "a flag"),
            ([0x00, 4, 0x80, 0], "a flag"),
            ([0x80, 4, 0, 0], "variant 2"),
            ([0xc5, 4, 0, 0], "variant 3"),
        ] {
            assert_eq!(gue(bytes), None, "{what}");
        }
    }

    #[test]
    fn a_header_is_intact_with_its_own_checksum_only() {
        // A header that others have computed, 192.168.0.1 to 192.168.0.199, checksum b861.
        let header: [u16; 10] = [
            0x4500, 0x0073, 0x0000, 0x4000, 0x4011, 0xb861, 0xc0a8, 0x0001, 0xc0a8, 0x00c7,
        ];
        assert!(is_intact(header));
        assert!(is_intact(header.map(u16::swap_bytes)), "in either byte order");
        for at in 0..header.len() {
            let mut wrong = header;
            wrong[at] ^= 0x0100;
            assert!(!is_intact(wrong), "word {at}");
        }
        assert!(!is_intact([0; 10]));
    }

    #[test]
    fn a_tunnel_is_named_by_number_and_a_packet_by_version() {
        assert_eq!(Inner::of_protocol(4), Some(Inner::V4));
        assert_eq!(Inner::of_protocol(41), Some(Inner::V6));
        assert_eq!(Inner::of_protocol(17), None);
        assert_eq!(Inner::of_version(0x4f), Some(Inner::V4));
        assert_eq!(Inner::of_version(0x6f), Some(Inner::V6));
        assert_eq!(Inner::of_version(0x50), None);
    }
}
