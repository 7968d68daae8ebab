//! A backend for a flow that has none.

mod maglev;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::{
    limits,
    outcome::Outcome,
    service::{Picker, Service},
};

use crate::{
    backend::{self, Chosen},
    flow,
    parse::Packet,
};

type SlotTable = Array<u32, { limits::SLOTS as usize }, { BPF_F_MMAPABLE as usize }>;

/// One table for each service. The agent fills a new one and puts it here by one update, which packets see whole or not at
/// all.
#[btf_map]
static SLOTS: ArrayOfMaps<SlotTable, { limits::SERVICES as usize }> = ArrayOfMaps::new();

/// The backend for a new flow: the first on the flow's way through the slots that takes new flows and can tell them apart.
#[inline(always)]
pub fn backend(service: &Service, packet: &Packet, now: u64) -> Result<Chosen, Outcome> {
    let mut step = match Picker::from_wire(service.picker) {
        Some(Picker::Maglev) => maglev::first(packet),
        None => return Err(Outcome::BadConfig),
    };
    let (mut collisions, mut collided) = (0, limits::NO_BACKEND);
    for _ in 0..limits::PICK_TRIES {
        let slot = lb_common::hash::slot(step, limits::SLOTS);
        step = lb_common::hash::next(step);
        let Some(chosen) = in_slot(service.id, slot) else {
            continue;
        };
        // The next slot may well be the same backend's.
        if chosen.id == collided {
            continue;
        }
        if !flow::collides(packet, &chosen, now) {
            return Ok(chosen);
        }
        collided = chosen.id;
        collisions += 1;
        if collisions == limits::COLLISION_TRIES {
            return Err(Outcome::FlowCollision);
        }
    }
    Err(if collisions == 0 {
        Outcome::NoBackend
    } else {
        Outcome::FlowCollision
    })
}

/// The backend that a slot names, if it takes new flows.
#[inline(always)]
fn in_slot(table: u32, slot: u32) -> Option<Chosen> {
    let id = *SLOTS.get_value(table, &slot)?;
    let word = backend::word(id);
    if !word.takes_new_flows() {
        return None;
    }
    backend::chosen(id, word)
}
