//! A backend for a packet: that of its flow, or one for a flow that has none.

pub mod maglev;
mod quic;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::{addr::Addr, limits, outcome::Outcome, service::Picker};

use crate::{
    backend::{self, Chosen},
    flow,
    frame::Frame,
    service, source,
    stage::{Stage, stages},
};

type SlotTable = Array<u32, { limits::SLOTS as usize }, { BPF_F_MMAPABLE as usize }>;

/// One table for each service. The agent fills a new one and puts it here by one update, which packets see whole or not at
/// all.
#[btf_map]
static SLOTS: ArrayOfMaps<SlotTable, { limits::SERVICES as usize }> = ArrayOfMaps::new();

stages! {
    /// Finds the backend of a client's packet: `stage.chosen`, with `stage.mode` and the source that it is translated to.
    /// `stage.is_new` says whether a flow begins.
    pub fn backend as xlb_backend = decide;

    /// Finds the backend for a new flow: the first on the flow's way through the slots that takes new flows and can tell
    /// them apart.
    pub fn new_backend as xlb_pick = walk;
}

#[inline(always)]
fn decide(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let named = quic::named(frame, stage);
    stage.is_new = 0;
    let has_ports = stage.packet.flow.destination_port != 0;
    if has_ports && flow::follow(frame, stage, named) {
        return Ok(());
    }
    // A VIP is no client: its packets would go round between balancers.
    if service::vip(&stage.packet.flow.source).is_some() {
        return Err(Outcome::BadSource);
    }
    (stage.mode, stage.source, stage.source_port) = (stage.service.mode, Addr::default(), 0);
    stage.is_new = u8::from(flow::is_opened_by(&stage.packet));
    match named.and_then(|id| backend::chosen(id, backend::word(id))) {
        Some(chosen) => {
            stage.chosen = chosen;
            if may_collide(stage) && flow::collides(stage) {
                return Err(Outcome::FlowCollision);
            }
            Ok(())
        }
        None => new_backend(frame, stage),
    }
}

#[inline(always)]
fn walk(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let mut step = match Picker::from_wire(stage.service.picker) {
        Some(Picker::Maglev) => maglev::first(&stage.packet, &stage.service),
        None => return Err(Outcome::BadConfig),
    };
    let may_collide = may_collide(stage);
    let (mut collisions, mut collided) = (0, limits::NO_BACKEND);
    for _ in 0..limits::PICK_TRIES {
        let slot = lb_common::hash::slot(step, limits::SLOTS);
        step = lb_common::hash::next(step);
        let Some(chosen) = in_slot(stage.service.id, slot) else {
            continue;
        };
        // The next slot may well be the same backend's.
        if chosen.id == collided {
            continue;
        }
        stage.chosen = chosen;
        if !may_collide || !flow::collides(stage) {
            return Ok(());
        }
        collided = stage.chosen.id;
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

/// Whether a new flow's replies could be taken for another's: not those to a source of ours, which no other flow has.
#[inline(always)]
fn may_collide(stage: &Stage) -> bool {
    stage.is_new != 0 && flow::translates(stage.mode) && !source::is_needed(stage)
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
