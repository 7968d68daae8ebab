//! Section 1: what a frame says, and what is wrong with it.

use std::net::IpAddr;

use lb_common::outcome::Outcome;

use crate::{
    model::{
        bytes::{Rewrite, checksum_of, u8_at, u16_at, v4_at, v6_at},
        chain::chain,
    },
    rig::FIRST_BUFFER,
    wire::{icmp, protocol, sum},
    world::Unfinished,
};

/// A unicast IP packet.
pub struct Packet<'a> {
    pub frame: &'a [u8],
    /// Bytes before the IP header.
    pub link: usize,
    /// From the IP header to the end of the packet, or of the frame where that comes first.
    pub ip: &'a [u8],
    pub v4: bool,
    pub from: IpAddr,
    pub to: IpAddr,
    pub tos: u8,
    pub ttl: u8,
    /// Number of the last header that is known.
    pub protocol: u8,
    /// Where that one begins in `ip`.
    pub l4: usize,
    pub piece: Option<Piece>,
    /// The first thing that is wrong with it.
    pub fault: Option<Outcome>,
}

/// A fragment's place; whole packets with a fragment header have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    /// In bytes.
    pub at: usize,
}

impl<'a> Packet<'a> {
    /// # Errors
    /// `NotIp`, and `NotOurs` for what cannot be on a wire.
    pub fn read(frame: &'a [u8]) -> Result<Self, Outcome> {
        if u8_at(frame, 0) & 1 == 1 {
            return Err(Outcome::NotIp);
        }
        let tags = (0..3)
            .take_while(|tag| matches!(u16_at(frame, 12 + tag * 4), 0x8100 | 0x88a8 | 0x9100))
            .count();
        let link = 14 + tags * 4;
        let v4 = match u16_at(frame, link - 2) {
            0x0800 => true,
            0x86dd => false,
            _ => return Err(Outcome::NotIp),
        };
        let rest = frame.get(link..).ok_or(Outcome::NotIp)?;
        let version = if v4 { 4 } else { 6 };
        if tags > 2 || rest.len() < if v4 { 20 } else { 40 } || rest[0] >> 4 != version {
            return Err(Outcome::NotIp);
        }
        let packet = if v4 {
            Self::v4(frame, link)
        } else {
            Self::v6(frame, link)
        };
        match packet.to {
            IpAddr::V6(to) if to.to_ipv4_mapped().is_some() => Err(Outcome::NotOurs),
            _ => Ok(packet),
        }
    }

    /// A packet that an error quotes, as far as it is quoted: its lengths need not be those of the quote.
    pub fn quoted(bytes: &'a [u8], v4: bool) -> Option<Self> {
        let (version, least) = if v4 { (4, 20) } else { (6, 40) };
        if bytes.len() < least || bytes[0] >> 4 != version || v4 && bytes[0] & 0xf < 5 {
            return None;
        }
        let mut packet = if v4 {
            Self::v4(bytes, 0)
        } else {
            let chain = chain(bytes, bytes[6]).ok()?;
            Self {
                protocol: chain.protocol,
                l4: chain.l4,
                piece: chain.piece,
                ..Self::v6(bytes, 0)
            }
        };
        packet.ip = bytes;
        Some(packet)
    }

