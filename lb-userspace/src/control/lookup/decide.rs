//! What the program does with a packet of a service, step by step as `lb-ebpf/src/pick` does it, with nothing written.

use std::collections::BTreeSet;

use anyhow::Result;
use lb_common::{
    addr::Addr,
    conn::{Claim, Flow, FlowState, REPLY_IDLE, Timeouts, tcp},
    flow::{FlowKey, Protocol},
    outcome::Outcome,
    pick::{self, Opens, Pool as _},
    rate::{self, SourceKey},
    service::{ForwardMode, OnFull, Picker, Service, service_flags},
    slot::Slot,
    written::{self as record, CONFIRMED, Entry, WrittenState, WrittenTimeouts},
};

use super::{choose, find, pool::Tables};
use crate::{
    api::protocol::By,
    control::entries::Key,
    datapath::{Datapath, recall::answered_as},
};

/// What the program was loaded with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loaded {
    pub hash_key: [u64; 2],
    pub timeouts: Timeouts,
}

/// A packet of a client.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub flow: FlowKey,
    /// 0 for a datagram.
    pub tcp_flags: u8,
}

/// Who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    One {
        id: u32,
        by: By,
        /// Slots that were looked at.
        tries: u32,
    },
    /// One of these, as chance or a turn has it.
    AnyOf(BTreeSet<u32>),
}

/// The hashes that a packet's flow goes by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashes {
    /// It is written down by this one.
    pub flow: u64,
    /// Its home is in the slot of this one.
    pub home: u64,
    /// The way of a new flow through the slots begins here.
    pub new: u64,
    /// Of its client, where the service has affinity.
    pub client: u64,
}

/// All that a decision is made from.
pub struct View<'a, D> {
    pub tables: Tables<'a, D>,
    pub loaded: Loaded,
    pub service: Service,
    pub picker: Picker,
    pub packet: Packet,
    pub hashes: Hashes,
    pub slot: Slot,
    pub now: u64,
}

/// Why there is no backend: an outcome of the packet, or that the tables could not be read.
#[derive(Debug)]
pub enum Not {
    Forwarded(Outcome),
    Read(anyhow::Error),
}

impl From<Outcome> for Not {
    fn from(outcome: Outcome) -> Self {
        Self::Forwarded(outcome)
    }
}

impl From<anyhow::Error> for Not {
    fn from(error: anyhow::Error) -> Self {
        Self::Read(error)
    }
}

/// The hashes of a packet's flow.
#[must_use]
pub fn hashes(key: [u64; 2], service: &Service, picker: Picker, flow: &FlowKey) -> Hashes {
    let of = |picker| pick::slot_key(picker, service, flow).hash(key);
    let hash = pick::flow_key(service, flow).hash(key);
    let home = Picker::from_wire(service.home).unwrap_or(Picker::Maglev);
    let home_hash = if home == Picker::Maglev { hash } else { of(home) };
    let new = if picker.home() == home {
        home_hash
    } else {
        of(picker.home())
    };
    let source = flow.source_only(service.affinity_v4, service.affinity_v6);
    Hashes {
        flow: hash,
        home: home_hash,
        new,
        client: record::client_hash(source.hash(key), service.id),
    }
}

