//! From answers to a state: how many in a row it takes to believe a change.

use std::time::{Duration, Instant};

use super::ProbeError;

/// What the probes say of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Follows one backend. Time is an argument.
#[derive(Clone, Debug)]
pub struct Monitor {
    health: Health,
    rise: u32,
    fall: u32,
    /// Results in a row that speak against `health`.
    streak: u32,
    changed: Option<Instant>,
    last: Option<String>,
}

impl Monitor {
    /// Starts from `initial`: from what was known of the backend before, or [`Health::Checking`].
    #[must_use]
    pub const fn new(initial: Health, rise: u32, fall: u32) -> Self {
        Self {
            health: initial,
            rise,
            fall,
            streak: 0,
            changed: None,
            last: None,
        }
    }

    /// Takes the result of a probe; the new state if it changed.
    ///
    /// The first result decides at once. After that it takes `fall` failures in a row to go down and `rise` passes in a
    /// row to come up; one result to the contrary starts the count again.
    pub fn observe(&mut self, passed: bool, now: Instant) -> Option<Health> {
        let (says, needed) = if passed {
            (Health::Up, self.rise)
        } else {
            (Health::Down, self.fall)
        };
        if says == self.health {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        if self.health != Health::Checking && self.streak < needed {
            return None;
        }
        self.health = says;
        self.streak = 0;
        self.changed = Some(now);
        Some(says)
    }

    /// As [`observe`](Self::observe), and keeps what the probe said.
    pub fn record(
        &mut self,
        result: &Result<(), ProbeError>,
        took: Duration,
        now: Instant,
    ) -> Option<Health> {
        self.last = Some(match result {
            Ok(()) => format!("passed in {:.1} ms", took.as_secs_f64() * 1000.0),
            Err(error) => error.to_string(),
        });
        self.observe(result.is_ok(), now)
    }

    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// When the state last changed, `None` if never.
    #[must_use]
    pub const fn changed(&self) -> Option<Instant> {
        self.changed
    }

    /// What the last recorded probe said: one line.
    #[must_use]
    pub fn last_result(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASS: bool = true;
    const FAIL: bool = false;

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
        assert_eq!(
            follow(Monitor::new(Health::Checking, 2, 3), &[PASS]),
            [Health::Up]
        );
        assert_eq!(
            follow(Monitor::new(Health::Checking, 2, 3), &[FAIL]),
            [Health::Down]
        );
    }

    #[test]
    fn fall_failures_in_a_row_take_it_down() {
        use Health::{Down, Up};
        assert_eq!(
            follow(
                Monitor::new(Up, 2, 3),
                &[FAIL, FAIL, PASS, FAIL, FAIL, FAIL, FAIL]
            ),
            [Up, Up, Up, Up, Up, Down, Down]
        );
    }

    #[test]
    fn rise_passes_in_a_row_bring_it_up() {
        use Health::{Down, Up};
        assert_eq!(
            follow(Monitor::new(Down, 2, 3), &[PASS, FAIL, PASS, PASS]),
            [Down, Down, Down, Up]
        );
        assert_eq!(
            follow(Monitor::new(Down, 1, 1), &[PASS, FAIL, PASS]),
            [Up, Down, Up]
        );
    }

    #[test]
    fn the_last_change_and_result_are_kept() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut monitor = Monitor::new(Health::Checking, 2, 1);
        assert_eq!((monitor.changed(), monitor.last_result()), (None, None));
        assert_eq!(
            monitor.record(&Ok(()), Duration::from_micros(1234), start),
            Some(Health::Up)
        );
        assert_eq!(monitor.record(&Ok(()), Duration::from_micros(2345), later), None);
        assert_eq!(
            (monitor.changed(), monitor.last_result()),
            (Some(start), Some("passed in 2.3 ms"))
        );
        let failed = Err(ProbeError::new("connect: connection refused"));
        assert_eq!(monitor.record(&failed, Duration::ZERO, later), Some(Health::Down));
        assert_eq!(
            (monitor.changed(), monitor.last_result()),
            (Some(later), Some("connect: connection refused"))
        );
    }

    proptest! {
        /// The state is what the last long enough run of equal results said.
        #[test]
        fn agrees_with_a_look_at_the_whole_past(
            results in prop::collection::vec(any::<bool>(), 1..60), rise in 1_u32..5, fall in 1_u32..5,
        ) {
            let states = follow(Monitor::new(Health::Checking, rise, fall), &results);
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
