//! The controller's ear: what the probes say of each backend.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use lb_common::backend::{BackendState, BackendWord};

use super::{Controller, Step, Watched};
use crate::{
    config::{CheckKind, CheckSpec},
    control::{
        clock,
        events::{News, What},
        ids::Granted,
        pool::Standing,
    },
    datapath::Datapath,
    health::{Case, Course, Health, Observation, ProbeError, Turn, Who},
};

/// A check belongs to one backend under one generation of its id, so that a late result is never another backend's.
pub type CheckKey = (u32, u32);

/// How long tables wait for more that changes them: words, which take a backend out or in, wait for nothing.
const TABLES_WAIT: Duration = Duration::from_millis(20);

/// A check to be made because somebody asks.
#[derive(Clone, Debug)]
pub struct Question {
    pub spec: CheckSpec,
    pub target: SocketAddr,
    pub who: Who,
    /// The VIP that is asked, by the data path; `None` where it goes straight to the target.
    pub asks: Option<SocketAddr>,
    pub course: Course,
}

impl<D: Datapath> Controller<D> {
    /// Waits for the next probe's result.
    pub async fn next_observation(&mut self) -> Option<Observation<CheckKey>> {
        self.observations.recv().await
    }

    /// Takes in a probe's result, and all that have come meanwhile. Words are written at once; [`catch_up`](Self::catch_up) follows.
    pub fn hear(&mut self, observation: &Observation<CheckKey>) {
        self.note(observation);
        self.note_waiting();
    }

    /// As [`hear`](Self::hear), with all that follows from it.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    #[cfg(test)]
    pub fn observe(&mut self, observation: &Observation<CheckKey>) -> Result<()> {
        self.hear(observation);
        match self.due {
            Some(_) => self.reconcile(),
            None => Ok(()),
        }
    }

    /// When something is due by time alone.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        [
            self.due,
            self.timers.next(),
            self.kept.due(),
            self.suffering.due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due: tables after words, and what time alone changes.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub fn catch_up(&mut self) -> Result<()> {
        let now = clock::now();
        for key in self.timers.over(now) {
            let turn = self.watched.get_mut(&key).and_then(|one| one.case.tick(now));
            match turn {
                Some(turn) => self.turned(key, &turn, None),
                // Its weight has grown.
                None => self.wait_for_tables(),
            }
            self.time(key, now);
        }
        self.keep_health(now);
        self.look_at_signs(now)?;
        if self.due.is_some_and(|due| due <= now) {
            return self.reconcile();
        }
        Ok(())
    }

    /// Takes in the results that are waiting; whether any turned a backend.
    pub(super) fn note_waiting(&mut self) -> bool {
        let mut turned = false;
        while let Ok(observation) = self.observations.try_recv() {
            turned |= self.note(&observation);
        }
        turned
    }

    /// Takes in one result; whether it turned its backend. The one store that takes a backend out or in is done here, before
    /// anything else; tables, if they change at all, have time.
    fn note(&mut self, observation: &Observation<CheckKey>) -> bool {
        let Observation {
            key,
            check,
            ref result,
            took,
            at,
        } = *observation;
        let Some(watched) = self.watched.get_mut(&key) else {
            return false;
        };
        let Some(spec) = watched.specs.get(check) else {
            return false;
        };
        if let Err(error) = result
            && error.is_ours()
        {
            watched.case.miss(check, error, at);
            self.tell_unprobed(key, check, Some(error));
            return false;
        }
        let was_unprobed = watched.case.checks()[check].unprobed().is_some();
        // What an agent of a backend does not say is not for want of a way to the backend.
        let silent = result.as_ref().is_err_and(ProbeError::is_silence)
            && !matches!(spec.kind, CheckKind::Agent { .. });
        // Where too many are suspected already, this one's next failure comes soon enough.
        let address = watched.targets[check].ip();
        watched.silent = silent && (watched.silent || self.outlets.suspects.try_send(address).is_ok());
        let kind = spec.kind.name();
        let wish = watched.case.wish().clone();
        let was_sure = watched.case.is_down_for_sure();
        let standing = |case: &Case| {
            let monitor = &case.checks()[check];
            (monitor.health(), monitor.streak())
        };
        let stood = standing(&watched.case);
        let turn = watched.case.observe(check, result, took, at);
        let monitor = &watched.case.checks()[check];
        watched
            .running
            .get(check)
            .into_iter()
            .flatten()
            .for_each(|one| one.hurry(monitor.is_changing()));
        let is_news = standing(&watched.case) != stood || turn.is_some();
        let wishes_anew = *watched.case.wish() != wish;
        let place = watched.place.0;
        let is_sure_now = watched.case.is_down_for_sure() != was_sure;
        if was_unprobed {
            self.tell_unprobed(key, check, None);
        }
        if let Some(turn) = &turn {
            self.turned(key, turn, Some((kind, at)));
        }
        if wishes_anew {
            self.wishes(key);
        }
        if turn.is_none() && is_sure_now {
            // In a panic it is kept now, or not any longer; and there may be one now.
            self.doubt(place);
            if self.write_word(key) {
                self.wait_for_tables();
            }
        }
        if is_news || wishes_anew {
            self.kept.touch(clock::now());
            self.time(key, clock::now());
        }
        turn.is_some()
    }

