//! The controller's eye: which backends are probed, by which checks.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::backend::{BackendState, BackendWord};

use super::{CheckKey, Controller, aim::Aim};
use crate::{
    config::{BackendSpec, CheckSpec, HealthSpec, ServiceSpec},
    control::clock,
    datapath::Datapath,
    health::{self, Case, Health, Job, Who},
};

/// A backend under observation.
pub(super) struct Watched {
    pub(super) case: Case,
    pub(super) specs: Vec<CheckSpec>,
    pub(super) targets: Vec<SocketAddr>,
    pub(super) aims: Vec<Aim>,
    pub(super) who: Who,
    /// Its service and itself, by their places in what is served.
    pub(super) place: (usize, usize),
    /// Its last probe got no answer at all, and the way there has been looked at since.
    pub(super) silent: bool,
    /// Those that have an aim.
    pub(super) running: Vec<Option<health::Handle>>,
}

impl<D: Datapath> Controller<D> {
    /// Starts and ends checks, so that each backend of a checked service has its own.
    pub(super) fn watch(&mut self) {
        let mut before = std::mem::take(&mut self.watched);
        let mut watched = BTreeMap::new();
        for (at, service) in self.served.services.iter().enumerate() {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            if service.checks.is_empty() {
                continue;
            }
            for (place, backend) in service.backends.iter().enumerate() {
                let Some(granted) = self.ids.backend(id, backend) else {
                    continue;
                };
                let target = |check| service.check_target(check, backend);
                let targets: Option<Vec<_>> = service.checks.iter().map(target).collect();
                let Some(targets) = targets else { continue };
                let key = (granted.id, granted.generation);
                let who = Who {
                    service: service.name.clone(),
                    backend: backend.name.clone(),
                };
                let is_the_same =
                    |one: &Watched| one.specs == service.checks && one.targets == targets && one.who == who;
                let running = before.remove(&key).filter(is_the_same);
                let mut one =
                    running.unwrap_or_else(|| self.begin(key, &service.checks, service.health, targets, who));
                one.case.judge_by(service.health);
                one.place = (at, place);
                self.aim(&mut one, key, service, backend);
                watched.insert(key, one);
            }
        }
        self.watched = watched;
        self.timers.retain(|key| self.watched.contains_key(key));
        // Of those that have just begun, and by rules that may be others.
        let now = clock::now();
        let keys: Vec<_> = self.watched.keys().copied().collect();
        keys.into_iter().for_each(|key| self.time(key, now));
        let services = &self.served.services;
        let followed = self.watched.iter().filter_map(|(key, one)| {
            let service = services.get(one.place.0)?;
            let backend = service.backends.get(one.place.1)?;
            Some((*key, backend.address, service.health.passive.limits()))
        });
        self.suffering.follow(followed, clock::now());
    }

    /// Starts the checks of a backend from what is known of it.
    fn begin(
        &self,
        key: CheckKey,
        specs: &[CheckSpec],
        rules: HealthSpec,
        targets: Vec<SocketAddr>,
        who: Who,
    ) -> Watched {
        let initial = match self.applied.word(key.0, key.1).map(BackendWord::state) {
            Some(BackendState::Up | BackendState::Drain) => Health::Up,
            Some(BackendState::Down) => Health::Down,
            Some(BackendState::Free) | None => Health::Checking,
        };
        let remembered = self.kept.case(&who, specs, rules, initial);
        Watched {
            case: remembered.unwrap_or_else(|| Case::new(initial, specs, rules)),
            specs: specs.to_vec(),
            targets,
            aims: vec![Aim::Unknown; specs.len()],
            who,
            place: (0, 0),
            silent: false,
            running: specs.iter().map(|_| None).collect(),
        }
    }

    /// Starts the checks of a backend that have another aim than before.
    fn aim(&self, watched: &mut Watched, key: CheckKey, service: &ServiceSpec, backend: &BackendSpec) {
        for check in 0..watched.specs.len() {
            let aim = self.aim_of(key, service, backend, &watched.specs[check]);
            if !watched.aims[check].gives_way_to(&aim) {
                continue;
            }
            let job = Job {
                key,
                check,
                spec: watched.specs[check].clone(),
                target: watched.targets[check],
                who: watched.who.clone(),
                course: aim.course(),
                stalls: self.stalls.clone(),
            };
            let running = health::spawn(job, self.outlets.observations.clone());
            running.hurry(watched.case.checks()[check].is_changing());
            watched.running[check] = Some(running);
            watched.aims[check] = aim;
        }
    }

    /// Watches for standstills of this host, until the task is ended.
    #[must_use]
    pub fn watch_time(&self) -> tokio::task::JoinHandle<()> {
        self.stalls.watch()
    }
}
