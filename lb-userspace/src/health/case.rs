//! What the checks of one backend come to: whether it is up, from when on wholly, and what it wishes. Pure; time is an argument.

mod anew;

use std::time::{Duration, Instant};

pub use anew::take_known;

use super::{Answer, Health, Last, Monitor, ProbeError, Stand, Wish, flaps::Flaps};
use crate::config::{CheckKind, CheckSpec, HealthSpec, Require};

/// Steps in which a weight grows: each is a table of slots, and moves flows that are new.
const STEPS: u32 = 10;

/// One backend under observation.
#[derive(Clone, Debug)]
pub struct Case {
    rules: HealthSpec,
    checks: Vec<Monitor>,
    flaps: Flaps,
    health: Health,
    wish: Wish,
    /// Since when it is up, if it was down before.
    recovered: Option<Instant>,
    changed: Option<Instant>,
    /// Its checks or rules may be others than those that its state is of.
    is_set_anew: bool,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub health: Health,
    /// Why: what the deciding check found, or that a hold has ended.
    pub reason: String,
    /// For how long it is held down, and how many failures that is for.
    pub held: Option<(Duration, u32)>,
}

impl Case {
    /// Starts from what was known of the backend before, or from [`Health::Checking`].
    #[must_use]
    pub fn new(initial: Health, specs: &[CheckSpec], rules: HealthSpec) -> Self {
        Self {
            rules,
            checks: specs.iter().map(|spec| Monitor::new(initial, spec)).collect(),
            flaps: Flaps::default(),
            health: initial,
            wish: Wish::default(),
            recovered: None,
            changed: None,
            is_set_anew: false,
        }
    }

    /// Starts from what an earlier agent knew.
    #[must_use]
    pub fn remembered(
        health: Health,
        checks: Vec<Monitor>,
        flaps: Flaps,
        wish: Wish,
        recovered: Option<Instant>,
        rules: HealthSpec,
    ) -> Self {
        Self {
            rules,
            checks,
            flaps,
            health,
            wish,
            recovered,
            changed: None,
            is_set_anew: true,
        }
    }

    /// Takes in the result of a check; what it changes.
    pub fn observe(
        &mut self,
        check: usize,
        result: &Result<Answer, ProbeError>,
        took: Duration,
        now: Instant,
    ) -> Option<Turn> {
        let monitor = self.checks.get_mut(check)?;
        monitor.record(result, took, now);
        if let Ok(Answer { wish: Some(wish), .. }) = result {
            self.take(wish);
        }
        let said = |case: &Self| {
            let heard = case.checks.get(check).and_then(Monitor::last);
            let heard = heard.filter(|last| case.is_borne_out_by(last));
            heard
                .map(Last::said)
                .or_else(|| case.grounds())
                .unwrap_or_default()
        };
        self.settle(said, now)
    }

    /// Takes in that a check cannot be made.
    pub fn miss(&mut self, check: usize, reason: &ProbeError, now: Instant) {
        if let Some(monitor) = self.checks.get_mut(check) {
            monitor.miss(reason, now);
        }
    }

    /// Takes in what has come by time alone.
    pub fn tick(&mut self, now: Instant) -> Option<Turn> {
        self.settle(|_| "no longer held down".to_owned(), now)
    }

    /// What it does not say stays as it was (HAProxy: an agent's report changes what it names).
    fn take(&mut self, wish: &Wish) {
        let Wish {
            stand,
            admin,
            weight,
            max_connections,
            reason,
        } = wish.clone();
        // A reason is that of the line that it stands in.
        if stand.is_some() || admin.is_some() || reason.is_some() {
            self.wish.reason = reason;
        }
        self.wish.stand = stand.or(self.wish.stand);
        self.wish.admin = admin.or(self.wish.admin);
        self.wish.weight = weight.or(self.wish.weight);
        self.wish.max_connections = max_connections.or(self.wish.max_connections);
    }

    fn settle(&mut self, said: impl FnOnce(&Self) -> String, now: Instant) -> Option<Turn> {
        let before = self.health;
        let turn = self.follow(said, now)?;
        let is_failure = before == Health::Up && turn.health == Health::Down;
        let hold = is_failure
            .then(|| self.flaps.failed(&self.rules.flaps, now))
            .flatten();
        Some(Turn {
            held: hold.map(|hold| (hold, self.failures(now))),
            ..turn
        })
    }

    /// Has the state that checks, agent and flaps have come to.
    fn follow(&mut self, said: impl FnOnce(&Self) -> String, now: Instant) -> Option<Turn> {
        let says = self.says();
        let health = match says {
            Health::Up if self.held_until(now).is_some() => Health::Down,
            says => says,
        };
        if health == self.health {
            return None;
        }
        let before = std::mem::replace(&mut self.health, health);
        self.changed = Some(now);
        self.recovered = (before == Health::Down && health == Health::Up).then_some(now);
        let reason = self.agents_down().unwrap_or_else(|| said(self));
        Some(Turn {
            health,
            reason,
            held: None,
        })
    }

    /// That its agent has it down, in a line.
    fn agents_down(&self) -> Option<String> {
        (self.wish.stand == Some(Stand::Down)).then(|| match &self.wish.reason {
            Some(reason) => format!("its agent says down: {reason}"),
            None => "its agent says down".to_owned(),
        })
    }

