//! The packets that the short way takes: TCP and UDP without anything uncommon, and what ICMP errors share with them.

use lb_common::{
    addr::Addr,
    checksum::fold,
    conn::tcp::{ACK, FIN, RST, SYN},
    flow::{FlowKey, Protocol},
    pick::Opens,
};

use crate::{
    checksum,
    forward::outer,
    frame::{Frame, Header, Ipv4, Ipv6, Macs, Tcp, Udp},
    parse::{eth, ipv6},
};

/// What is known of such a packet.
pub struct Plain {
    pub flow: FlowKey,
    /// Length of the IP packet, as it says itself.
    pub ip_len: u16,
    /// Length of what its IP header carries.
    pub l4_len: u16,
    pub tos: u8,
    pub is_v4: bool,
    /// Whether it is IPv4 and routers may not fragment it.
    pub is_whole: bool,
    pub opens: Opens,
    /// Whether it neither begins nor ends anything: a datagram, or a TCP packet without SYN, FIN and RST.
    pub is_quiet: bool,
    /// The checksum of its transport header, as it stands in the packet.
    pub check: u16,
    /// Where that is in the header.
    pub check_at: usize,
    /// Whether it covers all that the packet carries.
    pub is_covered: bool,
    /// Whether it is an ICMP error about the flow, and no packet of it.
    pub is_error: bool,
}

impl Plain {
    /// Where its transport header stands in the frame.
    #[inline(always)]
    pub const fn l4(&self) -> usize {
        eth::LEN + if self.is_v4 { Ipv4::LEN } else { Ipv6::LEN } as usize
    }
}

/// A frame up to the end of the fixed IP header.
#[repr(C)]
pub struct Head<Ip> {
    pub macs: Macs,
    pub ether_type: [u8; 2],
    pub ip: Ip,
}

// SAFETY: all fields are byte arrays or headers.
unsafe impl<Ip: Header> Header for Head<Ip> {}

/// Whether the protocol is one that the short way takes.
#[inline(always)]
pub const fn is_taken(protocol: u8) -> bool {
    protocol == Protocol::Tcp.wire() || protocol == Protocol::Udp.wire()
}

/// Reads a packet of IPv4 in a frame of `len` bytes.
#[inline(always)]
pub fn v4(frame: &Frame, len: u64) -> Option<Plain> {
    transport(frame, ip_v4(frame, len)?, eth::LEN + Ipv4::LEN as usize)
}

/// Reads a packet of IPv6 without extension headers.
#[inline(always)]
pub fn v6(frame: &Frame, len: u64) -> Option<Plain> {
    transport(frame, ip_v6(frame, len)?, eth::LEN + Ipv6::LEN as usize)
}

/// What the header of a packet of IPv4 says, in a frame of `len` bytes.
#[inline(always)]
pub fn ip_v4(frame: &Frame, len: u64) -> Option<Plain> {
    const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
    const FRAGMENTED: u16 = 0x3fff_u16.to_be();
    let ip = &frame.header::<Head<Ipv4>>(0)?.ip;
    let fragment = u16::from_ne_bytes(ip.fragment);
    let ip_len = u16::from_be_bytes(ip.total_len);
    if ip.version_tos[0] != 0x45
        || fragment & FRAGMENTED != 0
        || ip.ttl[0] <= 1
        || ip_len < Ipv4::LEN
        || u64::from(ip_len) + eth::LEN as u64 > len
        || fold(outer::sum(ip)) != 0xffff
    {
        return None;
    }
    let flow = FlowKey {
        source: Addr::from_v4_word(u32::from_ne_bytes(ip.source)),
        destination: Addr::from_v4_word(u32::from_ne_bytes(ip.destination)),
        protocol: u32::from(ip.protocol[0]),
        ..FlowKey::default()
    };
    is_of_a_host(&flow).then_some(Plain {
        flow,
        ip_len,
        l4_len: ip_len - Ipv4::LEN,
        tos: ip.version_tos[1],
        is_v4: true,
        is_whole: fragment & DONT_FRAGMENT != 0,
        opens: Opens::Unknown,
        is_quiet: true,
        check: 0,
        check_at: checksum::IN_UDP,
        is_covered: true,
        is_error: false,
    })
}

/// What the header of a packet of IPv6 says.
#[inline(always)]
pub fn ip_v6(frame: &Frame, len: u64) -> Option<Plain> {
    let ip = &frame.header::<Head<Ipv6>>(0)?.ip;
    let version_class = u32::from_be_bytes(ip.version_class);
    let l4_len = u16::from_be_bytes(ip.payload_len);
    if version_class >> 28 != 6
        || ip.hop_limit[0] <= 1
        || l4_len > u16::MAX - Ipv6::LEN
        || u64::from(l4_len) + u64::from(Ipv6::LEN) + eth::LEN as u64 > len
    {
        return None;
    }
    let flow = FlowKey {
        source: ipv6::address(&ip.source),
        destination: ipv6::address(&ip.destination),
        protocol: u32::from(ip.next_header[0]),
        ..FlowKey::default()
    };
    // Such addresses are on no wire, and here they would be taken for those of IPv4.
    if flow.source.is_v4() || flow.destination.is_v4() {
        return None;
    }
    is_of_a_host(&flow).then_some(Plain {
        flow,
        ip_len: l4_len + Ipv6::LEN,
        l4_len,
        tos: ipv6::class(version_class),
        is_v4: false,
        is_whole: false,
        opens: Opens::Unknown,
        is_quiet: true,
        check: 0,
        check_at: checksum::IN_UDP,
        is_covered: true,
        is_error: false,
    })
}

/// Whether a packet may be from where it says.
#[inline(always)]
fn is_of_a_host(flow: &FlowKey) -> bool {
    !flow.source.is_martian() && flow.source != flow.destination
}

/// Reads the transport header at `at`.
#[inline(always)]
fn transport(frame: &Frame, mut plain: Plain, at: usize) -> Option<Plain> {
    let (source, destination) = if plain.flow.protocol == Protocol::Tcp.number() {
        let tcp = frame.header::<Tcp>(at)?;
        let header_len = u16::from(tcp.offset[0] >> 4) * 4;
        if header_len < Tcp::LEN || header_len > plain.l4_len {
            return None;
        }
        plain.opens = if tcp.flags[0] & (SYN | ACK | RST) == SYN {
            Opens::First
        } else {
            Opens::Later
        };
        plain.is_quiet = tcp.flags[0] & (SYN | FIN | RST) == 0;
        plain.check = u16::from_ne_bytes(tcp.check);
        plain.check_at = checksum::IN_TCP;
        (tcp.source, tcp.destination)
    } else {
        let udp = frame.header::<Udp>(at)?;
        let len = u16::from_be_bytes(udp.len);
        if len < Udp::LEN || len > plain.l4_len {
            return None;
        }
        plain.check = u16::from_ne_bytes(udp.check);
        plain.is_covered = len == plain.l4_len;
        (udp.source, udp.destination)
    };
    plain.flow.source_port = u16::from_ne_bytes(source);
    plain.flow.destination_port = u16::from_ne_bytes(destination);
    (plain.flow.source_port != 0 && plain.flow.destination_port != 0).then_some(plain)
}
