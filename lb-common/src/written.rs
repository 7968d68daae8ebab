//! Flows that are written down: entries of eight bytes, eight to a cache line, each read and replaced as one word.

use crate::{
    conn::{Timeouts, tcp},
    hash, map_struct, wire_enum,
};

/// Entries of a bucket: a cache line of them.
pub const WAYS: usize = 8;

/// Nanoseconds of a step of an entry's age, as a power of two: 2.1 seconds.
const STEP_BITS: u32 = 31;
const AGE_BITS: u32 = 12;
const AGE: u64 = (1 << AGE_BITS) - 1;
/// Steps by which an entry may be ahead of a clock: other CPUs, and a sweep that takes long, read theirs at other moments.
const AHEAD: u64 = 30;
/// The longest that an entry may be silent: two minutes less than the age's bits count, so that the sweep finds it in time.
pub const MAX_SILENCE: u64 = ((1 << AGE_BITS) - 1 - AHEAD - 60) << STEP_BITS;

const STATE_BITS: u32 = 3;
const GENERATION_BITS: u32 = 4;
const BACKEND_BITS: u32 = 16;
const BACKEND_AT: u32 = AGE_BITS + STATE_BITS + GENERATION_BITS;
const FINGERPRINT_AT: u32 = BACKEND_AT + BACKEND_BITS;
/// 29 bits, beside the lowest 16 of those that choose the bucket: in tables of up to 65,536 buckets, one of 67 million lookups of a flow that
/// is not there finds another's.
const FINGERPRINT_BITS: u32 = 64 - FINGERPRINT_AT;

wire_enum! {
    /// What is known of a written flow.
    pub enum WrittenState {
        Empty = 0 => "empty",
        /// A SYN or a first datagram has been seen.
        Opened = 1 => "opened",
        /// More than that: the client has got an answer.
        Confirmed = 2 => "confirmed",
        /// The client has closed.
        Closing = 3 => "closing",
        /// Not a flow but a client: where its next flow goes.
        Client = 4 => "client",
        /// The client has reset, or somebody in its name.
        Reset = 5 => "reset",
        /// One packet has been seen, which says that its flow is an old one. Kept for as long as one, but anybody can send such a packet: it
        /// makes room as an opened one does, and does not count as active.
        Claimed = 6 => "claimed",
    }
}

impl WrittenState {
    /// The state after a client's packet with these TCP flags, `is_first` for a SYN; of a datagram there are none. A reset is not believed
    /// for good: a client that goes on has not reset (see [`FlowState::next`](crate::conn::FlowState::next)).
    #[must_use]
    #[inline(always)]
    pub const fn after(self, is_first: bool, flags: u8) -> Self {
        if flags & tcp::RST != 0 {
            return Self::Reset;
        }
        match self {
            Self::Opened | Self::Claimed | Self::Confirmed | Self::Reset if flags & tcp::FIN != 0 => {
                Self::Closing
            }
            Self::Opened | Self::Claimed | Self::Reset if !is_first => Self::Confirmed,
            state => state,
        }
    }

    /// Whether such a flow counts as active.
    #[must_use]
    #[inline(always)]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Opened | Self::Confirmed)
    }
}

/// An entry: fingerprint (29 bits), backend (16), the low bits of its generation (4), state (3) and age (12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry(pub u64);

map_struct! {
    /// A bucket of `WRITTEN`.
    pub struct Bucket { pub entries: [u64; WAYS] }
}

/// What is beside an entry in `WRITTEN_FOR`, for the agent: service (16 bits) and the top 16 bits of the hash that chose the flow's home
/// slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenFor(pub u32);

map_struct! {
    /// A bucket of `WRITTEN_FOR`.
    pub struct ForBucket { pub entries: [u32; WAYS] }
}

impl WrittenFor {
    #[must_use]
    #[inline(always)]
    pub const fn new(service: u32, home_hash: u64) -> Self {
        Self(service << 16 | (home_hash >> 48) as u32)
    }

