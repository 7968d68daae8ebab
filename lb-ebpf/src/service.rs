//! Is this packet for a VIP, and for which service?

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use lb_common::{
    addr::Addr,
    flow::FlowKey,
    limits,
    service::{Service, ServiceKey},
};

const VIPS_MAX: usize = (limits::SERVICES * limits::VIPS_PER_SERVICE) as usize;
/// Memory for the services that there are, not for all that could be.
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, VIPS_MAX, FLAGS> = HashMap::new();

#[btf_map]
static VIPS: HashMap<Addr, u32, VIPS_MAX, FLAGS> = HashMap::new();

/// The service that the packet's destination names.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a protocol number")]
pub fn lookup(flow: &FlowKey) -> Option<Service> {
    let key = ServiceKey {
        vip: flow.destination,
        port: flow.destination_port,
        protocol: flow.protocol as u16,
    };
    // SAFETY: the value is copied at once, and any bytes are a value. Where a service is removed and another one added in that
    // very moment, this packet may meet the other's.
    unsafe { SERVICES.get(key) }.copied()
}

/// Whether any service has this address.
#[inline(always)]
pub fn is_vip(addr: &Addr) -> bool {
    // SAFETY: only the presence of the entry is looked at.
    unsafe { VIPS.get(addr) }.is_some()
}
