//! The controller's pools: what the data plane should say of services and their backends.

use std::collections::BTreeMap;

use lb_common::{
    backend::{Backend, BackendLimits, BackendState, BackendWord},
    maps::switches,
    service::{ForwardMode, Picker, Service, service_flags},
    slot::SlotBits,
};

use super::Controller;
use crate::{
    config::{Algorithm, BackendSpec, Checking, Prefix, ServiceSpec},
    control::{
        desired,
        footing::Footing,
        ids::Granted,
        plan::{Found, Sharer, State, Table},
        pool::{self, Division, Sight, Standing},
        service_entry::{self, Given},
        settle::Settling,
    },
    datapath::Datapath,
    health::Health,
    schedule::{self, Member},
};

/// A backend of a pool.
struct Placed<'a> {
    backend: &'a BackendSpec,
    granted: Granted,
    standing: Standing,
    key: String,
}

impl<D: Datapath> Controller<D> {
    /// The state of a backend in the data plane.
    pub(in crate::control) fn state(
        &self,
        service: &ServiceSpec,
        backend: &BackendSpec,
        granted: Granted,
    ) -> BackendState {
        self.state_by(self.believed(service, granted), service, backend, granted)
    }

    /// Whether a backend would take new flows if its checks had it up.
    pub(super) fn would_serve(&self, service: &ServiceSpec, backend: &BackendSpec, granted: Granted) -> bool {
        self.state_by(Some(Health::Up), service, backend, granted) == BackendState::Up
    }

    fn state_by(
        &self,
        health: Option<Health>,
        service: &ServiceSpec,
        backend: &BackendSpec,
        granted: Granted,
    ) -> BackendState {
        let key = (granted.id, granted.generation);
        let why_not = self.hops.why_not(backend.address, service.mode.forward());
        let sight = Sight {
            health,
            is_reachable: why_not.is_none(),
            is_drained: self.drains.is_over(key, service.drain_timeout, self.decided),
        };
        pool::state(backend, sight)
    }

    /// A backend among the others.
    pub(in crate::control) fn standing(
        &self,
        service: &ServiceSpec,
        backend: &BackendSpec,
        granted: Granted,
    ) -> Standing {
        Standing {
            is_kept: self.is_kept(&service.name, granted),
            ..Standing::of(backend, self.state(service, backend, granted))
        }
    }

    /// What is made of what the probes see of a backend; `None` if it is not probed.
    fn believed(&self, service: &ServiceSpec, granted: Granted) -> Option<Health> {
        let health = self.health(granted)?;
        Some(match (health, service.health.checking) {
            (Health::Checking, Checking::Serve) => Health::Up,
            (Health::Down, _) if self.is_kept(&service.name, granted) => Health::Up,
            (health, _) => health,
        })
    }

    /// The word of a backend. It is scattered from when it is anything but up, until [`tidy`](Self::tidy) finds that it is not.
    pub(super) fn word(&self, service: &ServiceSpec, backend: &BackendSpec, granted: Granted) -> BackendWord {
        let Granted { id, generation } = granted;
        let state = self.state(service, backend, granted);
        let was_scattered = self
            .applied
            .word(id, generation)
            .is_some_and(BackendWord::is_scattered);
        BackendWord::new(state, self.hops.index(backend.address), generation)
            .scattered(state != BackendState::Up || was_scattered)
    }

    /// What the data plane should be.
    pub(super) fn desired(&self) -> State {
        let mut state = State::default();
        let mut all_given = BTreeMap::new();
        for service in &self.served.services {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            let pool = self.pool(service, id);
            for one in &pool {
                let Granted { id: backend, .. } = one.granted;
                let port = one.backend.port.unwrap_or(0).to_be();
                let fixed = Backend {
                    addr: one.backend.address.into(),
                    port,
                    service: id,
                    ..Backend::default()
                };
                let word = self.word(service, one.backend, one.granted);
                state.backends.insert(backend, (fixed, word.0));
                let limits = BackendLimits::new(one.backend.max_connections, one.backend.weight);
                state.limits.insert(backend, limits);
            }
            let (table, given) = self.table(service, id, &pool);
            state.tables.insert(id, table);
            all_given.insert(id, given);
        }
        state.entries = desired::entries(&self.served, &self.ids, &self.host, &all_given);
        state.switches = self.applied.switches_for(&state.entries);
        if self.probes_through() {
            state.switches |= switches::PROBING;
        }
        state
    }

    /// Notes what tables rest on now.
    pub(super) fn stand(&mut self) {
        let mut footings = BTreeMap::new();
        for service in &self.served.services {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            let standing = |backend| {
                let granted = self.ids.backend(id, backend)?;
                let word = self.applied.word(granted.id, granted.generation)?;
                Some(Standing::of(backend, word.state()))
            };
            let pool = service.backends.iter().filter_map(standing);
            footings.insert(id, Footing::of(service, pool));
        }
        self.footings = footings;
    }

