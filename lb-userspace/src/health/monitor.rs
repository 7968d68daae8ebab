//! From the answers of one check to a state: how many in a row, or how long a silence, it takes to believe a change.

use std::time::{Duration, Instant};

use super::{Answer, ProbeError, phi::Heartbeats};
use crate::config::{CheckKind, CheckSpec};

/// What the probes say of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No answer yet.
    Checking,
    Up,
    Down,
}

impl Health {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Follows one check of one backend. Time is an argument.
#[derive(Clone, Debug)]
pub struct Monitor {
    health: Health,
    rise: u32,
    fall: u32,
    /// Takes the place of `fall`.
    phi: Option<(f64, Heartbeats)>,
    is_agent: bool,
    unprobed: Option<Unprobed>,
    /// Results in a row that speak against `health`.
    streak: u32,
    last: Option<Last>,
    /// An earlier agent has it down by a silence or a bad answer.
    was_doubtful: bool,
}

/// For want of something here nothing is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unprobed {
    /// The last result, or since when that is known.
    pub since: Instant,
    pub reason: String,
}

/// The newest result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    pub at: Instant,
    pub took: Duration,
    pub passed: bool,
    /// What the backend has said, or what was wrong.
    words: Option<String>,
    /// The backend's host itself has said that nobody serves there.
    pub is_refusal: bool,
}

impl Last {
    fn new(result: &Result<Answer, ProbeError>, took: Duration, at: Instant) -> Self {
        let words = match result {
            Ok(Answer { said, .. }) => said.clone(),
            Err(error) => Some(error.to_string()),
        };
        Self {
            at,
            took,
            passed: result.is_ok(),
            words,
            is_refusal: result.as_ref().is_err_and(ProbeError::is_refusal),
        }
    }

    /// One line: what the probe found. Made when somebody reads it, for ten thousand results a second are not read.
    #[must_use]
    pub fn said(&self) -> String {
        let words = self.words.as_deref();
        if !self.passed {
            return words.unwrap_or_default().to_owned();
        }
        let took = self.took.as_secs_f64() * 1000.0;
        let words = words.map_or(String::new(), |words| format!(": {words}"));
        format!("passed in {took:.1} ms{words}")
    }
}

impl Monitor {
    /// Starts from what was known of the backend before, or from [`Health::Checking`].
    #[must_use]
    pub fn new(initial: Health, spec: &CheckSpec) -> Self {
        Self {
            health: initial,
            rise: spec.rise,
            fall: spec.fall,
            phi: spec.phi.map(|phi| {
                let heartbeats = Heartbeats::new(spec.interval, between_results(spec));
                (phi.value(), heartbeats)
            }),
            unprobed: None,
            is_agent: matches!(spec.kind, CheckKind::Agent { .. }),
            streak: 0,
            last: None,
            was_doubtful: false,
        }
    }

    /// Goes on from where an earlier agent was: with so many results that speak against the state, and, if that is down, whether by
    /// something that may have been that agent's own.
    #[must_use]
    pub fn remembered(health: Health, streak: u32, was_doubtful: bool, spec: &CheckSpec) -> Self {
        Self {
            streak,
            was_doubtful,
            ..Self::new(health, spec)
        }
    }

    /// The same by other settings: what was counted still counts.
    #[must_use]
    pub fn under(self, spec: &CheckSpec) -> Self {
        let new = Self::new(self.health, spec);
        let phi = match (self.phi, new.phi) {
            // Intervals of another pace say nothing of those to come.
            (Some((_, known)), Some((threshold, fresh))) if known.has_pace_of(&fresh) => {
                Some((threshold, known))
            }
            (_, phi) => phi,
        };
        Self {
            phi,
            streak: self.streak,
            last: self.last,
            was_doubtful: self.was_doubtful,
            ..new
        }
    }

