//! What happens to frames on their way.

use crate::wire::{Body, Ip, sum};

#[derive(Clone, Debug)]
pub enum Damage {
    Byte {
        at: usize,
        value: u8,
    },
    Cut {
        len: usize,
    },
    /// The IPv4 checksum is made right again.
    Repair,
}

/// Leaves only the pseudo-header's sum where the checksum is.
pub fn leave_unfinished(bytes: &mut [u8], ip: &Ip) {
    let place = match ip.body {
        Body::Tcp { .. } => 16,
        Body::Udp { checked: true, .. } => 6,
        _ => return,
    };
    let len = ip.body.bytes(ip.from, ip.to).len();
    let at = ip.len() - len + place;
    let pseudo = sum::pseudo(ip.from, ip.to, ip.body.protocol(ip.is_v4()), len);
    bytes[at..at + 2].copy_from_slice(&sum::sum(&[&pseudo]).to_be_bytes());
}

/// Makes an IPv4 header's checksum right, as far as there is a header.
pub fn repair(ip: &mut [u8]) {
    let len = usize::from(ip.first().copied().unwrap_or(0) & 0xf) * 4;
    if len < 20 || len > ip.len() {
        return;
    }
    ip[10..12].fill(0);
    let check = sum::checksum(&[&ip[..len]]);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
}
