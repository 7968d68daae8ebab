//! BPF arrays mapped into our memory: a store here is seen by the next packet, without a system call.

use std::{
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Distance of the elements of a BPF array: values are rounded up to eight bytes (kernel/bpf/arraymap.c).
const STRIDE: usize = 8;

/// The memory of a BPF array made with `BPF_F_MMAPABLE` whose values have at most eight bytes.
#[derive(Debug)]
pub struct MappedArray {
    start: NonNull<u8>,
    len: NonZeroUsize,
    entries: usize,
}

// SAFETY: the memory is shared with the kernel anyway and only accessed through atomics.
unsafe impl Send for MappedArray {}

impl MappedArray {
    /// Maps the array behind `fd`, which has `entries` values.
    ///
    /// # Errors
    /// When the kernel refuses, as for an array that was made without the flag or is smaller.
    pub fn new(fd: impl AsFd, entries: u32) -> Result<Self> {
        let entries = entries as usize;
        let len = NonZeroUsize::new(entries * STRIDE).context("an array without entries")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
        let start = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, fd, 0) }
            .context("map a BPF array into memory")?
            .cast();
        Ok(Self { start, len, entries })
    }

    /// Stores a 64-bit value.
    pub fn store(&self, index: u32, value: u64) {
        if let Some(at) = self.element(index) {
            // SAFETY: `element` keeps inside the mapping, and elements are eight bytes, eight-aligned, and only accessed as
            // atomics here.
            unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.store(value, Ordering::Release);
        }
    }

    /// Loads a 64-bit value; 0 beyond the end.
    #[must_use]
    pub fn load(&self, index: u32) -> u64 {
        let Some(at) = self.element(index) else { return 0 };
        // SAFETY: as in `store`.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }.load(Ordering::Acquire)
    }

    /// Loads a 32-bit value; 0 beyond the end.
    #[must_use]
    pub fn load_half(&self, index: u32) -> u32 {
        let Some(at) = self.element(index) else { return 0 };
        // SAFETY: as in `store`; a 32-bit value is the first half of its element.
        unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }.load(Ordering::Acquire)
    }

    /// Stores 32-bit values from the first element on.
    pub fn fill(&self, values: &[u32]) {
        for (index, &value) in (0_u32..).zip(values) {
            if let Some(at) = self.element(index) {
                // SAFETY: as in `store`; a 32-bit value is the first half of its element.
                unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Whether these are the 32-bit values from the first element on.
    #[must_use]
    pub fn holds(&self, values: &[u32]) -> bool {
        (0_u32..).zip(values).all(|(index, &value)| {
            // One by one, as `load_half` has nothing for what is beyond the end.
            (index as usize) < self.entries && self.load_half(index) == value
        })
    }

    fn element(&self, index: u32) -> Option<NonNull<u8>> {
        let index = index as usize;
        // SAFETY: below `entries`, so inside the mapping of `entries * STRIDE` bytes.
        (index < self.entries).then(|| unsafe { self.start.add(index * STRIDE) })
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it: every access is by value.
        if let Err(error) = unsafe { munmap(self.start.cast(), self.len.get()) } {
            log::warn!("unmap a BPF array: {error}");
        }
    }
}
