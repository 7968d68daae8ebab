//! Network address translation: a packet leaves with other addresses and ports than it came with.
//!
//! One rewrite serves both directions, both families and both protocols: TCP and UDP differ in the place of their checksum
//! only.

use lb_common::{
    addr::Addr,
    checksum::Change,
    flow::{FlowKey, Protocol},
    outcome::Outcome,
};

use crate::{
    checksum,
    forward::hop_limit,
    frame::{Frame, Ipv4, Ipv6},
    l2,
    parse::{Packet, ipv6},
    stage::Stage,
};

/// Gives the packet the addresses and ports of `stage.leaves_as`, takes one from its TTL, and keeps its checksums true by RFC
/// 1624.
#[inline(always)]
pub fn apply(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    l2::make_room(frame, &mut stage.packet, &mut stage.egress.hop, 0)?;
    checksum::complete(frame, stage);
    let (old, new) = (&stage.packet.flow, &stage.leaves_as);
    let addresses = addresses_change(old, new);
    rewrite_ip(frame, &stage.packet, new.source, new.destination)?;
    if stage.packet.has_ports() {
        write_ports(frame, usize::from(stage.packet.l4), new)?;
        l4_check(frame, stage, addresses)?;
    }
    l2::write(frame, &stage.egress.hop, l2::ether_type(stage.packet.is_v4()))
}

/// What the addresses change in a checksum that covers them.
#[inline(always)]
pub fn addresses_change(old: &FlowKey, new: &FlowKey) -> Change {
    address_change(
        address_change(Change::new(), old.source, new.source),
        old.destination,
        new.destination,
    )
}

#[inline(always)]
pub fn address_change(change: Change, old: Addr, new: Addr) -> Change {
    if old.is_v4() {
        return change.double_word(old.v4_word(), new.v4_word());
    }
    let ([o0, o1, o2, o3], [n0, n1, n2, n3]) = (old.words(), new.words());
    change
        .double_word(o0, n0)
        .double_word(o1, n1)
        .double_word(o2, n2)
        .double_word(o3, n3)
}

/// Gives the packet other addresses, and takes one from its TTL or hop limit.
#[inline(always)]
pub fn rewrite_ip(
    frame: &mut Frame,
    packet: &Packet,
    source: Addr,
    destination: Addr,
) -> Result<(), Outcome> {
    let l3 = usize::from(packet.l3);
    if packet.is_v4() {
        let ip = frame.header_mut(l3).ok_or(Outcome::Malformed)?;
        rewrite_v4(ip, source, destination);
    } else {
        let ip = frame.header_mut(l3).ok_or(Outcome::Malformed)?;
        rewrite_v6(ip, source, destination);
    }
    Ok(())
}

#[inline(always)]
pub fn rewrite_v4(ip: &mut Ipv4, source: Addr, destination: Addr) {
    let change = hop_limit::of(ip)
        .double_word(u32::from_ne_bytes(ip.source), source.v4_word())
        .double_word(u32::from_ne_bytes(ip.destination), destination.v4_word());
    ip.check = change.apply(u16::from_ne_bytes(ip.check)).to_ne_bytes();
    ip.ttl[0] = ip.ttl[0].wrapping_sub(1);
    ip.source = source.v4_word().to_ne_bytes();
    ip.destination = destination.v4_word().to_ne_bytes();
}

#[inline(always)]
pub fn rewrite_v6(ip: &mut Ipv6, source: Addr, destination: Addr) {
    ip.hop_limit[0] = ip.hop_limit[0].wrapping_sub(1);
    ip.source = ipv6::bytes(source);
    ip.destination = ipv6::bytes(destination);
}

/// Has the transport's checksum follow the addresses and ports.
#[inline(always)]
fn l4_check(frame: &mut Frame, stage: &Stage, addresses: Change) -> Result<(), Outcome> {
    let Some(at) = checksum::place(&stage.packet) else {
        return Ok(());
    };
    if checksum::is_left(stage) {
        let place = frame.header_mut::<[u8; 2]>(at).ok_or(Outcome::Malformed)?;
        // The pseudo-header has no ports: who finishes the checksum reads those in the header.
        *place = addresses.apply_to_sum(u16::from_ne_bytes(*place)).to_ne_bytes();
        return Ok(());
    }
    let (old, new) = (&stage.packet.flow, &stage.leaves_as);
    let change = addresses
        .word(old.source_port, new.source_port)
        .word(old.destination_port, new.destination_port);
    fix_l4_check(frame, at, old.protocol, change).ok_or(Outcome::Malformed)?;
    Ok(())
}

/// Writes the ports of `new` into the transport header at `l4`.
#[inline(always)]
pub fn write_ports(frame: &mut Frame, l4: usize, new: &FlowKey) -> Result<(), Outcome> {
    let place = frame.header_mut::<[u8; 4]>(l4).ok_or(Outcome::Malformed)?;
    let ([s0, s1], [d0, d1]) = (new.source_port.to_ne_bytes(), new.destination_port.to_ne_bytes());
    *place = [s0, s1, d0, d1];
    Ok(())
}

/// Applies a change to the TCP or UDP checksum at `at`, if the frame holds it; gives what was there and what is there now.
#[inline(always)]
pub fn fix_l4_check(frame: &mut Frame, at: usize, protocol: u32, change: Change) -> Option<(u16, u16)> {
    let place = frame.header_mut::<[u8; 2]>(at)?;
    let old = u16::from_ne_bytes(*place);
    let new = if protocol == Protocol::Udp.number() {
        change.apply_udp(old)
    } else {
        change.apply(old)
    };
    *place = new.to_ne_bytes();
    Some((old, new))
}
