//! Section 6: packets of backends, on their way to clients.

use lb_common::{conn::Side, outcome::Outcome};

use crate::{
    model::{Model, Sent, Step, packet::Packet},
    world::Unfinished,
};

impl Model {
    pub(super) fn reply(&mut self, packet: &Packet) -> Step {
        if !packet.has_ports() && !packet.is_later_piece() {
            return Err(Outcome::NotOurs);
        }
        let key = self.key_of(packet).ok_or(Outcome::NotOurs)?;
        let client = *self.replies.get(&key).ok_or(Outcome::NotOurs)?;
        self.remember(packet, key);
        let vip = client.to;
        if packet.ttl <= 1 {
            return self.time_exceeded(packet, vip.ip());
        }
        let flow = self.flows.get_mut(&client).ok_or(Outcome::NotOurs)?;
        flow.state = flow.state.next(Side::Backend, packet.flags());
        if self.world.unfinished() == Unfinished::Finished && packet.is_unfinishable() {
            return Err(Outcome::PartialChecksum);
        }
        let mut out = packet.hopped(self.world.unfinished());
        out.set_source(vip.ip());
        out.set_source_port(vip.port());
        out.set_destination(client.from.ip());
        out.set_destination_port(client.from.port());
        let hop = &flow.came_by;
        Ok(Sent {
            outcome: Outcome::Returned,
            ifindex: hop.ifindex,
            frame: hop.frame(&out.ip, packet.padding()),
        })
    }
}
