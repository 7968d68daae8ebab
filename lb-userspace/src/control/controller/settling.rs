//! The controller's patience: slots settle as time passes and as censuses find nobody elsewhere, counters are put right, and backends
//! that are leaving go.

use std::{collections::BTreeSet, time::Instant};

use anyhow::Result;
use lb_common::{
    backend::{BackendState, BackendWord},
    service::service_flags,
};

use super::{CheckKey, Controller, Step, backends, pools};
use crate::{
    config::{Admin, Udp},
    control::{
        clock, leaving,
        loads::Counter,
        service_entry,
        settle::{Elsewhere, Settling},
    },
    datapath::{
        Datapath,
        sweep::Census,
        written_table::{Lifetime, Places},
    },
};

impl<D: Datapath> Controller<D> {
    /// Takes in how many flows there are, and lets go of what that allows.
    ///
    /// # Errors
    /// When the data plane cannot be read or written.
    pub fn counted(&mut self, census: Census) -> Result<()> {
        self.correct(&census);
        self.count_unanswered(&census);
        for key in self.drains.keys() {
            self.drains.counted(key, census.of_backend(key.0), census.began);
        }
        self.unsettled |= self.has_left();
        self.let_ports_go(clock::now());
        let done = self.settle_by_census(&census);
        self.census = census;
        done
    }

