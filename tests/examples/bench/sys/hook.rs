//! Programs on interfaces.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{XDP_FLAGS_SKB_MODE, bpf_attach_type, bpf_cmd, bpf_prog_type};

use super::{Instruction, Linkage, Program, bpf, empty, number};

/// Of include/uapi/linux/if_link.h.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Where a program meets the packets that an interface receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Behind the kernel's allocation of a packet (TCX, Linux 6.6).
    Tc,
    /// Before it, in the driver.
    Xdp,
}

impl Hook {
    pub(super) const fn kind(self) -> bpf_prog_type {
        match self {
            Self::Tc => bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
            Self::Xdp => bpf_prog_type::BPF_PROG_TYPE_XDP,
        }
    }

    pub(super) const fn place(self) -> bpf_attach_type {
        match self {
            Self::Tc => bpf_attach_type::BPF_TCX_INGRESS,
            Self::Xdp => bpf_attach_type::BPF_XDP,
        }
    }
}

/// Keeps a program attached.
pub struct Attached {
    _link: OwnedFd,
}

impl Attached {
    /// Loads a program and attaches it to an interface of the calling thread's network namespace, in the driver if it is for XDP.
    pub fn load(hook: Hook, interface: u32, instructions: &[Instruction], what: &str) -> Result<Self> {
        let program = Program::load_for(hook, instructions, what, Linkage::default())?;
        let flags = match hook {
            Hook::Tc => 0,
            Hook::Xdp => XDP_FLAGS_DRV_MODE,
        };
        Self::link(&program, hook, interface, flags).with_context(|| format!("attach the {what}"))
    }

    fn link(program: &Program, hook: Hook, interface: u32, flags: u32) -> Result<Self> {
        let mut attr = empty();
        attr.link_create.__bindgen_anon_1.prog_fd = number(program.0.as_raw_fd());
        attr.link_create.__bindgen_anon_2.target_ifindex = interface;
        attr.link_create.attach_type = hook.place() as u32;
        attr.link_create.flags = flags;
        // SAFETY: the attributes point to nothing.
        let fd = unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
            .with_context(|| format!("attach a program to interface {interface}"))?;
        // SAFETY: the kernel has just opened it for us.
        let link = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { _link: link })
    }
}

impl Program {
    /// Attaches it to an interface, for as long as what comes back is kept.
    ///
    /// A test run takes its program into the kernel's dispatcher of XDP programs and out again (`bpf_prog_change_xdp`), which waits for
    /// all CPUs and is most of the time of a short run. One that is attached is in there already.
    pub fn attach(&self, interface: u32) -> Result<Attached> {
        Attached::link(self, Hook::Xdp, interface, XDP_FLAGS_SKB_MODE)
    }
}
