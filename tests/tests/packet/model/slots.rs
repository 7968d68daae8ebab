//! Flows that are not remembered one by one: `docs/flows.md`, "The states of a slot".

use lb_common::{hash, slot::SlotBits, written::WrittenState};

use crate::{
    model::{Model, flows::Key, packet::Packet},
    rig::HASH_KEY,
    wire::{FIN, RST, SYN, SYN_ACK, protocol},
    world::Change,
};

/// What a packet says of its flow's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    Syn,
    Later,
    Datagram,
}

/// A slot: who gets its new flows, and who has had them.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    owner: u32,
    previous: Option<u32>,
    young: bool,
    written: bool,
}

/// A flow that is written down.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub backend: u32,
    pub state: WrittenState,
}

impl Place {
    pub const fn settled(owner: u32) -> Self {
        Self {
            owner,
            previous: None,
            young: false,
            written: false,
        }
    }

    /// Whose the flows are that are not written down.
    fn home(&self) -> u32 {
        self.previous.unwrap_or(self.owner)
    }

    fn pass_to(&mut self, owner: u32) {
        let home = self.home();
        if owner == self.owner {
            return;
        }
        let previous = (home != owner).then_some(home);
        *self = Self {
            owner,
            previous,
            young: previous.is_some(),
            written: true,
        };
    }
}

impl Model {
    /// Changes all slots of a service.
    pub fn change(&mut self, service: u32, change: Change) {
        for place in &mut self.places[service as usize] {
            match change {
                Change::PassTo(owner) => place.pass_to(owner),
                Change::Age => place.young = false,
                Change::Part => (place.previous, place.young) = (None, false),
                Change::Settle => place.written = false,
            }
        }
    }

    /// What is written down, by the hash that finds it.
    pub fn written(&self) -> impl Iterator<Item = (u64, Written)> {
        let entries = self.written.iter();
        entries.map(|(key, written)| (key.in_maps().hash(HASH_KEY), *written))
    }

    pub(super) fn opens(&self, packet: &Packet, service: u32, key: &Key) -> Opens {
        if key.protocol != protocol::TCP {
            Opens::Datagram
        } else if packet.is_later_piece() || packet.flags() & (SYN_ACK | RST) != SYN {
            Opens::Later
        } else if self.world.service(service).by_addresses {
            // A connection begins, but the flow is all that is between the two addresses.
            Opens::Datagram
        } else {
            Opens::Syn
        }
    }

    /// The five-tuple that a flow is told apart by.
    fn told_by(&self, service: u32, key: &Key) -> Key {
        if self.world.service(service).by_addresses || key.protocol == protocol::SCTP {
            Key::between((key.from.ip(), 0), (key.to.ip(), 0), key.protocol)
        } else {
            *key
        }
    }

    /// The owners of the slots that a flow is tried on, in order.
    pub(super) fn owners(&self, service: u32, key: &Key) -> impl Iterator<Item = u32> {
        let hash = self.told_by(service, key).in_maps().hash(HASH_KEY);
        let steps = std::iter::successors(Some(hash), |hash| Some(hash::next(*hash)));
        steps.map(move |hash| self.place(service, hash).owner)
    }

    fn place(&self, service: u32, hash: u64) -> &Place {
        &self.places[service as usize][SlotBits::MIN.slot(hash) as usize]
    }

    fn home_place(&self, service: u32, key: &Key) -> Place {
        let hash = self.told_by(service, key).in_maps().hash(HASH_KEY);
        *self.place(service, hash)
    }

    /// Whether all flows of a slot are its owner's.
    fn is_plain(&self, place: &Place) -> bool {
        place.owner != 0
            && place.previous.is_none()
            && !place.written
            && self.opens_flows(place.owner)
            && !self.scattered[place.owner as usize - 1]
    }

    /// The backend of a flow that is not written down, if the packet can be of an old one.
    pub(super) fn old(&self, service: u32, key: &Key, opens: Opens) -> Option<u32> {
        let place = self.home_place(service, key);
        let is_old = match opens {
            Opens::Syn => false,
            Opens::Later => true,
            Opens::Datagram if self.world.service(service).udp_moves => false,
            Opens::Datagram => {
                place.young || place.previous.is_none() && place.owner != 0 && !self.opens_flows(place.owner)
            }
        };
        let home = place.home();
        (is_old && home != 0 && self.keeps(home)).then_some(home)
    }

    /// The backend of a packet, in modes that do not translate.
    pub(super) fn by_slot(
        &mut self,
        packet: &Packet,
        service: u32,
        key: &Key,
        opens: Opens,
    ) -> Result<u32, lb_common::outcome::Outcome> {
        let place = self.home_place(service, key);
        if self.is_plain(&place) {
            return Ok(place.owner);
        }
        let told_by = self.told_by(service, key);
        let entry = self.written.get(&told_by).copied();
        if let Some(entry) = entry
            && self.goes_on(service, &entry, opens)
        {
            let state = after(entry.state, opens, packet.flags());
            self.written.insert(told_by, Written { state, ..entry });
            return Ok(entry.backend);
        }
        let old = self.old(service, key, opens).filter(|_| entry.is_none());
        let backend = match old {
            Some(backend) => backend,
            None => self.pick(service, key, false)?,
        };
        let is_elsewhere = place.previous.is_some() || backend != place.owner;
        // A reset ends what it finds, and of a fragment without ports there is nothing to remember.
        let is_flow = packet.flags() & RST == 0 && key.to.port() != 0;
        if is_flow && (entry.is_some() || is_elsewhere) {
            let state = match opens {
                Opens::Later => WrittenState::Claimed,
                Opens::Syn | Opens::Datagram => WrittenState::Opened,
            };
            self.written.insert(told_by, Written { backend, state });
        }
        Ok(backend)
    }

    /// The backend of the flow that an ICMP error is about: as a later packet of it would find it.
    pub(super) fn of_quoted(&self, service: u32, key: &Key) -> Result<u32, lb_common::outcome::Outcome> {
        let place = self.home_place(service, key);
        let entry = self.written.get(&self.told_by(service, key));
        let kept = entry.filter(|entry| !self.is_plain(&place) && self.goes_on(service, entry, Opens::Later));
        if let Some(entry) = kept {
            return Ok(entry.backend);
        }
        match self.old(service, key, Opens::Later) {
            Some(backend) => Ok(backend),
            None => self.pick(service, key, false),
        }
    }

    /// Whether a packet goes on with a flow that is written down.
    fn goes_on(&self, service: u32, entry: &Written, opens: Opens) -> bool {
        let is_over = matches!(entry.state, WrittenState::Closing | WrittenState::Reset);
        let moves = opens == Opens::Datagram && self.world.service(service).udp_moves;
        let starts = opens == Opens::Syn && is_over
            || (opens == Opens::Syn || moves) && !self.opens_flows(entry.backend);
        self.keeps(entry.backend) && self.world.backend(entry.backend).service == service && !starts
    }
}

/// The state of a written flow after a packet.
fn after(state: WrittenState, opens: Opens, flags: u8) -> WrittenState {
    if flags & RST != 0 {
        WrittenState::Reset
    } else if flags & FIN != 0 {
        WrittenState::Closing
    } else if state == WrittenState::Closing || opens == Opens::Syn {
        state
    } else {
        WrittenState::Confirmed
    }
}
