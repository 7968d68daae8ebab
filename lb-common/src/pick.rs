//! Which backend a new flow gets: what the program does for a packet, and the agent to say what it would do.

use crate::{
    backend::{BackendLimits, BackendWord},
    flow::{FlowKey, Protocol},
    limits,
    service::{Picker, Service, service_flags},
    slot::{Slot, SlotBits},
};

/// The tables of a service's pool.
pub trait Pool {
    /// The slot of a hash.
    fn slot(&self, hash: u64) -> Slot;
    /// The id of the member at a place of their order; 0 for none.
    fn member(&self, place: u32) -> u32;
    fn word(&self, id: u32) -> BackendWord;
    fn limits(&self, id: u32) -> BackendLimits;
    /// Active flows of a backend.
    fn load(&self, id: u32) -> u64;
    /// Active flows of the service.
    fn service_load(&self) -> u64;
    fn random(&self) -> u32;
    /// Where the round has come.
    fn turn(&self) -> u32;
}

/// The key whose hash chooses a flow's slot.
#[must_use]
#[inline(always)]
pub fn slot_key(picker: Picker, service: &Service, flow: &FlowKey) -> FlowKey {
    match picker {
        Picker::Source => flow.source_only(service.source_v4, service.source_v6),
        Picker::Dest => flow.destination_only(),
        Picker::DestPort => flow.port_only(),
        _ => flow_key(service, flow),
    }
}

/// The key that a service tells flows apart by.
#[must_use]
#[inline(always)]
pub fn flow_key(service: &Service, flow: &FlowKey) -> FlowKey {
    if has_ports(service, flow) {
        *flow
    } else {
        flow.without_ports()
    }
}

/// Whether ports tell a service's flows apart: not for SCTP, whose associations may use several, nor where fragments must need no first
/// one.
#[must_use]
#[inline(always)]
pub const fn has_ports(service: &Service, flow: &FlowKey) -> bool {
    service.flags & service_flags::BY_ADDRESSES == 0 && flow.protocol != Protocol::Sctp.number()
}

/// What a packet tells of its flow's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// It is the first of its flow: a SYN.
    First,
    /// It is not the first.
    Later,
    /// It may be the first: a datagram.
    Unknown,
}

/// Whether a packet of a flow that is not written down is one of an old flow, which belongs to the home of its slot: where that keeps
/// it, with this `word`.
#[must_use]
#[inline(always)]
pub const fn stays_home(slot: Slot, word: BackendWord, opens: Opens, udp_moves: bool) -> bool {
    let is_old = match opens {
        Opens::First => false,
        Opens::Later => true,
        // Of a backend that takes no new flows it may be an old one as long as its slot is not given to another.
        Opens::Unknown => !udp_moves && (slot.is_young() || slot.previous() == 0 && !word.takes_new_flows()),
    };
    is_old && slot.home() != limits::NO_BACKEND && word.keeps_flow_of(word.generation())
}

/// Whether a datagram of a flow that is not written down is that of a new flow: where the service says so, and where every flow is written
/// down, unless that is only so since a moment ago.
#[must_use]
#[inline(always)]
pub const fn datagrams_move(service: &Service, slot: Slot) -> bool {
    service.flags & service_flags::UDP_MOVES != 0
        || service.flags & service_flags::TRACKED != 0 && !slot.is_young()
}

/// Whether a flow that has got a backend must be written down, so that its later packets find that.
#[must_use]
#[inline(always)]
pub const fn is_written(service: &Service, slot: Slot, backend: u32) -> bool {
    service.flags & service_flags::TRACKED != 0 || slot.previous() != 0 || backend != slot.owner()
}

/// How closely limits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rigour {
    /// Nobody gets more than it may, nor more than its share.
    Strict,
    /// Nobody gets more than it may.
    Limits,
    /// Whoever is up takes flows.
    None,
}

/// Whether a backend can take a new flow.
#[must_use]
#[inline(always)]
pub fn takes<P: Pool>(pool: &P, service: &Service, id: u32, rigour: Rigour) -> bool {
    id != limits::NO_BACKEND
        && pool.word(id).takes_new_flows()
        && (service.flags & service_flags::TRACKED == 0 || has_room(pool, service, id, rigour))
}

/// Whether a backend that is up can take one more flow.
#[must_use]
#[inline(always)]
pub fn has_room<P: Pool>(pool: &P, service: &Service, id: u32, rigour: Rigour) -> bool {
    if rigour == Rigour::None {
        return true;
    }
    let (limits, load) = (pool.limits(id), pool.load(id));
    if limits.is_full(load) && service.picker != Picker::Failover.wire() {
        return false;
    }
    service.picker != Picker::Bounded.wire()
        || rigour != Rigour::Strict
        || within_share(service, limits.weight(), load, pool.service_load())
}

