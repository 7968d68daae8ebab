//! Whom the controller lets up before its time: a backend that is held down, when nobody else of its pool is up.

use std::{collections::BTreeSet, time::Instant};

use super::{CheckKey, Controller, doubt::look};
use crate::{
    control::{clock, footing::Footing, ids::Granted},
    datapath::Datapath,
};

/// Backends that would be up if they were not held down, by the places of their services.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeSet<(usize, CheckKey)>);

impl Waiting {
    /// Notes whether a backend is one of them.
    pub(super) fn note(&mut self, service: usize, key: CheckKey, waits: bool) {
        if waits {
            self.0.insert((service, key));
        } else {
            self.0.remove(&(service, key));
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Those of a service.
    fn of(&self, service: usize) -> Vec<CheckKey> {
        let range = (service, (0, 0))..(service + 1, (0, 0));
        self.0.range(range).map(|(_, key)| *key).collect()
    }

    /// Services that have any.
    fn services(&self) -> BTreeSet<usize> {
        self.0.iter().map(|(service, _)| *service).collect()
    }
}

impl<D: Datapath> Controller<D> {
    /// Lets backends up, of every service.
    pub(super) fn release_all(&mut self) {
        for service in self.waiting.services() {
            self.release(service);
        }
    }

    /// Lets backends of a service up while nobody else is: whoever may fail again is better than nobody. The first is the one whose
    /// time is over first. Who would not serve even then stays held.
    pub(super) fn release(&mut self, service: usize) {
        let mut waiting = self.waiting.of(service);
        waiting.retain(|key| self.would_help(*key));
        if waiting.is_empty() {
            return;
        }
        let now = clock::now();
        let until = |key: &CheckKey| self.watched.get(key)?.case.waits_until(now);
        waiting.sort_by_key(until);
        for key in waiting {
            if self.has_usable(service) {
                return;
            }
            self.let_up(key, now);
        }
    }

    fn would_help(&self, key: CheckKey) -> bool {
        self.place(key).is_some_and(|(at, place)| {
            let service = &self.served.services[at];
            let granted = Granted {
                id: key.0,
                generation: key.1,
            };
            self.would_serve(service, &service.backends[place], granted)
        })
    }

    fn let_up(&mut self, key: CheckKey, now: Instant) {
        let Some(watched) = self.watched.get_mut(&key) else {
            return;
        };
        let looked = look(&watched.case);
        let turn = watched.case.release("nobody else of its pool is up", now);
        let looks = look(&watched.case);
        self.recount(key, looked, looks);
        if let Some(turn) = turn {
            self.turned(key, &turn, None);
        }
        self.time(key, now);
    }

    /// Whether any backend of a service takes new flows.
    fn has_usable(&self, service: usize) -> bool {
        let service = self.served.services.get(service);
        let id = service.and_then(|service| self.ids.service(&service.name));
        let footing = id.and_then(|id| self.footings.get(&id));
        // What is not known yet is looked at when it is.
        footing.is_none_or(Footing::has_usable)
    }
}
