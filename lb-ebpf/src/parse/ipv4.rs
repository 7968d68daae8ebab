//! IPv4 (RFC 791).

use lb_common::{addr::Addr, checksum, outcome::Outcome};

use crate::{
    frame::{Frame, Ipv4},
    parse::{Packet, flag},
};

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Longest header less the part without options, in words.
const OPTION_WORDS: usize = 10;

/// Reads the header at `packet.l3`; gives the number of the protocol that it carries, if what it carries can be read.
#[inline(always)]
pub fn header(frame: &Frame, packet: &mut Packet) -> Result<Option<u8>, Outcome> {
    let at = usize::from(packet.l3);
    let ip = frame.header::<Ipv4>(at).ok_or(Outcome::NotIp)?;
    let [version_len, tos] = ip.version_tos;
    if version_len >> 4 != 4 {
        return Err(Outcome::NotIp);
    }
    let header_len = u16::from(version_len & 0xf) * 4;
    packet.ip_len = u16::from_be_bytes(ip.total_len);
    packet.flow.source = Addr::from_v4_word(u32::from_ne_bytes(ip.source));
    packet.flow.destination = Addr::from_v4_word(u32::from_ne_bytes(ip.destination));
    (packet.ttl, packet.tos, packet.flags) = (ip.ttl[0], tos, flag::V4);
    if header_len < 20 || packet.ip_len < header_len || u64::from(packet.ip_len) > packet.room() {
        packet.reject(Outcome::Malformed);
        return Ok(None);
    }
    packet.l4 = packet.l3 + header_len;
    let fragment = u16::from_be_bytes(ip.fragment);
    if fragment & DONT_FRAGMENT != 0 {
        packet.flags |= flag::DONT_FRAGMENT;
    }
    if fragment & (MORE_FRAGMENTS | OFFSET) != 0 {
        packet.fragment_id = u32::from(u16::from_ne_bytes(ip.id));
        packet.fragment_protocol = u32::from(ip.protocol[0]);
        packet.flags |= if fragment & OFFSET == 0 {
            flag::FIRST_FRAGMENT
        } else {
            flag::LATER_FRAGMENT
        };
        if fragment & OFFSET == 1 {
            packet.flags |= flag::AT_EIGHT;
        }
    }
    if checksum::fold(sum(frame, at, header_len)) != 0xffff {
        packet.doubt(Outcome::BadChecksum);
    }
    Ok(Some(ip.protocol[0]))
}

/// Sum of the header's words: all ones when its checksum is right.
#[inline(always)]
fn sum(frame: &Frame, at: usize, header_len: u16) -> u64 {
    let word = |index: usize| match frame.header::<[u8; 4]>(at + index * 4) {
        Some(word) => u64::from(u32::from_ne_bytes(*word)),
        None => 0,
    };
    let fixed = word(0) + word(1) + word(2) + word(3) + word(4);
    if header_len == 20 {
        return fixed;
    }
    let mut sum = fixed;
    for option in 0..OPTION_WORDS {
        if 20 + option * 4 >= usize::from(header_len) {
            break;
        }
        sum += word(5 + option);
    }
    sum
}
