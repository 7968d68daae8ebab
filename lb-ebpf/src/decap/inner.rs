//! The packet in a tunnel.

use lb_common::{
    addr::Addr,
    checksum::Change,
    decap::{self, Decap, ECN, Inner},
};

use crate::{
    frame::{Frame, Ipv4, Ipv6},
    hosts,
    link::Link,
    outer::{self, Outer},
    tunnel::Tunnel,
};

const IPV4_LEN: usize = size_of::<Ipv4>();
const IPV6_LEN: usize = size_of::<Ipv6>();

/// What the later steps know of the packet.
pub struct Packet {
    inner: Inner,
    ecn: u8,
}

impl Packet {
    /// The ECN bits that it leaves its tunnel with; `None` where it must not.
    #[inline(always)]
    pub fn ecn_behind(&self, outer: &Outer) -> Option<u8> {
        decap::ecn(outer.ecn, self.ecn)
    }
}

/// Reads the packet's header, if it is for this host.
#[inline(always)]
pub fn read(frame: &Frame, tunnel: &Tunnel) -> Result<Packet, Decap> {
    let (destination, ecn) = match tunnel.inner {
        Inner::V4 => ipv4(frame, tunnel),
        Inner::V6 => ipv6(frame, tunnel),
    }
    .ok_or(Decap::BadInner)?;
    if !hosts::is_local(destination) {
        return Err(Decap::NotLocal);
    }
    Ok(Packet {
        inner: tunnel.inner,
        ecn: ecn & ECN,
    })
}

/// Destination and ECN bits, unless version or lengths are wrong. The header's checksum is the kernel's to verify.
#[inline(always)]
fn ipv4(frame: &Frame, tunnel: &Tunnel) -> Option<(Addr, u8)> {
    let header = frame.header::<Ipv4>(tunnel.packet)?;
    let [version_len, tos] = header.version_tos;
    let header_len = usize::from(version_len & 0xf) * 4;
    let total_len = usize::from(u16::from_be_bytes(header.total_len));
    let is_sound = version_len >> 4 == 4
        && header_len >= IPV4_LEN
        && total_len >= header_len
        && total_len <= tunnel.room;
    is_sound.then(|| (outer::v4(header.destination), tos))
}

#[inline(always)]
fn ipv6(frame: &Frame, tunnel: &Tunnel) -> Option<(Addr, u8)> {
    let header = frame.header::<Ipv6>(tunnel.packet)?;
    let payload_len = usize::from(u16::from_be_bytes(header.payload_len));
    let is_sound = header.version_class[0] >> 4 == 6 && IPV6_LEN + payload_len <= tunnel.room;
    is_sound.then(|| (outer::v6(&header.destination), header.version_class[1] >> 4))
}

/// Gives the packet, which now follows `link`, its ECN bits, and keeps an IPv4 header's checksum true by RFC 1624.
#[inline(always)]
pub fn set_ecn(frame: &mut Frame, link: &Link, packet: &Packet, ecn: u8) {
    if ecn == packet.ecn {
        return;
    }
    match packet.inner {
        Inner::V4 => {
            if let Some(header) = frame.header_mut::<Ipv4>(link.len()) {
                let before = u16::from_ne_bytes(header.version_tos);
                header.version_tos[1] = header.version_tos[1] & !ECN | ecn;
                let change = Change::new().word(before, u16::from_ne_bytes(header.version_tos));
                header.check = change.apply(u16::from_ne_bytes(header.check)).to_ne_bytes();
            }
        }
        Inner::V6 => {
            if let Some(header) = frame.header_mut::<Ipv6>(link.len()) {
                let class = &mut header.version_class[1];
                *class = *class & !(ECN << 4) | ecn << 4;
            }
        }
    }
}
