//! How long backends drain, and when nothing is left of them. Time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::control::CheckKey;

/// Censuses in a row that must find no flow.
const ENOUGH: u32 = 2;

/// The backends that drain because people want it, each under one generation of its id.
#[derive(Clone, Debug, Default)]
pub struct Drains(BTreeMap<CheckKey, Drain>);

#[derive(Clone, Copy, Debug)]
struct Drain {
    since: Instant,
    /// Censuses in a row that have found no flow.
    empty: u32,
}

impl Drains {
    /// Who drains.
    #[must_use]
    pub fn keys(&self) -> Vec<CheckKey> {
        self.0.keys().copied().collect()
    }

    /// Takes in who drains now.
    pub fn follow(&mut self, draining: impl Iterator<Item = CheckKey>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        let begun = Drain { since: now, empty: 0 };
        let drains = draining.map(|key| (key, before.remove(&key).unwrap_or(begun)));
        self.0 = drains.collect();
    }

    /// When the drain of a backend ends, at the latest.
    #[must_use]
    pub fn end(&self, key: CheckKey, timeout: Duration) -> Option<Instant> {
        self.0.get(&key).map(|drain| drain.since + timeout)
    }

    /// Whether a backend has drained for so long.
    #[must_use]
    pub fn is_over(&self, key: CheckKey, timeout: Duration, now: Instant) -> bool {
        self.end(key, timeout).is_some_and(|end| now >= end)
    }

    /// Takes in that a census which `began` then has found so many flows of a backend.
    pub fn counted(&mut self, key: CheckKey, flows: u64, began: Instant) {
        if let Some(drain) = self.0.get_mut(&key)
            && began >= drain.since
        {
            drain.empty = if flows == 0 { drain.empty + 1 } else { 0 };
        }
    }

    /// Whether a backend has no flow left.
    #[must_use]
    pub fn is_empty(&self, key: CheckKey) -> bool {
        self.0.get(&key).is_some_and(|drain| drain.empty >= ENOUGH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CheckKey = (1, 1);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_drain_lasts_from_its_beginning_and_a_new_one_begins_anew() {
        let (mut drains, start) = (Drains::default(), Instant::now());
        drains.follow([KEY].into_iter(), start);
        drains.follow([KEY, (2, 1)].into_iter(), start + seconds(5));
        assert!(!drains.is_over(KEY, seconds(10), start + seconds(9)));
        assert!(drains.is_over(KEY, seconds(10), start + seconds(10)));
        assert!(!drains.is_over((2, 1), seconds(10), start + seconds(10)));
        assert!(!drains.is_over((1, 2), seconds(0), start + seconds(10)));
        drains.follow([].into_iter(), start + seconds(11));
        drains.follow([KEY].into_iter(), start + seconds(12));
        assert_eq!(drains.end(KEY, seconds(10)), Some(start + seconds(22)));
    }

    #[test]
    fn it_is_empty_when_two_censuses_in_a_row_say_so_that_began_after_it() {
        let (mut drains, start) = (Drains::default(), Instant::now());
        drains.follow([KEY].into_iter(), start + seconds(1));
        let mut says = |flows, began| {
            drains.counted(KEY, flows, start + seconds(began));
            drains.is_empty(KEY)
        };
        assert_eq!(
            [says(0, 0), says(0, 2), says(1, 3), says(0, 4), says(0, 5)],
            [false, false, false, false, true]
        );
        assert!(!drains.is_empty((2, 1)));
    }
}
