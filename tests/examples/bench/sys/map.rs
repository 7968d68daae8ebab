//! Maps of programs of a few instructions.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_cmd, bpf_map_type};
use nix::errno::Errno;

use super::{bpf, empty, number};

/// A map of our own.
pub struct Map(OwnedFd);

impl Map {
    pub fn new(kind: bpf_map_type, key: usize, value: u32, entries: u32) -> Result<Self> {
        let mut attr = empty();
        attr.__bindgen_anon_1.map_type = kind as u32;
        attr.__bindgen_anon_1.key_size = u32::try_from(key)?;
        attr.__bindgen_anon_1.value_size = value;
        attr.__bindgen_anon_1.max_entries = entries;
        // SAFETY: the attributes point to nothing.
        let fd = unsafe { bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
            .with_context(|| format!("make a map of {entries} entries"))?;
        // SAFETY: the kernel has just opened it for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// An array of one program to go on to.
    pub fn of_program(program: BorrowedFd<'_>) -> Result<Self> {
        let map = Self::new(bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1)?;
        map.put(&[0; 4], &program.as_raw_fd().to_ne_bytes())
            .context("is it an XDP program?")?;
        Ok(map)
    }

    /// Key and value must be as long as the map's.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut attr = empty();
        attr.__bindgen_anon_2.map_fd = number(self.0.as_raw_fd());
        attr.__bindgen_anon_2.key = key.as_ptr() as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
        // SAFETY: key and value live until the call has returned, and are as long as the map's.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.context("put an entry into a map")?;
        Ok(())
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads the value of a key; whether there is one. Key and value must be as long as the map's.
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> Result<bool> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = number(map.as_raw_fd());
    attr.__bindgen_anon_2.key = key.as_ptr() as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    // SAFETY: key and value live until the call has returned, and are as long as the map's.
    match unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) } {
        Ok(_) => Ok(true),
        Err(error) if error.downcast_ref() == Some(&Errno::ENOENT) => Ok(false),
        Err(error) => Err(error.context("look a key up")),
    }
}
