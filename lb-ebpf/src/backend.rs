//! Backends by id.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use lb_common::{
    backend::{Backend, BackendWord},
    limits,
};

use crate::copy;

#[btf_map]
static BACKENDS: Array<Backend, { limits::BACKENDS as usize }> = Array::new();

/// Mapped into the agent's memory as well, which changes a word by one store.
#[btf_map]
static BACKEND_WORDS: Array<u64, { limits::BACKENDS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// A backend that has been chosen for a packet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Chosen {
    pub word: BackendWord,
    pub id: u32,
    pub backend: Backend,
}

/// The word of backend `id`; that of a free backend if there is none.
#[inline(always)]
pub fn word(id: u32) -> BackendWord {
    match BACKEND_WORDS.get_ptr(id) {
        // SAFETY: the agent stores the word with one aligned 64-bit store; a volatile read is one load of it.
        Some(word) => BackendWord(unsafe { core::ptr::read_volatile(word) }),
        None => BackendWord::default(),
    }
}

/// The part of backend `id` that does not change.
#[inline(always)]
pub fn fixed(id: u32) -> Option<&'static Backend> {
    BACKENDS.get(id)
}

/// Takes backend `id` under the state of `word` for a packet. Whether there is one.
///
/// Into its place, and not by value: the stack has no room for several.
#[inline(always)]
pub fn choose(chosen: &mut Chosen, id: u32, word: BackendWord) -> bool {
    let Some(backend) = fixed(id) else {
        return false;
    };
    (chosen.word, chosen.id) = (word, id);
    copy::value(&mut chosen.backend, backend);
    true
}
