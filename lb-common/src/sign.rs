//! Signs that clients do not get what they want of a backend: counted by the program where it can see them, judged by the agent.

use crate::{
    conn::{FlowState, tcp},
    map_struct,
};

map_struct! {
    /// Entry of `BACKEND_SIGNS`.
    pub struct Signs {
        /// SYNs of connections whose first SYN is not answered, or whose client has not got the answer.
        pub repeated_syns: u64,
        /// SYNs that the backend has answered with a reset, where answers come through us.
        pub resets: u64,
        /// ICMP errors that the backend, or a router before it, has answered a flow with, where answers come through us.
        pub unreachables: u64,
    }
}

impl Signs {
    /// The sum of two, as of two CPUs.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            repeated_syns: self.repeated_syns.wrapping_add(other.repeated_syns),
            resets: self.resets.wrapping_add(other.resets),
            unreachables: self.unreachables.wrapping_add(other.unreachables),
        }
    }
}

/// Nanoseconds after which a SYN is one that its client repeats: RFC 6298 has it wait for a second before the first time, and the
/// shortest that Linux can be set to (`RTAX_RTO_MIN`) is this. One that comes before is a copy.
pub const EARLIEST: u64 = 200_000_000;
/// After which the next SYN of a five-tuple is looked at as the first: behind the fourth repetition, eight seconds after the third.
pub const LATEST: u64 = 8_500_000_000;

/// Whether a SYN so long after the last one of its connection is a repetition.
#[must_use]
#[inline(always)]
pub const fn is_repetition(after: u64) -> bool {
    after >= EARLIEST && after <= LATEST
}

/// Whether a packet is the first of a connection.
#[must_use]
#[inline(always)]
pub const fn is_syn(tcp_flags: u8) -> bool {
    tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
}

/// Whether a backend's packet refuses a connection in this state: a reset without ACK is of the connection before (as in
/// [`FlowState::next`]), and later ones end what was served.
#[must_use]
#[inline(always)]
pub const fn is_refusal(state: FlowState, tcp_flags: u8) -> bool {
    tcp_flags & (tcp::RST | tcp::ACK) == tcp::RST | tcp::ACK && matches!(state, FlowState::Syn)
}

/// Whether an ICMP error says that a packet has not reached its listener. Fragmentation needed says no such thing.
#[must_use]
#[inline(always)]
pub const fn is_unreachable(is_v4: bool, kind: u8, code: u8) -> bool {
    if is_v4 { kind == 3 && code != 4 } else { kind == 1 }
}

/// Entry of `SYNS`: what a SYN is known again by (40 bits), and when it came last (24, in units of about a millisecond).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syn(pub u64);

/// Entries of `SYNS`, for each CPU.
pub const SYNS: u32 = 1 << SYN_BITS;
const SYN_BITS: u32 = 12;
const TIME_BITS: u32 = 24;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// 2^20 nanoseconds are a unit, and 2^24 of those nearly five hours, after which a SYN may be taken for a repetition if nothing has
/// taken its entry since.
const UNIT_BITS: u32 = 20;

