//! IP addresses as the maps hold them: 16 bytes, IPv4 in its IPv4-mapped form (RFC 4291 §2.5.5.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::map_struct;

/// The third word of an IPv4-mapped address, `0000:ffff` in network order.
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

map_struct! {
    /// An address, four words in network order. Words rather than bytes: the BPF back end turns byte arrays into
    /// byte-wise copies.
    pub struct Addr { words: [u32; 4] }
}

impl Addr {
    /// An IPv4 address given as the word that stands in the packet.
    #[must_use]
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self {
            words: [0, 0, MAPPED, word],
        }
    }

    /// The IPv4 address as the word that stands in the packet; meaningless for IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn v4_word(self) -> u32 {
        self.words[3]
    }

    /// The address of four words in network order.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The four words, in network order.
    #[must_use]
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.words
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        let v6 = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let bytes = v6.octets();
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            words: [word(0), word(4), word(8), word(12)],
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            return Self::V4(Ipv4Addr::from(addr.words[3].to_ne_bytes()));
        }
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(addr.words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        Self::V6(Ipv6Addr::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_round_trip() {
        for text in ["192.0.2.1", "2001:db8::17", "0.0.0.0", "::1"] {
            let ip: IpAddr = text.parse().unwrap();
            let addr = Addr::from(ip);
            assert_eq!(IpAddr::from(addr), ip);
            assert_eq!(addr.is_v4(), ip.is_ipv4());
        }
    }

    #[test]
    fn the_v4_word_is_the_packets_own() {
        let addr = Addr::from_v4_word(u32::from_ne_bytes([10, 1, 2, 3]));
        assert_eq!(IpAddr::from(addr), IpAddr::from([10, 1, 2, 3]));
    }
}
