//! A backend for a new flow.

use lb_common::{
    limits,
    outcome::Outcome,
    pick::{self, Pool as _, Rigour},
    plain::Plain,
    service::{OnFull, Picker, service_flags},
    written::{Entry, WrittenFor, WrittenState},
};

use crate::{
    backend, copy, flow,
    frame::Frame,
    pick::pool::Tables,
    stage::{Stage, stages},
    written,
};

stages! {
    /// Finds the backend for a new flow: `stage.chosen`.
    ///
    /// # Errors
    /// [`Outcome::NoBackend`], [`Outcome::FlowCollision`], or [`Outcome::Full`] where all that are up have what they may have.
    pub fn backend as xlb_choose = choose;

    /// Finds the backend that the client's last flow went to: `stage.wanted`; none where nothing is known of the client.
    fn affinity as xlb_client = of_client;

    /// Writes down where the client's next flow goes.
    fn remember as xlb_remember = remember_client;

    /// Finds the backend that the service's algorithm wants for a new flow, if it wants a particular one: `stage.wanted`.
    fn ask as xlb_wanted = wanted;

    /// Finds the backend of a replica: `stage.wanted`.
    fn replica as xlb_replica = of_replica;

    /// Whether the candidate, which is up, can take one more flow.
    ///
    /// # Errors
    /// [`Outcome::Full`] if not.
    fn room as xlb_room = look;

    /// Finds the backend for a new flow: the wanted one, else the first on the flow's way through the slots that takes new flows and
    /// can tell them apart.
    fn walk as xlb_walk = along;

    /// Tries the next backend.
    fn try_next as xlb_try = attempt;
}

#[inline(always)]
fn choose(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let picker = Picker::from_wire(stage.service.picker).ok_or(Outcome::BadConfig)?;
    stage.wanted = limits::NO_BACKEND;
    (stage.picker, stage.place) = (u32::from(stage.service.picker), 0);
    if stage.service.affinity != 0 {
        affinity(frame, stage)?;
    }
    if stage.wanted == limits::NO_BACKEND {
        if stage.service.replicas > 1 {
            replica(frame, stage)?;
        } else if !picker.has_slot() && picker != Picker::Bounded {
            ask(frame, stage)?;
        }
    }
    stage.rigour = u32::from(picker != Picker::Bounded);
    let mut found = walk(frame, stage);
    if found == Err(Outcome::Full) && picker == Picker::Bounded {
        stage.rigour = 1;
        found = walk(frame, stage);
    }
    if found == Err(Outcome::Full) {
        found = search(frame, stage);
    }
    if found == Err(Outcome::Full) && stage.service.on_full == OnFull::Spill.wire() {
        stage.rigour = 2;
        found = walk(frame, stage);
    }
    found?;
    if stage.service.affinity != 0 {
        remember(frame, stage)?;
    }
    Ok(())
}

/// Where all that were met are full, somebody else may not be.
#[inline(always)]
fn search(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    stage.picker = u32::from(Picker::First.wire());
    stage.place = pick::place_of(&stage.service, stage.new_hash);
    ask(frame, stage)?;
    if stage.wanted == limits::NO_BACKEND {
        return Err(Outcome::Full);
    }
    walk(frame, stage)
}

#[inline(always)]
fn of_client(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let hash = stage.client_hash;
    let entry = written::find(frame, stage, hash);
    let timeout = u64::from(stage.service.affinity) * 1_000_000_000;
    if entry.state() != WrittenState::Client || entry.is_expired(timeout, stage.now) {
        return Ok(());
    }
    let word = backend::word(entry.backend());
    if let Some(fixed) = backend::fixed(entry.backend())
        && fixed.service == stage.service.id
        && entry.is_of_generation(word.generation())
    {
        stage.wanted = entry.backend();
    }
    Ok(())
}

