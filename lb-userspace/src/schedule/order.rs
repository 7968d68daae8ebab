//! The order of a pool's members, for algorithms that look at them one by one.

use std::cmp::Reverse;

use siphasher::sip::SipHasher13;

use super::Member;
use crate::config::Algorithm;

/// Key of the hash that mixes members. Fixed, so that every balancer has them in the same order.
const KEY: (u64, u64) = (0x786c_622d_6f72_6465, 0x6d69_7865_6400_0001);

/// The ids of a pool, as its algorithm wants them: who should get flows first comes first.
///
/// `first` and `failover` keep the order of `pool` among equals. For all others the order means nothing, and is mixed: `least-conn`
/// looks at neighbours, which should not be those of one rack or one age.
#[must_use]
pub fn order(algorithm: Algorithm, pool: &[Member<'_>]) -> Vec<u32> {
    let mut members: Vec<_> = pool.iter().collect();
    match algorithm {
        Algorithm::First => members.sort_by_key(|member| Reverse(member.weight)),
        Algorithm::Failover => members.sort_by_key(|member| (member.priority, Reverse(member.weight))),
        Algorithm::Maglev
        | Algorithm::Source
        | Algorithm::Dest
        | Algorithm::DestPort
        | Algorithm::Bounded
        | Algorithm::RoundRobin
        | Algorithm::Random
        | Algorithm::TwoChoices
        | Algorithm::LeastConn => members.sort_by_key(|member| (mixed(member.key), member.key)),
    }
    members.iter().map(|member| member.id).collect()
}

fn mixed(key: &str) -> u64 {
    SipHasher13::new_with_keys(KEY.0, KEY.1).hash(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMBERS: [Member<'_>; 5] = [
        member("a", 1, 50, 0),
        member("b", 2, 100, 1),
        member("c", 3, 100, 0),
        member("d", 4, 50, 0),
        member("e", 5, 200, 2),
    ];

    const fn member(key: &str, id: u32, weight: u32, priority: u8) -> Member<'_> {
        Member {
            key,
            id,
            weight,
            priority,
        }
    }

    #[test]
    fn the_largest_come_first_and_equals_as_they_are_listed() {
        assert_eq!(order(Algorithm::First, &MEMBERS), [5, 2, 3, 1, 4]);
        assert_eq!(order(Algorithm::Failover, &MEMBERS), [3, 1, 4, 2, 5]);
    }

    /// Balancers of different versions side by side look at the same neighbours.
    #[test]
    fn the_mixed_order_never_changes_between_versions() {
        assert_eq!(order(Algorithm::LeastConn, &MEMBERS), [2, 3, 4, 1, 5]);
    }

    proptest! {
        #[test]
        fn everyone_is_there_once_and_only_keys_decide_the_mixed_order(
            members in prop::collection::btree_map("[a-z0-9.]{1,12}", (0_u32..=1000, any::<u8>()), 0..40), shift in 0_usize..40,
        ) {
            let mut pool: Vec<_> = (1..).zip(&members).map(|(id, (key, &(weight, priority)))| member(key, id, weight, priority)).collect();
            for &algorithm in Algorithm::ALL {
                let mut ids = order(algorithm, &pool);
                ids.sort_unstable();
                prop_assert!(ids.into_iter().eq((1..).take(pool.len())));
            }
            let mixed = order(Algorithm::LeastConn, &pool);
            let shift = shift % pool.len().max(1);
            pool.rotate_left(shift);
            prop_assert_eq!(order(Algorithm::LeastConn, &pool), mixed);
        }
    }
}
