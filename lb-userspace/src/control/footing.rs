//! What a service's table rests on, kept in step with the words of its backends: whether a turn asks for another table. Most do not, and
//! then nothing has to be looked at but the one backend. Pure.

use lb_common::backend::BackendState;

use super::pool::{Standing, is_too_little};
use crate::config::{Algorithm, ServiceSpec};

/// What decides about the shares of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footing {
    /// Weight that is up, and all that could be.
    usable: u64,
    all: u64,
    /// Shares depend on more than that.
    is_involved: bool,
}

impl Footing {
    /// How a pool stands.
    #[must_use]
    pub fn of(service: &ServiceSpec, pool: impl IntoIterator<Item = Standing>) -> Self {
        let mut footing = Self {
            usable: 0,
            all: 0,
            // Its entry says how much weight is up.
            is_involved: service.algorithm == Algorithm::Bounded || !service.health.slow_start.is_zero(),
        };
        let mut tier = None;
        for one in pool {
            if one.is_eligible() {
                footing.all += u64::from(one.weight);
            }
            if one.is_up() {
                footing.usable += u64::from(one.weight);
            }
            footing.is_involved |= *tier.get_or_insert(one.priority) != one.priority;
        }
        footing
    }

    /// Whether any of it is up.
    #[must_use]
    pub const fn has_usable(&self) -> bool {
        self.usable > 0
    }

    /// Takes in that one of them is in another state than before; whether the table has to follow.
    pub fn turned(&mut self, before: Standing, state: BackendState) -> bool {
        let was_short = is_too_little(self.usable, self.all);
        let now = Standing { state, ..before };
        let weight = |one: Standing| if one.is_up() { u64::from(one.weight) } else { 0 };
        self.usable = (self.usable + weight(now)).saturating_sub(weight(before));
        // While the table is shared by those that are up, each turn changes it.
        self.is_involved || was_short || is_too_little(self.usable, self.all)
    }
}

#[cfg(test)]
mod tests {
    use BackendState::{Down, Up};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::Admin,
        control::{change::tests::service, pool},
    };

    fn standing(weight: u16, priority: u8, state: BackendState) -> Standing {
        Standing {
            weight,
            priority,
            admin: Admin::Ready,
            state,
            is_kept: false,
        }
    }

    #[test]
    fn one_of_many_asks_for_no_table() {
        let pool = [standing(100, 0, Up); 4];
        let mut footing = Footing::of(&service("web", 1, 4), pool);
        assert!(!footing.turned(pool[0], Down));
        assert!(!footing.turned(pool[1], Down));
        assert!(footing.turned(pool[2], Down));
        assert!(footing.turned(standing(100, 0, Down), Up));
        assert!(!footing.turned(standing(100, 0, Down), Up));
    }

    proptest! {
        /// Where it asks for none, none changes.
        #[test]
        fn agrees_with_a_division_of_the_whole_pool(
            pool in prop::collection::vec((0_u16..4, 0_u8..2, any::<bool>()), 1..8),
            turns in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
            algorithm in prop::sample::select(vec![Algorithm::Maglev, Algorithm::First, Algorithm::Failover]),
        ) {
            let mut service = service("web", 1, 1);
            service.algorithm = algorithm;
            let state = |up| if up { Up } else { Down };
            let mut pool: Vec<_> = pool
                .into_iter()
                .map(|(weight, priority, up)| standing(weight, priority, state(up)))
                .collect();
            let mut footing = Footing::of(&service, pool.iter().copied());
            for turn in turns {
                let at = turn.index(pool.len());
                let before = pool::divide(&service, &pool);
                let other = if pool[at].state == Up { Down } else { Up };
                let asks = footing.turned(pool[at], other);
                pool[at].state = other;
                prop_assert!(asks || pool::divide(&service, &pool) == before);
                prop_assert_eq!(&footing, &Footing::of(&service, pool.iter().copied()));
            }
        }
    }
}
