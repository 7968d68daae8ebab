//! A backend for a new flow, as `lb-ebpf/src/pick/choose.rs` finds it.

use std::collections::BTreeSet;

use anyhow::Result;
use lb_common::{
    hash,
    limits::{COLLISION_TRIES, LEAST_TRIES, NO_BACKEND, PICK_TRIES},
    outcome::Outcome,
    pick::{self, Pool as _, Rigour},
    service::{OnFull, Picker, service_flags},
    written::WrittenState,
};

use super::decide::{Choice, Not, View};
use crate::{api::protocol::By, datapath::Datapath};

/// The backend for a new flow.
///
/// # Errors
/// When there is none.
pub fn backend<D: Datapath>(view: &View<'_, D>) -> Result<Choice, Not> {
    let wanted = match of_client(view) {
        NO_BACKEND => match drawn(view)? {
            Some(choice) => return Ok(choice),
            None => by_algorithm(view),
        },
        client => (client, By::Affinity),
    };
    let mut rigours = vec![Rigour::Limits];
    if view.picker == Picker::Bounded {
        rigours.insert(0, Rigour::Strict);
    }
    if view.service.on_full == OnFull::Spill.wire() {
        rigours.push(Rigour::None);
    }
    let is_full = |found: &Result<Choice, Not>| matches!(found, Err(Not::Forwarded(Outcome::Full)));
    let mut found = Err(Outcome::Full.into());
    for rigour in rigours {
        found = walk(view, wanted, rigour);
        if is_full(&found) && rigour == Rigour::Limits {
            let place = pick::place_of(&view.service, view.hashes.new);
            let other = pick::first(&view.tables, &view.service, place);
            if other != NO_BACKEND {
                found = walk(view, (other, By::Algorithm), rigour);
            }
        }
        if !is_full(&found) {
            break;
        }
    }
    found
}

/// The backend that the client's last flow went to, if that may take the next.
fn of_client<D: Datapath>(view: &View<'_, D>) -> u32 {
    if view.service.affinity == 0 {
        return NO_BACKEND;
    }
    let entry = view.tables.datapath.written(view.hashes.client);
    let timeout = u64::from(view.service.affinity) * 1_000_000_000;
    let fixed = view.tables.fixed(entry.backend());
    let is_known = entry.state() == WrittenState::Client
        && !entry.is_expired(timeout, view.now)
        && fixed.is_some_and(|backend| backend.service == view.service.id)
        && entry.is_of_generation(view.tables.word(entry.backend()).generation());
    if is_known { entry.backend() } else { NO_BACKEND }
}

fn by_algorithm<D: Datapath>(view: &View<'_, D>) -> (u32, By) {
    let View {
        tables,
        service,
        packet,
        ..
    } = view;
    if service.replicas > 1 {
        let replica = pick::replica(tables, service, &packet.flow, view.hashes.new);
        return (replica, By::Replica);
    }
    (pick::wanted(tables, service, view.picker), By::Algorithm)
}

/// Those of whom chance or a turn chooses one: nothing where it is no matter of chance, or nobody can be chosen.
fn drawn<D: Datapath>(view: &View<'_, D>) -> Result<Option<Choice>, Not> {
    let View { tables, service, .. } = view;
    if service.replicas > 1 {
        return Ok(None);
    }
    let mut some: BTreeSet<u32> = match view.picker {
        Picker::RoundRobin | Picker::Random | Picker::TwoChoices => {
            tables.table.slots().iter().map(|slot| slot.owner()).collect()
        }
        Picker::LeastConn if service.members <= LEAST_TRIES => {
            let from = |place| (u64::from(place) << 32).div_ceil(u64::from(service.members.max(1)));
            let starts = (0..service.members).filter_map(|place| u32::try_from(from(place)).ok());
            starts
                .map(|start| pick::wanted(&tables.drawing(start), service, view.picker))
                .collect()
        }
        Picker::LeastConn => tables.table.members.iter().copied().collect(),
        _ => return Ok(None),
    };
    some.retain(|&id| pick::takes(tables, service, id, Rigour::Limits));
    if some.is_empty() {
        return Ok(None);
    }
    // Whoever is drawn and collides is followed by those on the flow's way through the slots, who need not be among them.
    let mut found = Vec::new();
    for id in some {
        match walk(view, (id, By::Algorithm), Rigour::Limits) {
            Ok(choice) => found.push(choice),
            Err(Not::Forwarded(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let ids: BTreeSet<u32> = found
        .iter()
        .filter_map(|choice| match choice {
            Choice::One { id, .. } => Some(*id),
            Choice::AnyOf(_) => None,
        })
        .collect();
    match ids.len() {
        0 => Err(Outcome::FlowCollision.into()),
        1 => Ok(found.pop()),
        _ => Ok(Some(Choice::AnyOf(ids))),
    }
}

/// The wanted one, else the first on the flow's way through the slots that takes new flows and can tell them apart.
fn walk<D: Datapath>(view: &View<'_, D>, wanted: (u32, By), rigour: Rigour) -> Result<Choice, Not> {
    let View { tables, service, .. } = view;
    let mut next = Some(wanted).filter(|&(id, _)| id != NO_BACKEND);
    let (mut step, mut tries) = (view.hashes.new, 0);
    let (mut collided, mut collisions, mut is_full) = (NO_BACKEND, 0, false);
    for _ in 0..PICK_TRIES {
        let (id, by) = next.take().unwrap_or_else(|| {
            let id = tables.slot(step).owner();
            (step, tries) = (hash::next(step), tries + 1);
            (id, if tries == 1 { By::Owner } else { By::NextHash })
        });
        if id == collided || !tables.word(id).takes_new_flows() {
            continue;
        }
        if view.has(service_flags::TRACKED) && !pick::has_room(tables, service, id, rigour) {
            is_full = true;
            continue;
        }
        if !view.collides(id)? {
            return Ok(Choice::One { id, by, tries });
        }
        (collided, collisions) = (id, collisions + 1);
        if collisions >= COLLISION_TRIES {
            break;
        }
    }
    Err(match (collisions, is_full) {
        (0, false) => Outcome::NoBackend,
        (0, true) => Outcome::Full,
        _ => Outcome::FlowCollision,
    }
    .into())
}
