//! Section 3: which backend, and what is remembered.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    backend::BackendState,
    conn::{FlowState, Side},
    flow::FlowKey,
    limits::{COLLISION_TRIES, NO_BACKEND, PICK_TRIES},
    outcome::Outcome,
};

use crate::{
    model::{Got, Model, Step, forward::Hop, packet::Packet, slots::Opens},
    wire::{RST, SYN, SYN_ACK, protocol},
};

/// A five-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub protocol: u8,
}

/// What is remembered of a client's flow.
#[derive(Clone, Debug)]
pub struct Flow {
    pub service: u32,
    pub backend: u32,
    pub state: FlowState,
    /// What the backend sees instead of the client.
    pub source: Option<SocketAddr>,
    /// The way back to the client.
    pub came_by: Hop,
}

impl Key {
    pub fn of(packet: &Packet, ports: (u16, u16)) -> Self {
        Self::between((packet.from, ports.0), (packet.to, ports.1), packet.protocol)
    }

    pub fn between(from: (IpAddr, u16), to: (IpAddr, u16), protocol: u8) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            protocol,
        }
    }

    pub fn without_ports(packet: &Packet) -> Self {
        Self::of(packet, (0, 0))
    }

    pub fn reversed(&self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..*self
        }
    }

    /// The key as the program's maps have it.
    pub fn in_maps(&self) -> FlowKey {
        FlowKey {
            source: self.from.ip().into(),
            destination: self.to.ip().into(),
            source_port: self.from.port().to_be(),
            destination_port: self.to.port().to_be(),
            protocol: u32::from(self.protocol),
        }
    }
}

impl Model {
    /// The flows of which something was sent on, with their ports.
    pub fn met(&self) -> impl Iterator<Item = &Key> {
        self.met.iter().filter(|key| key.to.port() != 0)
    }

    pub fn flow(&self, client: &Key) -> Option<&Flow> {
        self.flows.get(client)
    }

    /// What the backend of a flow answers from, and to whom.
    pub fn reply_key(&self, client: &Key) -> Option<Key> {
        let flow = self.flows.get(client)?;
        Some(self.seen_by_backend(client, flow.backend, flow.source).reversed())
    }

    /// A client's packet for a service.
    pub(super) fn balance(&mut self, packet: &Packet, service: u32, key: Key, got: Option<&Got>) -> Step {
        let held = self.held(&key, service, packet.flags());
        let named = self.quic_server(packet, service);
        let goes_on = held.filter(|&backend| named.is_none_or(|named| named == backend));
        if let Some(backend) = goes_on {
            self.step(&key, packet);
            let source = self.flows.get(&key).and_then(|flow| flow.source);
            return self
                .obstacle(packet, service, backend)
                .unwrap_or_else(|| self.deliver(packet, (service, backend), key, source, got));
        }
        let translates = self.world.service(service).mode.translates();
        let opens = self.opens(packet, service, &key);
        // What is no first packet goes on nowhere: whoever it reaches has sent none before.
        let is_no_client = self.world.vip_of(packet.from).is_some() || self.world.is_local(packet.from);
        if is_no_client && (translates || opens != Opens::Later) {
            return Err(Outcome::BadSource);
        }
        if !translates {
            let backend = match named {
                Some(backend) => backend,
                None => self.by_slot(packet, service, &key, opens)?,
            };
            return self
                .obstacle(packet, service, backend)
                .unwrap_or_else(|| self.deliver(packet, (service, backend), key, None, got));
        }
        // A reset ends what it is about, and of a fragment without ports there is nothing to remember.
        let is_remembered = packet.flags() & RST == 0 && key.from.port() != 0;
        let backend = match named {
            Some(backend) if is_remembered && self.collides(&key, backend) => {
                return Err(Outcome::FlowCollision);
            }
            Some(backend) => backend,
            None => self.pick_translated(service, &key, opens, is_remembered)?,
        };
        if let Some(obstacle) = self.obstacle(packet, service, backend) {
            return obstacle;
        }
        let mut source = None;
        if is_remembered {
            source = self.new_source(&key, (service, backend), got);
            self.open(&key, service, backend, source, Hop::back(packet));
        }
        self.deliver(packet, (service, backend), key, source, got)
    }