impl<D: Datapath> View<'_, D> {
    /// Who gets the packet.
    ///
    /// # Errors
    /// When nobody does.
    pub fn decide(&self) -> Result<Choice, Not> {
        let translates = translates(self.service.mode);
        if (translates || self.has(service_flags::LOOKS_BACK))
            && let Some(flow) = self.followed()?
        {
            return Ok(one(flow.backend, By::Flow));
        }
        let opens = self.opens();
        let entries = &self.tables.applied.entries;
        if (translates || opens != Opens::Later) && find::is_no_client(entries, self.packet.flow.source) {
            return Err(Outcome::BadSource.into());
        }
        if translates {
            self.translated(opens)
        } else {
            self.at_home(opens)
        }
    }

    /// What becomes of a packet without a backend. SCTP has no refusal that would need no key of the association.
    pub fn refused(&self, outcome: Outcome) -> Outcome {
        let rejects = self.service.on_full == OnFull::Reject.wire();
        let is_sctp = self.packet.flow.protocol == Protocol::Sctp.number();
        match outcome {
            Outcome::Full if rejects && !is_sctp => Outcome::FullReset,
            Outcome::NoBackend if self.has(service_flags::DOWN_PASSES) => Outcome::DownPassed,
            Outcome::NoBackend if self.has(service_flags::DOWN_RESETS) && !is_sctp => Outcome::DownReset,
            _ => outcome,
        }
    }

    pub(super) const fn has(&self, flag: u16) -> bool {
        self.service.flags & flag != 0
    }

    /// What the packet tells of its flow's age.
    fn opens(&self) -> Opens {
        let Packet { flow, tcp_flags } = &self.packet;
        if flow.protocol != Protocol::Tcp.number() {
            Opens::Unknown
        } else if tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) != tcp::SYN {
            Opens::Later
        } else if self.has(service_flags::BY_ADDRESSES) {
            Opens::Unknown
        } else {
            Opens::First
        }
    }

    /// The remembered flow of the packet, with what its line knows of it.
    pub fn flow_by_line(&self) -> Result<Option<Flow>> {
        let key = &self.packet.flow;
        let Some(mut flow) = self.tables.datapath.flow(key)? else {
            return Ok(None);
        };
        let by_line = self.tables.datapath.line_seen(key.hash(self.loaded.hash_key))?;
        flow.last_seen = flow.last_seen.max(by_line);
        Ok(Some(flow))
    }

    /// Whether the packet goes the short way, which asks a flow's line: what may begin or end a flow is asked of the entry alone.
    fn asks_line(&self) -> bool {
        translates(self.service.mode) && self.packet.tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0
    }

    /// The remembered flow that the packet goes on with.
    fn followed(&self) -> Result<Option<Flow>> {
        let Packet { flow: key, tcp_flags } = &self.packet;
        let known = if self.asks_line() {
            self.flow_by_line()?
        } else {
            self.tables.datapath.flow(key)?
        };
        let Some(flow) = known else {
            return Ok(None);
        };
        let is_tcp = key.protocol == Protocol::Tcp.number();
        let moves = self.has(service_flags::UDP_MOVES) && !self.tables.word(flow.backend).takes_new_flows();
        let goes_on = (is_tcp || flow.service == self.service.id && !moves)
            && flow.claim(*tcp_flags, self.now, &self.loaded.timeouts) == Claim::Belongs
            && self.tables.word(flow.backend).keeps_flow_of(flow.generation);
        Ok((goes_on && self.has_reply(&flow)?).then_some(flow))
    }

    /// Whether a flow still has its reply entry, or gets it back: a source of ours may be another flow's by now.
    fn has_reply(&self, flow: &Flow) -> Result<bool> {
        let Some(backend) = self.tables.fixed(flow.backend) else {
            return Ok(false);
        };
        if flow.source.is_none() || self.now.saturating_sub(flow.reply_seen) <= REPLY_IDLE {
            return Ok(true);
        }
        let answered = answered_as(&self.packet.flow, backend, flow.source, flow.source_port);
        let reply = self.tables.datapath.reply(&answered)?;
        Ok(reply.is_none_or(|reply| reply.flow == self.packet.flow))
    }

    fn translated(&self, opens: Opens) -> Result<Choice, Not> {
        // Flows are remembered here from their first packet on: only of a connection can one have been forgotten.
        if opens == Opens::Later && self.is_of_old(opens) && !self.collides(self.slot.home())? {
            return Ok(self.home());
        }
        if opens != Opens::Later {
            self.admit()?;
        }
        choose::backend(self)
    }

    fn at_home(&self, opens: Opens) -> Result<Choice, Not> {
        let special = match opens {
            Opens::Later => service_flags::UNSETTLED,
            Opens::First | Opens::Unknown => service_flags::UNSETTLED | service_flags::RATED,
        };
        if !self.has(special) && self.slot.is_settled() && self.tables.word(self.slot.owner()).is_plain() {
            return Ok(self.home());
        }
        if self.has(service_flags::ONE_PACKET) {
            self.admit()?;
            return choose::backend(self);
        }
        let entry = self.tables.datapath.written(self.hashes.flow);
        if entry.state() == WrittenState::Empty {
            if self.is_of_old(opens) {
                return Ok(self.home());
            }
        } else if self.goes_on(entry, opens) {
            return Ok(one(entry.backend(), By::Entry));
        }
        if opens != Opens::Later {
            self.admit()?;
        }
        let choice = choose::backend(self)?;
        let word = self.tables.word(self.slot.home());
        if entry.state() != WrittenState::Empty || self.finds_room(&choice) || !word.takes_new_flows() {
            return Ok(choice);
        }
        Ok(one(self.slot.home(), By::Room))
    }

    /// Whether what was chosen is written down, if it has to be.
    fn finds_room(&self, choice: &Choice) -> bool {
        let must_be = |id| pick::is_written(&self.service, self.slot, id);
        let is_written = match choice {
            Choice::One { id, .. } => must_be(*id),
            Choice::AnyOf(ids) => ids.iter().copied().any(must_be),
        };
        let timeouts = WrittenTimeouts::new(&self.loaded.timeouts);
        let worth = |entry: Entry| record::worth(entry, timeouts.of(entry.state()), self.now);
        let bucket = self.tables.datapath.bucket(self.hashes.flow);
        !is_written || bucket.into_iter().any(|entry| worth(entry) < CONFIRMED)
    }

    /// Whether the packet is of a flow that is not written down, and its backend has kept it.
    fn is_of_old(&self, opens: Opens) -> bool {
        let word = self.tables.word(self.slot.home());
        let udp_moves = pick::datagrams_move(&self.service, self.slot);
        pick::stays_home(self.slot, word, opens, udp_moves)
    }

    fn home(&self) -> Choice {
        let by = if self.slot.previous() == 0 {
            By::Owner
        } else {
            By::Previous
        };
        one(self.slot.home(), by)
    }

    /// Whether a packet goes on with a flow that is written down.
    fn goes_on(&self, entry: Entry, opens: Opens) -> bool {
        let word = self.tables.word(entry.backend());
        let fixed = self.tables.fixed(entry.backend());
        let is_kept = entry.is_of_generation(word.generation())
            && word.keeps_flow_of(word.generation())
            && fixed.is_some_and(|backend| backend.service == self.service.id);
        let timeout = match opens {
            Opens::Unknown if self.packet.flow.protocol != Protocol::Tcp.number() => self.loaded.timeouts.udp,
            _ => WrittenTimeouts::new(&self.loaded.timeouts).of(entry.state()),
        };
        let is_expired = entry.is_expired(timeout, self.now);
        let is_over = match opens {
            Opens::Later => false,
            Opens::First => {
                matches!(entry.state(), WrittenState::Closing | WrittenState::Reset)
                    || !word.takes_new_flows()
                    || is_expired
            }
            Opens::Unknown => self.has(service_flags::UDP_MOVES) && !word.takes_new_flows() || is_expired,
        };
        is_kept && !is_over
    }

    /// Whether the service has a new flow left, and its source one.
    fn admit(&self) -> Result<(), Not> {
        let Service {
            source_rate,
            source_burst,
            flow_rate,
            flow_burst,
            ..
        } = self.service;
        if !self.has(service_flags::RATED) {
            return Ok(());
        }
        let is_beyond = |bucket, rate, burst| rate::take(bucket, rate, burst, self.now).is_none();
        if source_rate != 0 {
            let source = self.packet.flow.source;
            let key = SourceKey {
                source: source.prefix(self.service.rate_v4, self.service.rate_v6),
                service: self.service.id,
                ..SourceKey::default()
            };
            let bucket = self.tables.datapath.source_rate(&key)?;
            if bucket.is_some_and(|bucket| is_beyond(bucket, source_rate, source_burst)) {
                return Err(Outcome::SourceLimited.into());
            }
        }
        if flow_rate != 0 {
            let bucket = self.tables.datapath.service_rate(self.service.id)?;
            if is_beyond(bucket, flow_rate, flow_burst) {
                return Err(Outcome::FlowLimited.into());
            }
        }
        Ok(())
    }

    /// Whether a backend could not tell the replies of the flow, if it is new, from those of another that is alive.
    pub(super) fn collides(&self, id: u32) -> Result<bool> {
        if !translates(self.service.mode) || self.needs_source() {
            return Ok(false);
        }
        let Some(backend) = self.tables.fixed(id) else {
            return Ok(false);
        };
        let answered = answered_as(&self.packet.flow, backend, Addr::default(), 0);
        let Some(reply) = self.tables.datapath.reply(&answered)? else {
            return Ok(false);
        };
        if reply.flow == self.packet.flow {
            return Ok(false);
        }
        let holder = self.tables.datapath.flow(&reply.flow)?;
        Ok(holder.is_some_and(|holder| {
            holder.backend == reply.backend
                && holder.state() != FlowState::Closed
                && !holder.is_expired(self.now, &self.loaded.timeouts)
        }))
    }

    /// Whether the flow gets a source of ours, which no other has.
    fn needs_source(&self) -> bool {
        let hairpin = Key::Hairpin(self.packet.flow.source);
        match ForwardMode::from_wire(self.service.mode) {
            Some(ForwardMode::FullNat) => true,
            Some(ForwardMode::Nat) => self.tables.applied.entries.get(hairpin).is_some(),
            _ => false,
        }
    }
}

const fn one(id: u32, by: By) -> Choice {
    Choice::One { id, by, tries: 0 }
}

fn translates(mode: u8) -> bool {
    ForwardMode::from_wire(mode).is_some_and(ForwardMode::translates)
}
