//! Who has how many slots of a service, and who would after a change.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_common::slot::SlotBits;

use crate::{
    api::protocol::{Move, Moves, PoolChange, Share, Slots},
    config::{BackendChange, ServiceSpec, validate_set},
    control::{
        Controller,
        change::{Change, Refusal},
        controller::backends,
        lookup,
        pool::{self, Division, Sight, Standing},
    },
    datapath::Datapath,
    schedule::{self, Member},
};

impl<D: Datapath> Controller<D> {
    /// The slots of a service.
    ///
    /// # Errors
    /// When there is no such service, or its table cannot be read.
    pub fn slots(&self, name: &str) -> Result<Slots> {
        let (service, id) = self.named(name)?;
        let table = self.datapath.table(id)?;
        let mut states = BTreeMap::new();
        let (mut owned, mut previous) = (BTreeMap::new(), BTreeMap::new());
        for slot in table.slots() {
            *states.entry(lookup::state_of(*slot)).or_default() += 1;
            *owned.entry(slot.owner()).or_default() += 1;
            *previous.entry(slot.previous()).or_default() += 1;
        }
        let filled = self.applied.tables.get(&id);
        let sharers = filled.map_or(&[][..], |table| &table.sharers);
        let all: u32 = sharers.iter().map(|sharer| u32::from(sharer.weight)).sum();
        let of = |counts: &BTreeMap<u32, u32>, id| counts.get(&id).copied().unwrap_or(0);
        let share = |id: u32| {
            let mut sharers = sharers.iter();
            let sharer = sharers.find(|sharer| sharer.id == id)?;
            Some(f64::from(sharer.weight) / f64::from(all.max(1)))
        };
        let slots = table.bits().slots();
        let pool = backends(&self.served.services, &self.ids);
        let mut shares: Vec<_> = pool
            .filter(|(one, ..)| one.name == name)
            .map(|(_, backend, granted)| Share {
                backend: backend.name.clone(),
                weight: backend.weight,
                slots: of(&owned, granted.id),
                ideal: share(granted.id).unwrap_or(0.0) * f64::from(slots),
                previous: of(&previous, granted.id),
            })
            .collect();
        shares.sort_by(|a, b| a.backend.cmp(&b.backend));
        Ok(Slots {
            service: name.to_owned(),
            algorithm: service.algorithm,
            slots,
            states,
            unowned: of(&owned, 0),
            shares,
        })
    }

    /// What a change would do to the slots of a service, if its backends went on as they are and new ones were up.
    ///
    /// # Errors
    /// When the change does not fit, or the table cannot be read.
    pub fn slots_after(&self, name: &str, change: &PoolChange) -> Result<Moves> {
        let (_, id) = self.named(name)?;
        let table = self.datapath.table(id)?;
        let after = self.changed(name, change)?;
        let owners = self.owners_after(&after, id);
        let wanted = SlotBits::new(owners.len().max(1).ilog2());
        let bits = wanted.max(table.bits());
        let (grown, repeated) = (bits.bits() - table.bits().bits(), bits.bits() - wanted.bits());
        let names: BTreeMap<u32, String> = backends(&self.served.services, &self.ids)
            .map(|(_, backend, granted)| (granted.id, backend.name.clone()))
            .collect();
        let pairs = (0..bits.slots()).map(|slot| {
            let before = table.slots()[(slot >> grown) as usize].owner();
            let after = owners.get((slot >> repeated) as usize).cloned().flatten();
            (names.get(&before).cloned(), after)
        });
        Ok(moves(name, pairs))
    }

    fn named(&self, name: &str) -> Result<(&ServiceSpec, u32)> {
        let mut services = self.setup.services.iter();
        let found = services.find(|service| service.name == name);
        let found = found.and_then(|service| Some((service, self.ids.service(name)?)));
        Ok(found.ok_or_else(|| Refusal::NoService(name.to_owned()))?)
    }

