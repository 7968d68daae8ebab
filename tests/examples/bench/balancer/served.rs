//! A service, and the backends behind it.

use std::net::IpAddr;

use anyhow::Result;
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    flow::Protocol,
    next_hop::{Egress, NextHop, Vlans},
    service::{ForwardMode, Picker, PortKey, Service, ServiceKey, Unserved, Vip, service_flags, vip_flags},
    slot::SlotBits,
};
use xlb::datapath::{Datapath, bpf::BpfDatapath};

use super::address;

/// A test run's frames come in by the loopback, so what leaves by it goes back where it came from.
const LOOPBACK: u32 = 1;
const BACKEND_PORT: u16 = 8080;
/// Bytes of a server ID in connection IDs.
pub const QUIC_SERVER_ID: u8 = 4;
/// So many that none is refused.
const PLENTY: u32 = 1_000_000_000;

/// What is served.
#[derive(Clone, Copy)]
pub struct Served {
    pub vip: IpAddr,
    pub protocol: Protocol,
    pub ports: Ports,
    pub mode: ForwardMode,
    pub flows: Remembered,
    pub backends: u32,
}

/// The ports of a VIP that a service has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// One, which is found by itself.
    One(u16),
    /// All of them, by their prefix; with all that a service can have besides.
    All,
}

/// What is kept of flows that are not translated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// Nothing: their slots say all.
    Settled,
    /// Each is written down.
    Written,
}

impl Served {
    /// The size of its table.
    pub fn slots(&self) -> SlotBits {
        SlotBits::of(self.backends as usize)
    }

    fn flags(&self) -> u16 {
        let written = service_flags::TRACKED | service_flags::UNSETTLED;
        match (self.ports, self.flows) {
            (Ports::All, _) => written | service_flags::BY_ADDRESSES | service_flags::RATED,
            (Ports::One(_), Remembered::Written) => written,
            (Ports::One(_), Remembered::Settled) => 0,
        }
    }

    /// Its entry, as the agent makes it.
    fn entry(&self, id: u32) -> Service {
        let plain = Service {
            id,
            mode: self.mode.wire(),
            picker: Picker::Maglev.wire(),
            home: Picker::Maglev.wire(),
            flags: self.flags(),
            slot_bits: u8::try_from(self.slots().bits()).unwrap_or(0),
            members: self.backends,
            weight: self.backends.saturating_mul(100),
            ..Service::default()
        };
        match self.ports {
            Ports::One(_) => plain,
            Ports::All => Service {
                quic_server_id_len: QUIC_SERVER_ID,
                affinity: 3600,
                affinity_v4: 32,
                affinity_v6: 64,
                flow_rate: PLENTY,
                flow_burst: PLENTY,
                source_rate: PLENTY,
                source_burst: PLENTY,
                rate_v4: 32,
                rate_v6: 64,
                ..plain
            },
        }
    }
}

/// Makes a backend, with a next hop of its own.
pub fn put_backend(datapath: &mut BpfDatapath, id: u32, service: u32, served: &Served) -> Result<()> {
    let is_v4 = served.vip.is_ipv4();
    let way = Egress {
        hop: NextHop::new(LOOPBACK, [2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 1], Vlans::keep()),
        mtu: 1500,
        source: address(is_v4, 3, 1),
        ..Egress::default()
    };
    datapath.put_next_hop(id, &way)?;
    let backend = Backend {
        addr: address(is_v4, 2, id),
        port: if served.mode.translates() {
            BACKEND_PORT.to_be()
        } else {
            0
        },
        service,
        ..Backend::default()
    };
    datapath.put_backend(id, &backend)?;
    datapath.set_word(id, BackendWord::new(BackendState::Up, id, 1));
    Ok(())
}

/// Makes the entries by which packets find the service.
pub fn put_entries(datapath: &mut BpfDatapath, id: u32, served: &Served) -> Result<()> {
    let (vip, entry) = (Addr::from(served.vip), served.entry(id));
    let protocol = served.protocol.wire().into();
    let mut whole = Vip {
        base: vip,
        prefix_len: 128,
        unserved: Unserved::Drop.wire(),
        ..Vip::default()
    };
    match served.ports {
        Ports::One(port) => {
            let key = ServiceKey {
                vip,
                port: port.to_be(),
                protocol,
                ..ServiceKey::default()
            };
            datapath.put_service(&key, &entry)?;
        }
        Ports::All => {
            let first = PortKey {
                base: vip,
                prefix_len: whole.prefix_len,
                protocol,
                ..PortKey::default()
            };
            datapath.put_ports(PortKey::BITS_BEFORE_PORT, &first, &entry)?;
            whole.flags = vip_flags::PORTS;
        }
    }
    datapath.put_vip(&vip, &whole)
}
