//! Smooth weighted round robin: a sequence in which every member comes as often as its weight says, and as evenly as can be.
//!
//! A member with `q` of `size` slots has a window for each: the first is one of the first `size / q` slots, the second one of the next, and
//! so on. Of the members whose window has begun, the one whose window ends first gets the slot (Baruah et al., "Proportionate
//! Progress", 1996: since the quotas add up to the slots, no window is missed). So a heavy member has no bursts, and no light one
//! waits for twice its turn. A table of 65,536 slots for 1000 members takes about
//! 7 ms.

use std::{cmp::Reverse, collections::BinaryHeap};

use lb_common::limits::NO_BACKEND;

use super::{
    Member, Scheduler,
    quotas::{quotas, weighted},
};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Smooth;

impl Scheduler for Smooth {
    fn name(&self) -> &'static str {
        "smooth"
    }

    fn fill(&self, size: usize, pool: &[Member<'_>]) -> Vec<u32> {
        let members = weighted(pool);
        let quotas = quotas(size, &members);
        // By the slot at which a window begins, and by the one before which it ends.
        let mut to_come = BinaryHeap::new();
        let mut waiting = BinaryHeap::new();
        for (member, &quota) in quotas.iter().enumerate() {
            if quota > 0 {
                to_come.push(Reverse((0, member, 0)));
            }
        }
        let mut slots = vec![NO_BACKEND; size];
        for (at, slot) in slots.iter_mut().enumerate() {
            while let Some(&Reverse((begin, member, turn))) = to_come.peek()
                && begin <= at
            {
                to_come.pop();
                let end = ((turn + 1) * size).div_ceil(quotas[member]);
                waiting.push(Reverse((end, member, turn)));
            }
            let Some(Reverse((_, member, turn))) = waiting.pop() else {
                continue;
            };
            *slot = members[member].id;
            let next = turn + 1;
            if next < quotas[member] {
                to_come.push(Reverse((next * size / quotas[member], member, next)));
            }
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(size: usize, weights: &[u32]) -> Vec<u32> {
        let keys: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(at, _)| format!("{at:04}"))
            .collect();
        let pool: Vec<_> = (1..)
            .zip(&keys)
            .zip(weights)
            .map(|((id, key), &weight)| Member {
                key,
                id,
                weight,
                priority: 0,
            })
            .collect();
        Smooth.fill(size, &pool)
    }

    #[test]
    fn members_take_turns() {
        assert_eq!(fill(8, &[100, 100]), [1, 2, 1, 2, 1, 2, 1, 2]);
        assert_eq!(fill(8, &[100, 300]), [2, 2, 1, 2, 2, 2, 1, 2]);
        assert_eq!(fill(8, &[100, 0, 100]), [1, 3, 1, 3, 1, 3, 1, 3]);
        assert_eq!(fill(4, &[]), [NO_BACKEND; 4]);
        assert_eq!(fill(4, &[0]), [NO_BACKEND; 4]);
        assert_eq!(fill(4, &[7]), [1; 4]);
    }

    #[test]
    fn a_heavy_member_comes_between_all_the_light_ones() {
        let mut weights = [1; 100];
        weights[50] = 100;
        let table = fill(1024, &weights);
        for three in table.windows(3) {
            assert!(
                three.contains(&51) && three.iter().any(|&id| id != 51),
                "{three:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_member_has_one_slot_in_each_of_its_windows(
            weights in prop::collection::vec(1_u32..=1000, 1..60), bits in 10_u32..=13,
        ) {
            let size = 1_usize << bits;
            let table = fill(size, &weights);
            prop_assert!(!table.contains(&NO_BACKEND));
            let total: u32 = weights.iter().sum();
            for (id, weight) in (1..).zip(weights) {
                let places: Vec<_> = table.iter().enumerate().filter(|(_, owner)| **owner == id).map(|(at, _)| at).collect();
                let quota = places.len();
                let ideal = size as f64 * f64::from(weight) / f64::from(total);
                prop_assert!((quota as f64 - ideal).abs() < 1.0, "{quota} slots, ideal {ideal}");
                for (turn, &at) in places.iter().enumerate() {
                    prop_assert!(turn * size / quota <= at && at < ((turn + 1) * size).div_ceil(quota), "{at} is not in turn {turn} of {quota}");
                }
            }
        }
    }
}
