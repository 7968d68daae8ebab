//! What happens in a story: packets, drawn so that most are for somebody, and changes of backends.

use std::net::{IpAddr, SocketAddr};

use lb_common::backend::BackendState;
use proptest::sample::Index;

use crate::{
    differential::{
        damage::{Damage, leave_unfinished, repair},
        shift::Shift,
    },
    model::{Key, Model},
    rig::FIRST_BUFFER,
    wire::{
        Body, Extension, Frame, Ip, echo, error,
        frame::{BACKEND_MAC, Tag},
        icmp, protocol,
    },
    world::standard,
};

#[derive(Clone, Debug)]
pub enum Event {
    Frame(Box<Drawn>),
    /// Of a backend of the service that a flow is of, if there is one, or of any.
    State {
        flow: Option<Index>,
        backend: Index,
        state: BackendState,
    },
    /// The slots of the service that a flow is of, if there is one, or of any.
    Slots {
        flow: Index,
        service: Index,
        change: Shift,
    },
}

/// A frame: what it is about, how it looks, and what has happened to it.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub about: About,
    pub looks: Looks,
    pub damage: Vec<Damage>,
}

/// What a packet is about. Indices choose among the flows that there are by then.
#[derive(Clone, Debug)]
pub enum About {
    Client {
        from: SocketAddr,
        to: SocketAddr,
        body: Carried,
    },
    /// A flow's client, once more.
    Again {
        flow: Index,
        body: Carried,
    },
    /// A flow's client, from the same port to another VIP.
    Elsewhere {
        flow: Index,
        host: u8,
        body: Carried,
    },
    Backend {
        flow: Index,
        body: Carried,
    },
    Ping {
        from: IpAddr,
        to: IpAddr,
        kind: Option<u8>,
        len: usize,
    },
    /// From a client's side, about a packet of a VIP.
    ErrorToVip {
        flow: Option<Index>,
        from: IpAddr,
        guess: (SocketAddr, SocketAddr),
        error: Quoting,
    },
    /// From a backend's side, about a packet to a backend.
    ErrorToClient {
        flow: Index,
        from: IpAddr,
        error: Quoting,
    },
}

#[derive(Clone, Debug)]
pub enum Carried {
    Tcp { flags: u8, payload: usize },
    Udp { checked: bool, payload: Vec<u8> },
    Sctp,
    Other { protocol: u8 },
}

#[derive(Clone, Debug)]
pub struct Quoting {
    pub kind: usize,
    pub word: u32,
    /// Bytes behind the quoted IP header, and in the quoted packet.
    pub quoted: usize,
    pub payload: usize,
    pub extended: bool,
}

#[derive(Clone, Debug)]
pub struct Looks {
    pub tags: Vec<Tag>,
    pub tos: u8,
    pub ttl: u8,
    pub dont_fragment: bool,
    pub options: usize,
    pub chain: Vec<Extension>,
    pub padding: usize,
    /// Bytes of the first of two fragments, whether this is the first, and their identification.
    pub cut: Option<(u16, bool, u32)>,
    /// Whether the sender has left the checksum to a device.
    pub unfinished: bool,
}

const KINDS: [&icmp::Kind; 4] = [
    &icmp::TOO_BIG,
    &icmp::TIME_EXCEEDED,
    &icmp::PORT_UNREACHABLE,
    &icmp::PARAMETER_PROBLEM,
];

impl Drawn {
    /// The frame, if there is a flow that it can be about.
    pub fn frame(&self, model: &Model) -> Option<Vec<u8>> {
        let frame = self.looks.put_on(self.about.frame(model)?);
        let mut bytes = frame.bytes();
        // Without the program for it, the kernel takes no test frame that is longer.
        if bytes.len() > FIRST_BUFFER && !model.world().multi_buffer {
            return None;
        }
        let ip = 14 + 4 * frame.tags.len();
        if self.looks.unfinished && self.looks.cut.is_none() {
            leave_unfinished(&mut bytes[ip..], &frame.ip);
        }
        for damage in &self.damage {
            match *damage {
                Damage::Byte { at, value } => {
                    if let Some(place) = bytes.get_mut(at) {
                        *place = value;
                    }
                }
                // The kernel takes no test frame shorter than an Ethernet header.
                Damage::Cut { len } => bytes.truncate(len.max(14)),
                Damage::Repair if frame.ip.is_v4() => repair(bytes.get_mut(ip..).unwrap_or_default()),
                Damage::Repair => {}
            }
        }
        Some(bytes)
    }
}

/// Some flow of the model.
fn flow(model: &Model, index: &Index) -> Option<Key> {
    let mut keys: Vec<Key> = model.met().copied().collect();
    keys.sort_by_key(|key| (key.from, key.to, key.protocol));
    (!keys.is_empty()).then(|| *index.get(&keys))
}

/// The service of some flow of the model.
pub fn service(model: &Model, index: &Index) -> Option<u32> {
    let (key, world) = (flow(model, index)?, model.world());
    world.service_of(world.vip_of(key.to.ip())?, key.protocol, key.to.port())
}

