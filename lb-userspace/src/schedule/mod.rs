//! Schedulers: how a pool of backends fills a slot table, and the order in which it stands behind the slots. The data path turns a
//! flow into a slot number; what weights mean for that is here.
//!
//! A new scheduler is one file, a line in [`SCHEDULERS`] and an arm in [`of`].

mod maglev;
mod order;
mod quotas;
mod smooth;

use std::fmt;

pub use maglev::Maglev;
pub use order::order;
pub use smooth::Smooth;

use crate::config::Algorithm;

/// Every scheduler.
pub const SCHEDULERS: &[&dyn Scheduler] = &[&Maglev, &Smooth];

/// Fills slot tables.
pub trait Scheduler: fmt::Debug + Sync {
    /// What it is called.
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
    /// Its place in the order of `failover`, before its weight; 0 comes first.
    pub priority: u8,
}

/// The scheduler of an algorithm.
#[must_use]
pub fn of(algorithm: Algorithm) -> &'static dyn Scheduler {
    match algorithm {
        Algorithm::RoundRobin => &Smooth,
        Algorithm::Maglev
        | Algorithm::Source
        | Algorithm::Dest
        | Algorithm::DestPort
        | Algorithm::Bounded
        | Algorithm::Random
        | Algorithm::TwoChoices
        | Algorithm::LeastConn
        | Algorithm::First
        | Algorithm::Failover => &Maglev,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheduler_is_in_the_table_and_one_algorithm_needs_it() {
        for &algorithm in Algorithm::ALL {
            let name = of(algorithm).name();
            assert!(
                SCHEDULERS.iter().any(|scheduler| scheduler.name() == name),
                "{name}"
            );
        }
        for scheduler in SCHEDULERS {
            let mut users = Algorithm::ALL.iter().map(|&algorithm| of(algorithm).name());
            assert!(users.any(|name| name == scheduler.name()));
        }
    }
}
