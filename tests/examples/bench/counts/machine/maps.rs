//! The kernel's maps: read when a key is first asked for, written in our copy of it.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::maps::{MapInfo, MapType};

use super::memory::Memory;
use crate::sys;

/// Above all areas of memory: what stands for a map is no address.
const HANDLE: u64 = 1 << 63;
/// Errors of updates (errno, negative), and their flags (include/uapi/linux/bpf.h).
const NOT_THERE: i64 = -2;
const THERE: i64 = -17;
const ONLY_NEW: u64 = 1;
const ONLY_OLD: u64 = 2;

/// All maps that have been met.
pub struct Maps {
    maps: Vec<Map>,
    /// Whose values are taken.
    pub cpu: usize,
}

struct Map {
    fd: OwnedFd,
    kind: MapType,
    key: usize,
    value: usize,
    /// Where values are, by key; what is not there is not, either.
    known: HashMap<Vec<u8>, Option<u64>>,
}

/// What a program has for a map.
pub const fn handle(map: usize) -> u64 {
    HANDLE | map as u64
}

impl Maps {
    pub const fn new(cpu: usize) -> Self {
        Self {
            maps: Vec::new(),
            cpu,
        }
    }

    pub fn open(&mut self, id: u32) -> Result<usize> {
        let info = MapInfo::from_id(id).context("look at a map")?;
        self.maps.push(Map {
            fd: info.fd()?.as_fd().try_clone_to_owned().context("open a map")?,
            kind: info.map_type()?,
            key: info.key_size() as usize,
            value: info.value_size() as usize,
            known: HashMap::new(),
        });
        Ok(self.maps.len() - 1)
    }

    /// The map that a handle stands for.
    pub fn of(&self, handle: u64) -> Result<usize> {
        let map = usize::try_from(handle & !HANDLE)?;
        let is_map = handle & HANDLE != 0 && map < self.maps.len();
        is_map.then_some(map).context("no map where there should be one")
    }

    /// Sizes of keys and values.
    pub fn sizes(&self, map: usize) -> (usize, usize) {
        (self.maps[map].key, self.maps[map].value)
    }

    /// Where the value of a key is; zero where there is none.
    pub fn lookup(&mut self, memory: &mut Memory, map: usize, key: &[u8]) -> Result<u64> {
        if let Some(known) = self.maps[map].known.get(key) {
            return Ok(known.unwrap_or(0));
        }
        let found = match (self.maps[map].read(key, self.cpu)?, self.maps[map].kind) {
            (Some(id), MapType::ArrayOfMaps | MapType::HashOfMaps) => {
                let id = id.first_chunk().copied().context("a map without an id")?;
                Some(handle(self.open(u32::from_ne_bytes(id))?))
            }
            (Some(value), _) => Some(memory.add(value)),
            (None, _) => None,
        };
        self.maps[map].known.insert(key.to_vec(), found);
        Ok(found.unwrap_or(0))
    }

    pub fn update(
        &mut self,
        memory: &mut Memory,
        map: usize,
        key: &[u8],
        value: Vec<u8>,
        flags: u64,
    ) -> Result<i64> {
        let old = self.lookup(memory, map, key)?;
        match (flags, old) {
            (ONLY_NEW, 1..) => return Ok(THERE),
            (ONLY_OLD, 0) => return Ok(NOT_THERE),
            (_, 0) => {
                let new = memory.add(value);
                self.maps[map].known.insert(key.to_vec(), Some(new));
            }
            _ => memory.write(old, &value)?,
        }
        Ok(0)
    }

    pub fn delete(&mut self, memory: &mut Memory, map: usize, key: &[u8]) -> Result<i64> {
        let old = self.lookup(memory, map, key)?;
        self.maps[map].known.insert(key.to_vec(), None);
        Ok(if old == 0 { NOT_THERE } else { 0 })
    }
}

impl Map {
    /// What the kernel has under a key; of a map with a value for each CPU, this one's.
    fn read(&self, key: &[u8], cpu: usize) -> Result<Option<Vec<u8>>> {
        let is_per_cpu = matches!(
            self.kind,
            MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash
        );
        let (each, cpus) = if is_per_cpu {
            let possible = xlb::datapath::cpus::possible()? as usize;
            (self.value.next_multiple_of(8), possible)
        } else {
            (self.value, 1)
        };
        let mut values = vec![0; each * cpus];
        let found = sys::lookup(self.fd.as_fd(), key, &mut values)?;
        let at = if is_per_cpu { cpu * each } else { 0 };
        let value = values
            .get(at..at + self.value)
            .context("no value for the CPU")?
            .to_vec();
        Ok(found.then_some(value))
    }
}