impl About {
    fn frame(&self, model: &Model) -> Option<Frame> {
        match self {
            Self::Client { from, to, body } => Some(between(*from, *to, body.body(*from, *to))),
            Self::Again { flow, body } => {
                let key = self::flow(model, flow)?;
                let body = body.of_protocol(key.protocol);
                Some(between(key.from, key.to, body.body(key.from, key.to)))
            }
            Self::Elsewhere { flow, host, body } => {
                let key = self::flow(model, flow)?;
                let to = SocketAddr::new(standard::vip(key.from.is_ipv4(), *host), key.to.port());
                let body = body.of_protocol(key.protocol);
                Some(between(key.from, to, body.body(key.from, to)))
            }
            Self::Backend { flow, body } => {
                let key = model.reply_key(&self::flow(model, flow)?)?;
                let body = body.of_protocol(key.protocol);
                let mut frame = between(key.from, key.to, body.body(key.from, key.to));
                frame.from = BACKEND_MAC;
                Some(frame)
            }
            Self::Ping { from, to, kind, len } => {
                let mut frame = echo(*from, *to, &vec![0x70; *len]);
                if let (Some(other), Body::Icmp { kind, .. }) = (kind, &mut frame.ip.body) {
                    *kind = *other;
                }
                Some(frame)
            }
            Self::ErrorToVip {
                flow,
                from,
                guess,
                error,
            } => {
                let known = flow.as_ref().and_then(|index| self::flow(model, index));
                let guessed = Key {
                    from: guess.0,
                    to: guess.1,
                    protocol: protocol::TCP,
                };
                let seen = known.unwrap_or(guessed).reversed();
                Some(error.frame(*from, &seen))
            }
            Self::ErrorToClient { flow, from, error } => {
                let seen = model.reply_key(&self::flow(model, flow)?)?.reversed();
                let mut frame = error.frame(*from, &seen);
                frame.from = BACKEND_MAC;
                Some(frame)
            }
        }
    }
}

fn between(from: SocketAddr, to: SocketAddr, body: Body) -> Frame {
    Frame::around(Ip::new(from.ip(), to.ip(), body))
}

impl Carried {
    fn body(&self, from: SocketAddr, to: SocketAddr) -> Body {
        match self {
            Self::Tcp { flags, payload } => {
                crate::wire::tcp(from, to, *flags)
                    .payload(&vec![0x74; *payload])
                    .ip
                    .body
            }
            Self::Udp { checked, payload } => {
                let frame = crate::wire::udp(from, to, payload);
                if *checked {
                    frame.ip.body
                } else {
                    frame.unchecked().ip.body
                }
            }
            Self::Sctp => crate::wire::sctp(from, to).ip.body,
            Self::Other { protocol } => Body::Raw {
                protocol: *protocol,
                bytes: vec![0x6f; 24],
            },
        }
    }

    /// The same for a flow of another protocol, as far as that goes.
    fn of_protocol(&self, number: u8) -> Self {
        match (number, self) {
            (protocol::TCP, Self::Tcp { .. }) | (protocol::UDP, Self::Udp { .. }) => self.clone(),
            (protocol::TCP, _) => Self::Tcp {
                flags: crate::wire::ACK,
                payload: 3,
            },
            (protocol::UDP, _) => Self::Udp {
                checked: true,
                payload: vec![1, 2, 3],
            },
            _ => Self::Sctp,
        }
    }
}

impl Quoting {
    /// An error about a packet with these ends.
    fn frame(&self, from: IpAddr, seen: &Key) -> Frame {
        let carried = match seen.protocol {
            protocol::TCP => Carried::Tcp {
                flags: crate::wire::ACK,
                payload: self.payload,
            },
            protocol::UDP => Carried::Udp {
                checked: !self.payload.is_multiple_of(3),
                payload: vec![0x75; self.payload],
            },
            _ => Carried::Sctp,
        };
        let mut packet = between(seen.from, seen.to, carried.body(seen.from, seen.to)).ip;
        if self.extended {
            if packet.is_v4() {
                packet.options = vec![1; 8];
            } else {
                packet.chain = vec![Extension::destination()];
            }
        }
        let header = packet.len() - packet.body.bytes(packet.from, packet.to).len();
        let quote = packet.quote(header + self.quoted);
        let from = if from.is_ipv4() == packet.is_v4() {
            from
        } else {
            seen.to.ip()
        };
        error(
            from,
            packet.from,
            KINDS[self.kind % KINDS.len()],
            self.word,
            quote,
        )
    }
}

impl Looks {
    fn put_on(&self, mut frame: Frame) -> Frame {
        frame.tags.clone_from(&self.tags);
        (frame.ip.tos, frame.ip.ttl) = (self.tos, self.ttl);
        if frame.ip.is_v4() {
            frame.ip.dont_fragment = self.dont_fragment;
            frame.ip.options = vec![1; self.options * 4];
        } else {
            frame.ip.chain.clone_from(&self.chain);
        }
        if let Some((at, first, id)) = self.cut {
            let body = frame.ip.body.bytes(frame.ip.from, frame.ip.to);
            if body.len() > usize::from(at) {
                if frame.ip.is_v4() {
                    frame.ip.id = id;
                }
                let (head, tail) = frame.ip.cut(at, id);
                frame.ip = if first { head } else { tail };
            }
        }
        frame.padding = vec![0xa5; self.padding];
        frame
    }
}