    fn v4(frame: &'a [u8], link: usize) -> Self {
        let rest = &frame[link..];
        let (header, total) = (usize::from(rest[0] & 0xf) * 4, usize::from(u16_at(rest, 2)));
        let bad_length = header < 20 || total < header || total > rest.len();
        let ip = if bad_length { rest } else { &rest[..total] };
        let place = u16_at(rest, 6);
        let piece = Piece {
            id: u32::from(u16_at(rest, 4)),
            at: usize::from(place & 0x1fff) * 8,
        };
        let is_piece = place & 0x3fff != 0;
        let more = place & 0x2000 != 0;
        let mut packet = Self {
            frame,
            link,
            ip,
            v4: true,
            from: v4_at(rest, 12),
            to: v4_at(rest, 16),
            tos: rest[1],
            ttl: rest[8],
            protocol: rest[9],
            l4: header,
            piece: is_piece.then_some(piece),
            fault: bad_length.then_some(Outcome::Malformed),
        };
        let bad_checksum = !bad_length && !sum::holds(&[&ip[..header]]);
        let checks = [
            packet.bad_transport(more),
            bad_checksum.then_some(Outcome::BadChecksum),
            packet.bad_source(),
            packet.bad_port(),
        ];
        packet.fault = packet.fault.or(checks.into_iter().flatten().next());
        packet
    }

    fn v6(frame: &'a [u8], link: usize) -> Self {
        let rest = &frame[link..];
        let total = 40 + usize::from(u16_at(rest, 4));
        let bad_length = total > rest.len();
        let ip = if bad_length { rest } else { &rest[..total] };
        let chain = chain(ip, rest[6]);
        let more = chain.as_ref().is_ok_and(|chain| chain.piece.is_some());
        let (end, broken) = match chain {
            Ok(chain) => (chain, None),
            Err((outcome, chain)) => (chain, Some(outcome)),
        };
        let mut packet = Self {
            frame,
            link,
            ip,
            v4: false,
            from: v6_at(rest, 8),
            to: v6_at(rest, 24),
            tos: u8::try_from(u16_at(rest, 0) >> 4 & 0xff).unwrap(),
            ttl: rest[7],
            protocol: end.protocol,
            l4: end.l4,
            piece: end.piece,
            fault: bad_length.then_some(Outcome::Malformed),
        };
        let of_transport = match broken {
            Some(outcome) => [(outcome == Outcome::Malformed).then_some(outcome), None],
            None => [packet.bad_transport(more), packet.bad_port()],
        };
        let checks = [of_transport[0], packet.bad_source(), of_transport[1], broken];
        packet.fault = packet.fault.or(checks.into_iter().flatten().next());
        packet
    }

    /// Whether the transport header is here.
    pub fn is_later_piece(&self) -> bool {
        self.piece.is_some_and(|piece| piece.at > 0)
    }

    pub fn is_icmp(&self) -> bool {
        self.protocol == if self.v4 { protocol::ICMP } else { protocol::ICMPV6 }
    }

    pub fn is_icmp_error(&self) -> bool {
        self.is_icmp() && self.piece.is_none() && is_followed_error(self.v4, self.kind())
    }

    /// Neighbour discovery, multicast listeners and their kin: the kernel's own, from whatever address.
    pub fn is_neighbour_discovery(&self) -> bool {
        let readable = matches!(self.fault, None | Some(Outcome::BadSource));
        readable && !self.v4 && self.is_icmp() && self.piece.is_none() && matches!(self.kind(), 130..=153)
    }

    /// ICMP's type.
    pub fn kind(&self) -> u8 {
        u8_at(self.ip, self.l4)
    }

    /// Source and destination port as they stand there.
    pub fn ports(&self) -> (u16, u16) {
        (u16_at(self.ip, self.l4), u16_at(self.ip, self.l4 + 2))
    }

    /// TCP's flags; none where there is no TCP header.
    pub fn flags(&self) -> u8 {
        if self.protocol == protocol::TCP && !self.is_later_piece() {
            u8_at(self.ip, self.l4 + 13)
        } else {
            0
        }
    }

