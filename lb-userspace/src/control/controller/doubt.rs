//! What the controller does not take the probes' word for, and what backends have instead of what is set: pools in panic, weights that
//! grow, wishes.

use std::{collections::BTreeSet, time::Instant};

use log::Level;

use super::{CheckKey, Controller, backends};
use crate::{
    config::{Admin, BackendSpec, MAX_WEIGHT, ServiceSpec},
    control::{
        events::{News, What},
        ids::Granted,
        leaving, panic,
    },
    datapath::Datapath,
    health::{Case, Health},
};

/// How a backend looks to its pool: by its checks, and whether it has refused itself.
pub(super) type Look = (Health, bool);

pub(super) fn look(case: &Case) -> Look {
    (case.health(), case.is_down_for_sure())
}

impl<D: Datapath> Controller<D> {
    /// Whether a backend that its checks have down is kept all the same.
    pub(in crate::control) fn is_kept(&self, service: &str, granted: Granted) -> bool {
        if self.panicking.is_empty() {
            return false;
        }
        let id = self.ids.service(service);
        let in_panic = id.is_some_and(|id| self.panicking.contains(&id));
        let doubtful = || {
            self.watched(granted)
                .is_some_and(|one| one.case.health() == Health::Down && !one.case.is_down_for_sure())
        };
        in_panic && doubtful()
    }

    /// Counts all pools anew.
    pub(super) fn doubt_pools(&mut self) {
        let served = self.served.services.iter();
        let ids: BTreeSet<u32> = served
            .filter_map(|service| self.ids.service(&service.name))
            .collect();
        self.panicking.retain(|id| ids.contains(id));
        let doubtful = self.served.services.iter().filter_map(|service| {
            let id = self.ids.service(&service.name)?;
            let is_doubted = service.health.panic > 0 || self.panicking.contains(&id);
            is_doubted.then(|| (id, self.count(service, id)))
        });
        self.pools = doubtful.collect();
        for at in 0..self.served.services.len() {
            self.doubt(at);
        }
    }

    fn count(&self, service: &ServiceSpec, id: u32) -> panic::Pool {
        let counting = self.counting(service, id);
        panic::Pool::of(counting.filter_map(|(priority, key)| {
            let watched = self.watched.get(&key)?;
            Some((priority, look(&watched.case)))
        }))
    }

    /// Those of a pool who should serve, with their priorities.
    fn counting<'a>(
        &'a self,
        service: &'a ServiceSpec,
        id: u32,
    ) -> impl Iterator<Item = (u8, CheckKey)> + Clone + 'a {
        let counting = service.backends.iter().filter(|backend| counts(backend));
        counting.filter_map(move |backend| {
            let Granted { id, generation } = self.ids.backend(id, backend)?;
            Some((backend.priority, (id, generation)))
        })
    }

    /// Takes in that one of a pool looks otherwise than before.
    pub(super) fn recount(&mut self, key: CheckKey, before: Look, now: Look) {
        if before == now || self.pools.is_empty() {
            return;
        }
        let Some((at, place)) = self.place(key) else {
            return;
        };
        let service = &self.served.services[at];
        let backend = &service.backends[place];
        let pool = self
            .ids
            .service(&service.name)
            .and_then(|id| self.pools.get_mut(&id));
        if let Some(pool) = pool.filter(|_| counts(backend)) {
            pool.turned(backend.priority, before, now);
        }
    }

    /// Looks whether a pool fails beyond belief, or no longer does. Words follow at once, since there may be nobody else.
    pub(super) fn doubt(&mut self, at: usize) {
        let Some(service) = self.served.services.get(at) else {
            return;
        };
        let Some(id) = self.ids.service(&service.name) else {
            return;
        };
        let (percent, need) = (service.health.panic, service.need);
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let is_in = pool.panics(percent, need);
        if is_in == self.panicking.contains(&id) {
            return;
        }
        let keys: Vec<CheckKey> = self.counting(service, id).map(|(_, key)| key).collect();
        let name = &service.name;
        let reason = pool.told(percent);
        let (level, line, event) = if is_in {
            let line = format!("service {name} is in PANIC: {reason}: whoever has not refused is kept");
            self.panicking.insert(id);
            (Level::Error, line, What::Panic)
        } else {
            let line = format!("service {name} is out of panic: {reason}");
            self.panicking.remove(&id);
            (Level::Warn, line, What::Calm)
        };
        let news = News {
            event,
            service: Some(name),
            backend: None,
            check: None,
            reason,
        };
        self.untold.add(level, line, &news);
        keys.into_iter().for_each(|key| _ = self.write_word(key));
        self.wait_for_tables();
    }

    /// Lays over what is served what backends wish, and weights that still grow.
    pub(super) fn overlay(&mut self, now: Instant) {
        let differs = self.watched.values().any(|one| is_overlaid(one, now));
        if !differs && !self.overlaid {
            return;
        }
        let mut served = leaving::served(&self.setup, &self.leaving);
        for service in &mut served.services {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            for backend in &mut service.backends {
                let granted = self.ids.backend(id, backend);
                let watched = granted.and_then(|granted| self.watched(granted));
                if let Some(watched) = watched {
                    lay(watched, backend, now);
                }
            }
        }
        self.served = served;
        self.overlaid = differs;
    }

    /// A backend as it is served: with what it wishes, and the weight that it has by now.
    pub(in crate::control) fn as_served<'a>(
        &'a self,
        backend: &'a BackendSpec,
        granted: Granted,
    ) -> &'a BackendSpec {
        let served = self.watched(granted).and_then(|watched| {
            let (service, at) = watched.place;
            self.served.services.get(service)?.backends.get(at)
        });
        served.unwrap_or(backend)
    }

    /// Everybody whose checks are of interest, with their ids.
    pub(in crate::control) fn everybody(
        &self,
    ) -> impl Iterator<Item = (&crate::config::ServiceSpec, &BackendSpec, Granted)> {
        backends(&self.served.services, &self.ids)
    }
}

/// Whether a backend should serve, as far as people say.
fn counts(backend: &BackendSpec) -> bool {
    backend.admin == Admin::Ready && backend.weight > 0
}

fn is_overlaid(watched: &super::Watched, now: Instant) -> bool {
    let wish = watched.case.wish();
    watched.case.share(now) != 100 || wish.admin.is_some() || wish.max_connections.is_some()
}

/// What a backend has instead of what is set. Nobody wishes itself more traffic than its administrator allows.
fn lay(watched: &super::Watched, backend: &mut BackendSpec, now: Instant) {
    let wish = watched.case.wish();
    let share = watched.case.share(now);
    if share != 100 {
        let weight = u32::from(backend.weight) * share / 100;
        // Whoever still grows has some.
        let least = u32::from(backend.weight > 0 && share > 0);
        let weight = weight.clamp(least, u32::from(MAX_WEIGHT));
        backend.weight = u16::try_from(weight).unwrap_or(MAX_WEIGHT);
    }
    backend.max_connections = match (backend.max_connections, wish.max_connections) {
        // Without a limit of the administrator's, it is the agent's.
        (0, Some(wished)) => wished,
        (set, Some(wished)) if wished > 0 => set.min(wished),
        (set, _) => set,
    };
    backend.admin = match (backend.admin, wish.admin) {
        (Admin::Maintenance, _) | (_, Some(Admin::Maintenance)) => Admin::Maintenance,
        (Admin::Drain, _) | (_, Some(Admin::Drain)) => Admin::Drain,
        (Admin::Ready, Some(Admin::Ready) | None) => Admin::Ready,
    };
}
