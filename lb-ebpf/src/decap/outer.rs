//! The outer IP header.

use lb_common::{
    addr::Addr,
    decap::{Decap, is_intact},
};

use crate::{
    frame::{Frame, Ipv4, Ipv6},
    hosts,
    link::Link,
};

const IPV4_LEN: usize = size_of::<Ipv4>();
const IPV6_LEN: usize = size_of::<Ipv6>();
const FRAGMENT_LEN: usize = 8;
/// Version 4, five words: no options, which no balancer sends.
const PLAIN: u8 = 0x45;
/// More-fragments flag and fragment offset; the offset alone (RFC 791 §3.1).
const FRAGMENT: u16 = 0x3fff;
const OFFSET: u16 = 0x1fff;
/// The offset in IPv6's fragment header (RFC 8200 §4.5).
const OFFSET6: u16 = 0xfff8;
/// Next header of that.
const FRAGMENT_HEADER: u8 = 44;

/// What an outer header says.
pub struct Outer {
    pub source: Addr,
    pub destination: Addr,
    /// What the packet carries.
    pub protocol: u8,
    pub ecn: u8,
    /// Where it carries it.
    pub payload: usize,
    /// As the header has it; 0 where that is more than the frame holds.
    pub payload_len: usize,
    /// Whether this is a piece of a packet, and whether one after the first, which has no ports.
    pub is_fragment: bool,
    pub is_later: bool,
    is_sound: bool,
}

impl Outer {
    /// Checks that the packet is whole, sound, to this host and from one that may send tunnels.
    #[inline(always)]
    pub fn admit(&self) -> Result<(), Decap> {
        if !hosts::is_local(self.destination) {
            return Err(Decap::NotTunnel);
        }
        if !self.is_sound {
            return Err(Decap::BadOuter);
        }
        if self.is_fragment {
            return Err(Decap::Fragment);
        }
        if !hosts::may_send(self.source) {
            return Err(Decap::ForeignSource);
        }
        Ok(())
    }
}

/// Reads the header behind `link`.
#[inline(always)]
pub fn read(frame: &Frame, link: &Link) -> Result<Outer, Decap> {
    let at = link.len();
    let room = frame.len().saturating_sub(at as u64);
    let outer = if link.is_v4 {
        ipv4(frame, at, room)
    } else {
        ipv6(frame, at, room)
    };
    outer.ok_or(Decap::NotTunnel)
}

#[inline(always)]
fn ipv4(frame: &Frame, at: usize, room: u64) -> Option<Outer> {
    let bytes = frame.header::<[u8; IPV4_LEN]>(at)?;
    let header = frame.header::<Ipv4>(at)?;
    let [PLAIN, tos] = header.version_tos else {
        return None;
    };
    let total_len = usize::from(u16::from_be_bytes(header.total_len));
    let fragment = u16::from_be_bytes(header.fragment);
    let fits = total_len >= IPV4_LEN && total_len as u64 <= room;
    Some(Outer {
        source: v4(header.source),
        destination: v4(header.destination),
        protocol: header.protocol[0],
        ecn: tos,
        payload: at + IPV4_LEN,
        payload_len: total_len.saturating_sub(IPV4_LEN),
        is_fragment: fragment & FRAGMENT != 0,
        is_later: fragment & OFFSET != 0,
        is_sound: fits && is_intact(words(bytes)),
    })
}

#[inline(always)]
fn ipv6(frame: &Frame, at: usize, room: u64) -> Option<Outer> {
    let header = frame.header::<Ipv6>(at)?;
    if header.version_class[0] >> 4 != 6 {
        return None;
    }
    let payload_len = usize::from(u16::from_be_bytes(header.payload_len));
    let whole = Outer {
        source: v6(&header.source),
        destination: v6(&header.destination),
        protocol: header.next_header[0],
        ecn: header.version_class[1] >> 4,
        payload: at + IPV6_LEN,
        payload_len,
        is_fragment: false,
        is_later: false,
        is_sound: (IPV6_LEN + payload_len) as u64 <= room,
    };
    if whole.protocol != FRAGMENT_HEADER {
        return Some(whole);
    }
    let extension = frame.header::<[u8; FRAGMENT_LEN]>(whole.payload)?;
    Some(Outer {
        protocol: extension[0],
        payload: whole.payload + FRAGMENT_LEN,
        is_fragment: true,
        is_later: u16::from_be_bytes([extension[2], extension[3]]) & OFFSET6 != 0,
        ..whole
    })
}

/// An IPv4 address of a header.
#[inline(always)]
pub fn v4(bytes: [u8; 4]) -> Addr {
    Addr::from_v4_word(u32::from_ne_bytes(bytes))
}

/// An IPv6 address of a header; none for an IPv4-mapped one, which is no address on a wire and must not pass for the IPv4
/// address.
#[inline(always)]
pub fn v6(bytes: &[u8; 16]) -> Addr {
    let (words, _) = bytes.as_chunks::<4>();
    let word = |at: usize| u32::from_ne_bytes(words[at]);
    let address = Addr::from_words([word(0), word(1), word(2), word(3)]);
    if address.is_v4() { Addr::default() } else { address }
}

#[inline(always)]
fn words(header: &[u8; IPV4_LEN]) -> [u16; IPV4_LEN / 2] {
    let mut words = [0; IPV4_LEN / 2];
    let mut at = 0;
    while at < words.len() {
        words[at] = u16::from_ne_bytes([header[2 * at], header[2 * at + 1]]);
        at += 1;
    }
    words
}
