//! Is this packet for a VIP, and for which service?

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use lb_common::{
    addr::Addr,
    flow::FlowKey,
    limits,
    service::{Service, ServiceKey},
};

const VIPS_MAX: usize = (limits::SERVICES * limits::VIPS_PER_SERVICE) as usize;
/// Without preallocation a removed entry is freed only after the programs that hold it have ended (RCU).
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, VIPS_MAX, FLAGS> = HashMap::new();

#[btf_map]
static VIPS: HashMap<Addr, u32, VIPS_MAX, FLAGS> = HashMap::new();

/// The service that the packet's destination names.
#[inline(always)]
pub fn lookup(flow: &FlowKey) -> Option<Service> {
    let key = ServiceKey {
        vip: flow.destination,
        port: flow.destination_port,
        protocol: flow.protocol as u16,
    };
    // SAFETY: entries of this map are never changed in place nor recycled while a program runs (see FLAGS).
    unsafe { SERVICES.get(key) }.copied()
}

/// Whether any service has this address.
#[inline(always)]
pub fn is_vip(addr: &Addr) -> bool {
    // SAFETY: only the presence of the entry is looked at.
    unsafe { VIPS.get(addr) }.is_some()
}