    /// The service after a change.
    fn changed(&self, name: &str, change: &PoolChange) -> Result<ServiceSpec> {
        let mut setup = self.setup.clone();
        let service = || name.to_owned();
        let removed = change.remove.iter().map(|backend| Change::RemoveBackend {
            service: service(),
            backend: backend.clone(),
        });
        let weighed = change
            .weights
            .iter()
            .map(|(backend, &weight)| Change::SetBackend {
                service: service(),
                backend: backend.clone(),
                set: BackendChange {
                    weight: Some(weight),
                    ..BackendChange::default()
                },
            });
        let added = change.add.iter().map(|backend| Change::AddBackend {
            service: service(),
            backend: backend.clone(),
        });
        for change in removed.chain(weighed).chain(added) {
            change.apply(&mut setup)?;
        }
        validate_set(&setup.services, &self.limits)?;
        let mut services = setup.services.into_iter();
        let found = services.find(|service| service.name == name);
        Ok(found.ok_or_else(|| Refusal::NoService(service()))?)
    }

    /// The names of the owners that a service's slots would have.
    fn owners_after(&self, service: &ServiceSpec, id: u32) -> Vec<Option<String>> {
        let standings: Vec<_> = service
            .backends
            .iter()
            .map(|backend| {
                let known = self.ids.backend(id, backend);
                let new = Sight {
                    health: None,
                    is_reachable: true,
                    is_drained: false,
                };
                known.map_or_else(
                    || Standing::of(backend, pool::state(backend, new)),
                    |granted| self.standing(service, backend, granted),
                )
            })
            .collect();
        let Division { shares, size, .. } = pool::divide(service, &standings);
        let keys: Vec<_> = service
            .backends
            .iter()
            .map(|backend| format!("{} {}", backend.address, backend.port.unwrap_or(0)))
            .collect();
        let sharers = (1..).zip(&keys).zip(&service.backends).zip(&shares);
        let members: Vec<_> = sharers
            .filter(|(_, shares)| **shares)
            .map(|(((place, key), backend), _)| Member {
                key,
                id: place,
                weight: backend.weight.into(),
                priority: backend.priority,
            })
            .collect();
        let size = SlotBits::of(size).slots() as usize;
        let places = schedule::of(service.algorithm).fill(size, &members);
        let name = |place: u32| {
            let index = (place as usize).checked_sub(1)?;
            Some(service.backends.get(index)?.name.clone())
        };
        places.into_iter().map(name).collect()
    }
}

/// What changes hands, of each slot's owner before and after.
fn moves(service: &str, pairs: impl Iterator<Item = (Option<String>, Option<String>)>) -> Moves {
    let mut slots = 0;
    let mut counts: BTreeMap<(Option<String>, Option<String>), u32> = BTreeMap::new();
    let mut gains: BTreeMap<Option<String>, i64> = BTreeMap::new();
    for (from, to) in pairs {
        slots += 1;
        if from == to {
            continue;
        }
        *gains.entry(from.clone()).or_default() -= 1;
        *gains.entry(to.clone()).or_default() += 1;
        *counts.entry((from, to)).or_default() += 1;
    }
    let least: i64 = gains.values().filter(|gain| **gain > 0).sum();
    let mut moves: Vec<_> = counts
        .into_iter()
        .map(|((from, to), slots)| Move { from, to, slots })
        .collect();
    moves.sort_by_key(|one| std::cmp::Reverse(one.slots));
    Moves {
        service: service.to_owned(),
        slots,
        moved: moves.iter().map(|one| one.slots).sum(),
        least: u32::try_from(least).unwrap_or(0),
        moves,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_what_must_move() {
        let pair = |from: &str, to: &str| (Some(from.to_owned()), Some(to.to_owned()));
        // b3 gains two; b1 and b2 change places for nothing.
        let pairs = [
            pair("b1", "b3"),
            pair("b2", "b3"),
            pair("b1", "b2"),
            pair("b2", "b1"),
            pair("b1", "b1"),
        ];
        let moves = moves("web", pairs.into_iter());
        assert_eq!((moves.slots, moves.moved, moves.least), (5, 4, 2));
        assert_eq!(moves.moves.len(), 4);
    }
}
