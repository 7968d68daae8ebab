//! The counters of active flows, beside what a census has found. Pure.

/// A counter before and after the census walked the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    pub before: i64,
    pub after: i64,
}

impl Counter {
    /// What to add to the counter, where the census has `found` so many: as far as that is beyond what came and went meanwhile.
    #[must_use]
    pub fn drift(self, found: u64) -> i64 {
        let found = i64::try_from(found).unwrap_or(i64::MAX);
        let mean = self.before.midpoint(self.after);
        let off = found.saturating_sub(mean);
        let movement = self.after.saturating_sub(self.before).saturating_abs();
        off.signum() * (off.saturating_abs() - movement).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(before: i64, found: u64, after: i64) -> i64 {
        Counter { before, after }.drift(found)
    }

    #[test]
    fn a_drift_is_what_no_movement_explains() {
        assert_eq!(drift(100, 100, 100), 0);
        assert_eq!(drift(100, 90, 100), -10);
        assert_eq!(drift(-3, 0, -3), 3);
        // Ten have come meanwhile: the walk has seen some of them.
        for found in 100..=110 {
            assert_eq!(drift(100, found, 110), 0, "{found}");
        }
        assert_eq!(drift(100, 130, 110), 15);
        assert_eq!(drift(0, u64::MAX, 0), i64::MAX);
    }
}
