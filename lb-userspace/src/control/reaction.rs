//! How long it takes from a failed probe's result to the word that takes its backend out. Pure; times are arguments.

use std::time::Duration;

use crate::api::protocol;

/// Each power of two has so many buckets of the same width: what is told is true to an eighth.
const PARTS: u64 = 8;
/// Bits of [`PARTS`].
const BITS: u32 = PARTS.trailing_zeros();
/// Up to a minute, and what is longer.
const BUCKETS: usize = 36 << BITS;

/// Counts of times, by length.
#[derive(Clone, Debug)]
pub struct Reaction {
    buckets: Box<[u32; BUCKETS]>,
    count: u64,
    min: u64,
    max: u64,
}

impl Default for Reaction {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Reaction {
    /// Takes in one more.
    pub fn took(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = &mut self.buckets[bucket(nanoseconds)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.min = self.min.min(nanoseconds);
        self.max = self.max.max(nanoseconds);
    }

    /// Nanoseconds that so many per cent of them have not been longer than: the upper end of a bucket, at most the longest. 0 without any.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut so_far = 0;
        for (at, &count) in self.buckets.iter().enumerate() {
            so_far += u64::from(count);
            if so_far >= rank {
                return end(at).min(self.max);
            }
        }
        self.max
    }

    /// All of it, as the API tells it.
    #[must_use]
    pub fn told(&self) -> protocol::Reaction {
        protocol::Reaction {
            count: self.count,
            min: if self.count == 0 { 0 } else { self.min },
            p50: self.percentile(50),
            p90: self.percentile(90),
            p99: self.percentile(99),
            max: self.max,
        }
    }
}

/// Where a number is counted: those below [`PARTS`] exactly, others by their highest bits.
fn bucket(number: u64) -> usize {
    let Some(shift) = (u64::BITS - number.leading_zeros()).checked_sub(BITS + 1) else {
        return usize::try_from(number).unwrap_or(0);
    };
    let at = u64::from(shift) * PARTS + (number >> shift);
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest number that is counted there.
fn end(bucket: usize) -> u64 {
    let at = bucket as u64;
    let shift = (at / PARTS).saturating_sub(1);
    let high = at - shift * PARTS;
    ((high + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(microseconds: impl IntoIterator<Item = u64>) -> Reaction {
        let mut reaction = Reaction::default();
        for one in microseconds {
            reaction.took(Duration::from_micros(one));
        }
        reaction
    }

    #[test]
    fn nothing_is_told_as_nothing() {
        assert_eq!(of([]).told(), protocol::Reaction::default());
    }

    #[test]
    fn one_is_every_part_of_all() {
        let told = of([40]).told();
        assert_eq!(
            (told.count, told.p50, told.p99, told.max),
            (1, 40_000, 40_000, 40_000)
        );
    }

    #[test]
    fn the_slowest_of_a_hundred_is_the_longest_and_no_percentile() {
        let told = of((0..100).map(|at| if at == 50 { 90_000 } else { 20 })).told();
        assert_eq!(told.max, 90_000_000);
        assert!((20_000..23_000).contains(&told.p99), "{told:?}");
    }

    proptest! {
        #[test]
        fn a_bucket_ends_at_most_an_eighth_above_what_is_in_it(number in 0_u64..1 << 38) {
            let end = end(bucket(number));
            prop_assert!(end >= number && end - number <= number / PARTS, "{number}: {end}");
            prop_assert!(bucket(end) == bucket(number) && bucket(end + 1) == bucket(number) + 1 || bucket(end) == BUCKETS - 1);
        }

        #[test]
        fn what_is_longer_than_all_of_them_is_still_counted(number: u64) {
            let mut reaction = Reaction::default();
            reaction.took(Duration::from_nanos(number));
            prop_assert_eq!((reaction.count, reaction.max), (1, number));
            prop_assert!(reaction.percentile(50) <= number);
        }
    }
}
