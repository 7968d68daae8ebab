//! What the data path may do with a backend, and which backends share a service's slots. Pure decisions.

use lb_common::backend::BackendState;

use crate::{
    config::{Admin, Algorithm, BackendSpec, ServiceSpec},
    health::Health,
};

/// What decides about a backend's state.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// What the probes see; `None` without any.
    pub health: Option<Health>,
    /// Whether there may be a way to it.
    pub is_reachable: bool,
    /// It has drained for as long as its service allows.
    pub is_drained: bool,
}

/// The state of a backend, from what the administrator wants and what there is to see.
#[must_use]
pub fn state(backend: &BackendSpec, sight: Sight) -> BackendState {
    match (sight.health, backend.admin) {
        // Before the first probe nobody knows whether it serves.
        (Some(Health::Down | Health::Checking), _) | (_, Admin::Maintenance) => BackendState::Down,
        (Some(Health::Up) | None, Admin::Drain) if sight.is_drained => BackendState::Down,
        (Some(Health::Up) | None, Admin::Drain) => BackendState::Drain,
        (Some(Health::Up) | None, Admin::Ready) if backend.weight == 0 => BackendState::Drain,
        // A new flow would be dropped on the way; those that it has may outlast a moment without one.
        (Some(Health::Up) | None, Admin::Ready) if !sight.is_reachable => BackendState::Drain,
        (Some(Health::Up) | None, Admin::Ready) => BackendState::Up,
    }
}

/// A backend among the others of its service.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub weight: u16,
    pub priority: u8,
    pub admin: Admin,
    pub state: BackendState,
    /// It is up only since its pool is in panic.
    pub is_kept: bool,
}

impl Standing {
    #[must_use]
    pub const fn of(backend: &BackendSpec, state: BackendState) -> Self {
        Self {
            weight: backend.weight,
            priority: backend.priority,
            admin: backend.admin,
            state,
            is_kept: false,
        }
    }

    /// Whether it could take new flows, if it is not down just now.
    pub(super) const fn is_eligible(&self) -> bool {
        self.weight > 0 && matches!(self.admin, Admin::Ready)
    }

    pub(super) const fn is_up(&self) -> bool {
        self.is_eligible() && matches!(self.state, BackendState::Up)
    }
}

/// What becomes of the backends of a pool, each at its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// Who gets slots.
    pub shares: Vec<bool>,
    /// Who stands behind them, for those algorithms that look at members one by one.
    pub stands: Vec<bool>,
    /// How many the table is large enough for, whoever of them is down just now.
    pub size: usize,
}

/// Divides a pool.
///
/// Those that are down keep their slots: a failure is one store, flows on such a slot step on to the next hash, and recovery
/// needs no table either. Only where more than half of the weight is unusable would the steps become many; then the usable
/// ones share the table alone.
#[must_use]
pub fn divide(service: &ServiceSpec, pool: &[Standing]) -> Division {
    let by_order = matches!(service.algorithm, Algorithm::First | Algorithm::Failover);
    let last = if service.algorithm == Algorithm::Failover {
        u8::MAX
    } else {
        last_tier(pool, service.need)
    };
    let serves = |one: &Standing| one.is_eligible() && one.priority <= last;
    let weight_of = |counts: fn(&Standing) -> bool| -> u64 {
        let serving = pool.iter().filter(|one| serves(one) && counts(one));
        serving.map(|one| u64::from(one.weight)).sum()
    };
    let usable = weight_of(Standing::is_up);
    let only_usable = is_too_little(usable, weight_of(|_| true));
    let shares: Vec<_> = pool
        .iter()
        .map(|one| serves(one) && (!only_usable || one.is_up()))
        .collect();
    Division {
        stands: if by_order {
            pool.iter().map(serves).collect()
        } else {
            shares.clone()
        },
        shares,
        size: pool.iter().filter(|one| one.is_eligible()).count(),
    }
}

/// Whether what is usable of the weight has to carry the table alone.
pub(super) const fn is_too_little(usable: u64, all: u64) -> bool {
    usable > 0 && 2 * usable < all
}

