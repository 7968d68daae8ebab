//! Fragments: the first one has the ports, and the others are told by it.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map};
use lb_common::{
    conn::{FRAGMENT_LIFETIME, Fragment, FragmentKey},
    flow::Protocol,
    limits,
    outcome::Outcome,
};

use crate::{
    frame::Frame,
    parse::{Packet, flag},
    stage::{Stage, stages},
};

#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment, { limits::FRAGMENTS as usize }> = LruHashMap::new();

stages! {
    /// Gives a later fragment the ports of its packet.
    ///
    /// # Errors
    /// [`Outcome::Fragment`] where they are not known.
    pub fn recall as xlb_fragment = find;

    /// Remembers the ports of a first fragment for the others.
    fn keep as xlb_keep_fragment = write;
}

/// Remembers the ports of a first fragment of ours: whatever becomes of it, the others go the same way.
#[inline(always)]
pub fn remember(frame: &mut Frame, stage: &mut Stage) {
    if stage.packet.flags & flag::FIRST_FRAGMENT != 0 {
        // Where it cannot be kept, the others are counted as fragments of nothing known.
        let _full = keep(frame, stage);
    }
}

/// Whether a later fragment may be of a packet with ports. Of IPv6 only the first fragment says what the packet carries (RFC
/// 8200 §4.5): behind a header that may be in the first one, it may be anything.
#[inline(always)]
pub fn may_have_ports(packet: &Packet) -> bool {
    const BEFORE_PORTS: [u32; 3] = [43, 51, 60];
    let protocol = packet.flow.protocol;
    Protocol::from_wire((protocol & 0xff) as u8).is_some()
        || (!packet.is_v4() && BEFORE_PORTS.contains(&protocol))
}

#[inline(always)]
fn write(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let packet = &stage.packet;
    let fragment = Fragment {
        seen: stage.now,
        source_port: packet.flow.source_port,
        destination_port: packet.flow.destination_port,
        protocol: packet.flow.protocol,
    };
    FRAGMENTS
        .insert(key(packet), fragment, u64::from(BPF_ANY))
        .map_err(|_| Outcome::Fragment)
}

#[inline(always)]
fn find(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    // SAFETY: the value is copied at once. One that is recycled meanwhile is another packet's: the receiver drops what it
    // cannot put together.
    let fragment = unsafe { FRAGMENTS.get(key(&stage.packet)) }
        .copied()
        .ok_or(Outcome::Fragment)?;
    if stage.now.saturating_sub(fragment.seen) > FRAGMENT_LIFETIME {
        return Err(Outcome::Fragment);
    }
    let flow = &mut stage.packet.flow;
    flow.source_port = fragment.source_port;
    flow.destination_port = fragment.destination_port;
    flow.protocol = fragment.protocol;
    Ok(())
}

#[inline(always)]
fn key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        source: packet.flow.source,
        destination: packet.flow.destination,
        id: packet.fragment_id,
        protocol: packet.fragment_protocol,
    }
}
