//! Ethernet around it, and shorthands for the tests.

use std::net::{IpAddr, SocketAddr};

use crate::wire::{Body, Extension, Ip, Mac, Quote, icmp};

pub const CLIENT_MAC: Mac = [2, 0, 10, 10, 0, 11];
pub const LB_MAC: Mac = [2, 0, 10, 10, 0, 1];
pub const BACKEND_MAC: Mac = [2, 0, 10, 20, 0, 11];

/// TPID and TCI of a VLAN tag.
pub type Tag = (u16, u16);

/// A frame with an IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub to: Mac,
    pub from: Mac,
    /// Outermost first.
    pub tags: Vec<Tag>,
    pub ip: Ip,
    /// What is behind the IP packet.
    pub padding: Vec<u8>,
}

/// A TCP segment with options in its header and a payload of odd length, from a client to us.
pub fn tcp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, flags: u8) -> Frame {
    let (from, to) = (from.into(), to.into());
    let body = Body::Tcp {
        from: from.port(),
        to: to.port(),
        sequence: 0x1000_0000,
        acknowledged: if flags & super::ACK == 0 { 0 } else { 77 },
        flags,
        window: 64240,
        options: vec![2, 4, 5, 180],
        payload: b"GET / HTTP/1.1\r\n\r\n!".to_vec(),
    };
    Frame::around(Ip::new(from.ip(), to.ip(), body))
}

/// A UDP datagram from a client to us.
pub fn udp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, payload: &[u8]) -> Frame {
    let (from, to) = (from.into(), to.into());
    let body = Body::Udp {
        from: from.port(),
        to: to.port(),
        checked: true,
        payload: payload.to_vec(),
    };
    Frame::around(Ip::new(from.ip(), to.ip(), body))
}

/// An SCTP packet with a verification tag, a checksum and a chunk.
pub fn sctp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Frame {
    let (from, to) = (from.into(), to.into());
    let body = Body::Sctp {
        from: from.port(),
        to: to.port(),
        payload: vec![0xab; 24],
    };
    Frame::around(Ip::new(from.ip(), to.ip(), body))
}

/// A ping.
pub fn echo(from: IpAddr, to: IpAddr, payload: &[u8]) -> Frame {
    let (kind, code) = icmp::ECHO_REQUEST.of(from.is_ipv4());
    let body = Body::Icmp {
        kind,
        code,
        word: 0x0007_0001,
        payload: payload.to_vec(),
    };
    Frame::around(Ip::new(from, to, body))
}

/// An ICMP error that quotes a packet.
pub fn error(from: IpAddr, to: IpAddr, kind: &icmp::Kind, word: u32, quote: Quote) -> Frame {
    let (kind, code) = kind.of(from.is_ipv4());
    let body = Body::Error {
        kind,
        code,
        word,
        quote,
    };
    Frame::around(Ip::new(from, to, body))
}

impl Frame {
    /// A packet in a frame from a client to us.
    pub fn around(ip: Ip) -> Self {
        Self {
            to: LB_MAC,
            from: CLIENT_MAC,
            tags: Vec::new(),
            ip,
            padding: Vec::new(),
        }
    }

    /// The frame on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for (protocol, control) in &self.tags {
            bytes.extend([protocol.to_be_bytes(), control.to_be_bytes()].concat());
        }
        let ether_type: u16 = if self.ip.is_v4() { 0x0800 } else { 0x86dd };
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend(self.ip.bytes());
        bytes.extend(&self.padding);
        bytes
    }

    pub fn tagged(mut self, tags: &[Tag]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.ttl = ttl;
        self
    }

    pub fn tos(mut self, tos: u8) -> Self {
        self.ip.tos = tos;
        self
    }

    pub fn may_fragment(mut self) -> Self {
        self.ip.dont_fragment = false;
        self
    }

    /// IPv4 options: so many words of "no operation".
    pub fn options(mut self, words: usize) -> Self {
        self.ip.options = vec![1; words * 4];
        self
    }

    pub fn chain(mut self, chain: &[Extension]) -> Self {
        self.ip.chain = chain.to_vec();
        self
    }

    pub fn padded(mut self, len: usize) -> Self {
        self.padding = vec![0xa5; len];
        self
    }

    pub fn payload(mut self, bytes: &[u8]) -> Self {
        match &mut self.ip.body {
            Body::Tcp { payload, .. }
            | Body::Udp { payload, .. }
            | Body::Sctp { payload, .. }
            | Body::Icmp { payload, .. } => *payload = bytes.to_vec(),
            _ => {}
        }
        self
    }

    /// Without the UDP checksum.
    pub fn unchecked(mut self) -> Self {
        if let Body::Udp { checked, .. } = &mut self.ip.body {
            *checked = false;
        }
        self
    }

    /// The packet in two fragments, the first with so many bytes of its body.
    pub fn cut(&self, at: u16) -> (Self, Self) {
        let (head, tail) = self.ip.cut(at, 0xfeed_0001);
        let frame = |ip| Self { ip, ..self.clone() };
        (frame(head), frame(tail))
    }

    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.ip.from, self.ip.body.ports().0)
    }

    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.ip.to, self.ip.body.ports().1)
    }
}