#[inline(always)]
fn remember_client(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let hash = stage.client_hash;
    let old = written::find(frame, stage, hash);
    let (id, generation) = (stage.chosen.id, stage.chosen.word.generation());
    let new = Entry::new(hash, id, generation, WrittenState::Client, stage.now);
    if old.state() == WrittenState::Empty {
        let what = WrittenFor::new(stage.service.id, stage.home_hash);
        // Where there is no room, the client's next flow is as a stranger's.
        let _room = written::put(frame, stage, new, what);
    } else if old != new {
        let _current = written::replace(stage, new);
    }
    Ok(())
}

#[inline(always)]
fn tables(stage: &Stage) -> Tables {
    Tables {
        service: stage.service.id,
        size: stage.slot.size(),
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a picker's number")]
fn wanted(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let (tables, service) = (tables(stage), &stage.service);
    stage.wanted = match Picker::from_wire(stage.picker as u8).ok_or(Outcome::BadConfig)? {
        Picker::First | Picker::Failover => pick::first(&tables, service, stage.place),
        picker => pick::wanted(&tables, service, picker),
    };
    Ok(())
}

#[inline(always)]
fn of_replica(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    stage.wanted = pick::replica(&tables(stage), &stage.service, &stage.packet.flow, stage.new_hash);
    Ok(())
}

#[inline(always)]
fn look(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    let rigour = match stage.rigour {
        0 => Rigour::Strict,
        1 => Rigour::Limits,
        _ => Rigour::None,
    };
    if pick::has_room(&tables(stage), &stage.service, stage.walk.candidate, rigour) {
        Ok(())
    } else {
        Err(Outcome::Full)
    }
}

/// Each try is a stage of its own, and what they tell each other is in the stage: the verifier would follow every number of collisions
/// through every try.
#[inline(always)]
fn along(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    // Nobody has been tried: zero is no backend.
    copy::zeros(&mut stage.walk);
    (stage.walk.step, stage.walk.next) = (stage.new_hash, stage.wanted);
    for _ in 0..limits::PICK_TRIES {
        if try_next(frame, stage).is_ok() {
            return Ok(());
        }
        if stage.walk.collisions >= limits::COLLISION_TRIES {
            break;
        }
    }
    Err(match (stage.walk.collisions, stage.walk.is_full) {
        (0, 0) => Outcome::NoBackend,
        (0, _) => Outcome::Full,
        _ => Outcome::FlowCollision,
    })
}

/// How far the search for a backend has come.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Walk {
    /// The hash of the next slot.
    step: u64,
    /// The backend to be tried before that; 0 for none.
    next: u32,
    /// The one that is being tried.
    candidate: u32,
    /// The last one that could not tell the flow from another, and how many there were.
    collided: u32,
    collisions: u32,
    /// Whether one had no room.
    is_full: u32,
    _pad: u32,
}

// SAFETY: integers that fill it.
unsafe impl Plain for Walk {}

#[inline(always)]
fn attempt(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let mut id = stage.walk.next;
    stage.walk.next = limits::NO_BACKEND;
    if id == limits::NO_BACKEND {
        id = tables(stage).slot(stage.walk.step).owner();
        stage.walk.step = lb_common::hash::next(stage.walk.step);
    }
    let word = backend::word(id);
    // The next slot may well be the same backend's.
    if id == stage.walk.collided || !word.takes_new_flows() {
        return Err(Outcome::NoBackend);
    }
    stage.walk.candidate = id;
    if stage.service.flags & service_flags::TRACKED != 0 {
        room(frame, stage).inspect_err(|_| stage.walk.is_full = 1)?;
    }
    if !backend::choose(&mut stage.chosen, id, word) {
        return Err(Outcome::BadConfig);
    }
    if flow::may_collide(stage) && flow::collides(stage) {
        stage.walk.collided = id;
        stage.walk.collisions += 1;
        return Err(Outcome::FlowCollision);
    }
    Ok(())
}