    /// Takes the result of a probe; the new state if it changed.
    ///
    /// The first result decides at once. After that it takes `fall` failures in a row, or a silence that is unlikely enough, to go
    /// down and `rise` passes in a row to come up; one result to the contrary starts the count again.
    pub fn observe(&mut self, passed: bool, now: Instant) -> Option<Health> {
        match &mut self.phi {
            Some((_, heartbeats)) if passed => heartbeats.beat(now),
            Some((_, heartbeats)) => heartbeats.missed(now),
            None => {}
        }
        let says = if passed { Health::Up } else { Health::Down };
        if says == self.health {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        if self.health != Health::Checking && !self.is_enough(passed, now) {
            return None;
        }
        self.health = says;
        self.streak = 0;
        Some(says)
    }

    /// As [`observe`](Self::observe), and keeps what the probe said.
    pub fn record(
        &mut self,
        result: &Result<Answer, ProbeError>,
        took: Duration,
        now: Instant,
    ) -> Option<Health> {
        self.last = Some(Last::new(result, took, now));
        self.unprobed = None;
        self.observe(result.is_ok(), now)
    }

    /// Takes in that it cannot be probed for some time already.
    pub fn miss(&mut self, reason: &ProbeError, now: Instant) {
        let since = match (&self.unprobed, &self.last) {
            (Some(before), _) => before.since,
            (None, Some(last)) => last.at,
            (None, None) => now,
        };
        let reason = reason.to_string();
        self.unprobed = Some(Unprobed { since, reason });
    }

    /// What it could not be probed for since the last result.
    #[must_use]
    pub const fn unprobed(&self) -> Option<&Unprobed> {
        self.unprobed.as_ref()
    }

    fn is_enough(&self, passed: bool, now: Instant) -> bool {
        match &self.phi {
            Some((threshold, heartbeats)) if !passed => {
                // Without a heartbeat there is nothing to go by: as many failures as the default asks for.
                heartbeats
                    .suspicion(now)
                    .map_or(self.streak >= self.fall, |phi| phi >= *threshold)
            }
            _ => self.streak >= if passed { self.rise } else { self.fall },
        }
    }

    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Whether it asks for wishes, and not whether the backend serves.
    #[must_use]
    pub const fn is_agent(&self) -> bool {
        self.is_agent
    }

    /// Results in a row that speak against the state.
    #[must_use]
    pub const fn streak(&self) -> u32 {
        self.streak
    }

    /// How many of those it takes; `None` where a suspicion decides.
    #[must_use]
    pub const fn needed(&self) -> Option<u32> {
        match (self.health, &self.phi) {
            (Health::Checking, _) => Some(1),
            (Health::Down, _) => Some(self.rise),
            (Health::Up, None) => Some(self.fall),
            (Health::Up, Some(_)) => None,
        }
    }

    /// Whether the newest results speak against the state: its probes hurry then.
    #[must_use]
    pub const fn is_changing(&self) -> bool {
        self.streak > 0 || matches!(self.health, Health::Checking)
    }

    /// How unlikely the silence is by now, where that decides.
    #[must_use]
    pub fn suspicion(&self, now: Instant) -> Option<f64> {
        self.phi.as_ref()?.1.suspicion(now)
    }

    /// Whether it is down by something that the backend, or its host, has said itself: not by a silence that may be ours.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let by_last = |last: &Last| !last.passed && last.is_refusal;
        // Without a result yet, it is as an earlier agent has left it.
        self.health == Health::Down && self.last.as_ref().map_or(!self.was_doubtful, by_last)
    }

    #[must_use]
    pub const fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }
}

/// How long it takes from one result to the next at the most, while this host can probe.
fn between_results(spec: &CheckSpec) -> Duration {
    let late = Duration::from_millis(50) + spec.timeout / 4;
    let interval = spec.interval.mul_f64(1.0 + f64::from(spec.jitter) / 100.0);
    interval + spec.timeout + late
}