    /// Makes the data plane what it should be, if it is not: after new ways, when an earlier attempt has failed, or because time has
    /// passed.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub fn settle(&mut self) -> Result<()> {
        let now = clock::now();
        if self.unsettled || self.is_due(now) {
            self.reconcile()?;
        }
        self.settle_by_time(now)
    }

    /// Follows what begins and ends with time: drains, and homes of before.
    pub(super) fn follow(&mut self, now: Instant) {
        let drains = backends(&self.served.services, &self.ids)
            .filter(|(_, backend, _)| backend.admin == Admin::Drain)
            .map(|(_, _, granted)| (granted.id, granted.generation));
        self.drains.follow(drains, now);
        let mut before = std::mem::take(&mut self.homes);
        for service in &self.served.services {
            let id = self.ids.service(&service.name);
            let Some((id, entry)) = id.and_then(|id| Some((id, self.applied.service(id)?))) else {
                continue;
            };
            if pools::other_home(service, &entry).is_some() {
                self.homes.insert(id, before.remove(&id).unwrap_or(now));
            }
        }
    }

    /// How long entries of written flows last, by service.
    pub(super) fn publish_lifetimes(&self) {
        let lifetimes = self.served.services.iter().filter_map(|service| {
            let id = self.ids.service(&service.name)?;
            let client = service.affinity.map_or(0, |affinity| affinity.timeout.as_nanos());
            let lifetime = Lifetime {
                only_udp: service_entry::is_only_udp(service),
                client: u64::try_from(client).unwrap_or(u64::MAX),
            };
            Some((id, lifetime))
        });
        let lifetimes = lifetimes.collect();
        self.outlets.lifetimes.send_if_modified(|known| {
            let changed = *known != lifetimes;
            *known = lifetimes;
            changed
        });
    }

    /// Takes in a new word, before it is stored.
    pub(super) fn turns(&mut self, id: u32, word: BackendWord) {
        let is_scattered = word.is_scattered();
        let key = (id, word.generation());
        let before = self.applied.word(key.0, key.1);
        if before.map(BackendWord::state) != Some(word.state()) && self.watched.contains_key(&key) {
            self.kept.touch(key, clock::now());
        }
        if !is_scattered {
            self.turned.remove(&id);
        } else if before.map(BackendWord::state) != Some(word.state()) {
            self.turned.insert(id, (clock::now(), false));
        }
    }

    /// Nobody's flows belong to a backend before any more.
    pub(super) fn forget(&mut self, service: u32, backend: u32) -> Result<()> {
        let mut table = self.datapath.table(service)?;
        let stores = Settling::by_end_of(&table, backend, self.homes.contains_key(&service));
        if stores.is_empty() {
            return Ok(());
        }
        self.datapath.store_slots(service, &stores)?;
        table.store(&stores);
        if let Some(settling) = self.settling.get_mut(&service) {
            settling.let_go(&table, clock::now());
        }
        Ok(())
    }

    /// Whether something is to end at `now`, or already has.
    fn is_due(&self, now: Instant) -> bool {
        let home_ends = |since: &Instant| now >= *since + self.times.settle;
        self.homes.values().any(home_ends)
            || self.served.services.iter().any(|service| {
                let mut draining = service.backends.iter().filter(|one| one.admin == Admin::Drain);
                draining.any(|backend| {
                    let id = self.ids.service(&service.name);
                    let granted = id.and_then(|id| self.ids.backend(id, backend));
                    granted.is_some_and(|granted| {
                        let key = (granted.id, granted.generation);
                        let is_over = |now| self.drains.is_over(key, service.drain_timeout, now);
                        is_over(now) && !is_over(self.decided)
                    })
                })
            })
    }

    /// Whether a backend that is leaving may go.
    fn has_left(&self) -> bool {
        let leaving = self.leaving.iter();
        leaving.clone().any(|one| self.is_gone(one))
    }

    /// Lets those go who have left.
    pub(super) fn let_leave(&mut self) {
        let gone: Vec<bool> = self.leaving.iter().map(|one| self.is_gone(one)).collect();
        if !gone.contains(&true) {
            return;
        }
        let mut gone = gone.into_iter();
        self.leaving.retain(|one| {
            let goes = gone.next().unwrap_or(false);
            if goes {
                log::info!("backend {}/{} is gone", one.service, one.backend.name);
            }
            !goes
        });
        self.unwatched = true;
        self.served = leaving::served(&self.setup, &self.leaving);
    }

    /// Whether the flows of a backend that is leaving are gone, or its time is over.
    fn is_gone(&self, one: &leaving::Leaving) -> bool {
        let mut services = self.served.services.iter();
        let Some(service) = services.find(|service| service.name == one.service) else {
            return true;
        };
        let id = self.ids.service(&service.name);
        let Some(granted) = id.and_then(|id| self.ids.backend(id, &one.backend)) else {
            return true;
        };
        let key: CheckKey = (granted.id, granted.generation);
        let are_known = service.mode.forward().translates() || service_entry::is_tracked(service);
        // Elsewhere datagrams that move have moved already, but TCP flows are not known.
        let has_none = service_entry::is_only_udp(service) && service.udp == Udp::Move;
        self.drains.is_over(key, service.drain_timeout, self.decided)
            || are_known && self.drains.is_empty(key)
            || has_none && self.drains.end(key, service.drain_timeout).is_some()
    }

    /// Puts the counters of active flows right.
    fn correct(&mut self, census: &Census) {
        let drift = |(before, after), found| Counter { before, after }.drift(found);
        self.drift.clear();
        for service in &self.served.services {
            let id = self.ids.service(&service.name);
            let Some(id) = id.filter(|&id| self.has_flag(id, service_flags::TRACKED)) else {
                continue;
            };
            let off = drift(census.service_loads.of(id), census.active_of_service(id));
            if off != 0 {
                self.datapath.add_service_load(id, off);
            }
            for backend in &service.backends {
                let Some(granted) = self.ids.backend(id, backend) else {
                    continue;
                };
                let found = census.active_of_backend(granted.id);
                let off = drift(census.backend_loads.of(granted.id), found);
                if off != 0 {
                    self.datapath.add_backend_load(granted.id, off);
                }
                self.drift.insert(granted.id, off);
            }
        }
    }

    fn has_flag(&self, service: u32, flag: u16) -> bool {
        let entry = self.applied.service(service);
        entry.is_some_and(|entry| entry.flags & flag != 0)
    }

    /// Slots let go of what time has made void.
    fn settle_by_time(&mut self, now: Instant) -> Result<()> {
        for (&service, settling) in &mut self.settling {
            if !settling.is_due(now, self.times) {
                continue;
            }
            let mut table = self.datapath.table(service)?;
            let stores = settling.by_time(&table, now, self.times);
            self.datapath.store_slots(service, &stores)?;
            table.store(&stores);
            settling.stored(&table, now);
        }
        Ok(())
    }

    /// Slots and words let go of flows elsewhere, where there are none.
    fn settle_by_census(&mut self, census: &Census) -> Result<()> {
        let mut untidy = BTreeSet::new();
        let scattered: BTreeSet<u32> = self
            .turned
            .keys()
            .filter_map(|id| Some(self.applied.backends.get(id)?.0.service))
            .collect();
        let nowhere = Places::default();
        let services: Vec<u32> = self.settling.keys().copied().collect();
        for service in services {
            let Some(settling) = self.settling.get_mut(&service) else {
                continue;
            };
            if settling.is_over() && !scattered.contains(&service) {
                continue;
            }
            let places = census.written.places.get(&service).unwrap_or(&nowhere);
            let is_tracked = self
                .applied
                .service(service)
                .is_none_or(|entry| entry.flags & service_flags::TRACKED != 0);
            let keeps_slots = settling.is_over() || is_tracked;
            if keeps_slots && places.is_empty() {
                // Nobody is elsewhere: a large table takes milliseconds to read, in which no result is heard.
                continue;
            }
            let mut table = self.datapath.table(service)?;
            let mut found = Elsewhere::of(&table, places);
            untidy.append(&mut found.owners);
            if keeps_slots {
                continue;
            }
            let stores = settling.by_census(&table, &found, census.began);
            if !stores.is_empty() {
                self.datapath.store_slots(service, &stores)?;
                table.store(&stores);
                settling.stored(&table, clock::now());
            }
        }
        self.tidy(&untidy, census.began);
        Ok(())
    }

    /// Backends that are up again are scattered no more once two censuses in a row have found nobody elsewhere on their slots.
    fn tidy(&mut self, untidy: &BTreeSet<u32>, began: Instant) {
        let mut tidy = Vec::new();
        for (&id, (since, was_tidy)) in &mut self.turned {
            let word = self.applied.backends.get(&id).map(|&(_, word)| BackendWord(word));
            let Some(word) = word.filter(|word| word.state() == BackendState::Up && began >= *since) else {
                continue;
            };
            let is_tidy = !untidy.contains(&id);
            if is_tidy && *was_tidy {
                tidy.push((id, word.scattered(false)));
            }
            *was_tidy = is_tidy;
        }
        for (id, word) in tidy {
            self.turned.remove(&id);
            self.datapath.set_word(id, word);
            self.applied.took(Step::SetWord { id, word });
        }
    }
}