    /// The backend of the flow that a packet goes on with.
    fn held(&self, key: &Key, service: u32, flags: u8) -> Option<u32> {
        let flow = self.flows.get(key)?;
        let moved = key.protocol != protocol::TCP && flow.service != service;
        let starts = flags & SYN_ACK == SYN && flow.state.is_over();
        let leaves = key.protocol != protocol::TCP
            && self.world.service(service).udp_moves
            && !self.opens_flows(flow.backend);
        (!moved && !starts && !leaves && self.keeps(flow.backend)).then_some(flow.backend)
    }

    /// Whether a backend may go on with its flows.
    pub(super) fn keeps(&self, backend: u32) -> bool {
        matches!(
            self.states[backend as usize - 1],
            BackendState::Up | BackendState::Drain
        )
    }

    /// Whether a backend may get new flows.
    pub(super) fn opens_flows(&self, backend: u32) -> bool {
        self.states[backend as usize - 1] == BackendState::Up
    }

    fn step(&mut self, key: &Key, packet: &Packet) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        flow.state = flow.state.next(Side::Client, packet.flags());
        flow.came_by = Hop::back(packet);
    }

    /// The backend of a translated flow that is not remembered, though all are: its home, for one that is known to be old, else as for
    /// a new one.
    fn pick_translated(&self, service: u32, key: &Key, opens: Opens, is_flow: bool) -> Result<u32, Outcome> {
        let old = self.old(service, key, opens).filter(|_| opens == Opens::Later);
        match old.filter(|&home| !is_flow || !self.collides(key, home)) {
            Some(home) => Ok(home),
            None => self.pick(service, key, is_flow),
        }
    }

    /// The backend that the hash gives a new flow.
    pub(super) fn pick(&self, service: u32, key: &Key, opens: bool) -> Result<u32, Outcome> {
        let mut collided = Vec::new();
        for id in self.owners(service, key).take(PICK_TRIES as usize) {
            let up = id != NO_BACKEND && self.opens_flows(id);
            if !up || collided.last() == Some(&id) {
                continue;
            }
            if !opens || !self.collides(key, id) {
                return Ok(id);
            }
            collided.push(id);
            if collided.len() == COLLISION_TRIES as usize {
                break;
            }
        }
        Err(if collided.is_empty() {
            Outcome::NoBackend
        } else {
            Outcome::FlowCollision
        })
    }

    /// Whether the backend already has a flow that it could not tell from this one.
    fn collides(&self, key: &Key, backend: u32) -> bool {
        let mode = self.world.service(self.world.backend(backend).service).mode;
        if !mode.translates() || self.hides_client(mode, key) {
            return false;
        }
        let seen = self.seen_by_backend(key, backend, None);
        let Some(holder) = self.replies.get(&seen.reversed()).filter(|holder| *holder != key) else {
            return false;
        };
        self.flows
            .get(holder)
            .is_some_and(|flow| flow.state != FlowState::Closed)
    }

    fn open(&mut self, key: &Key, service: u32, backend: u32, source: Option<SocketAddr>, came_by: Hop) {
        if let Some(old) = self.reply_key(key)
            && self.replies.get(&old) == Some(key)
        {
            self.replies.remove(&old);
        }
        let state = if key.protocol == protocol::TCP {
            FlowState::Syn
        } else {
            FlowState::Udp
        };
        let flow = Flow {
            service,
            backend,
            state,
            source,
            came_by,
        };
        self.flows.insert(*key, flow);
        let seen = self.seen_by_backend(key, backend, source);
        self.replies.insert(seen.reversed(), *key);
    }

    /// The five-tuple of a client's packets at its backend, in the modes that translate.
    pub(super) fn seen_by_backend(&self, key: &Key, backend: u32, source: Option<SocketAddr>) -> Key {
        let backend = self.world.backend(backend);
        let port = if backend.port == 0 {
            key.to.port()
        } else {
            backend.port
        };
        Key {
            from: source.unwrap_or(key.from),
            to: SocketAddr::new(backend.addr, port),
            protocol: key.protocol,
        }
    }
}
