//! Ethernet and IP headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::checksum::fold;

pub const ETHERNET: usize = 14;
pub const IPV4: usize = 20;
const IPV6: usize = 40;
const HOPS: u8 = 64;

/// The Ethernet header of a packet of `address`'s family.
pub fn ethernet(address: IpAddr) -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    bytes.extend(if address.is_ipv4() { [8, 0] } else { [0x86, 0xdd] });
    bytes
}

/// A client of a server: the last two bytes of its address are the flow's.
pub fn client_of(server: IpAddr) -> IpAddr {
    match server {
        IpAddr::V4(_) => Ipv4Addr::new(10, 1, 0, 0).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0).into(),
    }
}

/// Bytes of an IP header.
pub const fn len_of(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => IPV4,
        IpAddr::V6(_) => IPV6,
    }
}

/// The IP header before so many bytes; addresses of two families have none.
pub fn header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4(source, destination, protocol, len).to_vec(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6(source, destination, protocol, len).to_vec(),
        _ => Vec::new(),
    }
}

fn v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: usize) -> [u8; IPV4] {
    let [high, low] = length(IPV4 + len);
    let [a, b, c, d] = source.octets();
    // Identification: the complement of the flow's two bytes, which are zero. Never fragmented.
    let mut header = [
        0x45, 0, high, low, 0xff, 0xff, 0x40, 0, HOPS, protocol, 0, 0, a, b, c, d, 0, 0, 0, 0,
    ];
    header[16..].copy_from_slice(&destination.octets());
    let check = !sum(&header);
    header[10..12].copy_from_slice(&check.to_ne_bytes());
    header
}

fn v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: usize) -> [u8; IPV6] {
    let mut header = [0; IPV6];
    let [high, low] = length(len);
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, protocol, HOPS]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    header
}

/// The sum of the words of whole words of bytes (RFC 1071).
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u64::from(u16::from_ne_bytes([word[0], word.get(1).copied().unwrap_or(0)])));
    fold(words.sum())
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}