    /// What checks and agent say together.
    fn says(&self) -> Health {
        if self.wish.stand == Some(Stand::Down) {
            return Health::Down;
        }
        let mut states = self.counted().map(Monitor::health);
        let any = |health| self.counted().any(|check| check.health() == health);
        match self.rules.require {
            Require::All if any(Health::Down) => Health::Down,
            Require::Any if any(Health::Up) => Health::Up,
            Require::All | Require::Any if any(Health::Checking) => Health::Checking,
            Require::All | Require::Any => states.next().unwrap_or(Health::Up),
        }
    }

    /// The checks that say something of the backend: an agent tells what it wishes, and neither that it answers nor that it does not
    /// says more (HAProxy), unless there is nobody else to ask.
    fn counted(&self) -> impl Iterator<Item = &Monitor> {
        let are_others = self.checks.iter().any(|check| !check.is_agent());
        self.checks
            .iter()
            .filter(move |check| !(are_others && check.is_agent()))
    }

    /// Whether a result is of the kind that the state is by.
    fn is_borne_out_by(&self, last: &Last) -> bool {
        last.passed == (self.health == Health::Up)
    }

    /// What the state is by: the newest result that bears it out.
    fn grounds(&self) -> Option<String> {
        let lasts = self.counted().filter_map(Monitor::last);
        let grounds = lasts.filter(|last| self.is_borne_out_by(last));
        grounds.max_by_key(|last| last.at).map(Last::said)
    }

    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Its checks, in the order of the service's.
    #[must_use]
    pub fn checks(&self) -> &[Monitor] {
        &self.checks
    }

    #[must_use]
    pub const fn flaps(&self) -> &Flaps {
        &self.flaps
    }

    /// How often it has failed within the window of now.
    #[must_use]
    pub fn failures(&self, now: Instant) -> u32 {
        self.flaps.failures(&self.rules.flaps, now)
    }

    /// Until when it is held down, if it is, whatever its checks find.
    #[must_use]
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.flaps.held_until(&self.rules.flaps, now)
    }

    /// Until when it is down by nothing but having failed too often.
    #[must_use]
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        let is_fit = self.health == Health::Down && self.says() == Health::Up;
        self.held_until(now).filter(|_| is_fit)
    }

    /// Comes up before its time, if it only waits for that.
    pub fn release(&mut self, why: &str, now: Instant) -> Option<Turn> {
        self.waits_until(now)?;
        self.flaps.release(now);
        self.settle(|_| format!("no longer held down: {why}"), now)
    }

    #[must_use]
    pub const fn wish(&self) -> &Wish {
        &self.wish
    }

    /// When the state last changed, `None` if never.
    #[must_use]
    pub const fn changed(&self) -> Option<Instant> {
        self.changed
    }

    /// The newest result of those that count, in a line; a failure comes before passes where there is one, and before those what its agent
    /// has it down by.
    #[must_use]
    pub fn last_result(&self) -> Option<String> {
        let lasts = || self.counted().filter_map(Monitor::last);
        let failed = lasts().filter(|last| !last.passed).max_by_key(|last| last.at);
        let newest = || lasts().max_by_key(|last| last.at);
        let agents = || {
            let agents = self.checks.iter().filter(|check| check.is_agent());
            agents.filter_map(Monitor::last).max_by_key(|last| last.at)
        };
        let is_down_by_agent = self.wish.stand == Some(Stand::Down);
        let by_agent = || is_down_by_agent.then(agents).flatten();
        failed.or_else(by_agent).or_else(newest).map(Last::said)
    }

    /// Whether it is down by something that it, or its host, has said itself: not by a silence that may be ours.
    #[must_use]
    pub fn is_down_for_sure(&self) -> bool {
        self.wish.stand == Some(Stand::Down) || self.counted().any(Monitor::is_refused)
    }

    /// The share of its weight that it has by now, in percent: by its wish, and as it grows after a recovery.
    #[must_use]
    pub fn share(&self, now: Instant) -> u32 {
        let wished = u32::from(self.wish.weight.unwrap_or(100));
        match self.step(now) {
            Some(step) => wished * (step + 1) / STEPS,
            None => wished,
        }
    }

    /// Since when its weight grows, if it still does.
    #[must_use]
    pub fn grows_since(&self, now: Instant) -> Option<Instant> {
        self.recovered.filter(|_| self.step(now).is_some())
    }

    /// How far its weight has grown, if it still grows.
    fn step(&self, now: Instant) -> Option<u32> {
        let since = self.recovered?;
        let whole = self.rules.slow_start;
        let grown = now.saturating_duration_since(since);
        if grown >= whole {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to 10"
        )]
        let step = (f64::from(STEPS) * grown.as_secs_f64() / whole.as_secs_f64()) as u32;
        Some(step.min(STEPS - 1))
    }

    /// When something will change by time alone.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let released = self.waits_until(now);
        let step = self.step(now).filter(|step| step + 1 < STEPS);
        let grown = step.zip(self.recovered).map(|(step, since)| {
            // Just behind the step, so that it is not looked at before.
            since + self.rules.slow_start * (step + 1) / STEPS + Duration::from_millis(1)
        });
        match (released, grown) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// Whether any of the checks tells what a backend wishes.
#[must_use]
pub fn wishes(specs: &[CheckSpec]) -> bool {
    let mut kinds = specs.iter().map(|spec| &spec.kind);
    kinds.any(|kind| matches!(kind, CheckKind::Agent { .. }))
}

#[cfg(test)]
mod tests;
