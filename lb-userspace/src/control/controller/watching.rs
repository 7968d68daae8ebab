//! The controller's eye: which backends are probed, by which checks.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::backend::{BackendState, BackendWord};

use log::Level;

use super::{CheckKey, Controller, aim::Aim};
use crate::{
    config::{BackendSpec, CheckSpec, HealthSpec, Listeners, ServiceSpec},
    control::{clock, events::What},
    datapath::Datapath,
    health::{self, Case, Health, Job, Turn, Who, Wish},
};

/// What a backend wishes whose agent has taken its wish back, or is not asked any more.
pub(super) const NO_WISH: &str = "nothing any more";

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

impl Watched {
    /// The same backend with the checks that it has now: other ones begin anew, but with what is known of it.
    fn probed_by(mut self, specs: &[CheckSpec], targets: Vec<SocketAddr>, who: Who) -> Self {
        if self.specs == specs && self.targets == targets && self.who == who {
            return self;
        }
        self.case.check_by(&self.specs, specs);
        Self {
            specs: specs.to_vec(),
            targets,
            aims: vec![Aim::Unknown; specs.len()],
            who,
            running: specs.iter().map(|_| None).collect(),
            ..self
        }
    }
}

impl<D: Datapath> Controller<D> {
    /// Starts and ends checks, so that each backend of a checked service has its own. Only what is set up, who leaves and ways make a
    /// difference to that: nothing is done where none has changed. Who turns by what is set now.
    pub(super) fn watch(&mut self) -> Vec<(CheckKey, Turn)> {
        let mut turns = Vec::new();
        if !std::mem::take(&mut self.unwatched) {
            return turns;
        }
        let now = clock::now();
        let mut before = std::mem::take(&mut self.watched);
        let mut watched = BTreeMap::new();
        let (mut aimed, mut left_alone, mut wished) = (Vec::new(), Vec::new(), Vec::new());
        let listeners = Listeners::of(&self.served.services);
        for (at, service) in self.served.services.iter().enumerate() {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            let asked = service.checks.iter().map(|check| listeners.asked(service, check));
            let asked: Vec<_> = asked.collect();
            for (place, backend) in service.backends.iter().enumerate() {
                let Some(granted) = self.ids.backend(id, backend) else {
                    continue;
                };
                if service.checks.is_empty() {
                    left_alone.extend(before.remove(&(granted.id, granted.generation)));
                    continue;
                }
                let target = |check| service.check_target(check, backend);
                let targets: Option<Vec<_>> = service.checks.iter().map(target).collect();
                let Some(targets) = targets else { continue };
                let key = (granted.id, granted.generation);
                let who = Who {
                    service: service.name.clone(),
                    backend: backend.name.clone(),
                };
                let mut one = match before.remove(&key) {
                    Some(one) => {
                        let wish = one.case.wish().clone();
                        let one = one.probed_by(&service.checks, targets, who);
                        wished.extend((*one.case.wish() != wish).then_some(key));
                        one
                    }
                    None => self.begin(key, &service.checks, service.health, targets, who),
                };
                turns.extend(one.case.judge_by(service.health, now).map(|turn| (key, turn)));
                one.place = (at, place);
                self.aim(&mut one, key, (service, backend), &asked, &listeners);
                aimed.extend(one.running.iter().any(Option::is_none).then_some(key));
                watched.insert(key, one);
            }
        }
        (self.watched, self.aimed) = (watched, aimed);
        left_alone.iter().for_each(|one| self.leave_alone(one));
        wished.into_iter().for_each(|key| self.wishes(key));
        self.timers.retain(|key| self.watched.contains_key(key));
        self.waiting.clear();
        // Of those that have just begun, and by rules that may be others.
        let keys: Vec<_> = self.watched.keys().copied().collect();
        keys.into_iter().for_each(|key| self.time(key, now));
        let services = &self.served.services;
        let followed = self.watched.iter().filter_map(|(key, one)| {
            let service = services.get(one.place.0)?;
            let backend = service.backends.get(one.place.1)?;
            // Errors about tunnels to its host are not about packets that another mode sends there.
            let tunnel = service.mode.forward().encapsulates().then_some(backend.address);
            Some((*key, tunnel, service.health.passive.limits()))
        });
        self.suffering.follow(followed, now);
        turns
    }

    /// Tells of a backend that has no check any more what was known of it by those that it had.
    fn leave_alone(&mut self, one: &Watched) {
        let mut tell = |news, reason: &str| {
            self.untold
                .of_backend(Level::Info, &one.who, news, None, reason.to_owned());
        };
        if one.case.health() != Health::Up {
            tell((What::Up, "is up:"), "it has no check any more");
        }
        if *one.case.wish() != Wish::default() {
            tell((What::Wish, "wishes"), NO_WISH);
        }
    }

    /// Where a backend is in what is served: in the middle of a change it may be another one that is there.
    pub(super) fn place(&self, key: CheckKey) -> Option<(usize, usize)> {
        let (at, place) = self.watched.get(&key)?.place;
        let service = self.served.services.get(at)?;
        let backend = service.backends.get(place)?;
        let granted = self.ids.backend(self.ids.service(&service.name)?, backend)?;
        ((granted.id, granted.generation) == key).then_some((at, place))
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
        let state = self.applied.word(key.0, key.1).map(BackendWord::state);
        let (initial, remembered) = match state {
            Some(BackendState::Free) | None => (Health::Checking, None),
            Some(state) => {
                let is_down = state == BackendState::Down;
                let initial = if is_down { Health::Down } else { Health::Up };
                (initial, self.kept.case(&who, specs, rules, state))
            }
        };
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

    /// Aims the checks of a backend, of which `asked` says what they ask by the data path. Those that have another aim than before are ended.
    fn aim(
        &self,
        watched: &mut Watched,
        key: CheckKey,
        (service, backend): (&ServiceSpec, &BackendSpec),
        asked: &[Option<Result<SocketAddr, String>>],
        listeners: &Listeners<'_>,
    ) {
        for (check, asked) in asked.iter().enumerate() {
            let asked = asked.as_ref();
            let aim = self.aim_of(key, service, backend, asked, listeners);
            if watched.aims[check].gives_way_to(&aim, asked) {
                (watched.aims[check], watched.running[check]) = (aim, None);
            }
        }
    }

    /// Starts the checks that have an aim and do not run, each as the next of all runs: the results of those whose place they take may
    /// still be on their way. To be called when the data plane is what is served: before that, what they ask may be another service's.
    pub(super) fn start_checks(&mut self) {
        for key in std::mem::take(&mut self.aimed) {
            let Some(watched) = self.watched.get_mut(&key) else {
                continue;
            };
            for check in 0..watched.specs.len() {
                if watched.running[check].is_some() || matches!(watched.aims[check], Aim::Unknown) {
                    continue;
                }
                let job = Job {
                    key,
                    check,
                    run: self.runs,
                    spec: watched.specs[check].clone(),
                    target: watched.targets[check],
                    who: watched.who.clone(),
                    course: watched.aims[check].course(),
                    stalls: self.stalls.clone(),
                };
                let running = health::spawn(job, self.outlets.observations.clone());
                running.hurry(watched.case.checks()[check].is_changing());
                self.runs += 1;
                watched.running[check] = Some(running);
            }
        }
    }

    /// Watches for standstills of this host, until the task is ended.
    #[must_use]
    pub fn watch_time(&self) -> tokio::task::JoinHandle<()> {
        self.stalls.watch()
    }
}
