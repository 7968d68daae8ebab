//! The Internet checksum as RFC 1071 describes it: no shortcuts.

use std::net::IpAddr;

/// One's complement sum of the 16-bit words of all parts, each padded with a zero to whole words.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let total: u64 = words
        .map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u64::from(low)))
        .sum();
    fold(total)
}

/// Adds the carries to the sum until there are none.
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap()
}

/// The checksum over all parts, in which its own field is zero.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    !sum(parts)
}

/// The checksum of UDP, which sends a sum of zero as ones (RFC 768).
pub fn udp_checksum(parts: &[&[u8]]) -> u16 {
    match checksum(parts) {
        0 => 0xffff,
        check => check,
    }
}

/// Whether a checksum in the parts is right: then the whole sums to all ones.
pub fn holds(parts: &[&[u8]]) -> bool {
    sum(parts) == 0xffff
}

/// The pseudo-header of RFC 9293 §3.1 and RFC 8200 §8.1.
pub fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut header = [address(from), address(to)].concat();
    header.extend(u32::try_from(len).unwrap().to_be_bytes());
    header.extend([0, 0, 0, protocol]);
    header
}

/// An address as it stands in a header.
pub fn address(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
