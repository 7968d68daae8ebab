//! Bytes of packets: read big-endian, written with the checksums that cover them (RFC 1624).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use crate::wire::{protocol, sum};

/// What is not there reads as zero: the lengths are judged elsewhere.
pub fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from(u8_at(bytes, at)) << 8 | u16::from(u8_at(bytes, at + 1))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

pub fn v4_at(bytes: &[u8], at: usize) -> IpAddr {
    Ipv4Addr::from(u32_at(bytes, at)).into()
}

pub fn v6_at(bytes: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    for (place, octet) in octets.iter_mut().enumerate() {
        *octet = u8_at(bytes, at + place);
    }
    Ipv6Addr::from(octets).into()
}

/// A checksum after bytes that it covers have changed from `old` to `new`, which begin at an even place.
pub fn updated(check: u16, old: &[u8], new: &[u8]) -> u16 {
    let flipped: Vec<u8> = padded(old).iter().map(|byte| !byte).collect();
    let total = [u64::from(!check), sum64(&flipped), sum64(&padded(new))];
    !sum::fold(total.iter().sum())
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn sum64(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | u64::from(word[1]))
        .sum()
}

/// Where a transport protocol has its checksum, and whether zero means that there is none.
pub fn checksum_of(number: u8) -> Option<(usize, bool)> {
    match number {
        protocol::TCP => Some((16, false)),
        protocol::UDP => Some((6, true)),
        _ => None,
    }
}

/// An IP packet, or the beginning of one that an error quotes, that is being rewritten.
pub struct Rewrite {
    pub ip: Vec<u8>,
    pub v4: bool,
    pub protocol: u8,
    /// Where the transport header is; `None` where there is none.
    pub l4: Option<usize>,
    /// Whether the checksum there is only the sum of the pseudo-header, and is to be that of the new one.
    pub is_unfinished: bool,
}

impl Rewrite {
    fn source(&self) -> Range<usize> {
        if self.v4 { 12..16 } else { 8..24 }
    }

    fn destination(&self) -> Range<usize> {
        if self.v4 { 16..20 } else { 24..40 }
    }

    pub fn set_source(&mut self, ip: IpAddr) {
        self.set_address(self.source(), ip);
    }

    pub fn set_destination(&mut self, ip: IpAddr) {
        self.set_address(self.destination(), ip);
    }

    fn set_address(&mut self, place: Range<usize>, ip: IpAddr) {
        let (old, new) = (self.ip[place.clone()].to_vec(), sum::address(ip));
        self.ip[place].copy_from_slice(&new);
        self.update_header(&old, &new);
        if self.is_unfinished {
            self.update_sum(&old, &new);
        } else {
            self.update_transport(&old, &new);
        }
    }

    pub fn set_source_port(&mut self, port: u16) {
        self.set_port(0, port);
    }

    pub fn set_destination_port(&mut self, port: u16) {
        self.set_port(2, port);
    }

    fn set_port(&mut self, at: usize, port: u16) {
        let Some(l4) = self.l4 else { return };
        let place = l4 + at..l4 + at + 2;
        let (old, new) = (self.ip[place.clone()].to_vec(), port.to_be_bytes());
        self.ip[place].copy_from_slice(&new);
        if !self.is_unfinished {
            self.update_transport(&old, &new);
        }
    }

    /// One hop less.
    pub fn hop(&mut self) {
        let at = if self.v4 { 8 } else { 7 };
        // The word that the TTL is half of.
        let word = at & !1..(at & !1) + 2;
        let old = self.ip[word.clone()].to_vec();
        self.ip[at] -= 1;
        let new = self.ip[word].to_vec();
        self.update_header(&old, &new);
    }

    fn update_header(&mut self, old: &[u8], new: &[u8]) {
        if self.v4 {
            self.update(10, false, old, new);
        }
    }

    fn update_transport(&mut self, old: &[u8], new: &[u8]) {
        if let (Some(l4), Some((at, optional))) = (self.l4, checksum_of(self.protocol)) {
            self.update(l4 + at, optional, old, new);
        }
    }

    /// The sum itself is the complement of a checksum over the same.
    fn update_sum(&mut self, old: &[u8], new: &[u8]) {
        if let (Some(l4), Some((at, _))) = (self.l4, checksum_of(self.protocol)) {
            let sum = u16_at(&self.ip, l4 + at);
            let sum = !updated(!sum, old, new);
            self.ip[l4 + at..l4 + at + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }

    fn update(&mut self, at: usize, optional: bool, old: &[u8], new: &[u8]) {
        let check = u16_at(&self.ip, at);
        if self.ip.len() < at + 2 || optional && check == 0 {
            return;
        }
        let check = match updated(check, old, new) {
            0 if optional => 0xffff,
            check => check,
        };
        self.ip[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }
}
