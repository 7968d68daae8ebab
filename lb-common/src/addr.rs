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

    /// The address with all but its first bits set to zero: so many of an IPv4 address, so many of an IPv6 one.
    #[must_use]
    #[inline(always)]
    pub const fn prefix(self, v4_bits: u8, v6_bits: u8) -> Self {
        let [w0, w1, w2, w3] = self.words;
        if self.is_v4() {
            return Self::from_v4_word(w3 & mask(v4_bits as u32));
        }
        let bits = v6_bits as u32;
        Self {
            words: [
                w0 & mask(bits),
                w1 & mask(bits.saturating_sub(32)),
                w2 & mask(bits.saturating_sub(64)),
                w3 & mask(bits.saturating_sub(96)),
            ],
        }
    }

    /// Whether there is no address here: all zero, which is IPv6's unspecified address and no IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.words[0] | self.words[1] | self.words[2] | self.words[3] == 0
    }

    /// Whether packets of this address are no packets from a client (RFC 1122 §3.2.1.3, RFC 4291 §2.5 and §2.7): the
    /// unspecified address, loopback, groups, broadcast, and those that routers do not forward. An IPv4-mapped address is
    /// taken for the IPv4 address that it is here; on the wire it is no source at all, which only `parse` can tell.
    #[must_use]
    #[inline(always)]
    pub const fn is_martian(self) -> bool {
        if self.is_v4() {
            let first = u32::from_be(self.words[3]) >> 24;
            return first == 0 || first == 127 || first >= 224;
        }
        let head = u32::from_be(self.words[0]);
        let is_group = head >> 24 == 0xff;
        let is_link_local = head >> 22 == 0xfe80 >> 6;
        let below_two =
            self.words[0] | self.words[1] | self.words[2] == 0 && u32::from_be(self.words[3]) <= 1;
        is_group || is_link_local || below_two
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }
}

/// The mask of a word's first `bits`, in network order.
#[inline(always)]
const fn mask(bits: u32) -> u32 {
    if bits == 0 {
        0
    } else if bits >= 32 {
        u32::MAX
    } else {
        (u32::MAX << (32 - bits)).to_be()
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
    use std::string::ToString as _;

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
    fn what_no_client_can_have_is_martian() {
        let martian = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap()).is_martian();
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "fe80::1",
            "febf::1",
        ] {
            assert!(martian(text), "{text}");
        }
        for text in [
            "1.0.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "fd00::1",
            "fec0::1",
            "::2",
        ] {
            assert!(!martian(text), "{text}");
        }
    }

    #[test]
    fn a_prefix_keeps_its_bits() {
        let prefix = |text: &str, v4, v6| {
            IpAddr::from(Addr::from(text.parse::<IpAddr>().unwrap()).prefix(v4, v6)).to_string()
        };
        assert_eq!(prefix("192.0.2.255", 24, 0), "192.0.2.0");
        assert_eq!(prefix("192.0.2.255", 32, 0), "192.0.2.255");
        assert_eq!(prefix("192.0.2.255", 0, 0), "0.0.0.0");
        assert_eq!(prefix("2001:db8:ffff:ffff:1::1", 0, 56), "2001:db8:ffff:ff00::");
        assert_eq!(prefix("2001:db8::1", 0, 128), "2001:db8::1");
        assert_eq!(prefix("2001:db8::1", 32, 0), "::");
    }

    #[test]
    fn only_all_zeros_is_no_address() {
        assert!(Addr::default().is_none());
        assert!(!Addr::from_v4_word(0).is_none());
    }

    #[test]
    fn the_v4_word_is_the_packets_own() {
        let addr = Addr::from_v4_word(u32::from_ne_bytes([10, 1, 2, 3]));
        assert_eq!(IpAddr::from(addr), IpAddr::from([10, 1, 2, 3]));
    }
}
