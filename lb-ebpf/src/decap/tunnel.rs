//! Which tunnel a packet is in: IP in IP (RFC 2003, 2473, 4213), or GUE (draft-ietf-intarea-gue).

use lb_common::decap::{self, Decap, Inner};

use crate::{
    config,
    frame::{Frame, Udp},
    outer::Outer,
};

const UDP: u8 = 17;
const UDP_LEN: usize = size_of::<Udp>();

/// A packet in a tunnel to this host.
pub struct Tunnel {
    pub inner: Inner,
    /// Offset of the packet.
    pub packet: usize,
    /// Length that the outer headers leave for it.
    pub room: usize,
}

/// Finds the packet behind the outer headers, if the tunnel may be opened.
#[inline(always)]
pub fn read(frame: &Frame, outer: &Outer) -> Result<Tunnel, Decap> {
    if outer.protocol == UDP {
        return gue(frame, outer);
    }
    let inner = Inner::of_protocol(outer.protocol).ok_or(Decap::NotTunnel)?;
    outer.admit()?;
    Ok(Tunnel {
        inner,
        packet: outer.payload,
        room: outer.payload_len,
    })
}

#[inline(always)]
fn gue(frame: &Frame, outer: &Outer) -> Result<Tunnel, Decap> {
    let udp = frame.header::<Udp>(outer.payload);
    let udp = udp.filter(|_| !outer.is_later).ok_or(Decap::NotTunnel)?;
    if u16::from_ne_bytes(udp.destination) != config::options().port {
        return Err(Decap::NotTunnel);
    }
    outer.admit()?;
    let len = usize::from(u16::from_be_bytes(udp.len));
    if len < UDP_LEN || len > outer.payload_len {
        return Err(Decap::BadOuter);
    }
    let at = outer.payload + UDP_LEN;
    let first = frame.header::<[u8; 4]>(at).ok_or(Decap::BadInner)?;
    let (inner, header_len) = decap::gue(*first).ok_or(Decap::UnknownGue)?;
    let header_len = usize::from(header_len);
    Ok(Tunnel {
        inner,
        packet: at + header_len,
        room: (len - UDP_LEN).saturating_sub(header_len),
    })
}
