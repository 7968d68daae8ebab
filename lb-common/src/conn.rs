//! What is remembered of a flow: its backend, its state, and how long that holds.

use crate::{addr::Addr, flow::FlowKey, map_struct, next_hop::NextHop, wire_enum};

/// TCP flags of the header's 14th byte (RFC 9293 §3.1).
pub mod tcp {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

map_struct! {
    /// Entry of `FLOWS`, keyed by the five-tuple of the client's packets.
    pub struct Flow {
        /// Nanoseconds of the monotonic clock at the last packet of either side.
        pub last_seen: u64,
        /// The same clock when the flow's reply entry was last known to be there.
        pub reply_seen: u64,
        pub backend: u32,
        /// The backend's generation when the flow was opened.
        pub generation: u32,
        pub service: u32,
        /// [`FlowState`].
        pub state: u32,
        /// How the client's last packet came: the way back where the kernel's FIB knows none.
        pub client_hop: NextHop,
        /// The source that the backend sees, if it is not the client's.
        pub source: Addr,
        /// Its port, network order.
        pub source_port: u16,
        /// [`ForwardMode`](crate::service::ForwardMode) of the service when the flow was opened: a flow keeps it.
        pub mode: u8,
        pub _pad: u8,
        pub _end: u32,
    }
}

map_struct! {
    /// Entry of `REPLIES`, keyed by the five-tuple of the backend's packets.
    pub struct Reply {
        /// The client's five-tuple: what the reply's addresses are turned back into, and the key of the flow.
        pub flow: FlowKey,
        pub service: u32,
        pub backend: u32,
        /// The backend's generation when the flow was opened.
        pub generation: u32,
        /// [`Reply::seal_of`] the entry and its key.
        pub seal: u32,
    }
}

map_struct! {
    /// Key of `FRAGMENTS`: what the fragments of one packet share (RFC 791 §3.2, RFC 8200 §4.5).
    pub struct FragmentKey {
        pub source: Addr,
        pub destination: Addr,
        pub id: u32,
        /// IP protocol number of the whole packet; 0 for IPv6, where it is not part of the identity.
        pub protocol: u32,
    }
}

map_struct! {
    /// Entry of `FRAGMENTS`: what only the first fragment says.
    pub struct Fragment {
        /// Nanoseconds of the monotonic clock when it was seen.
        pub seen: u64,
        /// Network order.
        pub source_port: u16,
        /// Network order.
        pub destination_port: u16,
        /// IP protocol number.
        pub protocol: u32,
    }
}

/// Nanoseconds after which a flow's reply entry is looked after: eviction takes what is not used. A flow that is answered uses it
/// anyway.
pub const REPLY_IDLE: u64 = 200_000_000;

/// How long a first fragment is remembered: as long as Linux waits for the others (`ipfrag_time`, and RFC 8200 §4.5).
pub const FRAGMENT_LIFETIME: u64 = 30_000_000_000;

impl Reply {
    /// The seal of an entry under `key`. The kernel may recycle an entry while it is read, and what is read is then another
    /// flow's, in parts even: only an entry with the right seal says where a packet goes.
    #[must_use]
    #[inline(always)]
    pub const fn seal_of(&self, key: &FlowKey) -> u32 {
        let mut sum = 0_u32;
        sum = mixed_flow(sum, key);
        sum = mixed_flow(sum, &self.flow);
        mixed(mixed(mixed(sum, self.service), self.backend), self.generation)
    }

    /// The entry with its seal.
    #[must_use]
    #[inline(always)]
    pub const fn sealed(self, key: &FlowKey) -> Self {
        Self {
            seal: self.seal_of(key),
            ..self
        }
    }
}

/// Multiplied by an odd constant (Fibonacci hashing), so that places count.
#[inline(always)]
const fn mixed(sum: u32, word: u32) -> u32 {
    (sum ^ word).wrapping_mul(0x9e37_79b1).rotate_left(7)
}

#[inline(always)]
const fn mixed_flow(sum: u32, flow: &FlowKey) -> u32 {
    let [s0, s1, s2, s3] = flow.source.words();
    let [d0, d1, d2, d3] = flow.destination.words();
    let ports = (flow.source_port as u32) << 16 | flow.destination_port as u32;
    let sum = mixed(mixed(mixed(mixed(sum, s0), s1), s2), s3);
    let sum = mixed(mixed(mixed(mixed(sum, d0), d1), d2), d3);
    mixed(mixed(sum, ports), flow.protocol)
}

wire_enum! {
    /// The state of a flow, as seen by somebody in the middle.
    pub enum FlowState {
        /// The client has sent, the backend has not answered.
        Syn = 1 => "syn",
        /// The backend has answered; the client has not shown that it got the answer.
        Replied = 2 => "replied",
        /// Both sides have shown that they are there.
        Established = 3 => "established",
        /// The client is done sending.
        ClientFin = 4 => "client_fin",
        /// The backend is done sending.
        BackendFin = 5 => "backend_fin",
        /// Both sides are done.
        Closed = 6 => "closed",
        /// UDP has no states.
        Udp = 7 => "udp",
        /// One side has reset, or somebody in its name.
        Reset = 8 => "reset",
    }
}

/// Which side a packet is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Backend,
}

