//! IPv4 (RFC 791).

use lb_common::{addr::Addr, outcome::Outcome};
use network_types::ip::Ipv4Hdr;

use crate::frame::Frame;

/// More-fragments flag and fragment offset, in the header's fragment word.
const FRAGMENT: u16 = 0x3fff;

/// What an IPv4 header says.
pub struct Ipv4 {
    pub source: Addr,
    pub destination: Addr,
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    /// Offset of what the header carries.
    pub payload: usize,
    /// Length of what the header carries, as far as the frame holds it.
    pub payload_len: u16,
    /// Why the packet cannot be a flow, if so. The addresses are right all the same.
    pub problem: Option<Outcome>,
}

/// Reads the header at `offset`.
#[inline(always)]
pub fn header(frame: &Frame, offset: usize) -> Result<Ipv4, Outcome> {
    let ip = frame.header::<Ipv4Hdr>(offset).ok_or(Outcome::NotIpv4)?;
    if ip.version() != 4 {
        return Err(Outcome::NotIpv4);
    }
    let header_len = ip.ihl();
    let total_len = ip.tot_len();
    let room = frame.len() - offset as u64;
    let contradicts = usize::from(header_len) < Ipv4Hdr::LEN
        || total_len < u16::from(header_len)
        || u64::from(total_len) > room;
    let problem = if contradicts {
        Some(Outcome::Malformed)
    } else if u16::from_be_bytes(ip.frags) & FRAGMENT != 0 {
        Some(Outcome::Fragment)
    } else {
        None
    };
    Ok(Ipv4 {
        source: Addr::from_v4_word(u32::from_ne_bytes(ip.src_addr)),
        destination: Addr::from_v4_word(u32::from_ne_bytes(ip.dst_addr)),
        protocol: ip.proto,
        ttl: ip.ttl,
        tos: ip.tos,
        payload: offset + usize::from(header_len),
        payload_len: total_len.wrapping_sub(u16::from(header_len)),
        problem,
    })
}
