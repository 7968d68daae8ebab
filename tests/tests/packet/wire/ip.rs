//! IP packets of both families.

use std::net::IpAddr;

use crate::wire::{Body, Quote, protocol, sum};

/// An IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    pub from: IpAddr,
    pub to: IpAddr,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4's identification; IPv6's flow label.
    pub id: u32,
    /// IPv4.
    pub dont_fragment: bool,
    /// IPv4: offset in bytes, and whether more follow.
    pub piece: (u16, bool),
    /// IPv4, whole words.
    pub options: Vec<u8>,
    /// IPv6.
    pub chain: Vec<Extension>,
    pub body: Body,
}

/// An extension header of IPv6: what it is, and its bytes behind the one that names the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub kind: u8,
    pub rest: Vec<u8>,
}

impl Extension {
    /// Options that are all padding (RFC 8200 §4.2), in so many times eight bytes.
    pub fn padding(kind: u8, units: u8) -> Self {
        let mut rest = vec![units - 1];
        let mut left = usize::from(units) * 8 - 2;
        while left > 0 {
            let option = left.min(200);
            rest.extend(if option == 1 {
                vec![0]
            } else {
                let mut padding = vec![0; option];
                (padding[0], padding[1]) = (1, u8::try_from(option - 2).unwrap());
                padding
            });
            left -= option;
        }
        Self { kind, rest }
    }

    pub fn hop_by_hop() -> Self {
        Self::padding(protocol::HOP_BY_HOP, 1)
    }

    pub fn destination() -> Self {
        Self::padding(protocol::DESTINATION, 2)
    }

    /// A routing header of type 4 (RFC 8754) with so many segments left and no address.
    pub fn routing(segments_left: u8) -> Self {
        Self {
            kind: protocol::ROUTING,
            rest: vec![0, 4, segments_left, 0, 0, 0, 0],
        }
    }

    /// With a check value of 12 bytes (RFC 4302).
    pub fn authentication() -> Self {
        let mut rest = vec![4; 23];
        (rest[1], rest[2]) = (0, 0);
        Self {
            kind: protocol::AUTHENTICATION,
            rest,
        }
    }

    /// `at` in bytes.
    pub fn fragment(id: u32, at: u16, more: bool) -> Self {
        let mut rest = vec![0];
        rest.extend((at | u16::from(more)).to_be_bytes());
        rest.extend(id.to_be_bytes());
        Self {
            kind: protocol::FRAGMENT,
            rest,
        }
    }
}

impl Ip {
    /// A packet with a TTL, a type of service and an identification that are not the ones that anybody would write.
    pub fn new(from: IpAddr, to: IpAddr, body: Body) -> Self {
        let v4 = from.is_ipv4();
        Self {
            from,
            to,
            tos: 0x4a,
            ttl: 57,
            id: if v4 { 0x1234 } else { 0x5_4321 },
            dont_fragment: v4,
            piece: (0, false),
            options: Vec::new(),
            chain: Vec::new(),
            body,
        }
    }

    pub fn is_v4(&self) -> bool {
        self.from.is_ipv4()
    }

    /// Length in bytes of everything.
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The packet as it stands on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let protocol = self.body.protocol(self.is_v4());
        let body = self.body.bytes(self.from, self.to);
        if self.is_v4() {
            self.v4_bytes(protocol, &body)
        } else {
            self.v6_bytes(protocol, &body)
        }
    }

    fn v4_bytes(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let word = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.piece.1) << 13 | (self.piece.0 / 8);
        let mut header = vec![0x40 | u8::try_from(header_len / 4).unwrap(), self.tos];
        header.extend(word(header_len + body.len()));
        header.extend(word(self.id as usize));
        header.extend(flags.to_be_bytes());
        header.extend([self.ttl, protocol, 0, 0]);
        header.extend(sum::address(self.from));
        header.extend(sum::address(self.to));
        header.extend(&self.options);
        let check = sum::checksum(&[&header]);
        header[10..12].copy_from_slice(&check.to_be_bytes());
        [&header, body].concat()
    }

    fn v6_bytes(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut chain = Vec::new();
        let kinds: Vec<_> = self
            .chain
            .iter()
            .map(|header| header.kind)
            .chain([protocol])
            .collect();
        for (header, next) in self.chain.iter().zip(&kinds[1..]) {
            chain.push(*next);
            chain.extend(&header.rest);
        }
        let first_word = 6 << 28 | u32::from(self.tos) << 20 | self.id;
        let mut header = first_word.to_be_bytes().to_vec();
        header.extend(u16::try_from(chain.len() + body.len()).unwrap().to_be_bytes());
        header.extend([kinds[0], self.ttl]);
        header.extend(sum::address(self.from));
        header.extend(sum::address(self.to));
        [&header[..], &chain, body].concat()
    }

    /// The packet in two fragments, the first with so many bytes of its body. `id` is IPv6's.
    pub fn cut(&self, at: u16, id: u32) -> (Self, Self) {
        let protocol = self.body.protocol(self.is_v4());
        let body = self.body.bytes(self.from, self.to);
        let piece = |offset: u16, more: bool, bytes: &[u8]| {
            let mut piece = self.clone();
            let bytes = bytes.to_vec();
            piece.body = Body::Raw { protocol, bytes };
            if self.is_v4() {
                (piece.piece, piece.dont_fragment) = ((offset, more), false);
            } else {
                piece.chain.push(Extension::fragment(id, offset, more));
            }
            piece
        };
        let (head, tail) = body.split_at(usize::from(at));
        (piece(0, true, head), piece(at, false, tail))
    }

    /// So many bytes of the packet at most, to be quoted in an error.
    pub fn quote(&self, len: usize) -> Quote {
        let mut bytes = self.bytes();
        bytes.truncate(len);
        Quote(bytes)
    }
}
