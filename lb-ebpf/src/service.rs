//! Is this packet for a VIP, and for which service?

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    macros::btf_map,
};
use lb_common::{
    addr::Addr,
    board::spread,
    flow::FlowKey,
    hash::Sip,
    limits,
    maps::switches,
    outcome::Outcome,
    service::{ForwardMode, Picker, PortKey, Service, ServiceKey, Vip, service_flags, vip_flags},
};

use crate::{
    board, config, copy,
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

/// What was found for the last packets of this CPU: most are for the same few services.
#[btf_map]
static FOUND: PerCpuArray<Found, { limits::SERVICES as usize * 2 }> = PerCpuArray::new();

/// What a look at the tables has found. It holds as long as the epoch does.
#[repr(C)]
pub struct Found {
    destination: Destination,
    /// What the short way may do for it.
    pub short: Short,
    /// What the hashes of its flows begin with.
    pub begun: Sip,
    pub service: Service,
}

/// Where packets go, and when that was looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Destination {
    vip: Addr,
    /// Port and protocol, and the epoch.
    rest: u64,
}

impl Destination {
    #[inline(always)]
    pub fn new(flow: &FlowKey, epoch: u32) -> Self {
        let port = u64::from(flow.destination_port);
        Self {
            vip: flow.destination,
            rest: port | u64::from(flow.protocol & 0xffff) << 16 | u64::from(epoch) << 32,
        }
    }

    /// The place for what is found.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a few bits")]
    fn place(&self) -> Option<&'static mut Found> {
        // Of ports and protocols a few are used together: they are spread by another odd constant.
        let ports = (self.rest as u32).wrapping_mul(0x9e37_79b1) >> 16;
        let of_vip = (spread(&self.vip) >> 48) as u32;
        let found = FOUND.get_ptr_mut((of_vip ^ ports) & config::found_mask())?;
        // SAFETY: this CPU's own, and no other reference to it is alive; XDP runs to completion on one CPU.
        Some(unsafe { &mut *found })
    }

    /// What the last packets found that went there. Before the first epoch nothing holds.
    #[inline(always)]
    pub fn found(&self) -> Option<&'static Found> {
        let found = self.place()?;
        (found.destination == *self && self.rest >> 32 != 0).then_some(found)
    }
}

/// Which packets of a service nothing but arrays and their flow's entry have a say in.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Short {
    bits: u32,
    _pad: u32,
}

impl Short {
    /// All that are plain go by their slot.
    pub const BY_SLOT: u32 = 1;
    /// Those that are not the first of their flow do.
    pub const LATER_BY_SLOT: u32 = 2;
    /// They go by their flow, which is translated.
    pub const BY_FLOW: u32 = 4;

    #[inline(always)]
    fn of(service: &Service) -> Self {
        const SPECIAL: u16 =
            service_flags::UNSETTLED | service_flags::LOOKS_BACK | service_flags::BY_ADDRESSES;
        const MAGLEV: u8 = Picker::Maglev.wire();
        let by_slot = service.flags & SPECIAL == 0 && (service.picker, service.home) == (MAGLEV, MAGLEV);
        let bits = match ForwardMode::from_wire(service.mode) {
            Some(mode) if service.quic_server_id_len == 0 => match (mode.translates(), by_slot) {
                (true, _) => Self::BY_FLOW,
                (false, true) if service.flags & service_flags::RATED == 0 => {
                    Self::BY_SLOT | Self::LATER_BY_SLOT
                }
                (false, true) => Self::LATER_BY_SLOT,
                (false, false) => 0,
            },
            _ => 0,
        };
        Self { bits, _pad: 0 }
    }

    #[inline(always)]
    pub const fn has(self, bit: u32) -> bool {
        self.bits & bit != 0
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
    let destination = Destination::new(flow, board::head().epoch());
    if let Some(found) = destination.found() {
        copy::value(&mut stage.service, &found.service);
        return Ok(());
    }
    stage.service = match exact(flow) {
        Some(service) => service,
        None => of_ports(flow)?,
    };
    if let Some(found) = destination.place() {
        (found.destination, found.short) = (destination, Short::of(&stage.service));
        found.begun = stage.packet.flow.begun(config::hash_key());
        copy::value(&mut found.service, &stage.service);
    }
    Ok(())
}

/// The service of a range of ports, or of a network.
#[inline(always)]
fn of_ports(flow: &FlowKey) -> Result<Service, Outcome> {
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
    PORTS
        .get(&Key::new(PortKey::BITS, key))
        .copied()
        .ok_or(Outcome::Unserved)
}

/// The VIP that an address is, or is part of.
#[inline(always)]
pub fn vip(address: &Addr) -> Option<Vip> {
    if board::may_be_vip(address)
        // SAFETY: the value is copied at once, and any bytes are a value.
        && let Some(vip) = unsafe { VIPS.get(*address) }
    {
        return Some(*vip);
    }
    if board::switches() & switches::NETWORKS == 0 {
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
