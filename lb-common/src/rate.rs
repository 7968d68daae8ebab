//! Token buckets of one word each, as the generic cell rate algorithm has them (ITU-T I.371): the time until which what has come is
//! paid for.

use crate::{addr::Addr, map_struct};

map_struct! {
    /// Key of `SOURCE_RATES`.
    pub struct SourceKey {
        /// Under the service's prefix.
        pub source: Addr,
        pub service: u32,
        pub _pad: u32,
    }
}

const SECOND: u64 = 1_000_000_000;

/// Takes one of `per_second`, of which `burst` may come at once, at `now`: the bucket's next word, or `None` if there is none left.
#[must_use]
#[inline(always)]
pub const fn take(bucket: u64, per_second: u32, burst: u32, now: u64) -> Option<u64> {
    if per_second == 0 {
        return Some(bucket);
    }
    let cost = SECOND / per_second as u64;
    let ahead = if burst == 0 { cost } else { cost * burst as u64 };
    // Further ahead than may be is what another rate has left.
    let start = if bucket > now && bucket - now <= ahead {
        bucket
    } else {
        now
    };
    let next = start + cost;
    if next - now > ahead { None } else { Some(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(per_second: u32, burst: u32, times: impl Iterator<Item = u64>) -> usize {
        let mut bucket = 0;
        let mut taken = 0;
        for now in times {
            if let Some(next) = take(bucket, per_second, burst, now) {
                bucket = next;
                taken += 1;
            }
        }
        taken
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = 77 * SECOND;
        assert_eq!(taken(10, 5, (0..100).map(|_| start)), 5);
        // For ten seconds a thousand times a second: the burst, and ten a second.
        assert_eq!(taken(10, 5, (0..10_000).map(|ms| start + ms * 1_000_000)), 104);
        assert!(
            take(start + 1000 * SECOND, 1000, 1000, start).is_some(),
            "a rate that was raised"
        );
        assert_eq!(taken(0, 0, (0..100).map(|_| start)), 100);
        assert_eq!(taken(1, 0, (0..100).map(|_| start)), 1);
    }
}