    #[must_use]
    pub const fn service(self) -> u32 {
        self.0 >> 16
    }

    /// A hash with the same slot in a table of any size.
    #[must_use]
    pub const fn home_hash(self) -> u64 {
        (self.0 as u64) << 48
    }
}

impl Entry {
    #[must_use]
    #[inline(always)]
    pub const fn new(hash: u64, backend: u32, generation: u32, state: WrittenState, now: u64) -> Self {
        Self(
            Self::fingerprint(hash)
                | (backend as u64 & ((1 << BACKEND_BITS) - 1)) << BACKEND_AT
                | (generation as u64 & ((1 << GENERATION_BITS) - 1)) << (AGE_BITS + STATE_BITS)
                | (state.wire() as u64) << AGE_BITS
                | (now >> STEP_BITS) & AGE,
        )
    }

    /// A hash's bits above the bucket's lowest 16.
    #[inline(always)]
    const fn fingerprint(hash: u64) -> u64 {
        (hash >> 16) << (64 - FINGERPRINT_BITS)
    }

    /// Whether this is the entry of a flow with `hash` in its bucket.
    #[must_use]
    #[inline(always)]
    pub const fn is_of(self, hash: u64) -> bool {
        self.0 >> FINGERPRINT_AT == Self::fingerprint(hash) >> FINGERPRINT_AT && self.0 & STATE_MASK != 0
    }

    #[must_use]
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        ((self.0 >> BACKEND_AT) & ((1 << BACKEND_BITS) - 1)) as u32
    }

    /// Whether it was written for a backend under `generation`.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_generation(self, generation: u32) -> bool {
        (self.0 >> (AGE_BITS + STATE_BITS)) & ((1 << GENERATION_BITS) - 1)
            == generation as u64 & ((1 << GENERATION_BITS) - 1)
    }

    /// The state; one that this version does not know counts as empty.
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> WrittenState {
        match WrittenState::from_wire(((self.0 & STATE_MASK) >> AGE_BITS) as u8) {
            Some(state) => state,
            None => WrittenState::Empty,
        }
    }

    /// The number of the state, below 8.
    #[must_use]
    #[inline(always)]
    pub const fn state_number(self) -> u64 {
        (self.0 & STATE_MASK) >> AGE_BITS
    }

    /// Nanoseconds since it was last refreshed, in whole steps.
    #[must_use]
    #[inline(always)]
    pub const fn silence(self, now: u64) -> u64 {
        let steps = ((now >> STEP_BITS).wrapping_add(AHEAD).wrapping_sub(self.0) & AGE).wrapping_sub(AHEAD);
        // What is ahead has not been silent at all.
        (steps & !(steps.cast_signed() >> 63).cast_unsigned()) << STEP_BITS
    }

    /// Whether it has been silent for longer than `timeout`. By a step longer: the last one may just have begun.
    #[must_use]
    #[inline(always)]
    pub const fn is_expired(self, timeout: u64, now: u64) -> bool {
        let timeout = if timeout < MAX_SILENCE {
            timeout
        } else {
            MAX_SILENCE
        };
        self.silence(now) > timeout + (1 << STEP_BITS)
    }

    /// The entry after a packet at `now`.
    #[must_use]
    #[inline(always)]
    pub const fn refreshed(self, state: WrittenState, now: u64) -> Self {
        Self(self.0 & !(STATE_MASK | AGE) | (state.wire() as u64) << AGE_BITS | (now >> STEP_BITS) & AGE)
    }
}

const STATE_MASK: u64 = ((1 << STATE_BITS) - 1) << AGE_BITS;

/// The bucket of a hash, of `mask + 1` buckets.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
pub const fn bucket(hash: u64, mask: u32) -> u32 {
    hash as u32 & mask
}

