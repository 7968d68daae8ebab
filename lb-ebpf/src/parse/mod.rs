//! From bytes to a flow. After this no stage reads a length from the frame.

pub mod eth;
mod ipv4;
pub mod ipv6;
mod l4;
pub mod quoted;

use lb_common::{addr::Addr, flow::FlowKey, next_hop::Vlans, outcome::Outcome};

use crate::{
    frame::Frame,
    stage::{Stage, stages},
};

/// What the later stages know of a packet.
#[repr(C)]
pub struct Packet {
    /// The packet's own addresses and ports. For an ICMP error those of the packet that would answer the quoted one; for
    /// a later fragment without ports until they are found.
    pub flow: FlowKey,
    /// For an ICMP error: who has sent it, and to whom.
    pub error_from: Addr,
    pub error_to: Addr,
    pub vlans: Vlans,
    /// Length of the whole frame in bytes.
    pub len: u32,
    /// What the fragments of one packet share.
    pub fragment_id: u32,
    /// The protocol by which IPv4 tells them apart; that of the fragment header for IPv6.
    pub fragment_protocol: u32,
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of what the IP headers carry.
    pub l4: u16,
    /// Length of the IP packet with its header, as it says itself.
    pub ip_len: u16,
    /// Offset of the quoted packet's transport header, for an ICMP error.
    pub quoted_l4: u16,
    /// Bits of [`flag`].
    pub flags: u8,
    /// [`Kind`].
    pub kind: u8,
    /// Why the packet cannot be forwarded, as an outcome's number plus one; 0 for a packet without fault.
    pub problem: u8,
    /// Flags of the TCP header; 0 for others.
    pub tcp_flags: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    pub _pad: [u8; 2],
}

/// Bits of [`Packet::flags`].
pub mod flag {
    pub const V4: u8 = 1;
    /// Routers may not fragment it.
    pub const DONT_FRAGMENT: u8 = 2;
    /// The fragment with the transport header.
    pub const FIRST_FRAGMENT: u8 = 4;
    pub const LATER_FRAGMENT: u8 = 8;
    /// A fragment of IPv6 at offset 8.
    pub const AT_EIGHT: u8 = 16;
}

/// What has to be done with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Of a flow, with ports.
    Flow = 0,
    /// Of a flow, without.
    LaterFragment = 1,
    /// A ping.
    Echo = 2,
    /// An ICMP error about a flow.
    Error = 3,
    /// Nothing that a service could take.
    Other = 4,
    /// The kernel's own business, also for a VIP.
    Kernel = 5,
}

stages! {
    /// Parses a frame into `stage.packet`, as far as its ports. What is wrong with a packet is noted there: it is ours to
    /// judge only if the packet is for a VIP.
    ///
    /// # Errors
    /// [`Outcome::NotIp`] or [`Outcome::NotOurs`] for what cannot be for a VIP.
    pub fn packet as xlb_parse = read;
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets of headers and the length of a frame"
)]
fn read(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let packet = &mut stage.packet;
    packet.len = frame.len() as u32;
    (packet.problem, packet.tcp_flags, packet.fragment_id) = (0, 0, 0);
    (packet.flow.source_port, packet.flow.destination_port) = (0, 0);
    let kind = eth::ether_type(frame, &mut packet.vlans)?;
    packet.l3 = (eth::LEN + eth::TAG_LEN * packet.vlans.count as usize) as u16;
    let protocol = match kind {
        eth::IPV4 => ipv4::header(frame, packet)?,
        eth::IPV6 => ipv6::header(frame, packet)?,
        _ => return Err(Outcome::NotIp),
    };
    if packet.flow.source.is_martian() || packet.flow.source == packet.flow.destination {
        packet.doubt(Outcome::BadSource);
    }
    packet.kind = match protocol {
        Some(protocol) => l4::read(frame, packet, protocol) as u8,
        None => Kind::Other as u8,
    };
    Ok(())
}

#[inline(always)]
const fn code(outcome: Outcome) -> u8 {
    outcome.wire() + 1
}

impl Packet {
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.flags & flag::V4 != 0
    }

    #[inline(always)]
    pub const fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }

    #[inline(always)]
    pub const fn kind(&self) -> Kind {
        match self.kind {
            0 => Kind::Flow,
            1 => Kind::LaterFragment,
            2 => Kind::Echo,
            3 => Kind::Error,
            4 => Kind::Other,
            _ => Kind::Kernel,
        }
    }

    /// Why the packet cannot be forwarded.
    #[inline(always)]
    pub fn problem(&self) -> Option<Outcome> {
        Outcome::from_wire(self.problem.wrapping_sub(1))
    }

    /// Whether it has a transport header of its own to be rewritten.
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        self.flags & flag::LATER_FRAGMENT == 0
    }

    /// Whether its checksum covers what other fragments hold.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.flags & (flag::FIRST_FRAGMENT | flag::LATER_FRAGMENT) != 0
    }

    /// Length of what the IP headers carry.
    #[inline(always)]
    pub const fn l4_len(&self) -> u16 {
        self.ip_len.wrapping_sub(self.l4.wrapping_sub(self.l3))
    }

    /// Bytes of the frame from the IP header on.
    #[inline(always)]
    const fn room(&self) -> u64 {
        self.len.saturating_sub(self.l3 as u32) as u64
    }

    /// Notes that lengths are wrong, which comes before every other fault: nothing behind can be believed.
    #[inline(always)]
    fn reject(&mut self, outcome: Outcome) {
        self.problem = code(outcome);
    }

    /// Notes a fault, if none is known that comes first. Extension headers are met before what the source is known to be, and
    /// come after it.
    #[inline(always)]
    fn doubt(&mut self, outcome: Outcome) {
        if self.problem == 0 || self.problem == code(Outcome::HeaderChain) {
            self.problem = code(outcome);
        }
    }
}
