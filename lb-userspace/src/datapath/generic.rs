//! What the program knows of the interfaces that it is on in generic mode: the table `GENERIC`.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use lb_common::maps;

use crate::{
    config::AttachMode,
    datapath::bpf::{gone, take},
};

/// The table, as it is in one loaded object: an earlier agent's program has one of its own.
pub struct Generic(HashMap<MapData, u32, u32>);

impl Generic {
    /// Takes the table out of a loaded object.
    ///
    /// # Errors
    /// When the object lacks it.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        take(ebpf, maps::GENERIC).map(Self)
    }

    /// Says in which mode the program is, or is about to be, on the interface of this index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&mut self, index: u32, mode: AttachMode) -> Result<()> {
        if mode == AttachMode::Generic {
            self.0.insert(index, 1, 0).context("write an interface's mode")
        } else {
            gone(self.0.remove(&index)).context("remove an interface's mode")
        }
    }
}