/// The hash that a client's own entry goes by: of its masked address' hash, for one service.
#[must_use]
#[inline(always)]
pub const fn client_hash(source_hash: u64, service: u32) -> u64 {
    hash::next(source_hash ^ (service as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// How dear an entry is: the least dear one makes room. Of equal ones the one that has been silent for longest; 0 for none and for one
/// that is over.
///
/// Nothing that is as dear as [`CONFIRMED`] makes room.
///
/// The timeout is the one of the entry's state, and there are no branches: eight of these are compared, and the verifier follows each way.
#[must_use]
#[inline(always)]
pub const fn worth(entry: Entry, timeout: u64, now: u64) -> u64 {
    let rank = (RANKS >> (4 * entry.state_number())) & 0xf;
    let silence = entry.silence(now);
    // All ones while it lives.
    let left = silence.wrapping_sub(timeout.wrapping_add((1 << STEP_BITS) + 1));
    let alive = (left.cast_signed() >> 63).cast_unsigned();
    let youth = AGE - (silence >> STEP_BITS);
    let is_none = (rank.wrapping_sub(1).cast_signed() >> 63).cast_unsigned();
    (rank << AGE_BITS | youth) & alive & !is_none
}

/// The rank of each state, four bits each: opened, closing and reset, client, confirmed.
const RANKS: u64 = 0x0123_2510;

/// See [`worth`].
pub const CONFIRMED: u64 = 5 << AGE_BITS;

map_struct! {
    /// How long entries are kept, in nanoseconds, by state. Load-time global.
    pub struct WrittenTimeouts { pub by_state: [u64; 8] }
}

impl WrittenTimeouts {
    /// Entries do not say what they are of, so an opened one is kept for as long as either kind. Those of clients are their services': here
    /// they only have an end.
    #[must_use]
    pub const fn new(timeouts: &Timeouts) -> Self {
        let opened = if timeouts.syn > timeouts.udp {
            timeouts.syn
        } else {
            timeouts.udp
        };
        let mut by_state = [0; 8];
        by_state[WrittenState::Opened.wire() as usize] = capped(opened);
        by_state[WrittenState::Confirmed.wire() as usize] = capped(timeouts.established);
        by_state[WrittenState::Claimed.wire() as usize] = capped(timeouts.established);
        by_state[WrittenState::Closing.wire() as usize] = capped(timeouts.fin);
        by_state[WrittenState::Reset.wire() as usize] = capped(timeouts.fin);
        by_state[WrittenState::Client.wire() as usize] = MAX_SILENCE;
        Self { by_state }
    }

    /// That of a state.
    #[must_use]
    pub const fn of(&self, state: WrittenState) -> u64 {
        self.by_state[state.wire() as usize]
    }
}

const fn capped(timeout: u64) -> u64 {
    if timeout < MAX_SILENCE {
        timeout
    } else {
        MAX_SILENCE
    }
}

wire_enum! {
    /// What `WRITTEN_COUNTS` counts.
    pub enum WrittenCount {
        /// Entries that were made.
        Inserted = 0 => "inserted",
        /// Entries that lived and made room, none of them confirmed.
        Displaced = 1 => "displaced",
        /// Flows that found no room and went home.
        Refused = 2 => "refused",
    }
}

#[cfg(test)]
mod tests {
    use WrittenState::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TIMEOUTS: WrittenTimeouts = WrittenTimeouts::new(&Timeouts {
        syn: 10 * SECOND,
        established: 7200 * SECOND,
        fin: 120 * SECOND,
        closed: 10 * SECOND,
        udp: 60 * SECOND,
    });

    #[test]
    fn the_parts_of_an_entry_do_not_touch() {
        let hash = 0xffff_ffff_ffff_ffff;
        for &state in WrittenState::ALL {
            let entry = Entry::new(hash, 65_535, 15, state, u64::MAX);
            assert_eq!((entry.backend(), entry.state()), (65_535, state));
            assert!(entry.is_of_generation(15) && entry.is_of_generation(31) && !entry.is_of_generation(14));
            assert_eq!(entry.is_of(hash), state != Empty);
            let other = Entry::new(0, 0, 0, state, 0);
            assert_eq!((other.backend(), other.state(), other.silence(0)), (0, state, 0));
            assert!(!other.is_of(hash) && other.is_of_generation(0));
        }
    }

    #[test]
    fn a_flow_is_confirmed_by_its_second_packet_and_ended_by_its_client() {
        use tcp::{ACK, FIN, RST, SYN};
        assert_eq!(Opened.after(true, SYN), Opened);
        assert_eq!(Opened.after(false, ACK), Confirmed);
        assert_eq!(Opened.after(false, 0), Confirmed, "a second datagram");
        assert_eq!(Confirmed.after(false, ACK | FIN), Closing);
        assert_eq!(Closing.after(false, ACK), Closing);
        assert_eq!(Confirmed.after(false, RST), Reset);
        assert_eq!(Reset.after(false, ACK), Confirmed, "the reset was forged");
        assert_eq!(Claimed.after(false, ACK), Confirmed);
        assert_eq!(Claimed.after(true, SYN), Claimed);
        assert!(!Claimed.is_active());
        assert!(Opened.is_active() && !Closing.is_active() && !Reset.is_active() && !Client.is_active());
    }

    #[test]
    fn an_age_counts_over_the_wrap() {
        for start in [0, SECOND, 8_000 * SECOND, u64::from(u32::MAX) * SECOND] {
            let entry = Entry::new(7, 1, 1, Confirmed, start);
            assert!(!entry.is_expired(100 * SECOND, start + 99 * SECOND));
            assert!(entry.is_expired(100 * SECOND, start + 106 * SECOND));
            let seen = entry.refreshed(Closing, start + 106 * SECOND);
            assert!(!seen.is_expired(100 * SECOND, start + 200 * SECOND));
            assert_eq!((seen.state(), seen.backend()), (Closing, 1));
            assert!(seen.is_of(7));
        }
    }

    #[test]
    fn an_entry_ahead_of_a_clock_is_not_old() {
        for now in [SECOND, 8_794 * SECOND, 100_000 * SECOND] {
            let entry = Entry::new(7, 1, 1, Confirmed, now + 60 * SECOND);
            assert_eq!(entry.silence(now), 0);
            assert!(!entry.is_expired(10 * SECOND, now));
            assert!(worth(entry, TIMEOUTS.of(Confirmed), now) >= CONFIRMED);
            let old = Entry::new(7, 1, 1, Confirmed, now);
            assert!(old.is_expired(u64::MAX, now + MAX_SILENCE + 6 * SECOND));
        }
    }

    #[test]
    fn what_is_dear_is_kept() {
        let now = 100_000 * SECOND;
        let worth = |state, silent: u64| {
            worth(
                Entry::new(1, 1, 1, state, now - silent * SECOND),
                TIMEOUTS.of(state),
                now,
            )
        };
        let rising = [
            worth(Empty, 0),
            worth(Opened, 60),
            worth(Opened, 9),
            worth(Opened, 0),
            worth(Closing, 100),
            worth(Closing, 0),
            worth(Client, 900),
            worth(Client, 0),
            worth(Confirmed, 7000),
            worth(Confirmed, 0),
        ];
        assert!(rising.windows(2).all(|pair| pair[0] < pair[1]), "{rising:?}");
        assert!(rising[7] < CONFIRMED && rising[8] >= CONFIRMED);
        for (state, silent) in [(Confirmed, 7300), (Opened, 70), (Reset, 130), (Empty, 5)] {
            assert_eq!(worth(state, silent), 0);
        }
        assert_eq!(worth(Reset, 50), worth(Closing, 50));
        assert_eq!(worth(Claimed, 50), worth(Opened, 50));
        assert!(worth(Claimed, 7000) > 0);
    }

    #[test]
    fn what_is_beside_an_entry_says_its_slot_in_any_table() {
        use crate::slot::SlotBits;
        let hash = 0xabcd_ef01_2345_6789;
        let beside = WrittenFor::new(16_383, hash);
        assert_eq!(beside.service(), 16_383);
        for bits in 10..=16 {
            let size = SlotBits::new(bits);
            assert_eq!(size.slot(beside.home_hash()), size.slot(hash));
        }
    }
}