impl FlowState {
    /// The state of a TCP flow after a packet with `flags`.
    ///
    /// A flow that we meet in its middle starts as one whose SYN we saw: it counts as established only when both sides
    /// have been heard, so that a flood of bare ACKs cannot take entries for long. What a backend sends before it has answered
    /// is of the connection before on the same five-tuple: its FIN, or its RST without ACK (one that refuses a SYN has ACK,
    /// RFC 9293 §3.10.7.1).
    ///
    /// A reset is not believed for good, since nobody here checks its sequence number: a backend that goes on sending has
    /// not been reset.
    #[must_use]
    #[inline(always)]
    pub const fn next(self, side: Side, flags: u8) -> Self {
        if matches!(self, Self::Udp) {
            return self;
        }
        if flags & tcp::RST != 0 {
            return match (self, side) {
                (Self::Syn, Side::Backend) if flags & tcp::ACK == 0 => self,
                _ => Self::Reset,
            };
        }
        if flags & tcp::FIN != 0 {
            return self.after_fin(side);
        }
        match (self, side) {
            (Self::Syn, Side::Backend) => Self::Replied,
            (Self::Replied, Side::Client) if flags & tcp::SYN == 0 => Self::Established,
            (Self::Reset, Side::Backend) if flags & tcp::SYN == 0 => Self::Replied,
            _ => self,
        }
    }

    #[inline(always)]
    const fn after_fin(self, side: Side) -> Self {
        match (self, side) {
            (Self::Closed, _) | (Self::BackendFin, Side::Client) | (Self::ClientFin, Side::Backend) => {
                Self::Closed
            }
            (Self::Syn, Side::Backend) => self,
            (_, Side::Client) => Self::ClientFin,
            (_, Side::Backend) => Self::BackendFin,
        }
    }

    /// Whether a SYN on the same five-tuple is the start of another connection (RFC 9293 §3.6.1, port reuse).
    ///
    /// Not on an established one: there the SYN may be forged, and the backend knows how to answer it (RFC 5961 §4).
    #[must_use]
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::ClientFin | Self::BackendFin | Self::Closed | Self::Reset
        )
    }
}

map_struct! {
    /// How long a silent flow is remembered, by state, in nanoseconds. Load-time global.
    pub struct Timeouts {
        /// Until both sides have been heard.
        pub syn: u64,
        pub established: u64,
        /// From the first FIN or a RST on.
        pub fin: u64,
        /// After both sides' FIN.
        pub closed: u64,
        pub udp: u64,
    }
}

impl Timeouts {
    /// How long a flow in `state` is remembered after its last packet.
    #[must_use]
    #[inline(always)]
    pub const fn of(&self, state: FlowState) -> u64 {
        match state {
            FlowState::Syn | FlowState::Replied => self.syn,
            FlowState::Established => self.established,
            FlowState::ClientFin | FlowState::BackendFin | FlowState::Reset => self.fin,
            FlowState::Closed => self.closed,
            FlowState::Udp => self.udp,
        }
    }
}

/// What a client's packet means to a remembered flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It belongs to the flow, whose backend should go on.
    Belongs,
    /// It starts another flow on the same five-tuple.
    Starts,
}

impl Flow {
    /// The state; one that this version does not know counts as closed.
    #[must_use]
    #[inline(always)]
    pub const fn state(&self) -> FlowState {
        match FlowState::from_wire((self.state & 0xff) as u8) {
            Some(state) => state,
            None => FlowState::Closed,
        }
    }

    /// Whether the flow has been silent for longer than its state allows.
    #[must_use]
    #[inline(always)]
    pub const fn is_expired(&self, now: u64, timeouts: &Timeouts) -> bool {
        now.saturating_sub(self.last_seen) > timeouts.of(self.state())
    }

    /// Whether a packet of the client with `flags` goes on with this flow.
    ///
    /// An expired TCP flow goes on when the packet is no SYN: nobody else would know better where it was.
    #[must_use]
    #[inline(always)]
    pub const fn claim(&self, flags: u8, now: u64, timeouts: &Timeouts) -> Claim {
        let expired = self.is_expired(now, timeouts);
        let starts = match self.state() {
            FlowState::Udp => expired,
            state => flags & (tcp::SYN | tcp::ACK) == tcp::SYN && (expired || state.is_over()),
        };
        if starts { Claim::Starts } else { Claim::Belongs }
    }
}

#[cfg(test)]
mod tests {
    use super::{FlowState::*, Side::*, tcp::*, *};

    const TIMEOUTS: Timeouts = Timeouts {
        syn: 10,
        established: 1_000,
        fin: 30,
        closed: 20,
        udp: 60,
    };

