//! The outer IP header of a packet that travels in another one.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use lb_common::{
    addr::Addr,
    checksum::fold,
    flow::{FlowKey, Protocol},
    next_hop::Egress,
    outcome::Outcome,
};

use crate::{
    checksum, config,
    forward::hop_limit,
    frame::{Frame, Ipv4, Ipv6, Udp},
    l2,
    parse::{Kind, Packet, flag, ipv6},
    stage::Stage,
};

/// Hop limit of tunnels (RFC 2003 §3.1: the tunnel's own, not the packet's).
const HOPS: u8 = 64;
/// Protocol numbers of the packets inside (IANA).
const IPIP: u8 = 4;
const IPV6: u8 = 41;

/// A header that has been written.
pub struct Outer {
    pub source: Addr,
    pub destination: Addr,
    /// Offset behind it.
    pub end: usize,
    /// The flow's hash, from which everything is made that spreads flows.
    pub hash: u64,
}

/// The number of the protocol that the packet is, as a payload of IP.
#[inline(always)]
pub const fn protocol(inner_is_v4: bool) -> u8 {
    if inner_is_v4 { IPIP } else { IPV6 }
}

/// Makes room for the outer IP header and `more` bytes behind it, and writes all of the header. `protocol` is that of what is
/// behind it.
#[inline(always)]
pub fn write(frame: &mut Frame, stage: &mut Stage, protocol: u8, more: u16) -> Result<Outer, Outcome> {
    let destination = stage.chosen.backend.addr;
    let is_v4 = destination.is_v4();
    let hash = stage.hash;
    let source = source(&stage.egress, is_v4, hash).ok_or(Outcome::NoRoute)?;
    let ip_len = if is_v4 { Ipv4::LEN } else { Ipv6::LEN };
    let room = u32::from(ip_len + more);
    l2::make_room(frame, &mut stage.packet, &mut stage.egress.hop, room)?;
    checksum::complete(frame, stage);
    cut_padding(frame, stage);
    hop_limit::take(frame, &stage.packet)?;
    l2::write(frame, &stage.egress.hop, l2::ether_type(is_v4))?;
    let at = l2::len(&stage.egress.hop);
    let payload = stage.packet.ip_len + more;
    let outer = Outer {
        source,
        destination,
        end: at + usize::from(ip_len),
        hash,
    };
    let content = Content {
        source,
        destination,
        protocol,
        len: payload,
        tos: stage.packet.tos,
    };
    if is_v4 {
        *frame.header_mut(at).ok_or(Outcome::Malformed)? = ipv4(&content, is_whole(&stage.packet));
    } else {
        *frame.header_mut(at).ok_or(Outcome::Malformed)? = ipv6(&content, hash);
    }
    Ok(outer)
}

/// The network that outer sources are spread over, else our address on the way; none where that is of the other family.
#[inline(always)]
pub fn source(egress: &Egress, is_v4: bool, hash: u64) -> Option<Addr> {
    let host_bits = config::outer_host_bits(is_v4);
    if host_bits != 0 {
        let [a, b, c, d] = config::outer_network(is_v4).words();
        return Some(Addr::from_words([a, b, c, d | (hash >> 32) as u32 & host_bits]));
    }
    let own = egress.source;
    (!own.is_none() && own.is_v4() == is_v4).then_some(own)
}

/// Cuts off what the frame has behind the packet. The frame may keep it where it cannot be cut: the outer length tells.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the length of a frame")]
fn cut_padding(frame: &mut Frame, stage: &Stage) {
    let padding = frame.len() as i32 - i32::from(stage.packet.l3) - i32::from(stage.packet.ip_len);
    if padding > 0 {
        let _kept = frame.cut_tail(padding);
    }
}

/// Of an IPv4 packet the flag is copied (RFC 2003 §3.1); a tunnel for IPv6 with a fixed MTU leaves it off (RFC 4213 §3.2.1).
#[inline(always)]
const fn is_whole(packet: &Packet) -> bool {
    packet.is_v4() && packet.flags & flag::DONT_FRAGMENT != 0
}

/// What an outer header is made of.
pub struct Content {
    pub source: Addr,
    pub destination: Addr,
    pub protocol: u8,
    /// Bytes behind the header.
    pub len: u16,
    pub tos: u8,
}

