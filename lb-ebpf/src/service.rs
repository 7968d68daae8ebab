//! Is this packet for a VIP, and for which service?

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
    macros::btf_map,
};
use lb_common::{
    addr::Addr,
    flow::FlowKey,
    limits,
    maps::switches,
    outcome::Outcome,
    service::{PortKey, Service, ServiceKey, Vip, vip_flags},
};

use crate::{
    frame::Frame,
    stage::{Stage, stages},
};

const VIPS_MAX: usize = (limits::SERVICES * limits::VIPS_PER_SERVICE) as usize;
const PORTS_MAX: usize = (limits::SERVICES * limits::PORTS_PER_SERVICE) as usize;
/// Memory for the services that there are, not for all that could be.
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, VIPS_MAX, FLAGS> = HashMap::new();

#[btf_map]
static VIPS: HashMap<Addr, Vip, VIPS_MAX, FLAGS> = HashMap::new();

#[btf_map]
static NETWORKS: LpmTrie<Addr, Vip, { limits::NETWORKS as usize }> = LpmTrie::new();

#[btf_map]
static PORTS: LpmTrie<PortKey, Service, PORTS_MAX> = LpmTrie::new();

/// Mapped into the agent's memory as well.
#[btf_map]
static SWITCHES: Array<u32, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Which of the tables that most deployments do not use have entries: bits of [`switches`].
#[inline(always)]
pub fn switches() -> u32 {
    match SWITCHES.get_ptr(0) {
        // SAFETY: the agent stores it with one aligned store; a volatile read is one load of it.
        Some(switches) => unsafe { core::ptr::read_volatile(switches) },
        None => 0,
    }
}

stages! {
    /// Finds the service that `stage.packet.flow` is for.
    ///
    /// # Errors
    /// [`Outcome::Unserved`] for a VIP without such a service, [`Outcome::NotOurs`] for what is no VIP.
    pub fn find as xlb_service = lookup;

    /// Makes sure that `stage.packet` is for a VIP.
    ///
    /// # Errors
    /// [`Outcome::NotOurs`] for what is no VIP.
    pub fn expect_vip as xlb_is_vip = is_vip;
}

#[inline(always)]
fn is_vip(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    vip(&stage.packet.flow.destination)
        .map(|_| ())
        .ok_or(Outcome::NotOurs)
}

#[inline(always)]
fn lookup(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let flow = &stage.packet.flow;
    if let Some(service) = exact(flow) {
        stage.service = service;
        return Ok(());
    }
    let vip = vip(&flow.destination).ok_or(Outcome::NotOurs)?;
    if vip.flags & vip_flags::PORTS == 0 {
        return Err(Outcome::Unserved);
    }
    let key = PortKey {
        base: vip.base,
        prefix_len: vip.prefix_len,
        protocol: protocol(flow),
        port: flow.destination_port,
        _pad: 0,
    };
    stage.service = *PORTS
        .get(&Key::new(PortKey::BITS, key))
        .ok_or(Outcome::Unserved)?;
    Ok(())
}

/// The VIP that an address is, or is part of.
#[inline(always)]
pub fn vip(address: &Addr) -> Option<Vip> {
    // SAFETY: the value is copied at once, and any bytes are a value.
    if let Some(vip) = unsafe { VIPS.get(*address) } {
        return Some(*vip);
    }
    if switches() & switches::NETWORKS == 0 {
        return None;
    }
    NETWORKS.get(&Key::new(128, *address)).copied()
}

#[inline(always)]
fn exact(flow: &FlowKey) -> Option<Service> {
    let key = ServiceKey {
        vip: flow.destination,
        port: flow.destination_port,
        protocol: protocol(flow),
        _pad: 0,
    };
    // SAFETY: the value is copied at once, and any bytes are a value. Where a service is removed and another one added in that
    // very moment, this packet may meet the other's.
    unsafe { SERVICES.get(key) }.copied()
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a protocol number")]
const fn protocol(flow: &FlowKey) -> u16 {
    flow.protocol as u16
}
