//! Who goes up and down stays down for a while, and each time for longer.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::config::Flaps as Rules;

/// Failures that are remembered: as many as may be allowed, and one more.
const MOST: usize = 101;

/// The failures of one backend. Time is an argument.
#[derive(Clone, Debug, Default)]
pub struct Flaps {
    failures: VecDeque<Instant>,
    /// How often in a row it has been held.
    holds: u32,
    held_until: Option<Instant>,
}

impl Flaps {
    /// One that has failed at these times, and been held so often.
    #[must_use]
    pub fn remembered(
        failures: impl IntoIterator<Item = Instant>,
        holds: u32,
        held_until: Option<Instant>,
    ) -> Self {
        Self {
            failures: failures.into_iter().take(MOST).collect(),
            holds,
            held_until,
        }
    }

    /// Takes in a failure; for how long it is held down, if it is. One that comes within the window after a hold is held for twice as
    /// long.
    pub fn failed(&mut self, rules: &Rules, now: Instant) -> Option<Duration> {
        let is_past = |first: &Instant| !is_within(rules, *first, now);
        while self.failures.front().is_some_and(is_past) || self.failures.len() >= MOST {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let was_held = self.held_until.is_some_and(|until| now < until + rules.window);
        self.holds = match (was_held, self.failures(rules, now) > rules.allowed) {
            (true, _) => self.holds.saturating_add(1),
            (false, true) => 1,
            (false, false) => 0,
        };
        if self.holds == 0 || rules.hold.is_zero() {
            self.held_until = None;
            return None;
        }
        let hold = self.hold(rules);
        self.held_until = Some(now + hold);
        Some(hold)
    }

    /// For how long it is held after the newest failure.
    fn hold(&self, rules: &Rules) -> Duration {
        // More doublings than that are beyond every maximum.
        let doublings = self.holds.saturating_sub(1).min(30);
        rules.hold.saturating_mul(1 << doublings).min(rules.hold_max)
    }

    /// Until when it is held down, if it is: not for longer than the rules of now would have it.
    #[must_use]
    pub fn held_until(&self, rules: &Rules, now: Instant) -> Option<Instant> {
        let by_now = |failed: &Instant| *failed + self.hold(rules);
        let until = self.held_until?;
        let until = self
            .failures
            .back()
            .map_or(until, |failed| until.min(by_now(failed)));
        Some(until).filter(|&until| until > now)
    }

    /// Is held no longer. Its next failure within the window has it held for longer all the same.
    pub fn release(&mut self, now: Instant) {
        self.held_until = self.held_until.map(|until| until.min(now));
    }

    /// How often in a row it has been held, and when the last hold ends or ended.
    #[must_use]
    pub const fn holds(&self) -> (u32, Option<Instant>) {
        (self.holds, self.held_until)
    }

    /// Failures within the window.
    #[must_use]
    pub fn failures(&self, rules: &Rules, now: Instant) -> u32 {
        let counting = self.failures.iter().filter(|&&at| is_within(rules, at, now));
        u32::try_from(counting.count()).unwrap_or(u32::MAX)
    }

    /// When they were.
    pub fn times(&self) -> impl Iterator<Item = Instant> {
        self.failures.iter().copied()
    }
}

fn is_within(rules: &Rules, failed: Instant, now: Instant) -> bool {
    now.saturating_duration_since(failed) <= rules.window
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn holds_double_from_the_first_that_is_too_many_on() {
        let rules = Rules::default();
        let mut flaps = Flaps::default();
        let start = Instant::now();
        let holds: Vec<_> = (0..12)
            .map(|at| {
                flaps
                    .failed(&rules, start + SECOND * at)
                    .map(|hold| hold.as_secs())
            })
            .collect();
        assert_eq!(holds[..3], [None; 3]);
        assert_eq!(holds[3..], [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Some));
        let last = start + SECOND * 11;
        // It does not fail while it is held, and is not better for it.
        assert_eq!(flaps.failed(&rules, last + SECOND * 70), Some(SECOND * 60));
        let last = last + SECOND * 70;
        assert_eq!(flaps.held_until(&rules, last), Some(last + SECOND * 60));
        assert_eq!(flaps.held_until(&rules, last + SECOND * 60), None);
    }

    #[test]
    fn failures_far_apart_are_none_of_it() {
        let rules = Rules::default();
        let mut flaps = Flaps::default();
        let start = Instant::now();
        for at in 0..20 {
            assert_eq!(flaps.failed(&rules, start + SECOND * 25 * at), None, "{at}");
        }
        assert!(flaps.failures(&rules, start + SECOND * 25 * 19) <= 3);
    }

    #[test]
    fn failures_count_for_as_long_as_the_window() {
        let rules = Rules::default();
        let mut flaps = Flaps::default();
        let start = Instant::now();
        for at in 0..3 {
            flaps.failed(&rules, start + SECOND * at);
        }
        let count = |after| flaps.failures(&rules, start + after);
        assert_eq!(count(rules.window), 3);
        assert_eq!(count(rules.window + SECOND), 2);
        assert_eq!(count(rules.window + SECOND * 3), 0);
    }

    #[test]
    fn a_calm_window_after_a_hold_makes_it_good() {
        let rules = Rules::default();
        let mut flaps = Flaps::default();
        let start = Instant::now();
        for _ in 0..5 {
            flaps.failed(&rules, start);
        }
        assert_eq!(flaps.holds(), (2, Some(start + SECOND * 2)));
        assert_eq!(flaps.failed(&rules, start + SECOND * 63), None);
        assert_eq!(flaps.holds(), (0, None));
    }

    #[test]
    fn it_can_be_switched_off() {
        let rules = Rules {
            hold: Duration::ZERO,
            ..Rules::default()
        };
        let mut flaps = Flaps::default();
        let now = Instant::now();
        for _ in 0..1000 {
            assert_eq!(flaps.failed(&rules, now), None);
        }
        assert_eq!(flaps.held_until(&rules, now), None);
    }

    #[test]
    fn a_hold_is_no_longer_than_the_rules_of_now_would_have_it() {
        let rules = Rules::default();
        let mut flaps = Flaps::default();
        let now = Instant::now();
        for _ in 0..8 {
            flaps.failed(&rules, now);
        }
        let until = |hold, hold_max| {
            let rules = Rules {
                hold,
                hold_max,
                ..rules
            };
            flaps.held_until(&rules, now)
        };
        assert_eq!(until(SECOND, SECOND * 60), Some(now + SECOND * 16));
        assert_eq!(until(SECOND, SECOND * 5), Some(now + SECOND * 5));
        assert_eq!(until(SECOND / 4, SECOND * 60), Some(now + SECOND * 4));
        assert_eq!(until(SECOND * 9, SECOND * 60), Some(now + SECOND * 16));
        assert_eq!(until(Duration::ZERO, SECOND * 60), None);
    }

    #[test]
    fn who_is_released_is_held_for_longer_the_next_time() {
        let rules = Rules::default();
        let mut flaps = Flaps::default();
        let now = Instant::now();
        for _ in 0..4 {
            flaps.failed(&rules, now);
        }
        flaps.release(now);
        assert_eq!(flaps.held_until(&rules, now), None);
        assert_eq!(flaps.failed(&rules, now + SECOND), Some(SECOND * 2));
    }
}
