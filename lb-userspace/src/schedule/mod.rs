//! Schedulers: how a pool of backends fills a slot table. The data path turns a flow into a slot number and knows
//! nothing of weights; all of that is here.
//!
//! A new scheduler is one file, a line in [`SCHEDULERS`] and an arm in [`of`].

mod maglev;

use std::fmt;

pub use maglev::Maglev;

use crate::config::Algorithm;

/// Every scheduler.
pub const SCHEDULERS: &[&dyn Scheduler] = &[&Maglev];

/// Fills slot tables.
pub trait Scheduler: fmt::Debug + Sync {
    /// The name that the configuration uses.
    fn name(&self) -> &'static str;

    /// A table of `size` slots, each the id of a member, or [`NO_BACKEND`](lb_common::limits::NO_BACKEND) all through if
    /// no member has weight.
    ///
    /// Only keys and weights decide which member gets a slot: neither ids nor the order of `pool` do, so that balancers
    /// that know the same backends by other ids agree.
    fn fill(&self, size: usize, pool: &[Member<'_>]) -> Vec<u32>;
}

/// A backend that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// What the backend is, the same on every balancer and after every restart: its address and port.
    pub key: &'a str,
    /// What goes into the slots.
    pub id: u32,
    /// Share of the slots, relative to the others'; 0 for none.
    pub weight: u32,
}

/// The scheduler of an algorithm.
#[must_use]
pub fn of(algorithm: Algorithm) -> &'static dyn Scheduler {
    match algorithm {
        Algorithm::Maglev => &Maglev,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_its_scheduler_in_the_table() {
        assert_eq!(Algorithm::ALL.len(), SCHEDULERS.len());
        for &algorithm in Algorithm::ALL {
            assert_eq!(of(algorithm).name(), algorithm.name());
            assert!(
                SCHEDULERS
                    .iter()
                    .any(|scheduler| scheduler.name() == algorithm.name())
            );
        }
    }
}
