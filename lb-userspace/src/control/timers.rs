//! When each of some changes by time alone: the next is found without a look at all of them. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// A moment for each key that has one.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    moments: BTreeMap<K, Instant>,
    /// The same, by time.
    order: BTreeSet<(Instant, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            moments: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Gives a key another moment, or none.
    pub fn set(&mut self, key: K, moment: Option<Instant>) {
        let before = match moment {
            Some(moment) => self.moments.insert(key, moment),
            None => self.moments.remove(&key),
        };
        if let Some(before) = before {
            self.order.remove(&(before, key));
        }
        if let Some(moment) = moment {
            self.order.insert((moment, key));
        }
    }

    /// The first of them.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(moment, _)| *moment)
    }

    /// Whose moment has come.
    pub fn over(&self, now: Instant) -> Vec<K> {
        let over = self.order.iter().take_while(|(moment, _)| *moment <= now);
        over.map(|(_, key)| *key).collect()
    }

    /// Forgets all but these.
    pub fn retain(&mut self, stays: impl Fn(&K) -> bool) {
        self.moments.retain(|key, _| stays(key));
        self.order.retain(|(_, key)| stays(key));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_next_one_is_the_first_by_time_whatever_was_set_before() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set('a', Some(at(5)));
        timers.set('b', Some(at(7)));
        timers.set('a', Some(at(9)));
        assert_eq!((timers.next(), timers.over(at(6))), (Some(at(7)), vec![]));
        assert_eq!(timers.over(at(9)), ['b', 'a']);
        timers.set('b', None);
        assert_eq!(timers.next(), Some(at(9)));
        timers.retain(|key| *key != 'a');
        assert_eq!((timers.next(), timers.over(at(9))), (None, vec![]));
    }
}
