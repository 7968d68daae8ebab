//! What the controller remembers of checks over a restart: counts, holds and wishes, in the state directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_common::backend::BackendState;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{CheckKey, Controller};
use crate::{
    config::{CheckSpec, HealthSpec},
    control::{clock, precedence::give_way_for},
    datapath::Datapath,
    health::{Case, Flaps, Health, Monitor, Who, Wish, take_known, wishes},
};

const FILE: &str = "health.json";
/// How long changes wait for more, so that a disk is not written for each.
const WAIT: Duration = Duration::from_secs(1);
/// How often it is written though nothing has changed, so that it is not taken for older than it is.
const REFRESH: Duration = Duration::from_secs(60);
/// What is older says nothing of now: who comes back after that begins anew.
const STALE: Duration = Duration::from_secs(10 * 60);
/// How long it takes to look at one of whom there is something to write.
const NOTE: Duration = Duration::from_micros(3);
/// How long the end of the agent waits for the disk.
const LAST: Duration = Duration::from_secs(5);

/// What is remembered, and whether it has to be written.
#[derive(Debug, Default)]
pub(super) struct Kept {
    known: BTreeMap<String, Remembered>,
    /// Of whom the data plane's word may not say all.
    noted: BTreeSet<CheckKey>,
    due: Option<Instant>,
    writing: Option<tokio::task::JoinHandle<()>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    /// When it was written, in seconds since this host was started: nobody sets that clock.
    written: f64,
    backends: BTreeMap<String, Remembered>,
}

/// One backend. Times are seconds before it was written; those of a hold, after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Remembered {
    health: Health,
    /// Its word was down: that need not be what its checks say.
    down: bool,
    checks: Vec<Counted>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failures: Vec<f64>,
    #[serde(default)]
    holds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<f64>,
    /// Since when it is up, while its weight grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovered: Option<f64>,
    #[serde(default)]
    wish: Wish,
}

/// One check of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counted {
    /// Tells what it asks from what another one does.
    #[serde(default)]
    question: u64,
    health: Health,
    streak: u32,
    /// It is down by a silence or a bad answer, which may be ours.
    doubtful: bool,
}

impl Kept {
    /// Reads what an earlier agent has left. Without it, the data plane's words are all that is known, which is enough.
    pub(super) fn load(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let Ok(text) = fs::read(&path) else {
            return Self::default();
        };
        let document: Document = match serde_json::from_slice(&text) {
            Ok(document) => document,
            Err(error) => {
                log::warn!("{}: not what xlb wrote, and left out: {error}", path.display());
                return Self::default();
            }
        };
        let age = seconds_now() - document.written;
        if !(0.0..STALE.as_secs_f64()).contains(&age) {
            return Self::default();
        }
        let shift = |mut one: Remembered| {
            one.failures.iter_mut().for_each(|ago| *ago += age);
            one.held = one.held.map(|left| left - age);
            one.recovered = one.recovered.map(|ago| ago + age);
            one
        };
        let backends = document.backends.into_iter();
        Self {
            known: backends.map(|(name, one)| (name, shift(one))).collect(),
            ..Self::default()
        }
    }

    /// Something of a backend has changed.
    pub(super) fn touch(&mut self, key: CheckKey, now: Instant) {
        self.noted.insert(key);
        let soon = now + WAIT;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A backend as it was, if its state in the data plane is still the one that it had.
    pub(super) fn case(
        &self,
        who: &Who,
        specs: &[CheckSpec],
        rules: HealthSpec,
        state: BackendState,
    ) -> Option<Case> {
        let one = self.known.get(&name(who))?;
        if one.down != (state == BackendState::Down) || one.health == Health::Checking {
            return None;
        }
        let is_sure = |check: &Counted| check.health == Health::Down && !check.doubtful;
        let is_doubtful = !one.checks.iter().any(is_sure);
        // Who is held down passes all the same.
        let passes = !one.checks.is_empty() && one.checks.iter().all(|check| check.health == Health::Up);
        let health = if passes { Health::Up } else { one.health };
        let known = one.checks.iter().map(|check| (check.question, check));
        let mut known: Vec<_> = known.collect();
        let monitor = |spec: &CheckSpec| match take_known(&mut known, &question(spec)) {
            Some(check) => Monitor::remembered(check.health, check.streak, check.doubtful, spec),
            None => Monitor::remembered(health, 0, is_doubtful, spec),
        };
        let now = clock::now();
        let ago = |seconds: &f64| now.checked_sub(Duration::try_from_secs_f64(*seconds).ok()?);
        // One that has ended still counts for the next.
        let held = one.held.and_then(|left| match Duration::try_from_secs_f64(left) {
            Ok(left) => now.checked_add(left.min(rules.flaps.hold_max)),
            Err(_) => ago(&-left),
        });
        let wish = Some(&one.wish).filter(|_| wishes(specs)).cloned();
        let failures = one.failures.iter().filter_map(ago);
        let flaps = Flaps::remembered(failures, one.holds, held);
        let checks = specs.iter().map(monitor).collect();
        Some(Case::remembered(
            one.health,
            checks,
            flaps,
            wish.unwrap_or_default(),
            one.recovered.as_ref().and_then(ago),
            rules,
        ))
    }
}

/// A number instead of the question, in which there may be secrets. Another version of xlb may give it another one, and then knows of the
/// backend alone.
fn question(spec: &CheckSpec) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", spec.question()).hash(&mut hasher);
    hasher.finish()
}

