//! A second opinion: what `docs/packets.md` says must become of a frame, worked out slowly and plainly from the page.
//!
//! [`packet`] is section 1, [`service`] section 2, [`flows`], [`slots`] (with `docs/flows.md`) and [`fragments`] section 3, [`forward`] and [`answer`] section 4,
//! [`errors`] section 5, [`replies`] section 6. Time stands still here: nothing expires, and no rate is exceeded.
//!
//! What the page leaves to the program (the source of a translated flow, the port and source of a tunnel, a random
//! identification) is taken from the frame that came out, if it is one of those that are allowed, and held to from then on.

mod answer;
mod bytes;
mod chain;
mod errors;
mod flows;
mod forward;
mod fragments;
mod packet;
mod quic;
mod replies;
mod service;
mod slots;

pub use self::flows::{Flow, Key};

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use lb_common::{
    backend::BackendState,
    outcome::{Fate, Outcome},
};

use crate::{
    model::{
        forward::Spread,
        fragments::Id,
        packet::Packet,
        slots::{Place, Written},
    },
    world::{World, standard::INGRESS},
};

/// What XDP returns (include/uapi/linux/bpf.h).
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
pub const TX: u32 = 3;
pub const REDIRECT: u32 = 4;

/// What must become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub outcome: Outcome,
    pub action: u32,
    pub frame: Vec<u8>,
}

/// What the program has made of a frame, for what the page leaves to it.
pub struct Got<'a> {
    pub frame: &'a [u8],
    /// The source that it remembers for a client's flow.
    pub source: &'a dyn Fn(&Key) -> Option<SocketAddr>,
}

/// The balancer's memory, beside its configuration.
pub struct Model {
    world: World,
    /// The slots, by service.
    places: Vec<Vec<Place>>,
    /// By id less one.
    states: Vec<BackendState>,
    /// Which have been anything but up. By id less one.
    scattered: Vec<bool>,
    flows: HashMap<Key, Flow>,
    /// The client's five-tuple, by the backend's.
    replies: HashMap<Key, Key>,
    /// Flows of modes that do not translate, as far as they have to be known.
    written: HashMap<Key, Written>,
    /// Clients of whom something was sent on.
    met: HashSet<Key>,
    fragments: HashMap<Id, Key>,
    spread: HashMap<Key, Spread>,
}

/// A frame on its way out.
struct Sent {
    outcome: Outcome,
    ifindex: u32,
    frame: Vec<u8>,
}

/// What a step comes to: a frame that is sent, or why not.
type Step = Result<Sent, Outcome>;

impl Model {
    pub fn new(world: World) -> Self {
        Self {
            places: places(&world),
            states: vec![BackendState::Up; world.backends.len()],
            scattered: vec![false; world.backends.len()],
            world,
            flows: HashMap::new(),
            replies: HashMap::new(),
            written: HashMap::new(),
            met: HashSet::new(),
            fragments: HashMap::new(),
            spread: HashMap::new(),
        }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Changes the state of a backend.
    pub fn set(&mut self, backend: u32, state: BackendState) {
        self.states[backend as usize - 1] = state;
        self.scattered[backend as usize - 1] |= state != BackendState::Up;
    }

    /// Forgets the flows and the fragments, and every change of slots.
    pub fn forget(&mut self) {
        self.flows.clear();
        self.replies.clear();
        self.written.clear();
        self.met.clear();
        self.places = places(&self.world);
        let up = self.states.iter().map(|state| *state == BackendState::Up);
        self.scattered = up.map(|up| !up).collect();
        self.fragments.clear();
        self.spread.clear();
    }

    /// What must become of `frame`; `got` is what the program made of it, or nothing for the model on its own.
    pub fn judge(&mut self, frame: &[u8], got: Option<&Got>) -> Expected {
        let (outcome, action, out) = match self.run(frame, got) {
            Ok(sent) if sent.ifindex == INGRESS => (sent.outcome, TX, sent.frame),
            Ok(sent) => (sent.outcome, REDIRECT, sent.frame),
            Err(outcome) if outcome.fate() == Fate::Pass => (outcome, PASS, frame.to_vec()),
            Err(outcome) => (outcome, DROP, frame.to_vec()),
        };
        Expected {
            outcome,
            action,
            frame: out,
        }
    }

    fn run(&mut self, frame: &[u8], got: Option<&Got>) -> Step {
        let packet = Packet::read(frame)?;
        let Some(vip) = self.world.vip_of(packet.to).copied() else {
            return self.not_for_a_vip(&packet);
        };
        if packet.is_neighbour_discovery() {
            return Err(Outcome::NotOurs);
        }
        if let Some(fault) = packet.fault {
            return Err(fault);
        }
        if packet.is_icmp() && !packet.is_later_piece() {
            return self.icmp(&packet, &vip, got);
        }
        self.serve(&packet, &vip, got)
    }

    /// Section 6, and the second half of section 5.
    fn not_for_a_vip(&mut self, packet: &Packet) -> Step {
        if packet.fault.is_some() {
            return Err(Outcome::NotOurs);
        }
        if packet.is_icmp() && !packet.is_later_piece() {
            return self.returned_error(packet);
        }
        self.reply(packet)
    }
}

/// The settled slots of all services.
fn places(world: &World) -> Vec<Vec<Place>> {
    let ids = 0..u32::try_from(world.services.len()).unwrap();
    let slots = ids.map(|id| world.table(id).into_iter().map(Place::settled).collect());
    slots.collect()
}
