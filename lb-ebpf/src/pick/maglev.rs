//! Maglev: the keyed hash of the five-tuple, so that every balancer with the same key and pool chooses alike.

use lb_common::{
    flow::Protocol,
    service::{Service, service_flags},
};

use crate::{config, parse::Packet};

/// The hash of what a service tells flows apart by: where the flow's way through the slots begins.
///
/// By the addresses alone for SCTP, whose associations may use several ports, and where fragments must need no first one.
#[inline(always)]
pub fn first(packet: &Packet, service: &Service) -> u64 {
    let by_addresses =
        service.flags & service_flags::BY_ADDRESSES != 0 || packet.flow.protocol == Protocol::Sctp.number();
    let mut flow = packet.flow;
    if by_addresses {
        flow = flow.without_ports();
    }
    flow.hash(config::hash_key())
}
