//! From bytes to a flow. After this no stage reads a length from the frame.

mod eth;
mod ipv4;
mod l4;

use lb_common::{flow::FlowKey, outcome::Outcome};

use crate::{frame::Frame, service};

/// What the later stages know of a packet.
pub struct Packet {
    pub flow: FlowKey,
    /// Offset of the IPv4 header.
    pub ip: usize,
    /// Offset of the TCP or UDP header.
    pub l4: usize,
    /// Length of the whole frame in bytes.
    pub len: u64,
    /// Flags of the TCP header; 0 for UDP.
    pub tcp_flags: u8,
    pub ttl: u8,
    /// Type of service, for the route lookup.
    pub tos: u8,
}

/// Parses a frame as far as its ports.
///
/// # Errors
/// What is not for us to judge is [`Outcome::NotIpv4`] or [`Outcome::NotOurs`]; what is addressed to a VIP but cannot be
/// a flow has its own outcome.
#[inline(always)]
pub fn packet(frame: &Frame) -> Result<Packet, Outcome> {
    let ip_at = eth::ipv4_offset(frame)?;
    let ip = ipv4::header(frame, ip_at)?;
    if let Some(problem) = ip.problem {
        return Err(judge(&ip, problem));
    }
    match l4::ports(frame, &ip) {
        Ok(l4) => Ok(Packet {
            flow: FlowKey {
                source: ip.source,
                destination: ip.destination,
                source_port: l4.source_port,
                destination_port: l4.destination_port,
                protocol: u32::from(ip.protocol),
            },
            ip: ip_at,
            l4: ip.payload,
            len: frame.len(),
            tcp_flags: l4.tcp_flags,
            ttl: ip.ttl,
            tos: ip.tos,
        }),
        Err(problem) => Err(judge(&ip, problem)),
    }
}

/// A packet that is wrong is ours to count only if it is for a VIP.
#[inline(always)]
fn judge(ip: &ipv4::Ipv4, problem: Outcome) -> Outcome {
    if service::is_vip(&ip.destination) {
        problem
    } else {
        Outcome::NotOurs
    }
}
