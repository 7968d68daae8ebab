//! The Ethernet header with its VLAN tags, which stays when the outer headers behind it go.

use lb_common::decap::Decap;

use crate::{
    frame::{Frame, Macs},
    tunnel::Tunnel,
};

const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();
/// 802.1Q, 802.1ad, and the value that preceded it.
const TAGS: [u16; 3] = [0x8100_u16.to_be(), 0x88a8_u16.to_be(), 0x9100_u16.to_be()];

const MACS: usize = size_of::<Macs>();
/// A tag: its TPID, which stands where the EtherType would, and its TCI.
const TAG: usize = 4;
const ETHER_TYPE: usize = 2;
/// With two tags.
const LONGEST: usize = MACS + 2 * TAG + ETHER_TYPE;

/// The header of a unicast frame with an IP packet.
pub struct Link {
    head: [u8; LONGEST],
    /// How many tags there are.
    count: usize,
    pub is_v4: bool,
}

impl Link {
    /// Bytes that it takes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        MACS + TAG * self.count + ETHER_TYPE
    }
}

/// Reads the header. Frames to groups are for many hosts, no tunnel to this one.
#[inline(always)]
pub fn read(frame: &Frame) -> Result<Link, Decap> {
    // At once: no tunnel's frame is shorter than the longest of these headers.
    let head = frame.header::<[u8; LONGEST]>(0).ok_or(Decap::NotTunnel)?;
    if head[0] & 1 != 0 {
        return Err(Decap::NotTunnel);
    }
    let [outermost, second, third] =
        [MACS, MACS + TAG, MACS + 2 * TAG].map(|at| u16::from_ne_bytes([head[at], head[at + 1]]));
    let (count, kind) = if !TAGS.contains(&outermost) {
        (0, outermost)
    } else if !TAGS.contains(&second) {
        (1, second)
    } else {
        (2, third)
    };
    if kind != IPV4 && kind != IPV6 {
        return Err(Decap::NotTunnel);
    }
    Ok(Link {
        head: *head,
        count,
        is_v4: kind == IPV4,
    })
}

/// Cuts the outer headers out, so that the packet follows the Ethernet header.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "outer headers are at most 52 bytes long"
)]
pub fn move_to(frame: &mut Frame, link: &Link, tunnel: &Tunnel) -> Result<(), Decap> {
    let outer = (tunnel.packet - link.len()) as i32;
    if !frame.grow_head(-outer) {
        return Err(Decap::BadInner);
    }
    let kind = tunnel.inner.ether_type().to_be_bytes();
    // It fits: the packet's own header, which is longer, was in the frame behind it.
    match link.count {
        0 => put::<{ MACS + ETHER_TYPE }>(frame, link, kind),
        1 => put::<{ MACS + TAG + ETHER_TYPE }>(frame, link, kind),
        _ => put::<LONGEST>(frame, link, kind),
    }
    Ok(())
}

/// Writes a header of `N` bytes before a packet of another kind.
#[inline(always)]
fn put<const N: usize>(frame: &mut Frame, link: &Link, [high, low]: [u8; ETHER_TYPE]) {
    if let Some(place) = frame.header_mut::<[u8; N]>(0) {
        place.copy_from_slice(&link.head[..N]);
        place[N - 2] = high;
        place[N - 1] = low;
    }
}
