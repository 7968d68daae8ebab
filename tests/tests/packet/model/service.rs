//! Section 2: which service, and what becomes of packets for none.

use lb_common::{outcome::Outcome, service::Unserved};

use crate::{
    model::{Got, Model, Step, answer, flows::Key, packet::Packet},
    wire::{RST, icmp, protocol},
    world::Vip,
};

impl Model {
    /// A packet for a VIP that is no ICMP.
    pub(super) fn serve(&mut self, packet: &Packet, vip: &Vip, got: Option<&Got>) -> Step {
        if !packet.has_ports() && !packet.is_later_piece() {
            return self.unserved(packet, vip);
        }
        let Some(key) = self.key_of(packet) else {
            return self.fragment_without_ports(packet, vip, got);
        };
        self.remember(packet, key);
        let Some(service) = self.world.service_of(vip, key.protocol, key.to.port()) else {
            return self.unserved(packet, vip);
        };
        if packet.ttl <= 1 {
            return self.time_exceeded(packet, packet.to);
        }
        self.balance(packet, service, key, got)
    }

    /// A later fragment whose first one is not known.
    fn fragment_without_ports(&mut self, packet: &Packet, vip: &Vip, got: Option<&Got>) -> Step {
        if !packet.may_have_ports() {
            return self.unserved(packet, vip);
        }
        let Some(service) = self.world.service_by_addresses(vip, packet.protocol) else {
            return Err(Outcome::Fragment);
        };
        // A fragment that should get another source needs the port of its first one.
        let key = Key::without_ports(packet);
        if self.hides_client(self.world.service(service).mode, &key) {
            return Err(Outcome::Fragment);
        }
        if packet.ttl <= 1 {
            return Err(Outcome::TtlExpired);
        }
        self.balance(packet, service, key, got)
    }

    /// ICMP to a VIP.
    pub(super) fn icmp(&mut self, packet: &Packet, vip: &Vip, got: Option<&Got>) -> Step {
        if packet.is_icmp_error() {
            return self.forwarded_error(packet, vip, got);
        }
        let is_echo = packet.kind() == icmp::ECHO_REQUEST.of(packet.v4).0;
        if is_echo && packet.piece.is_none() && vip.ping {
            return Ok(answer::echo(packet));
        }
        self.unserved(packet, vip)
    }

    /// For a VIP, and for no service of it.
    pub(super) fn unserved(&self, packet: &Packet, vip: &Vip) -> Step {
        match vip.unserved {
            // The rig's host has no VIP and does not forward.
            Unserved::Auto | Unserved::Pass => Err(Outcome::UnservedPassed),
            Unserved::Drop => Err(Outcome::Unserved),
            Unserved::Reset if packet.piece.is_some() => Err(Outcome::Unserved),
            Unserved::Reset => match packet.protocol {
                protocol::TCP if packet.flags() & RST == 0 => Ok(answer::reset(packet)),
                protocol::UDP => Ok(answer::unreachable(packet)),
                _ => Err(Outcome::Unserved),
            },
        }
    }
}
