//! When probes are rather wrong than all of those who fail them. Pure.

use crate::health::Health;

/// Those of a service's backends who should serve, by what their checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    all: usize,
    healthy: usize,
    /// Down by what they, or their hosts, have said themselves.
    refused: usize,
    down: usize,
}

impl Pool {
    /// Of what the checks say of each, and whether it has refused itself.
    #[must_use]
    pub fn of(states: impl Iterator<Item = (Health, bool)>) -> Self {
        let mut pool = Self::default();
        for state in states {
            pool.all += 1;
            if let Some(like) = pool.like(state) {
                *like += 1;
            }
        }
        pool
    }

    /// Takes in that one of them is in another state than before.
    pub fn turned(&mut self, before: (Health, bool), now: (Health, bool)) {
        if let Some(like) = self.like(before) {
            *like = like.saturating_sub(1);
        }
        if let Some(like) = self.like(now) {
            *like += 1;
        }
    }

    /// How many are as one in this state is; `None` for those who are not heard of yet.
    const fn like(&mut self, (health, has_refused): (Health, bool)) -> Option<&mut usize> {
        match health {
            Health::Up => Some(&mut self.healthy),
            Health::Down if has_refused => Some(&mut self.refused),
            Health::Down => Some(&mut self.down),
            Health::Checking => None,
        }
    }

    /// Whether fewer than so many percent look healthy, for no reason of their own. Those who have not been heard of yet do not look
    /// ill, and those who have refused are no doubt right.
    #[must_use]
    pub const fn panics(&self, percent: u8) -> bool {
        let credible = self.all.saturating_sub(self.refused);
        let looks_well = credible.saturating_sub(self.down);
        self.down > 0 && looks_well * 100 < credible * percent as usize
    }

    /// In a line.
    #[must_use]
    pub fn told(&self, percent: u8) -> String {
        let Self {
            all,
            healthy,
            refused,
            down,
        } = self;
        format!(
            "{healthy} of {all} backends look healthy, {down} are silent or answer badly, {refused} refuse, and panic begins below {percent} %"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Health::{Checking, Down, Up};

    fn pool(up: usize, silent: usize, refused: usize) -> Pool {
        let states = [(Up, false, up), (Down, false, silent), (Down, true, refused)];
        Pool::of(
            states
                .into_iter()
                .flat_map(|(health, has, count)| vec![(health, has); count]),
        )
    }

    #[test]
    fn it_takes_too_many_that_are_down_by_silence() {
        assert!(pool(4, 6, 0).panics(50));
        assert!(!pool(5, 5, 0).panics(50));
        assert!(pool(0, 1, 0).panics(1));
        assert!(!pool(0, 0, 0).panics(50));
    }

    #[test]
    fn refusals_are_believed() {
        assert!(!pool(1, 0, 9).panics(50));
        assert!(!pool(0, 0, 10).panics(100));
        assert!(pool(1, 2, 7).panics(50));
    }

    proptest! {
        /// Counts that are kept are those of a look at all of them.
        #[test]
        fn turns_come_to_the_same_as_a_count(
            mut states in prop::collection::vec(state(), 1..8),
            turns in prop::collection::vec((any::<prop::sample::Index>(), state()), 1..20),
        ) {
            let mut pool = Pool::of(states.iter().copied());
            for (at, now) in turns {
                let at = at.index(states.len());
                pool.turned(std::mem::replace(&mut states[at], now), now);
                prop_assert_eq!(pool, Pool::of(states.iter().copied()));
            }
        }
    }

    fn state() -> impl Strategy<Value = (Health, bool)> {
        (prop::sample::select(vec![Up, Down, Checking]), any::<bool>())
    }

    #[test]
    fn it_can_be_off_and_is_not_for_those_not_heard_of() {
        assert!(!pool(0, 10, 0).panics(0));
        assert!(!Pool::of([(Checking, false); 5].into_iter()).panics(50));
    }
}
