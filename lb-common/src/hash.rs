//! The keyed hash of flows, and the steps from one hash to the next.

/// SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", INDOCRYPT 2012; the 1-3 variant as in Linux and in
/// Rust's own maps) somewhere in a message: over whole 64-bit words in native order so far.
///
/// Keyed, so that nobody who does not know the key can aim flows at one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Sip([u64; 4]);

impl Sip {
    #[must_use]
    #[inline(always)]
    pub const fn new([k0, k1]: [u64; 2]) -> Self {
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// Goes on with a whole word.
    #[must_use]
    #[inline(always)]
    pub fn word(self, word: u64) -> Self {
        let Self(mut state) = self;
        absorb(&mut state, word);
        Self(state)
    }

    /// The hash of a message of `WORDS` whole words and a last one of `LAST` bytes, of fewer than eight.
    #[must_use]
    #[inline(always)]
    pub fn end<const WORDS: u64, const LAST: u64>(self, last: u64) -> u64 {
        const { assert!(LAST < 8, "a word of its own") };
        // The length takes the place that the last word has left.
        let Self(mut state) = self.word(last | ((WORDS * 8 + LAST) & 0xff) << 56);
        state[2] ^= 0xff;
        round(&mut state);
        round(&mut state);
        round(&mut state);
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

/// The hash of the next attempt, for when the backend of this one cannot take the flow (splitmix64's finalizer: Steele,
/// Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[must_use]
#[inline(always)]
pub const fn next(hash: u64) -> u64 {
    let mut z = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Maps a hash to `0..slots` without a division (Lemire, "Fast random integer generation in an interval", 2019).
#[must_use]
#[inline(always)]
pub const fn slot(hash: u64, slots: u32) -> u32 {
    (((hash >> 32) * slots as u64) >> 32) as u32
}

#[inline(always)]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_reference(key: [u64; 2], words: [u64; 4], last: [u8; 5]) {
            let mut reference = SipHasher13::new_with_keys(key[0], key[1]);
            for word in words {
                reference.write(&word.to_le_bytes());
            }
            let whole = reference.finish();
            reference.write(&last);
            let [a, b, c, d, e] = last;
            let last = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
            let sip = words.into_iter().fold(Sip::new(key), Sip::word);
            prop_assert_eq!(sip.end::<4, 0>(0), whole);
            prop_assert_eq!(sip.end::<4, 5>(last), reference.finish());
        }

        #[test]
        fn slots_stay_inside(hash: u64, slots in 1_u32..) {
            prop_assert!(slot(hash, slots) < slots);
        }
    }

    #[test]
    fn slots_are_hit_evenly() {
        let mut counts = [0_u32; 7];
        let mut hash = 1;
        for _ in 0..70_000 {
            hash = next(hash);
            counts[slot(hash, 7) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
    }
}