    /// What is behind the packet in its frame.
    pub fn padding(&self) -> &'a [u8] {
        &self.frame[self.link + self.ip.len()..]
    }

    /// The packet with one hop less. A checksum that the sender left to a device is computed first, or stays as it is.
    pub fn hopped(&self, unfinished: Unfinished) -> Rewrite {
        let mut out = Rewrite {
            ip: self.ip.to_vec(),
            v4: self.v4,
            protocol: self.protocol,
            l4: (!self.is_later_piece()).then_some(self.l4),
            is_unfinished: unfinished == Unfinished::Left && self.is_unfinished(),
        };
        if unfinished == Unfinished::Finished {
            self.finish_checksum(&mut out.ip);
        }
        out.hop();
        out
    }

    /// Where the checksum is, if its sender has left only the pseudo-header's sum there.
    pub fn unfinished_checksum(&self) -> Option<usize> {
        let at = self.l4 + checksum_of(self.protocol)?.0;
        let pseudo = sum::pseudo(self.from, self.to, self.protocol, self.ip.len() - self.l4);
        (self.piece.is_none() && u16_at(self.ip, at) == sum::sum(&[&pseudo])).then_some(at)
    }

    /// Whether the checksum is unfinished, and not by chance what it must be.
    fn is_unfinished(&self) -> bool {
        let mut finished = self.ip.to_vec();
        self.finish_checksum(&mut finished);
        // Of what is in more than one buffer the program cannot tell.
        finished != self.ip || self.is_unfinishable()
    }

    /// Whether it is in more than one buffer, so that the program cannot compute it.
    pub fn is_unfinishable(&self) -> bool {
        self.unfinished_checksum().is_some() && self.link + self.ip.len() > FIRST_BUFFER
    }

    fn finish_checksum(&self, ip: &mut [u8]) {
        if let Some(at) = self.unfinished_checksum() {
            let pseudo = sum::pseudo(self.from, self.to, self.protocol, ip.len() - self.l4);
            ip[at..at + 2].fill(0);
            let parts: [&[u8]; 2] = [&pseudo, &ip[self.l4..]];
            let check = if self.protocol == protocol::UDP {
                sum::udp_checksum(&parts)
            } else {
                sum::checksum(&parts)
            };
            ip[at..at + 2].copy_from_slice(&check.to_be_bytes());
        }
    }

    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
    }

    fn bad_transport(&self, more: bool) -> Option<Outcome> {
        let rest = self.ip.get(self.l4..).unwrap_or_default();
        if self.is_later_piece() {
            let tiny = self.protocol == protocol::TCP && self.piece.is_some_and(|piece| piece.at == 8);
            return tiny.then_some(Outcome::Malformed);
        }
        let holds = match self.protocol {
            protocol::TCP => {
                let header = usize::from(u8_at(rest, 12) >> 4) * 4;
                rest.len() >= 20 && header >= 20 && header <= rest.len()
            }
            protocol::UDP => {
                let len = usize::from(u16_at(rest, 4));
                // The rest of a first fragment's datagram is in the fragments behind it.
                rest.len() >= 8 && len >= 8 && (len <= rest.len() || more)
            }
            protocol::SCTP => rest.len() >= 12,
            _ if self.is_icmp() => rest.len() >= 8,
            _ => true,
        };
        (!holds).then_some(Outcome::Malformed)
    }

    fn bad_source(&self) -> Option<Outcome> {
        let martian = match self.from {
            IpAddr::V4(from) => matches!(from.octets()[0], 0 | 127 | 224..),
            IpAddr::V6(from) => {
                let head = from.segments()[0];
                from.is_unspecified()
                    || from.is_loopback()
                    || head >> 8 == 0xff
                    || head & 0xffc0 == 0xfe80
                    || from.to_ipv4_mapped().is_some()
            }
        };
        (martian || self.from == self.to).then_some(Outcome::BadSource)
    }

    fn bad_port(&self) -> Option<Outcome> {
        let (from, to) = self.ports();
        (self.has_ports() && !self.is_later_piece() && (from == 0 || to == 0)).then_some(Outcome::BadPort)
    }
}

/// The types that section 5 is about: not source quench, not redirect.
pub fn is_followed_error(v4: bool, kind: u8) -> bool {
    icmp::is_error(v4, kind) && !(v4 && matches!(kind, 4 | 5))
}
