//! What IP packets carry.

use std::net::IpAddr;

use crate::wire::{GUE_PORT, Ip, Quote, protocol, sum};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const SYN_ACK: u8 = SYN | ACK;

/// What is behind an IP header and its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Tcp {
        from: u16,
        to: u16,
        sequence: u32,
        acknowledged: u32,
        flags: u8,
        window: u16,
        options: Vec<u8>,
        payload: Vec<u8>,
    },
    Udp {
        from: u16,
        to: u16,
        /// Whether there is a checksum.
        checked: bool,
        payload: Vec<u8>,
    },
    /// Variant 1: an IP packet right behind the UDP header.
    Gue {
        from: u16,
        checked: bool,
        inner: Box<Ip>,
    },
    /// Behind the verification tag everything is payload, checksum included: nobody on the way looks at it.
    Sctp { from: u16, to: u16, payload: Vec<u8> },
    Icmp {
        kind: u8,
        code: u8,
        /// The four bytes behind the checksum.
        word: u32,
        payload: Vec<u8>,
    },
    Error {
        kind: u8,
        code: u8,
        word: u32,
        quote: Quote,
    },
    /// An IP packet right behind the outer header.
    Inner(Box<Ip>),
    /// A fragment, or a protocol that is not looked into.
    Raw { protocol: u8, bytes: Vec<u8> },
}

impl Body {
    /// The number in the header before.
    pub fn protocol(&self, over_v4: bool) -> u8 {
        match self {
            Self::Tcp { .. } => protocol::TCP,
            Self::Udp { .. } | Self::Gue { .. } => protocol::UDP,
            Self::Sctp { .. } => protocol::SCTP,
            Self::Icmp { .. } | Self::Error { .. } if over_v4 => protocol::ICMP,
            Self::Icmp { .. } | Self::Error { .. } => protocol::ICMPV6,
            Self::Inner(inner) if inner.is_v4() => protocol::IPIP,
            Self::Inner(_) => protocol::IPV6,
            Self::Raw { protocol, .. } => *protocol,
        }
    }

    /// The bytes on the wire, checksums included.
    pub fn bytes(&self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        match self {
            Self::Tcp { .. } => self.tcp_bytes(from, to),
            Self::Udp {
                from: from_port,
                to: to_port,
                checked,
                payload,
            } => udp_bytes((from, *from_port), (to, *to_port), *checked, payload),
            Self::Gue {
                from: from_port,
                checked,
                inner,
            } => udp_bytes((from, *from_port), (to, GUE_PORT), *checked, &inner.bytes()),
            Self::Sctp {
                from: from_port,
                to: to_port,
                payload,
            } => [&from_port.to_be_bytes()[..], &to_port.to_be_bytes(), payload].concat(),
            Self::Icmp {
                kind,
                code,
                word,
                payload,
            } => icmp_bytes((from, to), (*kind, *code), *word, payload),
            Self::Error {
                kind,
                code,
                word,
                quote,
            } => icmp_bytes((from, to), (*kind, *code), *word, &quote.0),
            Self::Inner(inner) => inner.bytes(),
            Self::Raw { bytes, .. } => bytes.clone(),
        }
    }

    fn tcp_bytes(&self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let Self::Tcp {
            from: from_port,
            to: to_port,
            sequence,
            acknowledged,
            flags,
            window,
            options,
            payload,
        } = self
        else {
            unreachable!("called for TCP")
        };
        let header_len = u8::try_from(20 + options.len()).unwrap();
        let mut bytes = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
        bytes.extend([sequence.to_be_bytes(), acknowledged.to_be_bytes()].concat());
        bytes.extend([(header_len / 4) << 4, *flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(payload);
        let check = sum::checksum(&[&sum::pseudo(from, to, protocol::TCP, bytes.len()), &bytes]);
        bytes[16..18].copy_from_slice(&check.to_be_bytes());
        bytes
    }

    /// The ports, where there are any.
    pub fn ports_mut(&mut self) -> Option<(&mut u16, &mut u16)> {
        match self {
            Self::Tcp { from, to, .. } | Self::Udp { from, to, .. } | Self::Sctp { from, to, .. } => {
                Some((from, to))
            }
            _ => None,
        }
    }

    /// Source and destination port; zero where there are none.
    pub fn ports(&self) -> (u16, u16) {
        match *self {
            Self::Tcp { from, to, .. } | Self::Udp { from, to, .. } | Self::Sctp { from, to, .. } => {
                (from, to)
            }
            _ => (0, 0),
        }
    }
}

fn udp_bytes(from: (IpAddr, u16), to: (IpAddr, u16), checked: bool, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len();
    let mut bytes = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    if checked {
        let check = sum::udp_checksum(&[&sum::pseudo(from.0, to.0, protocol::UDP, len), &bytes]);
        bytes[6..8].copy_from_slice(&check.to_be_bytes());
    }
    bytes
}

fn icmp_bytes(ends: (IpAddr, IpAddr), kind: (u8, u8), word: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind.0, kind.1, 0, 0];
    bytes.extend(word.to_be_bytes());
    bytes.extend(payload);
    let pseudo = match ends.0 {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(_) => sum::pseudo(ends.0, ends.1, protocol::ICMPV6, bytes.len()),
    };
    let check = sum::checksum(&[&pseudo, &bytes]);
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    bytes
}
