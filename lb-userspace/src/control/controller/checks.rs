//! The controller's ear: what the probes say of each backend.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Result;
use lb_common::backend::{BackendState, BackendWord};
use log::Level;

use super::{Controller, Step, Watched, doubt::look, watching::NO_WISH};
use crate::{
    config::{CheckKind, CheckSpec},
    control::{
        clock,
        events::{News, What},
        ids::Granted,
        pool::Standing,
        precedence::give_way_for,
    },
    datapath::Datapath,
    health::{Case, Course, Health, Observation, ProbeError, Turn, Who, Wish},
};

/// A check belongs to one backend under one generation of its id, so that a late result is never another backend's.
pub type CheckKey = (u32, u32);

/// How long tables wait for more that changes them: words, which take a backend out or in, wait for nothing.
const TABLES_WAIT: Duration = Duration::from_millis(20);

/// How long it takes to hear a failure.
const RESULT: Duration = Duration::from_micros(10);
/// How long it takes to see what time alone has changed of one backend.
const TICK: Duration = Duration::from_micros(5);

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
    /// Waits until probes have found what may change anything.
    pub async fn news(&self) {
        self.observations.news().await;
    }

    /// Takes in the results that are waiting; whether any turned a backend. Words are written at once, and only then is told what has
    /// happened; [`catch_up`](Self::catch_up) follows.
    pub fn hear(&mut self) -> bool {
        let (mut turned, mut others_first) = (false, None);
        for heard in 1.. {
            let Some(observation) = self.observations.try_next() else {
                break;
            };
            others_first = others_first.or_else(|| give_way_for(heard, RESULT));
            turned |= self.note(&observation);
        }
        drop(others_first);
        self.tell();
        turned
    }

    /// Takes in a result of the check that runs now, and does all that follows from it.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    #[cfg(test)]
    pub fn observe(&mut self, observation: &Observation<CheckKey>) -> Result<()> {
        self.note(&self.of_now(observation));
        self.hear();
        self.fill_tables()
    }

    /// The same as a result of the check that runs now.
    #[cfg(test)]
    pub(in crate::control) fn of_now(&self, observation: &Observation<CheckKey>) -> Observation<CheckKey> {
        let watched = self.watched.get(&observation.key);
        let running = watched.and_then(|one| one.running.get(observation.check)?.as_ref());
        Observation {
            run: running.map_or(observation.run, crate::health::Handle::run),
            ..observation.clone()
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
        let over = self.timers.over(now);
        let others_first = give_way_for(over.len(), TICK);
        over.into_iter().for_each(|key| self.tick(key, now));
        drop(others_first);
        self.tell();
        self.keep_health(now);
        self.look_at_signs(now)?;
        if self.due.is_some_and(|due| due <= now) {
            return self.reconcile();
        }
        Ok(())
    }

    /// Makes tables follow words now, for whoever is about to be told of both: who is said to be up has slots.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub fn fill_tables(&mut self) -> Result<()> {
        match self.due {
            Some(_) => self.reconcile(),
            None => Ok(()),
        }
    }

    /// Takes in what time alone has changed of a backend.
    fn tick(&mut self, key: CheckKey, now: Instant) {
        let Some(watched) = self.watched.get_mut(&key) else {
            return self.timers.set(key, None);
        };
        let looked = look(&watched.case);
        let turn = watched.case.tick(now);
        let looks = look(&watched.case);
        self.recount(key, looked, looks);
        match turn {
            Some(turn) => self.turned(key, &turn, None),
            // Its weight has grown.
            None => self.wait_for_tables(),
        }
        self.time(key, now);
    }

    /// Takes in one result; whether it turned its backend. The one store that takes a backend out or in is done here, before
    /// anything else; tables, if they change at all, have time.
    fn note(&mut self, observation: &Observation<CheckKey>) -> bool {
        let Observation {
            key,
            check,
            run,
            ref result,
            took,
            at,
        } = *observation;
        let Some(watched) = self.watched.get_mut(&key) else {
            return false;
        };
        let (Some(spec), Some(Some(running))) = (watched.specs.get(check), watched.running.get(check)) else {
            return false;
        };
        // By other settings, or another way, the backend may not have been asked the same.
        if running.run() != run {
            return false;
        }
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
        let has_wish = result.as_ref().is_ok_and(|answer| answer.wish.is_some());
        let wish = has_wish.then(|| watched.case.wish().clone());
        let looked = look(&watched.case);
        let standing = |case: &Case| {
            let monitor = &case.checks()[check];
            (monitor.health(), monitor.streak())
        };
        let stood = standing(&watched.case);
        let turn = watched.case.observe(check, result, took, at);
        running.follow(&watched.case.checks()[check]);
        let is_news = standing(&watched.case) != stood || turn.is_some();
        let wishes_anew = wish.is_some_and(|wish| *watched.case.wish() != wish);
        let place = watched.place.0;
        let looks = look(&watched.case);
        self.recount(key, looked, looks);
        if was_unprobed {
            self.tell_unprobed(key, check, None);
        }
        if let Some(turn) = &turn {
            self.turned(key, turn, Some((kind, at)));
        }
        if wishes_anew {
            self.wishes(key);
        }
        if turn.is_none() && looks != looked {
            // In a panic it is kept now, or not any longer; and there may be one now.
            self.doubt(place);
            if self.write_word(key) {
                self.wait_for_tables();
            }
        }
        if is_news || wishes_anew {
            let now = clock::now();
            self.kept.touch(key, now);
            self.time(key, now);
            self.release(place);
        }
        turn.is_some()
    }

    /// Writes the word of a backend that has turned, and tells of it: by the result of which kind of check, and since when that was there.
    pub(super) fn turned(&mut self, key: CheckKey, turn: &Turn, result: Option<(&str, Instant)>) {
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
        let untold = &mut self.untold;
        let mut tell = |level, news, reason: &str| {
            let check = result.map(|(kind, _)| kind);
            untold.of_backend(level, &watched.who, news, check, reason.to_owned());
        };
        let reason = turn.reason.as_str();
        match turn.health {
            Health::Up => tell(Level::Info, (What::Up, "is up:"), reason),
            Health::Down => tell(Level::Warn, (What::Down, "is down:"), reason),
            Health::Checking => tell(Level::Info, (What::Checking, "is checking:"), reason),
        }
        if let Some((hold, failures)) = turn.held {
            let hold = humantime::format_duration(hold);
            let reason = format!("for {hold} at least: it has failed {failures} times within a short while");
            tell(Level::Warn, (What::Held, "is held down"), &reason);
        }
        self.doubt(watched.place.0);
    }

    /// Tells that a check cannot be made, and for want of what, or that it can be again.
    fn tell_unprobed(&mut self, key: CheckKey, check: usize, error: Option<&ProbeError>) {
        let Some(watched) = self.watched.get(&key) else {
            return;
        };
        let Who { service, backend } = &watched.who;
        let kind = watched.specs[check].kind.name();
        let (event, level, reason, said) = match error {
            Some(error) => {
                let reason = format!("it stays as it is: {error}");
                let said = format!("cannot be probed by {kind}, {reason}");
                (What::Unprobed, Level::Warn, reason, said)
            }
            None => {
                let reason = "its check can be made again".to_owned();
                (
                    What::Probed,
                    Level::Info,
                    reason,
                    format!("is probed by {kind} again"),
                )
            }
        };
        let news = News {
            event,
            service: Some(service),
            backend: Some(backend),
            check: Some(kind),
            reason,
        };
        self.untold
            .add(level, format!("backend {service}/{backend} {said}"), &news);
    }

    /// Takes in that a backend's agent wishes something else.
    pub(super) fn wishes(&mut self, key: CheckKey) {
        let Some(watched) = self.watched.get(&key) else {
            return;
        };
        let wish = match watched.case.wish() {
            wish if *wish == Wish::default() => NO_WISH.to_owned(),
            wish => wish.to_string(),
        };
        let news = (What::Wish, "wishes");
        self.untold
            .of_backend(Level::Info, &watched.who, news, Some("agent"), wish);
        self.wait_for_tables();
    }

    /// Makes the word of a backend what it should be: one store, if it is not that already. Tables follow where they depend on it.
    pub(super) fn write_word(&mut self, key: CheckKey) -> bool {
        let Some((at, place)) = self.place(key) else {
            return false;
        };
        let service = &self.served.services[at];
        let backend = &service.backends[place];
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

    /// Notes when time alone will change a backend, and whether that is its only way up.
    pub(super) fn time(&mut self, key: CheckKey, now: Instant) {
        let watched = self.watched.get(&key);
        self.timers.set(key, watched.and_then(|one| one.case.due(now)));
        if let Some(one) = watched {
            let waits = one.case.waits_until(now).is_some();
            self.waiting.note(one.place.0, key, waits);
        }
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