    fn after(packets: &[(Side, u8)]) -> FlowState {
        packets
            .iter()
            .fold(Syn, |state, &(side, flags)| state.next(side, flags))
    }

    #[test]
    fn a_connection_from_syn_to_close() {
        let mut story = [
            (Client, SYN),
            (Backend, SYN | ACK),
            (Client, ACK),
            (Client, FIN | ACK),
            (Backend, FIN | ACK),
        ]
        .iter();
        let mut state = Syn;
        for expected in [Syn, Replied, Established, ClientFin, Closed] {
            let &(side, flags) = story.next().unwrap();
            state = state.next(side, flags);
            assert_eq!(state, expected);
        }
        assert_eq!(state.next(Client, ACK), Closed);
    }

    #[test]
    fn the_client_alone_cannot_establish() {
        assert_eq!(after(&[(Client, SYN), (Client, ACK), (Client, ACK)]), Syn);
        assert_eq!(
            after(&[(Client, SYN), (Backend, SYN | ACK), (Client, SYN)]),
            Replied
        );
    }

    #[test]
    fn a_seal_is_of_the_key_and_of_the_entry() {
        let key = FlowKey {
            source_port: 1,
            ..FlowKey::default()
        };
        let reply = Reply {
            backend: 3,
            ..Reply::default()
        }
        .sealed(&key);
        assert_eq!(reply.seal_of(&key), reply.seal);
        assert_ne!(reply.seal_of(&key.reversed()), reply.seal);
        assert_ne!(Reply { backend: 4, ..reply }.seal_of(&key), reply.seal);
        assert_ne!(Reply { flow: key, ..reply }.seal_of(&key), reply.seal);
    }

    #[test]
    fn a_flow_met_in_its_middle_needs_both_sides() {
        assert_eq!(after(&[(Client, ACK)]), Syn);
        assert_eq!(
            after(&[(Client, ACK), (Backend, ACK), (Client, ACK)]),
            Established
        );
    }

    #[test]
    fn a_repeated_fin_is_one_side() {
        assert_eq!(after(&[(Client, FIN | ACK), (Client, FIN | ACK)]), ClientFin);
        assert_eq!(
            after(&[(Backend, SYN | ACK), (Backend, FIN | ACK), (Backend, ACK)]),
            BackendFin
        );
    }

    #[test]
    fn a_reset_is_seen_in_every_state() {
        for &state in FlowState::ALL.iter().filter(|state| **state != Syn) {
            let expected = if state == Udp { Udp } else { Reset };
            assert_eq!(state.next(Backend, RST), expected);
            assert_eq!(state.next(Client, RST | ACK), expected);
        }
    }

    #[test]
    fn a_reset_that_the_backend_did_not_heed_passes() {
        let forged = after(&[(Client, SYN), (Backend, SYN | ACK), (Client, ACK), (Client, RST)]);
        assert_eq!(forged, Reset);
        assert_eq!(forged.next(Client, ACK), Reset);
        assert_eq!(forged.next(Backend, ACK).next(Client, ACK), Established);
        assert_eq!(forged.next(Backend, SYN | ACK), Reset);
    }

    #[test]
    fn late_packets_of_the_connection_before_do_not_end_the_new_one() {
        assert_eq!(after(&[(Client, SYN), (Backend, FIN | ACK), (Backend, RST)]), Syn);
        // A refusal does.
        assert_eq!(after(&[(Client, SYN), (Backend, RST | ACK)]), Reset);
    }

    fn flow(state: FlowState) -> Flow {
        Flow {
            last_seen: 1_000,
            state: u32::from(state.wire()),
            ..Flow::default()
        }
    }

    #[test]
    fn a_syn_starts_anew_only_where_the_old_flow_is_over_or_expired() {
        for (state, timeout, over) in [
            (Syn, 10, false),
            (Replied, 10, false),
            (Established, 1_000, false),
            (ClientFin, 30, true),
            (Reset, 30, true),
            (Closed, 20, true),
        ] {
            let on_time = if over { Claim::Starts } else { Claim::Belongs };
            assert_eq!(
                flow(state).claim(SYN, 1_000 + timeout, &TIMEOUTS),
                on_time,
                "{state:?}"
            );
            assert_eq!(
                flow(state).claim(SYN, 1_001 + timeout, &TIMEOUTS),
                Claim::Starts,
                "{state:?}"
            );
            assert_eq!(
                flow(state).claim(ACK, 100_000, &TIMEOUTS),
                Claim::Belongs,
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_udp_flow_ends_by_silence() {
        assert_eq!(flow(Udp).claim(0, 1_060, &TIMEOUTS), Claim::Belongs);
        assert_eq!(flow(Udp).claim(0, 1_061, &TIMEOUTS), Claim::Starts);
    }

    #[test]
    fn a_clock_of_another_cpu_that_lags_does_not_expire_a_flow() {
        assert!(!flow(Syn).is_expired(999, &TIMEOUTS));
    }
}
