//! What the controller does not take the probes' word for, and what backends have instead of what is set: pools in panic, weights that
//! grow, wishes.

use std::{
    collections::BTreeSet,
    time::{Instant, SystemTime},
};

use super::{CheckKey, Controller, backends};
use crate::{
    config::{Admin, BackendSpec, MAX_WEIGHT},
    control::{
        events::{News, What},
        ids::Granted,
        leaving, panic,
    },
    datapath::Datapath,
    health::Health,
};

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

    /// Looks at all pools anew.
    pub(super) fn doubt_pools(&mut self) {
        let served = self.served.services.iter();
        let ids: BTreeSet<u32> = served
            .filter_map(|service| self.ids.service(&service.name))
            .collect();
        self.panicking.retain(|id| ids.contains(id));
        for at in 0..self.served.services.len() {
            self.doubt(at);
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
        if percent == 0 && !self.panicking.contains(&id) {
            return;
        }
        let ready = service
            .backends
            .iter()
            .filter(|backend| backend.admin == Admin::Ready && backend.weight > 0);
        let placed: Vec<(u8, CheckKey)> = ready
            .filter_map(|backend| Some((backend.priority, self.ids.backend(id, backend)?)))
            .map(|(priority, granted)| (priority, (granted.id, granted.generation)))
            .collect();
        let states = placed.iter().filter_map(|(priority, key)| {
            let case = &self.watched.get(key)?.case;
            Some((*priority, case.health(), case.is_down_for_sure()))
        });
        let pool = panic::Pool::of(states);
        let is_in = pool.panics(percent, need);
        let keys = placed.into_iter().map(|(_, key)| key);
        if is_in == self.panicking.contains(&id) {
            if is_in {
                keys.for_each(|key| _ = self.write_word(key));
            }
            return;
        }
        let name = service.name.clone();
        let reason = pool.told(percent);
        let event = if is_in {
            log::error!("service {name} is in PANIC: {reason}: whoever has not refused is kept");
            self.panicking.insert(id);
            What::Panic
        } else {
            log::warn!("service {name} is out of panic: {reason}");
            self.panicking.remove(&id);
            What::Calm
        };
        let news = News {
            event,
            service: Some(&name),
            backend: None,
            check: None,
            reason,
        };
        self.journal.note(news, SystemTime::now());
        keys.for_each(|key| _ = self.write_word(key));
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
