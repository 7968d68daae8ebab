//! Section 3: server IDs in QUIC connection IDs.

use crate::{
    model::{Model, bytes::u8_at, packet::Packet},
    wire::protocol,
};

impl Model {
    /// The backend that a packet's connection ID names, if it takes packets. That of a long header may be one that the client
    /// has made up, which must open no flow where none are to be opened.
    pub(super) fn quic_server(&self, packet: &Packet, service: u32) -> Option<u32> {
        let quic = self.world.service(service).quic?;
        if packet.protocol != protocol::UDP || packet.is_later_piece() {
            return None;
        }
        let end = packet.ip.len();
        let payload = &packet.ip[(packet.l4 + 8).min(end)..];
        let is_long = u8_at(payload, 0) & 0x80 != 0;
        // Behind a long header's version is the length of the destination connection ID (RFC 8999 §5.1).
        let (at, len) = if is_long {
            (6, usize::from(*payload.get(5)?))
        } else {
            (1, payload.len().checked_sub(1)?)
        };
        let connection_id = payload.get(at..at + len)?;
        let server_id = connection_id.get(1..1 + usize::from(quic.len))?;
        if connection_id[0] >> 5 != quic.config {
            return None;
        }
        let named = (1..).zip(&self.world.backends);
        let mut named =
            named.filter(|(_, backend)| backend.service == service && backend.server_id == server_id);
        let (id, _) = named.next()?;
        let takes = if is_long {
            self.opens_flows(id)
        } else {
            self.keeps(id)
        };
        takes.then_some(id)
    }
}
