//! What the short way has to know of a translated flow, in one cache line (docs/flows.md).
//!
//! A line is a copy that is believed for a moment. [`Flow`] says what is so: whatever begins a flow forgets its line, and whatever is
//! asked of a flow's end is asked of the flow.

use crate::{
    addr::Addr,
    conn::{Flow, FlowState, Timeouts},
    hash, map_struct,
};

/// Words of a line.
pub const WORDS: usize = 8;

/// Nanoseconds for which a line is believed, at most. The flow's own entry is looked at as often: less often than packets come, and
/// often enough for the LRU to take it for one in use, and for the agent, which gives ended flows more than that.
pub const BELIEF: u64 = 1_000_000_000;

/// The part of a flow's timeout that is the most it is believed for: as much earlier may the flow seem to be silent.
const PART: u64 = 8;

/// The two places, of `lines`, where a flow with this hash may have its line: neighbours, in one page. Of an odd number the last has none, which is
/// then no place.
#[must_use]
#[inline(always)]
pub const fn places(hash: u64, lines: u32) -> [u32; 2] {
    let first = hash::slot(hash, lines);
    [first, first ^ 1]
}

map_struct! {
    /// Element of `LINES`, in one of its two [`places`].
    pub struct Line {
        /// The whole keyed hash of the client's five-tuple, which stands for it: two flows of a million at a time have the same with a
        /// chance of 2^-25, and nobody without the key can look for such. 0 for none.
        pub hash: u64,
        /// [`Line::seal_of`] the rest, but for `until` and `seen`: a line is written by several stores, of several CPUs even.
        pub seal: u64,
        /// Nanoseconds of the monotonic clock until which it is believed.
        pub until: u64,
        /// The same clock at the last packet that went by it.
        pub seen: u64,
        pub backend: u32,
        /// The backend's generation when the flow was opened.
        pub generation: u32,
        /// The source that the backend sees, if it is not the client's.
        pub source: Addr,
        /// Its port, network order.
        pub source_port: u16,
        pub service: u16,
        /// [`hop_print`] of the way that the client's packets come.
        pub hop: u32,
    }
}

const _: () = assert!(size_of::<Line>() == WORDS * size_of::<u64>());

/// Places of words in a line, for who reads or writes them one by one.
pub mod word {
    use core::mem::offset_of;

    use super::Line;

    pub const HASH: usize = offset_of!(Line, hash) / size_of::<u64>();
    pub const UNTIL: usize = offset_of!(Line, until) / size_of::<u64>();
    pub const SEEN: usize = offset_of!(Line, seen) / size_of::<u64>();
}

impl Line {
    /// The line of a flow whose entry has just been looked at. Connections of which not both sides have been heard, as in a flood of SYNs,
    /// and those that end have none that is believed.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "services have ids of 16 bits")]
    pub const fn new(hash: u64, flow: &Flow, hop: u32, now: u64, timeouts: &Timeouts) -> Self {
        let silence = match flow.state() {
            FlowState::Established => timeouts.established,
            FlowState::Udp => timeouts.udp,
            _ => 0,
        } / PART;
        Self {
            hash,
            seal: 0,
            until: now + if silence < BELIEF { silence } else { BELIEF },
            seen: now,
            backend: flow.backend,
            generation: flow.generation,
            source: flow.source,
            source_port: flow.source_port,
            service: flow.service as u16,
            hop,
        }
        .sealed()
    }

    #[inline(always)]
    const fn sealed(self) -> Self {
        Self {
            seal: self.seal_of(),
            ..self
        }
    }

    /// Whether it is that of the flow with this hash, and whole.
    #[must_use]
    #[inline(always)]
    pub const fn is_of(&self, hash: u64) -> bool {
        self.hash == hash && self.seal == self.seal_of()
    }

