//! How many slots each member gets: its share of the weight, exact to one slot.

use std::cmp::Reverse;

use super::Member;

/// The members that get slots, in an order that is the same for every balancer.
pub(super) fn weighted<'a, 'm>(pool: &'a [Member<'m>]) -> Vec<&'a Member<'m>> {
    let mut members: Vec<_> = pool.iter().filter(|member| member.weight > 0).collect();
    members.sort_by_key(|member| (member.key, member.weight, member.id));
    members
}

/// How many slots each member gets: `size` in all, if there are members.
pub(super) fn quotas(size: usize, members: &[&Member<'_>]) -> Vec<usize> {
    let total: u128 = members.iter().map(|member| u128::from(member.weight)).sum();
    let ideal = |member: &Member<'_>| size as u128 * u128::from(member.weight);
    let mut quotas: Vec<usize> = members
        .iter()
        .map(|member| usize::try_from(ideal(member) / total).unwrap_or(size))
        .collect();

    let left = size - quotas.iter().sum::<usize>();
    let mut by_remainder: Vec<usize> = (0..members.len()).collect();
    by_remainder.sort_by_key(|&member| Reverse(ideal(members[member]) % total));
    for &member in by_remainder.iter().take(left) {
        quotas[member] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_slot_is_given_and_shares_are_exact_to_one(weights in prop::collection::vec(1_u32..=1000, 0..80), bits in 0_u32..=16) {
            let members: Vec<_> = weights.iter().map(|&weight| Member { key: "", id: 1, weight, priority: 0 }).collect();
            let size = 1_usize << bits;
            let quotas = quotas(size, &members.iter().collect::<Vec<_>>());
            let total: u32 = weights.iter().sum();
            prop_assert_eq!(quotas.iter().sum::<usize>(), if weights.is_empty() { 0 } else { size });
            for (quota, weight) in quotas.into_iter().zip(weights) {
                let ideal = size as f64 * f64::from(weight) / f64::from(total);
                prop_assert!((quota as f64 - ideal).abs() < 1.0, "{quota}, ideal {ideal}");
            }
        }
    }
}