    /// Writes the word of a backend that has turned, and tells of it: by the result of which kind of check, and since when that was there.
    fn turned(&mut self, key: CheckKey, turn: &Turn, result: Option<(&str, Instant)>) {
        let is_written = self.write_word(key);
        if !is_written {
            // Its weight may grow from now on all the same.
            self.wait_for_tables();
        }
        if let (true, Health::Down, Some((_, at))) = (is_written, turn.health, result) {
            self.reaction.took(clock::now().saturating_duration_since(at));
        }
        let Some(watched) = self.watched.get(&key) else {
            return;
        };
        let Who { service, backend } = &watched.who;
        let reason = &turn.reason;
        match turn.health {
            Health::Down => log::warn!("backend {service}/{backend} is down: {reason}"),
            health => log::info!("backend {service}/{backend} is {}: {reason}", health.name()),
        }
        let tell = |event, reason: String| {
            let news = News {
                event,
                service: Some(service),
                backend: Some(backend),
                check: result.map(|(kind, _)| kind),
                reason,
            };
            self.journal.note(news, SystemTime::now());
        };
        let event = match turn.health {
            Health::Up => What::Up,
            Health::Down => What::Down,
            Health::Checking => What::Checking,
        };
        tell(event, reason.clone());
        if let Some((hold, failures)) = turn.held {
            let hold = humantime::format_duration(hold);
            let reason = format!("for {hold} at least: it has failed {failures} times within a short while");
            log::warn!("backend {service}/{backend} is held down {reason}");
            tell(What::Held, reason);
        }
        self.doubt(watched.place.0);
    }

    /// Tells that a check cannot be made, and for want of what, or that it can be again.
    fn tell_unprobed(&self, key: CheckKey, check: usize, error: Option<&ProbeError>) {
        let Some(watched) = self.watched.get(&key) else {
            return;
        };
        let Who { service, backend } = &watched.who;
        let kind = watched.specs[check].kind.name();
        let (event, reason) = match error {
            Some(error) => {
                let reason = format!("it stays as it is: {error}");
                log::warn!("backend {service}/{backend} cannot be probed by {kind}, {reason}");
                (What::Unprobed, reason)
            }
            None => {
                log::info!("backend {service}/{backend} is probed by {kind} again");
                (What::Probed, "its check can be made again".to_owned())
            }
        };
        let news = News {
            event,
            service: Some(service),
            backend: Some(backend),
            check: Some(kind),
            reason,
        };
        self.journal.note(news, SystemTime::now());
    }

    /// Takes in that a backend's agent wishes something else.
    fn wishes(&mut self, key: CheckKey) {
        let Some(watched) = self.watched.get(&key) else {
            return;
        };
        let Who { service, backend } = &watched.who;
        let wish = watched.case.wish().to_string();
        log::info!("backend {service}/{backend} wishes {wish}");
        let news = News {
            event: What::Wish,
            service: Some(service),
            backend: Some(backend),
            check: Some("agent"),
            reason: wish,
        };
        self.journal.note(news, SystemTime::now());
        self.wait_for_tables();
    }

    /// Makes the word of a backend what it should be: one store, if it is not that already. Tables follow where they depend on it.
    pub(super) fn write_word(&mut self, key: CheckKey) -> bool {
        let Some(place) = self.watched.get(&key).map(|watched| watched.place) else {
            return false;
        };
        let Some(service) = self.served.services.get(place.0) else {
            return false;
        };
        let Some(backend) = service.backends.get(place.1) else {
            return false;
        };
        let (id, generation) = key;
        let word = self.word(service, backend, Granted { id, generation });
        let before = self.applied.word(id, generation);
        if before == Some(word) {
            return false;
        }
        let was = before.map_or(BackendState::Free, BackendWord::state);
        let standing = Standing::of(backend, was);
        let footing = self
            .ids
            .service(&service.name)
            .and_then(|id| self.footings.get_mut(&id));
        if footing.is_none_or(|footing| footing.turned(standing, word.state())) {
            self.wait_for_tables();
        }
        self.turns(id, word);
        self.datapath.set_word(id, word);
        self.applied.took(Step::SetWord { id, word });
        true
    }

    pub(super) fn wait_for_tables(&mut self) {
        let soon = clock::now() + TABLES_WAIT;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Notes when time alone will change a backend.
    pub(super) fn time(&mut self, key: CheckKey, now: Instant) {
        let due = self.watched.get(&key).and_then(|watched| watched.case.due(now));
        self.timers.set(key, due);
    }

    /// Something speaks against a backend: it is probed at once, and judged by that.
    pub fn suspect(&mut self, key: CheckKey, reason: &str) {
        let Some(watched) = self.watched.get(&key) else {
            return;
        };
        if watched.case.health() != Health::Up {
            return;
        }
        watched.running.iter().flatten().for_each(|running| {
            running.now();
            running.hurry(true);
        });
        let Who { service, backend } = &watched.who;
        log::info!("backend {service}/{backend} is probed at once: {reason}");
        let news = News {
            event: What::Suspect,
            service: Some(service),
            backend: Some(backend),
            check: None,
            reason: reason.to_owned(),
        };
        self.journal.note(news, SystemTime::now());
    }

    /// Who is watched, by backend.
    pub(super) fn watched(&self, granted: Granted) -> Option<&Watched> {
        self.watched.get(&(granted.id, granted.generation))
    }

    /// What the probes see of a backend; `None` if it is not probed.
    pub(in crate::control) fn health(&self, granted: Granted) -> Option<Health> {
        self.watched(granted).map(|watched| watched.case.health())
    }

    /// The newest probe's words.
    pub(in crate::control) fn last_result(&self, granted: Granted) -> Option<String> {
        self.watched(granted)?.case.last_result()
    }
}
