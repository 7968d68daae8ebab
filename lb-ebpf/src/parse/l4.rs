//! TCP (RFC 9293) and UDP (RFC 768), as far as the ports and flags.

use lb_common::{
    conn::tcp::{ACK, FIN, RST, SYN},
    flow::Protocol,
    outcome::Outcome,
};
use network_types::{tcp::TcpHdr, udp::UdpHdr};

use crate::{frame::Frame, parse::ipv4::Ipv4};

/// What the transport header says. Ports in network order.
pub struct L4 {
    pub source_port: u16,
    pub destination_port: u16,
    pub tcp_flags: u8,
}

/// Reads the transport header that `ip` carries.
#[inline(always)]
pub fn ports(frame: &Frame, ip: &Ipv4) -> Result<L4, Outcome> {
    match Protocol::from_wire(ip.protocol) {
        Some(Protocol::Tcp) => tcp(frame, ip),
        Some(Protocol::Udp) => udp(frame, ip),
        None => Err(Outcome::NotOurs),
    }
}

#[inline(always)]
fn tcp(frame: &Frame, ip: &Ipv4) -> Result<L4, Outcome> {
    let tcp = frame.header::<TcpHdr>(ip.payload).ok_or(Outcome::Malformed)?;
    let header_len = tcp.doff() * 4;
    if usize::from(header_len) < TcpHdr::LEN || header_len > ip.payload_len {
        return Err(Outcome::Malformed);
    }
    Ok(L4 {
        source_port: u16::from_ne_bytes(tcp.source),
        destination_port: u16::from_ne_bytes(tcp.dest),
        tcp_flags: flags(tcp),
    })
}

#[inline(always)]
fn udp(frame: &Frame, ip: &Ipv4) -> Result<L4, Outcome> {
    let udp = frame.header::<UdpHdr>(ip.payload).ok_or(Outcome::Malformed)?;
    let len = u16::from_be_bytes(udp.len);
    if usize::from(len) < UdpHdr::LEN || len > ip.payload_len {
        return Err(Outcome::Malformed);
    }
    Ok(L4 {
        source_port: u16::from_ne_bytes(udp.src),
        destination_port: u16::from_ne_bytes(udp.dst),
        tcp_flags: 0,
    })
}

/// The flags that a flow's state depends on, as they stand in the header.
#[inline(always)]
fn flags(tcp: &TcpHdr) -> u8 {
    let flag = |set: u16, bit: u8| if set == 0 { 0 } else { bit };
    flag(tcp.fin(), FIN) | flag(tcp.syn(), SYN) | flag(tcp.rst(), RST) | flag(tcp.ack(), ACK)
}
