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
        let is_past = |first: &Instant| now.saturating_duration_since(*first) > rules.window;
        while self.failures.front().is_some_and(is_past) || self.failures.len() >= MOST {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let was_held = self.held_until.is_some_and(|until| now < until + rules.window);
        self.holds = match (was_held, self.failures() > rules.allowed) {
            (true, _) => self.holds.saturating_add(1),
            (false, true) => 1,
            (false, false) => 0,
        };
        if self.holds == 0 || rules.hold.is_zero() {
            self.held_until = None;
            return None;
        }
        // More doublings than that are beyond every maximum.
        let doubled = rules.hold.saturating_mul(1 << (self.holds - 1).min(30));
        let hold = doubled.min(rules.hold_max);
        self.held_until = Some(now + hold);
        Some(hold)
    }

    /// Until when it is held down, if it is.
    #[must_use]
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|&until| until > now)
    }

    /// How often in a row it has been held, and when the last hold ends or ended.
    #[must_use]
    pub const fn holds(&self) -> (u32, Option<Instant>) {
        (self.holds, self.held_until)
    }

    /// Failures that count.
    #[must_use]
    pub fn failures(&self) -> u32 {
        u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }

    /// When they were.
    pub fn times(&self) -> impl Iterator<Item = Instant> {
        self.failures.iter().copied()
    }
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
        assert_eq!(flaps.held_until(last), Some(last + SECOND * 60));
        assert_eq!(flaps.held_until(last + SECOND * 60), None);
    }

    #[test]
    fn failures_far_apart_are_none_of_it() {
        let rules = Rules::default();
        let mut flaps = Flaps::default();
        let start = Instant::now();
        for at in 0..20 {
            assert_eq!(flaps.failed(&rules, start + SECOND * 25 * at), None, "{at}");
        }
        assert!(flaps.failures() <= 3);
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
        assert_eq!(flaps.held_until(now), None);
    }
}
