//! Backends: what never changes while an id is in use, and the one word that does.

use crate::{addr::Addr, map_struct, wire_enum};

map_struct! {
    /// Entry of `BACKENDS`, written before the backend's word makes it visible and never changed after.
    pub struct Backend {
        pub addr: Addr,
        /// Network order; 0 keeps the port that the client asked for.
        pub port: u16,
        pub _pad: u16,
        /// The service it belongs to.
        pub service: u32,
        pub _end: u64,
    }
}

wire_enum! {
    /// What the data path may send to a backend.
    pub enum BackendState {
        /// The id is not in use.
        Free = 0 => "free",
        /// Old and new flows.
        Up = 1 => "up",
        /// Old flows only.
        Drain = 2 => "drain",
        /// Nothing: its flows pick again.
        Down = 3 => "down",
    }
}

/// Entry of `BACKEND_WORDS`: state (4 bits), flags (4), next hop (24) and generation (32) in one word, so that every change of a
/// backend's fate is one store.
///
/// The generation tells a flow whether its backend id still means the backend that the flow was opened on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendWord(pub u64);

const STATE: u64 = 0xf;
const SCATTERED: u64 = 0x80;

/// Entry of `BACKEND_LIMITS`: how many active flows it may have (32 bits, 0 for any number) and its weight (16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendLimits(pub u64);

impl BackendLimits {
    #[must_use]
    pub const fn new(max_connections: u32, weight: u16) -> Self {
        Self(max_connections as u64 | (weight as u64) << 32)
    }

    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub const fn max_connections(self) -> u32 {
        self.0 as u32
    }

    #[must_use]
    #[inline(always)]
    pub const fn weight(self) -> u64 {
        (self.0 >> 32) & 0xffff
    }

    /// Whether a backend with `active` flows takes no more.
    #[must_use]
    #[inline(always)]
    pub const fn is_full(self, active: u64) -> bool {
        let max = self.max_connections();
        max != 0 && active >= max as u64
    }
}

impl BackendWord {
    /// Highest index of a next hop that fits.
    pub const MAX_NEXT_HOP: u32 = (1 << 24) - 1;

    /// Composes a word. `next_hop` is an index of `NEXT_HOPS`, 0 for "not resolved".
    #[must_use]
    pub const fn new(state: BackendState, next_hop: u32, generation: u32) -> Self {
        Self(state.wire() as u64 | ((next_hop & Self::MAX_NEXT_HOP) as u64) << 8 | (generation as u64) << 32)
    }

    /// Whether flows of its slots may be written down for others: it has been anything but up.
    #[must_use]
    #[inline(always)]
    pub const fn is_scattered(self) -> bool {
        self.0 & SCATTERED != 0
    }

    /// The word with or without that mark.
    #[must_use]
    pub const fn scattered(self, scattered: bool) -> Self {
        if scattered {
            Self(self.0 | SCATTERED)
        } else {
            Self(self.0 & !SCATTERED)
        }
    }

    /// Whether every flow that a settled slot gives it is its own: it is up, and not scattered.
    #[must_use]
    #[inline(always)]
    pub const fn is_plain(self) -> bool {
        self.0 & (STATE | SCATTERED) == BackendState::Up as u64
    }

    /// The state; a value of another version counts as free.
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> BackendState {
        match BackendState::from_wire((self.0 & STATE) as u8) {
            Some(state) => state,
            None => BackendState::Free,
        }
    }

    /// Index of `NEXT_HOPS`, 0 for "not resolved".
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is the generation")]
    pub const fn next_hop(self) -> u32 {
        (self.0 as u32) >> 8
    }

    /// How often the id has been given out.
    #[must_use]
    #[inline(always)]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether a new flow may go there.
    #[must_use]
    #[inline(always)]
    pub const fn takes_new_flows(self) -> bool {
        self.0 & STATE == BackendState::Up as u64
    }

    /// Whether a flow that was opened on `generation` may go on there.
    #[must_use]
    #[inline(always)]
    pub const fn keeps_flow_of(self, generation: u32) -> bool {
        let state = self.0 & STATE;
        (state == BackendState::Up as u64 || state == BackendState::Drain as u64)
            && self.generation() == generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_word_do_not_touch() {
        for &state in BackendState::ALL {
            let word = BackendWord::new(state, BackendWord::MAX_NEXT_HOP, u32::MAX);
            assert_eq!(word.state(), state);
            assert_eq!(word.next_hop(), BackendWord::MAX_NEXT_HOP);
            assert_eq!(word.generation(), u32::MAX);
            assert_eq!(BackendWord::new(state, 0, 7).next_hop(), 0);
            assert_eq!(BackendWord::new(state, 5, 0).generation(), 0);
        }
    }

    #[test]
    fn the_mark_of_scattered_flows_touches_nothing_else() {
        for &state in BackendState::ALL {
            let word = BackendWord::new(state, 9, 7);
            let marked = word.scattered(true);
            assert_eq!(
                (marked.state(), marked.next_hop(), marked.generation()),
                (state, 9, 7)
            );
            assert_eq!(marked.takes_new_flows(), word.takes_new_flows());
            assert_eq!(marked.keeps_flow_of(7), word.keeps_flow_of(7));
            assert!(marked.is_scattered() && !word.is_scattered() && !marked.is_plain());
            assert_eq!(word.is_plain(), state == BackendState::Up);
            assert_eq!(marked.scattered(false), word);
        }
    }

    #[test]
    fn a_backend_without_a_limit_is_never_full() {
        assert!(!BackendLimits::new(0, 1000).is_full(u64::MAX));
        let limits = BackendLimits::new(2, 1000);
        assert!(!limits.is_full(1) && limits.is_full(2) && limits.weight() == 1000);
    }

    #[test]
    fn only_an_up_backend_takes_new_flows() {
        let takes = |state| BackendWord::new(state, 1, 1).takes_new_flows();
        assert!(takes(BackendState::Up));
        assert!(!takes(BackendState::Drain) && !takes(BackendState::Down) && !takes(BackendState::Free));
    }

    #[test]
    fn old_flows_stay_while_draining_but_not_with_a_stranger() {
        let keeps = |state, generation| BackendWord::new(state, 1, 4).keeps_flow_of(generation);
        assert!(keeps(BackendState::Up, 4) && keeps(BackendState::Drain, 4));
        assert!(!keeps(BackendState::Down, 4) && !keeps(BackendState::Free, 4));
        assert!(!keeps(BackendState::Up, 3));
    }

    #[test]
    fn a_word_of_another_version_is_free() {
        assert_eq!(BackendWord(0xee).state(), BackendState::Free);
    }
}