fn name(who: &Who) -> String {
    format!("{}/{}", who.service, who.backend)
}

fn seconds_now() -> f64 {
    let since_start = clock_gettime(ClockId::CLOCK_BOOTTIME);
    since_start.map_or(0.0, |since| Duration::from(since).as_secs_f64())
}

impl<D: Datapath> Controller<D> {
    /// What an earlier agent has left is for the start alone: from now on it is known of those who are watched.
    pub(super) fn forget_kept(&mut self) {
        self.kept.known.clear();
        let now = clock::now();
        self.watched.keys().for_each(|key| self.kept.touch(*key, now));
    }

    /// Writes what is known of checks, if that is due.
    pub(super) fn keep_health(&mut self, now: Instant) {
        if self.kept.due.is_none_or(|due| due > now) {
            return;
        }
        if self
            .kept
            .writing
            .as_ref()
            .is_some_and(|writing| !writing.is_finished())
        {
            // A slow disk has the one before still.
            self.kept.due = Some(now + WAIT);
            return;
        }
        self.write_aside(now);
    }

    /// Writes what is known of checks, for the next agent. What is being written already comes first: it is older, and would take the
    /// place of this.
    pub async fn write_health(&mut self, now: Instant) {
        let written = async {
            self.kept_written().await;
            self.write_aside(now);
            self.kept_written().await;
        };
        if tokio::time::timeout(LAST, written).await.is_err() {
            log::warn!("{FILE} is not written yet: an agent that follows may know less of its backends");
        }
    }

    /// Beside the control loop, which waits for no disk.
    fn write_aside(&mut self, now: Instant) {
        let others_first = give_way_for(self.kept.noted.len(), NOTE);
        let (path, document) = self.document(now);
        drop(others_first);
        self.kept.writing = Some(tokio::task::spawn_blocking(move || {
            write_or_warn(&path, &document);
        }));
    }

    /// Waits for what is being written.
    pub(in crate::control) async fn kept_written(&mut self) {
        if let Some(writing) = self.kept.writing.take()
            && let Err(error) = writing.await
        {
            log::warn!("write {FILE}: {error}");
        }
    }

    /// Has this under way, as if it were being written.
    #[cfg(test)]
    pub(in crate::control) fn write_meanwhile(&mut self, writing: tokio::task::JoinHandle<()>) {
        self.kept.writing = Some(writing);
    }

    fn document(&mut self, now: Instant) -> (PathBuf, Document) {
        let (watched, applied) = (&self.watched, &self.applied);
        let told = |key: &CheckKey| {
            let one = watched.get(key)?;
            let down = applied.word(key.0, key.1)?.state() == BackendState::Down;
            (!is_plain(&one.case, down, now)).then_some((one, down))
        };
        // Ten thousand that are plain are not looked at for each one that is not.
        self.kept.noted.retain(|key| told(key).is_some());
        let known = self.kept.noted.iter().filter_map(told);
        let known = known.map(|(one, down)| (name(&one.who), remembered(one, down, now)));
        let document = Document {
            written: seconds_now(),
            backends: known.collect(),
        };
        self.kept.due = (!document.backends.is_empty()).then(|| now + REFRESH);
        (self.state_dir.join(FILE), document)
    }
}

fn write_or_warn(path: &Path, document: &Document) {
    if let Err(error) = write(path, document) {
        log::warn!(
            "write {}: {error}: an agent that follows will know less of its backends",
            path.display()
        );
    }
}

/// Whether the data plane's word says all that there is to know: so it is with nearly all of ten thousand backends, at any time.
fn is_plain(case: &Case, down: bool, now: Instant) -> bool {
    let is_settled = |check: &Monitor| check.streak() == 0 && check.health() == case.health();
    let flaps = case.flaps();
    down == (case.health() != Health::Up)
        && case.checks().iter().all(is_settled)
        && case.grows_since(now).is_none()
        && flaps.times().next().is_none()
        && flaps.holds() == (0, None)
        && *case.wish() == Wish::default()
}

fn remembered(watched: &super::Watched, down: bool, now: Instant) -> Remembered {
    let ago = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
    let case = &watched.case;
    let (holds, until) = case.flaps().holds();
    let checks = watched.specs.iter().zip(case.checks());
    Remembered {
        health: case.health(),
        down,
        checks: checks
            .map(|(spec, check)| Counted {
                question: question(spec),
                health: check.health(),
                streak: check.streak(),
                doubtful: check.health() == Health::Down && !check.is_refused(),
            })
            .collect(),
        failures: case.flaps().times().map(ago).collect(),
        holds,
        // One that has ended still counts for the next.
        held: until.map(|until| {
            let left = until.saturating_duration_since(now).as_secs_f64();
            left - ago(until)
        }),
        recovered: case.grows_since(now).map(ago),
        wish: case.wish().clone(),
    }
}

fn write(path: &Path, document: &Document) -> std::io::Result<()> {
    let next = path.with_extension("next");
    let mut file = fs::File::create(&next)?;
    // In one piece: a file has no buffer, and a document very many parts.
    file.write_all(&serde_json::to_vec(document)?)?;
    fs::rename(&next, path)
}
