//! BPF arrays mapped into our memory: a store here is seen by the next packet, without a system call.

use std::{
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// What the elements of a BPF array are rounded up to (kernel/bpf/arraymap.c).
const ALIGN: usize = 8;

/// The memory of a BPF array made with `BPF_F_MMAPABLE`, as a row of words: those of the first element, those of the second, and so on.
#[derive(Debug)]
pub struct MappedArray {
    start: NonNull<u8>,
    len: NonZeroUsize,
    words: usize,
}

// SAFETY: the memory is shared with the kernel anyway and only accessed through atomics.
unsafe impl Send for MappedArray {}

impl MappedArray {
    /// Maps the array behind `fd`, which has `entries` values of eight bytes at most.
    ///
    /// # Errors
    /// When the kernel refuses, as for an array that was made without the flag or is smaller.
    pub fn new(fd: impl AsFd, entries: u32) -> Result<Self> {
        Self::of(fd, entries, ALIGN)
    }

    /// Maps the array behind `fd`, which has `entries` values of `size` bytes.
    ///
    /// # Errors
    /// When the kernel refuses, as for an array that was made without the flag or is smaller.
    pub fn of(fd: impl AsFd, entries: u32, size: usize) -> Result<Self> {
        let words = entries as usize * size.div_ceil(ALIGN);
        let len = NonZeroUsize::new(words * ALIGN).context("an array without entries")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
        let start = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, fd, 0) }
            .context("map a BPF array into memory")?
            .cast();
        Ok(Self { start, len, words })
    }

    /// How many words there are.
    #[must_use]
    pub const fn words(&self) -> usize {
        self.words
    }

    /// Stores a word; nothing beyond the end.
    pub fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Release);
        }
    }

    /// Loads a word; 0 beyond the end.
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Adds to a counter that the program counts on with atomic additions.
    pub fn add(&self, index: usize, by: i64) {
        if let Some(word) = self.word(index) {
            word.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Stores `new` if the word is still `old`, and says whether it was.
    pub fn replace(&self, index: usize, old: u64, new: u64) -> bool {
        let replaced = |word: &AtomicU64| {
            word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        self.word(index).is_some_and(replaced)
    }

    /// Loads a 32-bit value, of which there are two to a word; 0 beyond the end.
    #[must_use]
    pub fn load_half(&self, index: usize) -> u32 {
        self.half(index).map_or(0, |half| half.load(Ordering::Acquire))
    }

    /// Stores words from the first one on.
    pub fn fill(&self, values: impl IntoIterator<Item = u64>) {
        for (index, value) in values.into_iter().enumerate() {
            if let Some(word) = self.word(index) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// All words.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        (0..self.words).map(|index| self.load(index))
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.words {
            return None;
        }
        // SAFETY: below `words`, so inside the mapping of as many times eight bytes.
        let at = unsafe { self.start.add(index * ALIGN) };
        // SAFETY: the mapping is page-aligned, so `at` is eight-aligned; it lives as long as `self`, and is only accessed as atomics.
        Some(unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) })
    }

    fn half(&self, index: usize) -> Option<&AtomicU32> {
        if index >= 2 * self.words {
            return None;
        }
        // SAFETY: below `2 * words`, so inside the mapping of `8 * words` bytes.
        let at = unsafe { self.start.add(index * size_of::<u32>()) };
        // SAFETY: as in `word`, and four-aligned.
        Some(unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) })
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it: what `word` and `half` lend is bound to `self`.
        if let Err(error) = unsafe { munmap(self.start.cast(), self.len.get()) } {
            log::warn!("unmap a BPF array: {error}");
        }
    }
}