/// Whether a backend with one more flow has at most its share of all, times the load factor, rounded up: so there is always one that can
/// take it.
#[inline(always)]
fn within_share(service: &Service, weight: u64, load: u64, all: u64) -> bool {
    load * 100 * (service.weight as u64) < (all + 1) * service.load_factor as u64 * weight
}

/// The backend that the service's picker wants, if it wants one in particular; 0 where the flow's way through the slots says it.
#[must_use]
#[inline(always)]
pub fn wanted<P: Pool>(pool: &P, service: &Service, picker: Picker) -> u32 {
    match picker {
        Picker::Maglev | Picker::Source | Picker::Dest | Picker::DestPort | Picker::Bounded => {
            limits::NO_BACKEND
        }
        Picker::RoundRobin => {
            let bits = SlotBits::new(service.slot_bits as u32).bits();
            pool.slot((pool.turn() as u64) << (64 - bits)).owner()
        }
        Picker::Random => at_random(pool),
        Picker::TwoChoices => {
            let (one, other) = (at_random(pool), at_random(pool));
            if !takes(pool, service, one, Rigour::Limits)
                || takes(pool, service, other, Rigour::Limits) && is_less_loaded(pool, other, one)
            {
                other
            } else {
                one
            }
        }
        Picker::LeastConn => least_loaded(pool, service),
        Picker::First | Picker::Failover => first(pool, service, 0),
    }
}

#[inline(always)]
fn at_random<P: Pool>(pool: &P) -> u32 {
    pool.slot((pool.random() as u64) << 32).owner()
}

/// Whether one more flow makes `one` less loaded for its weight than `other`.
#[inline(always)]
fn is_less_loaded<P: Pool>(pool: &P, one: u32, other: u32) -> bool {
    (pool.load(one) + 1) * pool.limits(other).weight() < (pool.load(other) + 1) * pool.limits(one).weight()
}

/// The least loaded member of all, or of those that stand behind a random one.
#[inline(always)]
fn least_loaded<P: Pool>(pool: &P, service: &Service) -> u32 {
    let members = service.members;
    let mut best = limits::NO_BACKEND;
    let mut place = ((pool.random() as u64 * members as u64) >> 32) as u32;
    for tried in 0..limits::LEAST_TRIES {
        if tried >= members {
            break;
        }
        let id = pool.member(place);
        place = behind(place, members);
        if takes(pool, service, id, Rigour::Limits)
            && (best == limits::NO_BACKEND || is_less_loaded(pool, id, best))
        {
            best = id;
        }
    }
    best
}

/// The place behind another, going round. Without branches: the verifier follows each way.
#[inline(always)]
const fn behind(place: u32, members: u32) -> u32 {
    let next = place.wrapping_add(1);
    next & (next.wrapping_sub(members).cast_signed() >> 31).cast_unsigned()
}

/// The first member that takes new flows, going round from a place of their order. Where all that a flow's way through the slots meets are full,
/// this finds the one that is not.
#[must_use]
#[inline(always)]
pub fn first<P: Pool>(pool: &P, service: &Service, mut place: u32) -> u32 {
    for tried in 0..limits::ORDER_TRIES {
        if tried >= service.members {
            break;
        }
        let id = pool.member(place);
        place = behind(place, service.members);
        if takes(pool, service, id, Rigour::Limits) {
            return id;
        }
    }
    limits::NO_BACKEND
}

/// The place that a flow begins at to look for a member that is not full.
#[must_use]
#[inline(always)]
pub const fn place_of(service: &Service, hash: u64) -> u32 {
    (((hash & 0xffff_ffff) * service.members as u64) >> 32) as u32
}

/// The replica of an address that a port asks for: so many backends on the way through the slots are passed over, whatever their state; then
/// the next one that takes flows. So the ports name different backends as long as they all live, and where one is down, its port goes on to
/// the next: for the first replica that is the second.
#[must_use]
#[inline(always)]
pub fn replica<P: Pool>(pool: &P, service: &Service, flow: &FlowKey, mut step: u64) -> u32 {
    let port = u16::from_be(flow.destination_port).wrapping_sub(u16::from_be(service.first_port));
    let mut before = port as u32 % (service.replicas as u32).max(1);
    let mut passed = [limits::NO_BACKEND; limits::REPLICAS as usize - 1];
    for _ in 0..limits::PICK_TRIES {
        let id = pool.slot(step).owner();
        step = crate::hash::next(step);
        if passed[0] == id || passed[1] == id || passed[2] == id {
            continue;
        }
        if before == 0 {
            if takes(pool, service, id, Rigour::Limits) {
                return id;
            }
            continue;
        }
        before -= 1;
        passed = [id, passed[0], passed[1]];
    }
    limits::NO_BACKEND
}
