//! Incremental updates of the Internet checksum (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`).
//!
//! The sum does not depend on byte order (RFC 1071 §2), so words are taken as they stand in memory.

/// The change that a rewrite makes to a checksum: collect every replaced word, then [`apply`](Self::apply) it to each
/// checksum that covers them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change(u64);

impl Change {
    /// No change.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self(0)
    }

    /// A 16-bit word that was `old` is now `new`.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Two 16-bit words at once.
    #[must_use]
    #[inline(always)]
    pub const fn double_word(self, old: u32, new: u32) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// The checksum after the change.
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, check: u16) -> u16 {
        !fold(self.0 + (!check) as u64)
    }

    /// The sum of a pseudo-header after the change, as it stands where a checksum is unfinished: neither inverted before nor after.
    #[must_use]
    #[inline(always)]
    pub const fn apply_to_sum(self, sum: u16) -> u16 {
        fold(self.0 + sum as u64)
    }

    /// The UDP checksum after the change: zero means "none" and stays (RFC 768), and a sum of zero is sent as all ones.
    #[must_use]
    #[inline(always)]
    pub const fn apply_udp(self, check: u16) -> u16 {
        if check == 0 {
            return 0;
        }
        match self.apply(check) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// Folds the carries in. Every sum that [`Change`] can hold is below 2^48; each step halves what is above 16 bits, and the
/// last two take in the carry of the one before.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "four folds leave 16 bits")]
pub const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 over 16-bit words, the checksum's own word among them as zero.
    fn full(words: &[u16]) -> u16 {
        let mut sum: u32 = words.iter().map(|&word| u32::from(word)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // §4: a header with checksum DD2F in which 5555 becomes 3285 has checksum 0000, not FFFF.
        assert_eq!(Change::new().word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn a_udp_sum_of_zero_is_sent_as_ones_and_none_stays_none() {
        assert_eq!(Change::new().word(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
        assert_eq!(Change::new().word(0x5555, 0x3285).apply_udp(0), 0);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_full_sum(mut words in prop::array::uniform10(any::<u16>()), new: [u16; 4], at in 0_usize..6) {
            // A real header is never all zero: its version field is not.
            words[9] |= 0x4500;
            let before = full(&words);
            let pair = |w: &[u16]| u32::from(w[0]) | u32::from(w[1]) << 16;
            let change = Change::new()
                .double_word(pair(&words[at..]), pair(&new))
                .word(words[at + 2], new[2])
                .word(words[at + 3], new[3]);
            words[at..at + 4].copy_from_slice(&new);
            prop_assume!(words.iter().any(|&word| word != 0));
            prop_assert_eq!(change.apply(before), full(&words));
        }

        #[test]
        fn an_updated_sum_is_that_of_the_new_words(mut words in prop::array::uniform6(any::<u16>()), new: [u16; 3], at in 0_usize..3) {
            // A pseudo-header is never all zero: it has a protocol.
            words[5] |= 6;
            let before = !full(&words);
            let pair = |w: &[u16]| u32::from(w[0]) | u32::from(w[1]) << 16;
            let change = Change::new()
                .double_word(pair(&words[at..]), pair(&new))
                .word(words[at + 2], new[2]);
            words[at..at + 3].copy_from_slice(&new);
            prop_assert_eq!(change.apply_to_sum(before), !full(&words));
        }
    }
}
