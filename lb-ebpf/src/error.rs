//! ICMP errors about translated flows: the packet that they quote is put back into the terms of who gets the error.

use lb_common::{
    checksum::Change,
    flow::{FlowKey, Protocol},
    outcome::Outcome,
};

use crate::{
    checksum::{IN_TCP, IN_UDP},
    forward::{self, fix_l4_check, rewrite_ip},
    frame::{Frame, Icmp, Ipv4, Ipv6},
    l2,
    parse::{Packet, ipv6, quoted},
    stage::{Stage, stages},
};

stages! {
    /// Writes an error about a translated flow, from `stage.packet.error_from` to `stage.packet.error_to`, with the quoted packet
    /// turned to `stage.leaves_as`.
    pub fn translate as xlb_error = apply;
}

#[inline(always)]
fn apply(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    l2::make_room(frame, &mut stage.packet, &mut stage.egress.hop, 0)?;
    let packet = &stage.packet;
    let change = outer(frame, packet)?;
    let change = quoted(frame, packet, &stage.leaves_as, change)?;
    let icmp = frame
        .header_mut::<Icmp>(usize::from(packet.l4))
        .ok_or(Outcome::Malformed)?;
    icmp.check = change.apply(u16::from_ne_bytes(icmp.check)).to_ne_bytes();
    l2::write(frame, &stage.egress.hop, l2::ether_type(packet.is_v4()))
}

/// Rewrites the error's own IP header; gives what that changes in its checksum, which covers the addresses in ICMPv6 only.
#[inline(always)]
fn outer(frame: &mut Frame, packet: &Packet) -> Result<Change, Outcome> {
    let mut change = Change::new();
    if !packet.is_v4() {
        let ip = frame
            .header::<Ipv6>(usize::from(packet.l3))
            .ok_or(Outcome::Malformed)?;
        change = forward::address_change(change, ipv6::address(&ip.source), packet.error_from);
        change = forward::address_change(change, ipv6::address(&ip.destination), packet.error_to);
    }
    rewrite_ip(frame, packet, packet.error_from, packet.error_to)?;
    Ok(change)
}

/// Rewrites the quoted packet; gives what that changes in the error's checksum.
#[inline(always)]
fn quoted(frame: &mut Frame, packet: &Packet, new: &FlowKey, change: Change) -> Result<Change, Outcome> {
    // What answers the quoted packet is its reverse.
    let old = packet.flow.reversed();
    let l3 = usize::from(quoted::l3(packet));
    let mut all = forward::address_change(change, old.source, new.source);
    all = forward::address_change(all, old.destination, new.destination);
    if packet.is_v4() {
        let ip = frame.header_mut::<Ipv4>(l3).ok_or(Outcome::Malformed)?;
        let before = u16::from_ne_bytes(ip.check);
        let after = forward::addresses_change(&old, new).apply(before);
        ip.check = after.to_ne_bytes();
        ip.source = new.source.v4_word().to_ne_bytes();
        ip.destination = new.destination.v4_word().to_ne_bytes();
        all = all.word(before, after);
    } else {
        let ip = frame.header_mut::<Ipv6>(l3).ok_or(Outcome::Malformed)?;
        ip.source = ipv6::bytes(new.source);
        ip.destination = ipv6::bytes(new.destination);
    }
    all = all
        .word(old.source_port, new.source_port)
        .word(old.destination_port, new.destination_port);
    forward::write_ports(frame, usize::from(packet.quoted_l4), new)?;
    Ok(match check(frame, packet, &old, new) {
        Some((before, after)) => all.word(before, after),
        None => all,
    })
}

/// Keeps the quoted transport header's checksum true, where it is quoted.
#[inline(always)]
fn check(frame: &mut Frame, packet: &Packet, old: &FlowKey, new: &FlowKey) -> Option<(u16, u16)> {
    let offset = if old.protocol == Protocol::Tcp.number() {
        IN_TCP
    } else {
        IN_UDP
    };
    let at = usize::from(packet.quoted_l4) + offset;
    if at + 2 > usize::from(packet.l3 + packet.ip_len) {
        return None;
    }
    let change = forward::addresses_change(old, new)
        .word(old.source_port, new.source_port)
        .word(old.destination_port, new.destination_port);
    fix_l4_check(frame, at, old.protocol, change)
}
