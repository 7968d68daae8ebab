//! What every packet on the short way gets: a hop less, and the Ethernet addresses of its way.

use lb_common::next_hop::NextHop;

use crate::{
    express::plain::Plain,
    forward::hop_limit,
    frame::{Frame, Ipv4, Ipv6, Macs},
    l2,
};

/// Takes one from the TTL or hop limit of the packet at `l3`.
#[inline(always)]
pub fn take_hop(frame: &mut Frame, plain: &Plain, l3: usize) -> Option<()> {
    if plain.is_v4 {
        hop_limit::take_v4(frame.header_mut::<Ipv4>(l3)?);
    } else {
        hop_limit::take_v6(frame.header_mut::<Ipv6>(l3)?);
    }
    Some(())
}

/// Writes the Ethernet header before a packet of this family.
#[inline(always)]
pub fn write(frame: &mut Frame, hop: &NextHop, is_v4: bool) -> Option<()> {
    *frame.header_mut(0)? = Macs::of(hop);
    *frame.header_mut(size_of::<Macs>())? = l2::ether_type(is_v4).to_ne_bytes();
    Some(())
}