/// The header of a packet that routers may not fragment if it is to be `whole`.
#[inline(always)]
pub fn ipv4(content: &Content, whole: bool) -> Ipv4 {
    let id = if whole { 0 } else { random_id() };
    let mut ip = Ipv4 {
        version_tos: [0x45, content.tos],
        total_len: (content.len + Ipv4::LEN).to_be_bytes(),
        id: id.to_ne_bytes(),
        fragment: [if whole { 0x40 } else { 0 }, 0],
        ttl: [HOPS],
        protocol: [content.protocol],
        check: [0; 2],
        source: content.source.v4_word().to_ne_bytes(),
        destination: content.destination.v4_word().to_ne_bytes(),
    };
    ip.check = (!fold(sum(&ip))).to_ne_bytes();
    ip
}

#[inline(always)]
fn random_id() -> u16 {
    // SAFETY: the helper takes nothing.
    (unsafe { bpf_get_prandom_u32() } & 0xffff) as u16
}

/// Sum of a header's words.
#[inline(always)]
pub fn sum(ip: &Ipv4) -> u64 {
    let word = |a: [u8; 2]| u64::from(u16::from_ne_bytes(a));
    let double = |a: [u8; 4]| u64::from(u32::from_ne_bytes(a));
    word(ip.version_tos)
        + word(ip.total_len)
        + word(ip.id)
        + word(ip.fragment)
        + word([ip.ttl[0], ip.protocol[0]])
        + word(ip.check)
        + double(ip.source)
        + double(ip.destination)
}

/// The header of a packet of the flow with this hash.
#[inline(always)]
pub fn ipv6(content: &Content, hash: u64) -> Ipv6 {
    // The label tells flows apart for those who spread by it (RFC 6438).
    let label = (hash >> 12 & 0xf_ffff) as u32;
    Ipv6 {
        version_class: (6 << 28 | u32::from(content.tos) << 20 | label).to_be_bytes(),
        payload_len: content.len.to_be_bytes(),
        next_header: [content.protocol],
        hop_limit: [HOPS],
        source: ipv6::bytes(content.source),
        destination: ipv6::bytes(content.destination),
    }
}

/// Sum of the packet's bytes, as far as its own checksums tell it: a header with a right checksum adds nothing, and a transport
/// header's checksum makes its part what its pseudo-header lacks (local checksum offload,
/// Documentation/networking/checksum-offloads.rst). `None` for a packet whose checksums do not tell.
#[inline(always)]
pub fn told_sum(frame: &Frame, stage: &Stage) -> Option<u64> {
    let packet = &stage.packet;
    if packet.is_fragment() || !packet.is(Kind::Flow) {
        return None;
    }
    let &check = frame.header::<[u8; 2]>(checksum::place(packet)?)?;
    if check == [0; 2] || !is_all_covered(frame, packet) {
        return None;
    }
    let transport = transport_sum(&packet.flow, packet.l4_len());
    if packet.is_v4() {
        return Some(transport);
    }
    // Extension headers have no checksum of their own.
    let ip = frame
        .header::<Ipv6>(usize::from(packet.l3))
        .filter(|_| packet.l4 - packet.l3 == ipv6::LEN)?;
    Some(transport + header_sum(ip, &packet.flow))
}

/// Whether the transport's checksum covers all that the packet carries: UDP may say that it is shorter (RFC 9868).
#[inline(always)]
fn is_all_covered(frame: &Frame, packet: &Packet) -> bool {
    if packet.flow.protocol != Protocol::Udp.number() {
        return true;
    }
    frame
        .header::<Udp>(usize::from(packet.l4))
        .is_some_and(|udp| u16::from_be_bytes(udp.len) == packet.l4_len())
}

/// Sum of a transport header and what is behind it, with a right checksum.
#[inline(always)]
pub fn transport_sum(flow: &FlowKey, len: u16) -> u64 {
    let pseudo = checksum::pseudo_header(&flow.source, &flow.destination, flow.protocol, len);
    u64::from(!fold(pseudo))
}

/// Sum of an IPv6 header with these addresses.
#[inline(always)]
pub fn header_sum(ip: &Ipv6, flow: &FlowKey) -> u64 {
    u64::from(u32::from_ne_bytes(ip.version_class))
        + u64::from(u16::from_ne_bytes(ip.payload_len))
        + u64::from(u16::from_ne_bytes([ip.next_header[0], ip.hop_limit[0]]))
        + checksum::addresses(&flow.source, &flow.destination)
}
