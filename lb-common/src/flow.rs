//! A flow and its one hash.

use crate::{addr::Addr, hash::Sip, map_struct, wire_enum};

wire_enum! {
    /// Transport protocols that services are made of, numbered as in IP headers (IANA).
    pub enum Protocol {
        Tcp = 6 => "tcp",
        Udp = 17 => "udp",
        /// By the pair of addresses: an association may use several ports and addresses (RFC 9260).
        Sctp = 132 => "sctp",
    }
}

/// ICMP's numbers in IP headers; they carry no service, but errors about one and pings of its VIP.
pub mod icmp {
    pub const V4: u8 = 1;
    pub const V6: u8 = 58;
}

impl Protocol {
    /// The number as keys hold it.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.wire() as u32
    }
}

map_struct! {
    /// The five-tuple of a packet, as it stands in the packet: from `source` to `destination`.
    pub struct FlowKey {
        pub source: Addr,
        pub destination: Addr,
        /// Network order.
        pub source_port: u16,
        /// Network order.
        pub destination_port: u16,
        /// IP protocol number. A whole word, so that the key has no padding to write.
        pub protocol: u32,
    }
}

impl FlowKey {
    /// The keyed hash that chooses a slot. Balancers that share the key choose alike.
    ///
    /// What is hashed is as long as what tells flows apart: 14 bytes of a flow to an IPv4 address, which has four of an IPv4-mapped one, and
    /// 37 of others.
    #[must_use]
    #[inline(always)]
    pub fn hash(&self, key: [u64; 2]) -> u64 {
        self.hash_from(self.begun(key))
    }

    /// The hash as far as the destination has a say in it, which comes first: all flows of a VIP and port share it.
    #[must_use]
    #[inline(always)]
    pub fn begun(&self, key: [u64; 2]) -> Sip {
        let sip = Sip::new(key);
        if self.destination.is_v4() {
            let port = u32::from(self.destination_port) << 16 | self.protocol & 0xff;
            return sip.word(pair(self.destination.v4_word(), port));
        }
        let [d0, d1, d2, d3] = self.destination.words();
        sip.word(pair(d0, d1)).word(pair(d2, d3))
    }

    /// The hash of a flow to a destination of which this is the beginning.
    #[must_use]
    #[inline(always)]
    pub fn hash_from(&self, begun: Sip) -> u64 {
        let port = u64::from(self.source_port);
        if self.destination.is_v4() {
            return begun.end::<1, 6>(u64::from(self.source.v4_word()) << 16 | port);
        }
        let [s0, s1, s2, s3] = self.source.words();
        let rest = u64::from(self.protocol & 0xff) << 32 | u64::from(self.destination_port) << 16 | port;
        begun.word(pair(s0, s1)).word(pair(s2, s3)).end::<4, 5>(rest)
    }

    /// The key of its source alone, under a prefix.
    #[must_use]
    #[inline(always)]
    pub fn source_only(&self, v4_bits: u8, v6_bits: u8) -> Self {
        Self {
            source: self.source.prefix(v4_bits, v6_bits),
            ..Self::default()
        }
    }

    /// The key of its destination address alone.
    #[must_use]
    #[inline(always)]
    pub fn destination_only(&self) -> Self {
        Self {
            source: self.destination,
            ..Self::default()
        }
    }

    /// The key of its destination port alone.
    #[must_use]
    #[inline(always)]
    pub fn port_only(&self) -> Self {
        Self {
            destination_port: self.destination_port,
            ..Self::default()
        }
    }

    /// The key without its ports, for what is to be chosen by addresses alone.
    #[must_use]
    #[inline(always)]
    pub const fn without_ports(&self) -> Self {
        Self {
            source_port: 0,
            destination_port: 0,
            ..*self
        }
    }

    /// The key of the packets that answer this one.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

#[inline(always)]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    fn flow(source: &str, port: u16) -> FlowKey {
        let source: IpAddr = source.parse().unwrap();
        let vip = if source.is_ipv4() {
            "192.0.2.10"
        } else {
            "2001:db8::10"
        };
        FlowKey {
            source: source.into(),
            destination: vip.parse::<IpAddr>().unwrap().into(),
            source_port: port.to_be(),
            destination_port: 80_u16.to_be(),
            protocol: Protocol::Tcp.number(),
        }
    }

    #[test]
    fn every_field_counts() {
        let base = flow("198.51.100.1", 4000);
        let hash = base.hash([1, 2]);
        assert_ne!(hash, flow("198.51.100.2", 4000).hash([1, 2]));
        assert_ne!(hash, flow("198.51.100.1", 4001).hash([1, 2]));
        assert_ne!(hash, flow("2001:db8::1", 4000).hash([1, 2]));
        assert_ne!(hash, base.reversed().hash([1, 2]));
        assert_ne!(hash, FlowKey { protocol: 17, ..base }.hash([1, 2]));
        assert_ne!(hash, base.hash([1, 3]));
        let flows = ["198.51.100.1", "2001:db8::1"].map(|source| flow(source, 4000));
        for base in flows {
            let other = |destination: &str| FlowKey {
                destination: destination.parse::<IpAddr>().unwrap().into(),
                ..base
            };
            let others = [
                other("192.0.2.11"),
                other("2001:db8::2"),
                FlowKey {
                    destination_port: 81_u16.to_be(),
                    ..base
                },
                FlowKey { protocol: 17, ..base },
                FlowKey {
                    source_port: 1,
                    ..base
                },
            ];
            for other in others {
                assert_ne!(base.hash([1, 2]), other.hash([1, 2]), "{other:?}");
            }
        }
    }

    #[test]
    fn flows_of_one_destination_begin_alike() {
        for sources in [["198.51.100.1", "203.0.113.9"], ["2001:db8::1", "2001:db8:1::9"]] {
            let [one, other] = sources.map(|source| flow(source, 4000));
            assert_eq!(one.begun([1, 2]), other.begun([1, 2]));
            assert_eq!(other.hash_from(one.begun([1, 2])), other.hash([1, 2]));
        }
    }

    #[test]
    fn reversing_twice_changes_nothing() {
        let key = flow("198.51.100.1", 4000);
        assert_eq!(key.reversed().reversed(), key);
    }
}