    /// A sum of products with odd constants (of SHA-512, FIPS 180-4): parts of two flows make none that is right but by chance.
    #[inline(always)]
    const fn seal_of(&self) -> u64 {
        let [s0, s1, s2, s3] = self.source.words();
        let ports = (self.source_port as u64) << 16 | self.service as u64;
        self.hash
            .wrapping_add(both(self.backend, self.generation).wrapping_mul(0x428a_2f98_d728_ae23))
            .wrapping_add(both(s0, s1).wrapping_mul(0x7137_4491_23ef_65cd))
            .wrapping_add(both(s2, s3).wrapping_mul(0xb5c0_fbcf_ec4d_3b2f))
            .wrapping_add((ports << 32 | self.hop as u64).wrapping_mul(0xe9b5_dba5_8189_dbbd))
    }
}

/// Thirty-two bits of how a frame came: of its addresses and of the interface. Of two ways that have the same, the flow's entry gets to
/// know when the line is believed no more.
#[must_use]
#[inline(always)]
pub const fn hop_print(destination_mac: [u8; 6], source_mac: [u8; 6], ifindex: u32) -> u32 {
    let [d0, d1, d2, d3, d4, d5] = destination_mac;
    let [s0, s1, s2, s3, s4, s5] = source_mac;
    let first = u64::from_ne_bytes([d0, d1, d2, d3, d4, d5, s0, s1]);
    let second = both(u32::from_ne_bytes([s2, s3, s4, s5]), ifindex);
    let sum = first
        .wrapping_mul(0x428a_2f98_d728_ae23)
        .wrapping_add(second.wrapping_mul(0x7137_4491_23ef_65cd));
    (sum >> 32) as u32
}

#[inline(always)]
const fn both(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        syn: 80,
        established: 3_600_000_000_000,
        fin: 80,
        closed: 80,
        udp: 800,
    };

    fn flow(state: FlowState) -> Flow {
        Flow {
            backend: 3,
            generation: 4,
            service: 5,
            state: u32::from(state.wire()),
            ..Flow::default()
        }
    }

    fn line(state: FlowState) -> Line {
        Line::new(77, &flow(state), 6, 1_000, &TIMEOUTS)
    }

    #[test]
    fn only_flows_of_two_sides_have_lines() {
        for &state in FlowState::ALL {
            let has = matches!(state, FlowState::Established | FlowState::Udp);
            assert_eq!(line(state).until > 1_000, has, "{state:?}");
        }
    }

    #[test]
    fn a_line_is_believed_for_a_part_of_the_flows_timeout() {
        assert_eq!(line(FlowState::Udp).until, 1_100);
        assert_eq!(line(FlowState::Established).until, 1_000 + BELIEF);
    }

    #[test]
    fn a_line_of_parts_is_nobodys() {
        let whole = line(FlowState::Established);
        assert!(whole.is_of(77));
        assert!(!whole.is_of(78));
        let parts = [
            Line { hash: 78, ..whole },
            Line { backend: 4, ..whole },
            Line {
                generation: 5,
                ..whole
            },
            Line {
                source: Addr::from_words([0, 0, 0, 1]),
                ..whole
            },
            Line {
                source_port: 1,
                ..whole
            },
            Line { service: 6, ..whole },
            Line { hop: 7, ..whole },
        ];
        for part in parts {
            assert!(!part.is_of(part.hash), "{part:?}");
        }
        let later = Line {
            until: 1,
            seen: 2,
            ..whole
        };
        assert!(later.is_of(77), "these change while a line is whole");
    }

    #[test]
    fn every_part_of_a_way_counts() {
        let base = hop_print([1; 6], [2; 6], 3);
        assert_ne!(hop_print([1; 6], [2; 6], 4), base);
        for place in 0..6 {
            let (mut destination, mut source) = ([1; 6], [2; 6]);
            (destination[place], source[place]) = (9, 9);
            assert_ne!(hop_print(destination, [2; 6], 3), base, "{place}");
            assert_ne!(hop_print([1; 6], source, 3), base, "{place}");
        }
    }

    #[test]
    fn places_are_neighbours() {
        for lines in [2, 1023, 1024] {
            for hash in [0, 1 << 40, 0x7f << 56, u64::MAX] {
                let [first, second] = places(hash, lines);
                assert!(first < lines && first / 2 == second / 2 && first != second);
            }
        }
    }

    #[test]
    fn nothing_is_no_flows_line() {
        assert!(!Line::default().is_of(1));
    }
}