/// What a SYN is known by: the hash of its flow, its sequence number, and the backend that gets it, with its generation. A client that
/// repeats it sends the same number; one that opens another connection from the same port does not. A SYN that another backend has left
/// without an answer is no sign of the one that gets it now.
#[must_use]
#[inline(always)]
pub const fn print(hash: u64, sequence: u32, (backend, generation): (u32, u32)) -> u64 {
    // Odd, as in `board::spread`: every bit of the numbers reaches the place or the fingerprint.
    let backend = (generation as u64) << 32 | backend as u64;
    hash ^ (sequence as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ backend.wrapping_mul(0xbb67_ae85_84ca_a73b)
}

impl Syn {
    /// Where it has its place.
    #[must_use]
    #[inline(always)]
    pub const fn index(print: u64) -> u32 {
        (print >> (64 - SYN_BITS)) as u32
    }

    /// The entry after a SYN at `now`, if it changes, and whether that SYN is a repetition.
    #[must_use]
    #[inline(always)]
    pub const fn next(self, print: u64, now: u64) -> (Option<Self>, bool) {
        let time = (now >> UNIT_BITS) & TIME;
        let new = Self(print << TIME_BITS | time);
        if self.0 >> TIME_BITS != new.0 >> TIME_BITS {
            return (Some(new), false);
        }
        let after = (time.wrapping_sub(self.0) & TIME) << UNIT_BITS;
        if after < EARLIEST {
            return (None, false);
        }
        (Some(new), is_repetition(after))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MILLISECOND;
    /// Id and generation.
    const BACKEND: (u32, u32) = (5, 1);

    /// Which of the SYNs of one connection, at these milliseconds, are repetitions.
    fn repeated(start: u64, at: &[u64]) -> std::vec::Vec<bool> {
        let mut entry = Syn::default();
        let mut judge = |&at: &u64| {
            let (next, repeats) = entry.next(77, start + at * MILLISECOND);
            entry = next.unwrap_or(entry);
            repeats
        };
        at.iter().map(&mut judge).collect()
    }

    #[test]
    fn a_client_that_gets_no_answer_repeats_its_syn() {
        // The last one comes sixteen seconds after the one before.
        let at = [0, 1000, 3000, 7000, 15_000, 31_000];
        let expected = [false, true, true, true, true, false];
        assert_eq!(repeated(5 * SECOND, &at), expected);
        // Also where the time in the entry begins anew.
        assert_eq!(repeated((1 << 44) - 2 * SECOND, &at), expected);
    }

    #[test]
    fn a_copy_is_no_repetition_and_delays_none() {
        assert_eq!(repeated(SECOND, &[0, 1, 150, 250]), [false, false, false, true]);
    }

    #[test]
    fn another_connection_has_its_own() {
        let (first, _) = Syn::default().next(print(77, 1, BACKEND), SECOND);
        let first = first.unwrap();
        assert!(first.next(print(77, 1, BACKEND), 2 * SECOND).1);
        let (other, repeats) = first.next(print(77, 2, BACKEND), 2 * SECOND);
        assert!(other.is_some() && !repeats);
        assert!(!first.next(print(78, 1, BACKEND), 2 * SECOND).1);
    }

    #[test]
    fn another_backend_has_left_nothing_unanswered() {
        let (id, generation) = BACKEND;
        let (first, _) = Syn::default().next(print(77, 1, BACKEND), SECOND);
        for other in (1..4096).flat_map(|by| [(id + by, generation), (id, generation + by)]) {
            // Even where both have the same place.
            let known = |backend| {
                (
                    Syn::index(print(77, 1, backend)),
                    print(77, 1, backend) << TIME_BITS,
                )
            };
            assert_ne!(known(other), known(BACKEND), "{other:?}");
        }
        let moved = (id + 1, generation);
        assert!(!first.unwrap().next(print(77, 1, moved), 2 * SECOND).1);
        let renewed = (id, generation + 1);
        assert!(!first.unwrap().next(print(77, 1, renewed), 2 * SECOND).1);
    }

    proptest! {
        #[test]
        fn every_print_has_a_place(hash: u64, sequence: u32, backend: u32, generation: u32) {
            prop_assert!(Syn::index(print(hash, sequence, (backend, generation))) < SYNS);
        }
    }

    #[test]
    fn only_an_answer_to_the_syn_refuses() {
        let refuses = |state, flags| is_refusal(state, flags);
        assert!(refuses(FlowState::Syn, tcp::RST | tcp::ACK));
        assert!(!refuses(FlowState::Syn, tcp::RST) && !refuses(FlowState::Syn, tcp::SYN | tcp::ACK));
        for &state in FlowState::ALL.iter().filter(|state| **state != FlowState::Syn) {
            assert!(!refuses(state, tcp::RST | tcp::ACK), "{state:?}");
        }
    }

    #[test]
    fn too_long_is_not_unreachable() {
        assert!(is_unreachable(true, 3, 3) && is_unreachable(true, 3, 1) && is_unreachable(false, 1, 4));
        assert!(!is_unreachable(true, 3, 4) && !is_unreachable(true, 11, 0) && !is_unreachable(false, 2, 0));
        assert!(!is_unreachable(true, 1, 0) && !is_unreachable(false, 3, 0));
    }

    #[test]
    fn sums_are_of_each_kind() {
        let one = Signs {
            repeated_syns: 1,
            resets: 2,
            unreachables: 3,
        };
        assert_eq!(
            one.plus(one),
            Signs {
                repeated_syns: 2,
                resets: 4,
                unreachables: 6
            }
        );
    }
}