/// A result in one line.
#[must_use]
pub fn said(result: &Result<Answer, ProbeError>, took: Duration) -> String {
    Last::new(result, took, Instant::now()).said()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASS: bool = true;
    const FAIL: bool = false;

    fn monitor(initial: Health, rise: u32, fall: u32) -> Monitor {
        let spec = CheckSpec {
            rise,
            fall,
            ..CheckSpec::new(CheckKind::TCP)
        };
        Monitor::new(initial, &spec)
    }

    /// The state after each result.
    fn follow(mut monitor: Monitor, results: &[bool]) -> Vec<Health> {
        let now = Instant::now();
        results
            .iter()
            .map(|&result| {
                let before = monitor.health();
                let change = monitor.observe(result, now);
                assert_eq!(change.is_some(), monitor.health() != before);
                monitor.health()
            })
            .collect()
    }

    #[test]
    fn the_first_result_decides() {
        assert_eq!(follow(monitor(Health::Checking, 2, 3), &[PASS]), [Health::Up]);
        assert_eq!(follow(monitor(Health::Checking, 2, 3), &[FAIL]), [Health::Down]);
    }

    #[test]
    fn fall_failures_in_a_row_take_it_down() {
        use Health::{Down, Up};
        assert_eq!(
            follow(monitor(Up, 2, 3), &[FAIL, FAIL, PASS, FAIL, FAIL, FAIL, FAIL]),
            [Up, Up, Up, Up, Up, Down, Down]
        );
    }

    #[test]
    fn rise_passes_in_a_row_bring_it_up() {
        use Health::{Down, Up};
        assert_eq!(
            follow(monitor(Down, 2, 3), &[PASS, FAIL, PASS, PASS]),
            [Down, Down, Down, Up]
        );
        assert_eq!(follow(monitor(Down, 1, 1), &[PASS, FAIL, PASS]), [Up, Down, Up]);
    }

    #[test]
    fn a_count_goes_on_where_it_was() {
        let spec = CheckSpec {
            fall: 3,
            ..CheckSpec::new(CheckKind::TCP)
        };
        let mut monitor = Monitor::remembered(Health::Up, 2, false, &spec);
        assert!(monitor.is_changing());
        assert_eq!(monitor.observe(FAIL, Instant::now()), Some(Health::Down));
    }

    #[test]
    fn what_an_earlier_agent_doubted_is_doubted_until_the_next_result() {
        let start = Instant::now();
        let spec = CheckSpec::new(CheckKind::TCP);
        let mut doubtful = Monitor::remembered(Health::Down, 0, true, &spec);
        assert!(!doubtful.is_refused());
        doubtful.record(&Err(ProbeError::refusal("refused")), Duration::ZERO, start);
        assert!(doubtful.is_refused());
        let mut sure = Monitor::remembered(Health::Down, 0, false, &spec);
        assert!(sure.is_refused());
        sure.record(&Err(ProbeError::timeout(Duration::ZERO)), Duration::ZERO, start);
        assert!(!sure.is_refused());
        assert!(!Monitor::new(Health::Up, &spec).is_refused());
    }

    #[test]
    fn the_last_result_is_kept() {
        let start = Instant::now();
        let mut monitor = monitor(Health::Checking, 2, 1);
        assert_eq!(monitor.last(), None);
        let passed = Ok(Answer::said("status 200"));
        assert_eq!(
            monitor.record(&passed, Duration::from_micros(1234), start),
            Some(Health::Up)
        );
        let last = monitor.last().unwrap();
        assert_eq!(
            (last.said().as_str(), last.passed),
            ("passed in 1.2 ms: status 200", true)
        );
        let failed = Err(ProbeError::refusal("connect: connection refused"));
        assert_eq!(monitor.record(&failed, Duration::ZERO, start), Some(Health::Down));
        let last = monitor.last().unwrap();
        assert_eq!(
            (last.said().as_str(), last.is_refusal),
            ("connect: connection refused", true)
        );
    }

    #[test]
    fn a_silence_takes_it_down_when_it_is_unlikely() {
        let interval = Duration::from_millis(100);
        let spec = CheckSpec {
            interval,
            phi: Some("8".parse().unwrap()),
            ..CheckSpec::new(CheckKind::TCP)
        };
        let mut monitor = Monitor::new(Health::Checking, &spec);
        let start = Instant::now();
        for beat in 0..50 {
            monitor.observe(PASS, start + interval * beat);
        }
        // One lost answer is nothing; the longer it lasts, the more it is.
        assert_eq!(monitor.observe(FAIL, start + interval * 50), None);
        assert_eq!(monitor.observe(FAIL, start + interval * 56), Some(Health::Down));
    }

    #[test]
    fn one_failure_after_a_standstill_is_no_silence() {
        let spec = CheckSpec {
            phi: Some("8".parse().unwrap()),
            ..CheckSpec::new(CheckKind::TCP)
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut even = Monitor::new(Health::Up, &spec);
        for beat in 0..50 {
            even.observe(PASS, at(beat));
        }
        let mut stopped = even.clone();
        assert_eq!(even.observe(FAIL, at(50)), None);
        // Stopped for five seconds, and then a bad answer.
        assert_eq!(stopped.observe(FAIL, at(55)), None);
        // What is silent for as long while it is asked is down.
        for later in [51, 52] {
            even.observe(FAIL, at(later));
            stopped.observe(FAIL, at(later + 5));
        }
        assert_eq!((even.health(), stopped.health()), (Health::Down, Health::Down));
    }

    #[test]
    fn what_cannot_be_probed_keeps_its_state_and_says_since_when() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut monitor = monitor(Health::Checking, 1, 1);
        monitor.miss(&ProbeError::ours("no descriptor"), start);
        let told = |monitor: &Monitor| monitor.unprobed().map(|one| (one.since, one.reason.clone()));
        assert_eq!(told(&monitor), Some((start, "no descriptor".to_owned())));
        monitor.record(&Ok(Answer::default()), second, start + second);
        assert_eq!((told(&monitor), monitor.health()), (None, Health::Up));
        monitor.miss(&ProbeError::ours("no descriptor"), start + 4 * second);
        monitor.miss(&ProbeError::ours("no port"), start + 5 * second);
        assert_eq!(told(&monitor), Some((start + second, "no port".to_owned())));
        assert_eq!((monitor.health(), monitor.streak()), (Health::Up, 0));
    }

    proptest! {
        /// The state is what the last long enough run of equal results said.
        #[test]
        fn agrees_with_a_look_at_the_whole_past(
            results in prop::collection::vec(any::<bool>(), 1..60), rise in 1_u32..5, fall in 1_u32..5,
        ) {
            let states = follow(monitor(Health::Checking, rise, fall), &results);
            let mut expected = if results[0] { Health::Up } else { Health::Down };
            for (at, &result) in results.iter().enumerate() {
                let run = results[..=at].iter().rev().take_while(|&&other| other == result).count();
                let (says, needed) = if result { (Health::Up, rise) } else { (Health::Down, fall) };
                if run >= needed as usize {
                    expected = says;
                }
                prop_assert_eq!(states[at], expected);
            }
        }
    }
}
