use lb_common::flow::Protocol;

use super::end;
use crate::{parse::Packet, sum};

/// An IP packet before or after it was rewritten: offsets are its own.
pub struct Rewritten<'a> {
    pub bytes: &'a [u8],
    /// Of the transport header.
    pub l4: usize,
    pub end: usize,
    pub is_v4: bool,
}

impl<'a> Rewritten<'a> {
    /// The packet in `frame`.
    pub fn of(frame: &'a [u8], packet: &Packet) -> Self {
        let l3 = usize::from(packet.l3);
        Self {
            bytes: &frame[l3..],
            l4: usize::from(packet.l4) - l3,
            end: end(packet) - l3,
            is_v4: packet.is_v4(),
        }
    }

    /// The addresses in the IP header at `l3`.
    pub fn addresses(&self, l3: usize) -> &'a [u8] {
        if self.is_v4 {
            &self.bytes[l3 + 12..l3 + 20]
        } else {
            &self.bytes[l3 + 8..l3 + 40]
        }
    }

    /// Residue of the IPv4 header at `l3`, as far as the packet holds it; none of IPv6, which has no checksum.
    pub fn header(&self, l3: usize) -> Option<u16> {
        let header_len = usize::from(self.bytes[l3] & 0xf) * 4;
        self.is_v4
            .then(|| sum::residue(&[&self.bytes[l3..(l3 + header_len).min(self.end)]]))
    }

    /// Residue of what is at `l4` and the addresses at `l3`.
    pub fn covered(&self, l3: usize, l4: usize) -> u16 {
        sum::residue(&[self.addresses(l3), &self.bytes[l4..self.end]])
    }

    /// Residue of the ICMP message, which covers the addresses in IPv6 only.
    pub fn icmp(&self) -> u16 {
        if self.is_v4 {
            sum::residue(&[&self.bytes[self.l4..self.end]])
        } else {
            self.covered(0, self.l4)
        }
    }

    /// The checksum at `at`, if the packet holds it.
    pub fn check(&self, at: usize) -> Option<[u8; 2]> {
        let bytes = self.bytes[..self.end].get(at..at + 2)?;
        bytes.try_into().ok()
    }

    /// The packet with everything blank that a rewrite of the IP header at `l3` and the ports at `l4` may touch.
    pub fn blank(&self, headers: &[(usize, usize)], protocol: u32) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        for &(l3, l4) in headers {
            let (check, addresses) = if self.is_v4 {
                (l3 + 10..l3 + 12, l3 + 12..l3 + 20)
            } else {
                (0..0, l3 + 8..l3 + 40)
            };
            bytes[check].fill(0);
            bytes[addresses].fill(0);
            bytes[l4..l4 + 4].fill(0);
            if let Some(at) = place(protocol, l4).filter(|at| at + 2 <= self.end) {
                bytes[at..at + 2].fill(0);
            }
        }
        bytes
    }
}

/// Where TCP and UDP have their checksum.
pub const fn place(protocol: u32, l4: usize) -> Option<usize> {
    if protocol == Protocol::Tcp.number() {
        Some(l4 + 16)
    } else if protocol == Protocol::Udp.number() {
        Some(l4 + 6)
    } else {
        None
    }
}

/// Offset of the TTL or hop limit.
pub const fn ttl(is_v4: bool) -> usize {
    if is_v4 { 8 } else { 7 }
}