/// The last priority that serves: each does while fewer than `need` of those before it are usable.
fn last_tier(pool: &[Standing], need: u8) -> u8 {
    let mut tiers: Vec<_> = pool
        .iter()
        .filter(|one| one.is_eligible())
        .map(|one| one.priority)
        .collect();
    tiers.sort_unstable();
    tiers.dedup();
    let usable_up_to = |tier| {
        // Whoever is kept is hardly believed to be fit.
        let usable = pool
            .iter()
            .filter(|one| one.is_up() && !one.is_kept && one.priority <= tier);
        usable.count() >= usize::from(need)
    };
    let enough = tiers.iter().copied().find(|&tier| usable_up_to(tier));
    enough.unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use BackendState::{Down, Drain, Up};

    use super::*;
    use crate::control::change::tests::{backend, service};

    const SEEN: Sight = Sight {
        health: None,
        is_reachable: true,
        is_drained: false,
    };

    #[test]
    fn health_comes_before_wishes() {
        let seen = |health| Sight {
            health: Some(health),
            ..SEEN
        };
        let mut spec = backend(1);
        assert_eq!(state(&spec, SEEN), Up);
        assert_eq!(state(&spec, seen(Health::Up)), Up);
        assert_eq!(state(&spec, seen(Health::Checking)), Down);
        assert_eq!(state(&spec, seen(Health::Down)), Down);
        spec.admin = Admin::Drain;
        assert_eq!(state(&spec, seen(Health::Up)), Drain);
        assert_eq!(state(&spec, seen(Health::Down)), Down);
        spec.admin = Admin::Maintenance;
        assert_eq!(state(&spec, seen(Health::Up)), Down);
        assert_eq!(state(&spec, SEEN), Down);
        spec = backend(1);
        spec.weight = 0;
        assert_eq!(state(&spec, SEEN), Drain);
    }

    #[test]
    fn a_drain_ends() {
        let over = Sight {
            is_drained: true,
            ..SEEN
        };
        let mut spec = backend(1);
        assert_eq!(state(&spec, over), Up);
        spec.admin = Admin::Drain;
        assert_eq!(state(&spec, over), Down);
    }

    #[test]
    fn without_a_way_there_is_no_new_flow() {
        let lost = |health| Sight {
            health,
            is_reachable: false,
            ..SEEN
        };
        let mut spec = backend(1);
        for health in [None, Some(Health::Up)] {
            assert_eq!(state(&spec, lost(health)), Drain);
        }
        assert_eq!(state(&spec, lost(Some(Health::Down))), Down);
        spec.admin = Admin::Drain;
        assert_eq!(state(&spec, lost(None)), Drain);
    }

    fn ready(weight: u16, state: BackendState) -> Standing {
        Standing {
            weight,
            priority: 0,
            admin: Admin::Ready,
            state,
            is_kept: false,
        }
    }

    fn shares(algorithm: Algorithm, need: u8, pool: &[Standing]) -> Vec<bool> {
        divide(&spec(algorithm, need), pool).shares
    }

    fn spec(algorithm: Algorithm, need: u8) -> ServiceSpec {
        let mut spec = service("web", 1, 0);
        (spec.algorithm, spec.need) = (algorithm, need);
        spec
    }

    #[test]
    fn a_failure_leaves_the_table_alone_until_half_is_gone() {
        let shares = |pool: &[(u16, BackendState)]| {
            let pool: Vec<_> = pool.iter().map(|&(weight, state)| ready(weight, state)).collect();
            shares(Algorithm::Maglev, 1, &pool)
        };
        assert_eq!(shares(&[(100, Up), (100, Up), (100, Down)]), [true, true, true]);
        // One without a way for a moment.
        assert_eq!(shares(&[(100, Up), (100, Drain)]), [true, true]);
        assert_eq!(
            shares(&[(100, Up), (100, Drain), (100, Down)]),
            [true, false, false]
        );
        assert_eq!(shares(&[(300, Up), (100, Down), (100, Down)]), [true, true, true]);
        assert_eq!(shares(&[(100, Down), (100, Down)]), [true, true]);
        assert_eq!(shares(&[(0, Up), (100, Up)]), [false, true]);
    }

    #[test]
    fn who_is_not_to_serve_has_no_slots() {
        let mut pool = [ready(100, Up), ready(100, Drain), ready(100, Down)];
        pool[1].admin = Admin::Drain;
        pool[2].admin = Admin::Maintenance;
        let divided = divide(&spec(Algorithm::Maglev, 1), &pool);
        assert_eq!(divided.shares, [true, false, false]);
        assert_eq!((&divided.stands, divided.size), (&divided.shares, 1));
        // Not even if nobody else is there.
        assert_eq!(shares(Algorithm::Maglev, 1, &pool[1..]), [false, false]);
    }

    #[test]
    fn backups_serve_while_too_few_before_them_are_usable() {
        let pool = |states: [BackendState; 4]| {
            let mut pool = states.map(|state| ready(100, state));
            for (one, priority) in pool.iter_mut().zip([0, 0, 3, 7]) {
                one.priority = priority;
            }
            pool
        };
        let shares = |need, states| shares(Algorithm::Maglev, need, &pool(states));
        assert_eq!(shares(1, [Up, Down, Up, Up]), [true, true, false, false]);
        assert_eq!(shares(2, [Up, Down, Up, Up]), [true, true, true, false]);
        assert_eq!(shares(2, [Up, Up, Up, Up]), [true, true, false, false]);
        // More than half of those that serve is unusable.
        assert_eq!(shares(1, [Down, Down, Up, Up]), [false, false, true, false]);
        assert_eq!(shares(9, [Up, Up, Up, Up]), [true, true, true, true]);
        assert_eq!(shares(1, [Down, Down, Down, Down]), [true, true, true, true]);
        // Kept in panic, the first two are no reason to do without the others.
        let mut kept = pool([Up, Up, Up, Down]);
        kept[0].is_kept = true;
        kept[1].is_kept = true;
        let by_need = |need| super::tests::shares(Algorithm::Maglev, need, &kept);
        assert_eq!(by_need(1), [true, true, true, false]);
        assert_eq!(by_need(2), [true, true, true, true]);
        // Those who shall not serve are no tier.
        let mut drained = pool([Drain, Drain, Up, Up]);
        drained[0].admin = Admin::Drain;
        drained[1].admin = Admin::Drain;
        assert_eq!(
            super::tests::shares(Algorithm::Maglev, 1, &drained),
            [false, false, true, false]
        );
    }

    #[test]
    fn an_order_has_all_in_it_and_failover_knows_no_tiers() {
        let mut pool = [ready(100, Up), ready(100, Down), ready(100, Down)];
        pool[2].priority = 1;
        let divide = |algorithm| divide(&spec(algorithm, 1), &pool);
        assert_eq!(divide(Algorithm::Failover).stands, [true, true, true]);
        assert_eq!(divide(Algorithm::Failover).shares, [true, false, false]);
        assert_eq!(divide(Algorithm::First).stands, [true, true, false]);
        assert_eq!(divide(Algorithm::LeastConn).stands, [true, true, false]);
        assert_eq!(divide(Algorithm::First).size, 3);
    }
}
