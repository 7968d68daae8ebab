//! Section 3: what later fragments know of the first.

use std::net::IpAddr;

use crate::{
    model::{Model, flows::Key, packet::Packet},
    wire::protocol,
};

/// What the fragments of one packet share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    from: IpAddr,
    to: IpAddr,
    id: u32,
    /// IPv4 only.
    protocol: u8,
}

impl Packet<'_> {
    fn id(&self) -> Option<Id> {
        self.piece.map(|piece| Id {
            from: self.from,
            to: self.to,
            id: piece.id,
            protocol: if self.v4 { self.protocol } else { 0 },
        })
    }

    /// Whether a later fragment may be of a packet with ports: what an IPv6 one continues with says little of that.
    pub fn may_have_ports(&self) -> bool {
        let extension = matches!(
            self.protocol,
            protocol::DESTINATION | protocol::ROUTING | protocol::AUTHENTICATION
        );
        self.has_ports() || !self.v4 && extension
    }
}

impl Model {
    /// The five-tuple of a packet, from its first fragment if it is a later one.
    pub(super) fn key_of(&self, packet: &Packet) -> Option<Key> {
        if packet.is_later_piece() {
            return self.fragments.get(&packet.id()?).copied();
        }
        Some(Key::of(packet, packet.ports()))
    }

    /// Remembers a first fragment for the later ones, whatever becomes of it.
    pub(super) fn remember(&mut self, packet: &Packet, key: Key) {
        if let Some(id) = packet.id().filter(|_| !packet.is_later_piece()) {
            self.fragments.insert(id, key);
        }
    }
}
