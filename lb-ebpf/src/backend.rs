//! Backends by id.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use lb_common::{
    backend::{Backend, BackendWord},
    flow::FlowKey,
    limits,
};

use crate::parse::Packet;

#[btf_map]
static BACKENDS: Array<Backend, { limits::BACKENDS as usize }> = Array::new();

/// Mapped into the agent's memory as well, which changes a word by one store.
#[btf_map]
static BACKEND_WORDS: Array<u64, { limits::BACKENDS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// A backend that has been chosen for a packet.
#[derive(Clone, Copy)]
pub struct Chosen {
    pub id: u32,
    pub word: BackendWord,
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

/// The backend of `id` under the state of `word`.
#[inline(always)]
pub fn chosen(id: u32, word: BackendWord) -> Option<Chosen> {
    let backend = *BACKENDS.get(id)?;
    Some(Chosen { id, word, backend })
}

impl Chosen {
    /// The five-tuple that a client's packet leaves with. A backend without a port of its own keeps the client's.
    #[inline(always)]
    pub fn rewritten(&self, packet: &Packet) -> FlowKey {
        let destination_port = match self.backend.port {
            0 => packet.flow.destination_port,
            port => port,
        };
        FlowKey {
            destination: self.backend.addr,
            destination_port,
            ..packet.flow
        }
    }
}
