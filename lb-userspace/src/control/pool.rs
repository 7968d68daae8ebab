//! What the data path may do with a backend, and which backends share a service's slots. Pure decisions.

use lb_common::backend::BackendState;

use crate::{
    config::{Admin, BackendSpec},
    health::Health,
};

/// The state of a backend, from what the administrator wants, what the probes see, and whether there may be a way to it.
/// `None` is a backend without probes.
#[must_use]
pub fn state(backend: &BackendSpec, health: Option<Health>, reachable: bool) -> BackendState {
    match (health, backend.admin) {
        // Before the first probe nobody knows whether it serves.
        (Some(Health::Down | Health::Checking), _) => BackendState::Down,
        (Some(Health::Up) | None, Admin::Drain) => BackendState::Drain,
        (Some(Health::Up) | None, Admin::Ready) if backend.weight == 0 => BackendState::Drain,
        // A new flow would be dropped on the way; those that it has may outlast a moment without one.
        (Some(Health::Up) | None, Admin::Ready) if !reachable => BackendState::Drain,
        (Some(Health::Up) | None, Admin::Ready) => BackendState::Up,
    }
}

/// Which of a pool's backends get slots, by their weight and state.
///
/// Those that are down keep theirs: a failure is one store, flows on such a slot step on to the next hash, and recovery
/// needs no table either. Only where more than half of the weight is unusable would the steps become many; then the usable
/// ones share the table alone.
#[must_use]
pub fn sharers(pool: &[(u16, BackendState)]) -> Vec<bool> {
    let weight_of = |usable_only: bool| -> u64 {
        let counts = |state: BackendState| !usable_only || state == BackendState::Up;
        pool.iter()
            .filter(|(_, state)| counts(*state))
            .map(|(weight, _)| u64::from(*weight))
            .sum()
    };
    let usable = weight_of(true);
    let only_usable = usable > 0 && 2 * usable < weight_of(false);
    pool.iter()
        .map(|(weight, state)| *weight > 0 && (!only_usable || *state == BackendState::Up))
        .collect()
}

#[cfg(test)]
mod tests {
    use BackendState::{Down, Drain, Up};

    use super::*;
    use crate::control::change::tests::backend;

    #[test]
    fn health_comes_before_wishes() {
        let mut spec = backend(1);
        assert_eq!(state(&spec, None, true), Up);
        assert_eq!(state(&spec, Some(Health::Up), true), Up);
        assert_eq!(state(&spec, Some(Health::Checking), true), Down);
        assert_eq!(state(&spec, Some(Health::Down), true), Down);
        spec.admin = Admin::Drain;
        assert_eq!(state(&spec, Some(Health::Up), true), Drain);
        assert_eq!(state(&spec, Some(Health::Down), true), Down);
        spec = backend(1);
        spec.weight = 0;
        assert_eq!(state(&spec, None, true), Drain);
    }

    #[test]
    fn without_a_way_there_is_no_new_flow() {
        let mut spec = backend(1);
        for health in [None, Some(Health::Up)] {
            assert_eq!(state(&spec, health, false), Drain);
        }
        assert_eq!(state(&spec, Some(Health::Down), false), Down);
        spec.admin = Admin::Drain;
        assert_eq!(state(&spec, None, false), Drain);
    }

    #[test]
    fn a_failure_leaves_the_table_alone_until_half_is_gone() {
        assert_eq!(sharers(&[(100, Up), (100, Up), (100, Down)]), [true, true, true]);
        assert_eq!(sharers(&[(100, Up), (100, Drain)]), [true, true]);
        assert_eq!(
            sharers(&[(100, Up), (100, Drain), (100, Down)]),
            [true, false, false]
        );
        assert_eq!(
            sharers(&[(300, Up), (100, Down), (100, Down)]),
            [true, true, true]
        );
        assert_eq!(sharers(&[(100, Down), (100, Down)]), [true, true]);
        assert_eq!(sharers(&[(0, Up), (100, Up)]), [false, true]);
    }
}
