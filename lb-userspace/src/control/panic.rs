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
    /// Healthy ones of later priorities than the first.
    backups: usize,
    first: Option<u8>,
}

impl Pool {
    /// Of the priority of each, what the checks say of it, and whether it has refused itself.
    #[must_use]
    pub fn of(looks: impl Iterator<Item = (u8, (Health, bool))> + Clone) -> Self {
        let mut pool = Self {
            first: looks.clone().map(|(priority, _)| priority).min(),
            ..Self::default()
        };
        for (priority, look) in looks {
            pool.all += 1;
            pool.counts_as(priority, look, |count| *count += 1);
        }
        pool
    }

    /// Takes in that one of them looks otherwise than before.
    pub fn turned(&mut self, priority: u8, before: (Health, bool), now: (Health, bool)) {
        self.counts_as(priority, before, |count| *count = count.saturating_sub(1));
        self.counts_as(priority, now, |count| *count += 1);
    }

    /// Changes the counts of those who look like one of this priority.
    fn counts_as(
        &mut self,
        priority: u8,
        (health, has_refused): (Health, bool),
        change: impl Fn(&mut usize),
    ) {
        if health == Health::Up && self.first != Some(priority) {
            change(&mut self.backups);
        }
        match health {
            Health::Up => change(&mut self.healthy),
            Health::Down if has_refused => change(&mut self.refused),
            Health::Down => change(&mut self.down),
            Health::Checking => {}
        }
    }

    /// Whether fewer than so many percent look healthy, for no reason of their own. Those who have not been heard of yet do not look
    /// ill, and those who have refused are no doubt right. Where backups are healthy, as many as the service needs, probes do get
    /// through, and there is somebody to serve.
    #[must_use]
    pub const fn panics(&self, percent: u8, need: u8) -> bool {
        if self.backups > 0 && self.backups >= need as usize {
            return false;
        }
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
            ..
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
        of(&[
            (0, Up, false, up),
            (0, Down, false, silent),
            (0, Down, true, refused),
        ])
    }

    /// So many of each kind.
    fn of(kinds: &[(u8, Health, bool, usize)]) -> Pool {
        let kinds = kinds.iter();
        Pool::of(kinds.flat_map(|&(priority, health, has, count)| vec![(priority, (health, has)); count]))
    }

    #[test]
    fn it_takes_too_many_that_are_down_by_silence() {
        assert!(pool(4, 6, 0).panics(50, 1));
        assert!(!pool(5, 5, 0).panics(50, 1));
        assert!(pool(0, 1, 0).panics(1, 1));
        assert!(!pool(0, 0, 0).panics(50, 1));
    }

    #[test]
    fn refusals_are_believed() {
        assert!(!pool(1, 0, 9).panics(50, 1));
        assert!(!pool(0, 0, 10).panics(100, 1));
        assert!(pool(1, 2, 7).panics(50, 1));
    }

    proptest! {
        /// Counts that are kept are those of a look at all of them.
        #[test]
        fn turns_come_to_the_same_as_a_count(
            mut looks in prop::collection::vec((0_u8..3, look()), 1..8),
            turns in prop::collection::vec((any::<prop::sample::Index>(), look()), 1..20),
        ) {
            let mut pool = Pool::of(looks.iter().copied());
            for (at, now) in turns {
                let at = at.index(looks.len());
                let (priority, look) = &mut looks[at];
                pool.turned(*priority, std::mem::replace(look, now), now);
                prop_assert_eq!(pool, Pool::of(looks.iter().copied()));
            }
        }
    }

    fn look() -> impl Strategy<Value = (Health, bool)> {
        (prop::sample::select(vec![Up, Down, Checking]), any::<bool>())
    }

    #[test]
    fn it_can_be_off_and_is_not_for_those_not_heard_of() {
        assert!(!pool(0, 10, 0).panics(0, 1));
        assert!(!of(&[(0, Checking, false, 5)]).panics(50, 1));
    }

    #[test]
    fn healthy_backups_serve_in_its_place() {
        let pool = |up, silent| of(&[(3, Down, false, 4), (5, Up, false, up), (9, Down, false, silent)]);
        assert!(!pool(2, 0).panics(50, 1));
        assert!(!pool(2, 9).panics(50, 2));
        assert!(pool(2, 0).panics(50, 3), "too few of them");
        assert!(pool(0, 2).panics(50, 1));
        // Those of the first priority are no backups.
        assert!(of(&[(3, Down, false, 4), (3, Up, false, 2)]).panics(50, 1));
        assert!(of(&[(3, Up, false, 1), (5, Down, false, 4)]).panics(50, 1));
    }
}
