//! IPv6 (RFC 8200) and its extension headers.

use lb_common::{addr::Addr, outcome::Outcome};

use crate::{
    frame::{Frame, Ipv6},
    parse::{Packet, flag},
};

pub const LEN: u16 = 40;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// How far into the packet extension headers are followed.
const REACH: u16 = 512;

/// Reads the header at `packet.l3` and those behind; gives the number of the protocol that the packet carries, if what it
/// carries can be read.
#[inline(always)]
pub fn header(frame: &Frame, packet: &mut Packet) -> Result<Option<u8>, Outcome> {
    let ip = frame
        .header::<Ipv6>(usize::from(packet.l3))
        .ok_or(Outcome::NotIp)?;
    let version_class = u32::from_be_bytes(ip.version_class);
    if version_class >> 28 != 6 {
        return Err(Outcome::NotIp);
    }
    let payload_len = u16::from_be_bytes(ip.payload_len);
    packet.flow.source = address(&ip.source);
    packet.flow.destination = address(&ip.destination);
    packet.ttl = ip.hop_limit[0];
    packet.tos = class(version_class);
    packet.flags = flag::DONT_FRAGMENT;
    // Such an address is on no wire (RFC 4291 §2.5.5.2), and here it would be taken for the IPv4 address.
    if packet.flow.destination.is_v4() {
        return Err(Outcome::NotOurs);
    }
    if u64::from(payload_len) + u64::from(LEN) > packet.room() || payload_len > u16::MAX - LEN {
        packet.reject(Outcome::Malformed);
        return Ok(None);
    }
    packet.ip_len = payload_len + LEN;
    if packet.flow.source.is_v4() {
        packet.doubt(Outcome::BadSource);
    }
    let chain = chain(frame, ip.next_header[0], packet.l3, packet.l3 + packet.ip_len);
    packet.l4 = chain.end;
    if let Some(fragment) = chain.fragment {
        packet.fragment_id = fragment.id;
        packet.fragment_protocol = 0;
        packet.flags |= if fragment.offset == 0 {
            flag::FIRST_FRAGMENT
        } else {
            flag::LATER_FRAGMENT
        };
        if fragment.offset == 8 {
            packet.flags |= flag::AT_EIGHT;
        }
    }
    match chain.fault {
        None => return Ok(Some(chain.protocol)),
        Some(Outcome::Malformed) => packet.reject(Outcome::Malformed),
        Some(fault) => packet.doubt(fault),
    }
    Ok(None)
}

/// What stands between an IPv6 header and what the packet carries.
pub struct Chain {
    pub protocol: u8,
    /// Offset behind the last extension header.
    pub end: u16,
    pub fragment: Option<Fragment>,
    /// Why it could not be followed.
    pub fault: Option<Outcome>,
}

/// A fragment header (RFC 8200 §4.5) of a packet that is not whole.
#[derive(Clone, Copy)]
pub struct Fragment {
    pub id: u32,
    /// In bytes.
    pub offset: u16,
}

/// Follows the extension headers of the packet at `l3` that ends at `end`.
#[inline(always)]
pub fn chain(frame: &Frame, first: u8, l3: u16, end: u16) -> Chain {
    let mut chain = Chain {
        protocol: first,
        end: l3 + LEN,
        fragment: None,
        fault: None,
    };
    // Nearly every packet.
    if !is_extension(first) {
        return chain;
    }
    // Written out: the code generator may place a loop's last block before its first, so that it goes round without a jump,
    // and kernels before 6.8 take only jumps for loops (`push_insn` in kernel/bpf/verifier.c: "back-edge").
    let mut follow = |place| chain.follow(frame, l3, end, place);
    let ended = !follow(0) || !follow(1) || !follow(2) || !follow(3) || !follow(4) || !follow(5);
    if !ended && is_extension(chain.protocol) {
        chain.fault = Some(Outcome::HeaderChain);
    }
    chain
}

impl Chain {
    /// Follows one header, the one at `place`; whether another may be behind it. A function of its own, for the six.
    #[inline(never)]
    fn follow(&mut self, frame: &Frame, l3: u16, end: u16, place: usize) -> bool {
        let kind = self.protocol;
        if !is_extension(kind) {
            return false;
        }
        if (kind == HOP_BY_HOP && place > 0) || self.end > l3 + REACH {
            return self.stop(Outcome::HeaderChain);
        }
        let Some(&[following, len, b2, b3, b4, b5, b6, b7]) = frame.header::<[u8; 8]>(usize::from(self.end))
        else {
            return self.stop(Outcome::Malformed);
        };
        self.end += match kind {
            FRAGMENT => 8,
            AUTHENTICATION => (u16::from(len) + 2) * 4,
            _ => (u16::from(len) + 1) * 8,
        };
        if self.end > end {
            return self.stop(Outcome::Malformed);
        }
        // The packet would have to go on to where the header says.
        if self.end > l3 + REACH || (kind == ROUTING && b3 != 0) {
            return self.stop(Outcome::HeaderChain);
        }
        self.protocol = following;
        if kind == FRAGMENT {
            self.fragment = fragment([b2, b3], [b4, b5, b6, b7]);
        }
        // What is behind a later fragment's header is no header.
        kind != FRAGMENT || self.fragment.is_none_or(|fragment| fragment.offset == 0)
    }

    #[inline(always)]
    fn stop(&mut self, fault: Outcome) -> bool {
        self.fault = Some(fault);
        false
    }
}

/// Whether a next header is one that another one follows.
#[inline(always)]
pub const fn is_extension(kind: u8) -> bool {
    matches!(
        kind,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
    )
}

/// Reads a fragment header. A packet in one fragment is whole (RFC 6946).
#[inline(always)]
fn fragment(offset_more: [u8; 2], id: [u8; 4]) -> Option<Fragment> {
    let word = u16::from_be_bytes(offset_more);
    (word & 0xfff9 != 0).then_some(Fragment {
        id: u32::from_ne_bytes(id),
        offset: word & 0xfff8,
    })
}

/// The traffic class in the first word of a header.
#[inline(always)]
pub const fn class(version_class: u32) -> u8 {
    (version_class >> 20 & 0xff) as u8
}

#[inline(always)]
pub fn address(bytes: &[u8; 16]) -> Addr {
    // SAFETY: an array of as many bytes. By words: bytes that are put together again are loaded one by one.
    let words: [[u8; 4]; 4] = unsafe { core::mem::transmute(*bytes) };
    Addr::from_words(words.map(u32::from_ne_bytes))
}

/// The bytes of an address, as [`address`] reads them.
#[inline(always)]
pub fn bytes(address: Addr) -> [u8; 16] {
    let [a, b, c, d] = address.words().map(u32::to_ne_bytes);
    [
        a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3],
    ]
}
