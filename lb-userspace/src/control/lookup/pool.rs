//! The tables of a service's pool, as the program reads them.

use lb_common::{
    backend::{Backend, BackendLimits, BackendWord},
    pick::Pool,
    slot::Slot,
};

use crate::{
    control::plan::State,
    datapath::{Datapath, SlotTable},
};

/// The pool of a service. It has no chance and takes no turn: for both it gives `drawn`.
pub struct Tables<'a, D> {
    pub datapath: &'a D,
    pub applied: &'a State,
    pub table: &'a SlotTable,
    pub service: u32,
    pub drawn: u32,
}

impl<D> Clone for Tables<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Tables<'_, D> {}

impl<D: Datapath> Tables<'_, D> {
    /// The same where chance has drawn another number.
    #[must_use]
    pub fn drawing(self, drawn: u32) -> Self {
        Self { drawn, ..self }
    }

    /// The part of a backend that does not change.
    #[must_use]
    pub fn fixed(&self, id: u32) -> Option<&Backend> {
        self.applied.backends.get(&id).map(|(backend, _)| backend)
    }
}

impl<D: Datapath> Pool for Tables<'_, D> {
    fn slot(&self, hash: u64) -> Slot {
        self.table.slot(hash)
    }

    fn member(&self, place: u32) -> u32 {
        self.table.members.get(place as usize).copied().unwrap_or(0)
    }

    fn word(&self, id: u32) -> BackendWord {
        let word = self.applied.backends.get(&id).map(|&(_, word)| word);
        BackendWord(word.unwrap_or_default())
    }

    fn limits(&self, id: u32) -> BackendLimits {
        self.applied.limits.get(&id).copied().unwrap_or_default()
    }

    fn load(&self, id: u32) -> u64 {
        self.datapath.backend_load(id)
    }

    fn service_load(&self) -> u64 {
        self.datapath.service_load(self.service)
    }

    fn random(&self) -> u32 {
        self.drawn
    }

    fn turn(&self) -> u32 {
        self.drawn
    }
}
