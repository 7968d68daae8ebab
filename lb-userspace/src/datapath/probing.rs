//! The kernel's side of probes through the data path: the program on the door of their namespace, and the table of what they are.

use std::io;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
    programs::{Xdp, XdpMode, xdp::XdpLinkId},
};
use lb_common::{
    maps,
    probe::{Probe, ProbeKey},
};

use crate::datapath::{
    bpf::{is_missing, take},
    load,
};

/// Of include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// What came of an attempt to write a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    Done,
    /// Another one has the key.
    Taken,
    /// The table is full.
    Full,
}

/// The table `PROBES`.
pub struct Probes(HashMap<MapData, ProbeKey, Probe>);

impl Probes {
    /// Takes the table out of a loaded object.
    ///
    /// # Errors
    /// When the object lacks it.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        take(ebpf, maps::PROBES).map(Self)
    }

    /// From now on packets of this probe that have this key are sent on, or let in, unless they are another's.
    ///
    /// # Errors
    /// When the kernel has no memory for it.
    pub fn put(&mut self, key: &ProbeKey, probe: &Probe) -> Result<Put> {
        match self.0.insert(key, probe, BPF_NOEXIST) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Put::Taken)
            }
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::ArgumentListTooLong =>
            {
                Ok(Put::Full)
            }
            put => put.map(|()| Put::Done).context("write a probe"),
        }
    }

    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, key: &ProbeKey) -> Result<()> {
        match self.0.remove(key) {
            Err(error) if !is_missing(&error) => Err(error).context("remove a probe"),
            _ => Ok(()),
        }
    }
}

/// Loads the program for the door, from the same object as the balancer's, so that both have the same maps: after [`load::load`], and
/// before any map is taken out of the object, since the program knows them by file descriptors that are then closed.
///
/// # Errors
/// When the kernel refuses it.
pub fn load(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    load::load_program(ebpf, maps::PROBE_PROGRAM).context("load the program for probes through the data path")
}

/// Puts the program, which has been loaded, on the door for as long as the object lives.
///
/// In generic mode: then the interfaces that probes leave by need not have a driver that sends what another interface has received
/// (`ndo_xdp_xmit`), which clients' packets do not take where they leave by the interface that they came by.
///
/// # Errors
/// When the kernel refuses.
pub fn attach(ebpf: &mut Ebpf, door: u32) -> Result<XdpLinkId> {
    load::named(ebpf, maps::PROBE_PROGRAM)?
        .attach_to_if_index(door, XdpMode::Skb)
        .context("attach the program for probes through the data path")
}
