//! The programs in every form that users may have them in, loaded as users load them.

use std::{fmt, path::Path};

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use lb_common::{
    conn::Timeouts,
    decap, maps,
    service::GUE_PORT,
    settings::{Options, Outer, Own, Translation},
};
use xlb::{
    datapath::{
        load::{self, Capacity, Settings},
        pins::Pins,
        probing,
    },
    decap::program::{self, Program},
};

use super::{
    host::BPFFS,
    stack::{self, Chain},
    statistics,
};

/// What the verifier looks at before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MOST_VERIFIED: u32 = 1_000_000;

#[derive(Clone, Copy)]
pub enum Variant {
    Balancer {
        log_packets: bool,
        multi_buffer: bool,
        partial_checksums: bool,
    },
    /// Of probes through the data path.
    Probe {
        log_packets: bool,
    },
    Decap {
        multi_buffer: bool,
    },
}

/// What a variant costs on a kernel.
pub struct Cost {
    pub variant: Variant,
    /// In the kernel, without those that can never run.
    pub instructions: u32,
    pub verified: u32,
    /// Bytes.
    pub machine_code: u32,
    pub stack: Chain,
}

impl Variant {
    pub const ALL: [Self; 9] = [
        Self::balancer(false, false, false),
        Self::balancer(false, false, true),
        Self::balancer(true, false, true),
        Self::balancer(false, true, true),
        Self::balancer(true, true, true),
        Self::Probe { log_packets: false },
        Self::Probe { log_packets: true },
        Self::Decap { multi_buffer: false },
        Self::Decap { multi_buffer: true },
    ];

    const fn balancer(log_packets: bool, multi_buffer: bool, partial_checksums: bool) -> Self {
        Self::Balancer {
            log_packets,
            multi_buffer,
            partial_checksums,
        }
    }

    pub const fn program(self) -> &'static str {
        match self {
            Self::Balancer {
                multi_buffer: false, ..
            } => maps::PROGRAM,
            Self::Balancer {
                multi_buffer: true, ..
            } => maps::FRAGS_PROGRAM,
            Self::Probe { .. } => maps::PROBE_PROGRAM,
            Self::Decap { multi_buffer: false } => decap::PROGRAM,
            Self::Decap { multi_buffer: true } => decap::FRAGS_PROGRAM,
        }
    }

    /// Loads it, and says what that has cost on a kernel that counts stack in such steps.
    pub fn cost(self, stack_step: u32) -> Result<Cost> {
        match self {
            Self::Balancer {
                log_packets,
                multi_buffer,
                partial_checksums,
            } => {
                let pins = Pins::take(&Path::new(BPFFS).join("xlb"))?;
                let settings = settings(log_packets, multi_buffer, partial_checksums);
                let cost = load::load(&pins, &settings).and_then(|mut ebpf| {
                    let info = load::xdp(&mut ebpf)?.info()?;
                    self.cost_of(load::OBJECT, multi_buffer, &info, stack_step)
                });
                pins.remove()?;
                cost
            }
            Self::Probe { log_packets } => {
                let pins = Pins::take(&Path::new(BPFFS).join("xlb"))?;
                // From the same object as the balancer's program, and after it.
                let cost = load::load(&pins, &settings(log_packets, false, true)).and_then(|mut ebpf| {
                    let info = probing::load(&mut ebpf)?.info()?;
                    self.cost_of(load::OBJECT, false, &info, stack_step)
                });
                pins.remove()?;
                cost
            }
            Self::Decap { multi_buffer } => {
                let mut loaded = Program::load(GUE_PORT, &[], multi_buffer)?;
                let info = loaded.xdp()?.info()?;
                self.cost_of(program::OBJECT, multi_buffer, &info, stack_step)
            }
        }
    }

    fn cost_of(self, object: &[u8], frags: bool, info: &ProgramInfo, stack_step: u32) -> Result<Cost> {
        let said = statistics::of(object, self.program(), frags, info)?;
        let depths = stack::depths(&said.log)?;
        Ok(Cost {
            variant: self,
            instructions: info.size_translated().context("the kernel tells no size")? / 8,
            verified: info.verified_instruction_count().unwrap_or(0),
            machine_code: info.size_jitted(),
            stack: stack::deepest(&said.functions, &depths, stack_step)?,
        })
    }
}

fn settings(log_packets: bool, multi_buffer: bool, partial_checksums: bool) -> Settings {
    let second = 1_000_000_000;
    Settings {
        hash_key: [1, 2],
        timeouts: Timeouts {
            syn: second,
            established: second,
            fin: second,
            closed: second,
            udp: second,
        },
        capacity: Capacity {
            flows: 1024,
            backends: 64,
            services: 16,
            written: 1024,
        },
        log_packets,
        options: Options {
            partial_checksums: partial_checksums.into(),
            multi_buffer: multi_buffer.into(),
            _pad: [0; 2],
            answers_per_second: 1000,
        },
        own: Own::default(),
        outer: Outer::default(),
        translation: Translation {
            first_port: 1024,
            ports_per_cpu: 1000,
            last_port: u16::MAX,
            v4_sources: 0,
            v6_sources: 0,
        },
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())?;
        let (partial_checksums, log_packets) = match *self {
            Self::Balancer {
                log_packets,
                partial_checksums,
                ..
            } => (partial_checksums, log_packets),
            Self::Probe { log_packets } => (false, log_packets),
            Self::Decap { .. } => (false, false),
        };
        if partial_checksums {
            f.write_str(", finishes checksums")?;
        }
        if log_packets {
            f.write_str(", logs packets")?;
        }
        Ok(())
    }
}

impl Cost {
    pub const HEADINGS: &str = "  program                                          instructions  verified          machine code  stack";
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {:<48} {:>12} {:>9} ({:>2} %) {:>10} bytes  {} of {}: {}",
            self.variant.to_string(),
            self.instructions,
            self.verified,
            u64::from(self.verified) * 100 / u64::from(MOST_VERIFIED),
            self.machine_code,
            self.stack.bytes,
            stack::MOST,
            self.stack.names.join(", ")
        )
    }
}