    /// The size of a service's table for `wanted` at least: tables never shrink.
    pub(super) fn bits(&self, id: u32, wanted: SlotBits) -> SlotBits {
        let known = self.settling.get(&id).map(Settling::bits);
        let said = self.applied.service(id);
        let said = said.map(|service| SlotBits::new(service.slot_bits.into()));
        wanted.max(known.or(said).unwrap_or(SlotBits::MIN))
    }

    fn pool<'a>(&self, service: &'a ServiceSpec, id: u32) -> Vec<Placed<'a>> {
        let with_id = |backend: &'a BackendSpec| Some((backend, self.ids.backend(id, backend)?));
        let with_id = service.backends.iter().filter_map(with_id);
        let placed = with_id.map(|(backend, granted)| Placed {
            backend,
            granted,
            standing: self.standing(service, backend, granted),
            key: format!("{} {}", backend.address, backend.port.unwrap_or(0)),
        });
        placed.collect()
    }

    fn table(&self, service: &ServiceSpec, id: u32, pool: &[Placed<'_>]) -> (Table, Given) {
        let standings: Vec<_> = pool.iter().map(|one| one.standing).collect();
        let Division { shares, stands, size } = pool::divide(service, &standings);
        let sharers = chosen(pool, &shares);
        let members = schedule::order(
            service.algorithm,
            &chosen(pool, &stands).map(member).collect::<Vec<_>>(),
        );
        let size = SlotBits::of(size);
        let given = Given {
            bits: self.bits(id, size),
            members: u32::try_from(members.len()).unwrap_or(u32::MAX),
            weight: weight(service.algorithm, &sharers),
            ..self.past(service, id)
        };
        let flags = service_entry::entry(service, id, &given).flags;
        let table = Table {
            algorithm: service.algorithm,
            size,
            sharers: sharers.map(sharer).collect(),
            members,
            found: Found {
                home: given.home,
                is_tracked: flags & service_flags::TRACKED != 0,
                is_unsettled: flags & service_flags::UNSETTLED != 0,
            },
        };
        (table, given)
    }

    /// What a service's entry keeps of before.
    fn past(&self, service: &ServiceSpec, id: u32) -> Given {
        let new = Given::new(service);
        let Some(before) = self.applied.service(id) else {
            return new;
        };
        let translates = service.mode.forward().translates();
        let given = Given {
            looks_back: !translates && has_translated(&before),
            ..new
        };
        match self.home_of_before(service, id) {
            Some(home) => Given {
                home,
                home_prefix: Prefix {
                    v4: before.source_v4,
                    v6: before.source_v6,
                },
                ..given
            },
            None => given,
        }
    }

    /// The home that flows have by the algorithm of before, as long as any may live that is not written down.
    fn home_of_before(&self, service: &ServiceSpec, id: u32) -> Option<Picker> {
        let home = other_home(service, &self.applied.service(id)?)?;
        let since = self.homes.get(&id).copied().unwrap_or(self.decided);
        (self.decided < since + self.times.settle).then_some(home)
    }
}

/// The home in the entry of before, if the service's algorithm has another.
pub(super) fn other_home(service: &ServiceSpec, before: &Service) -> Option<Picker> {
    let home = Picker::from_wire(before.home)?;
    (home != service.algorithm.picker().home()).then_some(home)
}

fn has_translated(service: &Service) -> bool {
    service.flags & service_flags::LOOKS_BACK != 0
        || ForwardMode::from_wire(service.mode).is_some_and(ForwardMode::translates)
}

fn chosen<'a>(pool: &'a [Placed<'a>], chosen: &'a [bool]) -> impl Iterator<Item = &'a Placed<'a>> + Clone {
    pool.iter()
        .zip(chosen)
        .filter(|(_, chosen)| **chosen)
        .map(|(one, _)| one)
}

fn member<'a>(one: &'a Placed<'a>) -> Member<'a> {
    Member {
        key: &one.key,
        id: one.granted.id,
        weight: one.backend.weight.into(),
        priority: one.backend.priority,
    }
}

fn sharer(one: &Placed<'_>) -> Sharer {
    Sharer {
        key: one.key.clone(),
        id: one.granted.id,
        weight: one.backend.weight,
        priority: one.backend.priority,
    }
}

/// The weight that shares are of: for `bounded` without those that are down, or the bounds of the others would add up to less than all
/// flows.
fn weight<'a>(algorithm: Algorithm, sharers: &(impl Iterator<Item = &'a Placed<'a>> + Clone)) -> u32 {
    let weight_of = |only_up: bool| -> u32 {
        let counted = sharers
            .clone()
            .filter(|one| !only_up || one.standing.state == BackendState::Up);
        counted.map(|one| u32::from(one.backend.weight)).sum()
    };
    match (algorithm, weight_of(true)) {
        (Algorithm::Bounded, up) if up > 0 => up,
        _ => weight_of(false),
    }
}
