//! The program under test, as the agent loads it, with a service of each kind.

use std::{
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use anyhow::Result;
use aya::Ebpf;
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    conn::Timeouts,
    limits,
    maps::switches,
    next_hop::{Egress, NextHop, Vlans},
    outcome::Outcome,
    service::{ForwardMode, Picker, Service, ServiceKey, Unserved, Vip},
    settings::{Options, Outer, Own, Translation},
};
use xlb::datapath::{
    Datapath as _,
    bpf::BpfDatapath,
    load::{self, Capacity, Settings},
    pins::Pins,
};

use crate::{
    case::{Case, PORT},
    host::BPFFS,
};

const TCP: u16 = 6;
/// A test run's frames come in by the loopback, so what leaves by it goes back where it came from.
const LOOPBACK: u32 = 1;
/// Source addresses of each family: with the ports that a CPU has of them, enough for all flows.
const SOURCES: u8 = 16;
const FIRST_PORT: u16 = 1024;
const HOUR: u64 = 3_600_000_000_000;

pub struct Balancer {
    ebpf: Ebpf,
    datapath: BpfDatapath,
    pins: Option<Pins>,
}

impl Balancer {
    /// With room for so many flows.
    pub fn load(flows: u32) -> Result<Self> {
        let pins = Pins::take(&Path::new(BPFFS).join("xlb"))?;
        let mut ebpf = load::load(&pins, &settings(flows))?;
        let mut balancer = Self {
            datapath: BpfDatapath::new(&mut ebpf)?,
            ebpf,
            pins: Some(pins),
        };
        balancer.fill()?;
        Ok(balancer)
    }

    pub fn program(&mut self) -> Result<BorrowedFd<'_>> {
        Ok(load::xdp(&mut self.ebpf)?.fd()?.as_fd())
    }

    /// Packets that had this outcome.
    pub fn count_of(&self, outcome: Outcome) -> Result<u64> {
        Ok(self.datapath.outcomes()?[usize::from(outcome.wire())].packets)
    }

    fn fill(&mut self) -> Result<()> {
        for case in Case::ALL {
            if let (Some(mode), Some(number)) = (case.mode, case.service()) {
                self.add(case, mode, number)?;
            }
        }
        for index in 0..SOURCES {
            let at = u32::from(index);
            self.datapath.put_source(at, &address(true, 3, index))?;
            self.datapath
                .put_source(limits::SOURCES + at, &address(false, 3, index))?;
        }
        // As where services of all modes are there.
        self.datapath.set_switches(switches::REPLIES);
        Ok(())
    }

    fn add(&mut self, case: Case, mode: ForwardMode, number: u8) -> Result<()> {
        let (service, backend) = (u32::from(number), u32::from(number) + 1);
        let way = Egress {
            hop: NextHop::new(LOOPBACK, [2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 1], Vlans::keep()),
            mtu: 1500,
            source: address(case.is_v4, 3, 1),
            ..Egress::default()
        };
        self.datapath.put_next_hop(backend, &way)?;
        let entry = Backend {
            addr: address(case.is_v4, 2, number),
            port: if mode.translates() { 8080_u16.to_be() } else { 0 },
            service,
            ..Backend::default()
        };
        self.datapath.put_backend(backend, &entry)?;
        let word = BackendWord::new(BackendState::Up, backend, 1);
        self.datapath.set_word(backend, word);
        self.datapath
            .put_table(service, &vec![backend; limits::SLOTS as usize])?;
        let vip = Addr::from(case.vip());
        let entry = Service {
            id: service,
            mode: mode.wire(),
            picker: Picker::Maglev.wire(),
            ..Service::default()
        };
        let key = ServiceKey {
            vip,
            port: PORT.to_be(),
            protocol: TCP,
            ..ServiceKey::default()
        };
        self.datapath.put_service(&key, &entry)?;
        let whole = Vip {
            base: vip,
            prefix_len: 128,
            unserved: Unserved::Drop.wire(),
            ..Vip::default()
        };
        self.datapath.put_vip(&vip, &whole)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(pins) = self.pins.take() {
            // The file system that they are in ends with the process, too.
            let _ = pins.remove();
        }
    }
}

fn address(is_v4: bool, network: u8, host: u8) -> Addr {
    let ip: IpAddr = if is_v4 {
        [10, network, 0, host + 1].into()
    } else {
        [0x2001, 0xdb8, network.into(), 0, 0, 0, 0, u16::from(host) + 1].into()
    };
    ip.into()
}

fn settings(flows: u32) -> Settings {
    Settings {
        hash_key: [1, 2],
        timeouts: Timeouts {
            syn: HOUR,
            established: HOUR,
            fin: HOUR,
            closed: HOUR,
            udp: HOUR,
        },
        capacity: Capacity {
            // Some more: an LRU table takes old entries before it is full, from one CPU for another.
            flows: (flows * 4).max(4096),
            backends: 64,
            services: 16,
        },
        log_packets: false,
        options: Options {
            partial_checksums: 0,
            multi_buffer: 0,
            _pad: [0; 2],
            answers_per_second: 1000,
        },
        own: Own::default(),
        outer: Outer::default(),
        translation: Translation {
            first_port: FIRST_PORT,
            ports_per_cpu: 20_000,
            last_port: u16::MAX,
            v4_sources: SOURCES,
            v6_sources: SOURCES,
        },
    }
}
