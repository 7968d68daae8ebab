use lb_common::{
    flow::{FlowKey, Protocol, icmp},
    outcome::Outcome,
};

use super::{each, end, is_unreadable};
use crate::{
    kernel,
    parse::{self, Kind, Packet, eth, flag, ipv6},
    stage::Stage,
};

/// Parsing changes no byte, takes nothing from an earlier packet, and finds headers inside the packet, which is inside the
/// frame.
pub fn parse(data: &[u8]) {
    each(data, |frame| {
        let (first, later) = (look(frame, 0), look(frame, 0xff));
        assert_eq!(first, later, "it depends on what an earlier packet left");
    });
}

/// What later stages may rely on.
#[derive(Debug, PartialEq)]
struct Facts {
    flow: FlowKey,
    len: u32,
    tags: u32,
    l3: u16,
    /// Offset of the transport header, and the packet's length.
    inside: Option<(u16, u16)>,
    fragment: Option<(u32, u32)>,
    flags: u8,
    kind: u8,
    problem: Option<Outcome>,
    tcp_flags: u8,
    ttl: u8,
    tos: u8,
}

fn look(frame: &[u8], left: u8) -> Result<Facts, Outcome> {
    let mut stage = Stage::left(left);
    let (result, after) = kernel::receive(frame, |frame| parse::packet(frame, &mut stage));
    assert_eq!(after, frame, "parsing changed the frame");
    if let Err(outcome) = result {
        assert!(
            matches!(outcome, Outcome::NotIp | Outcome::NotOurs),
            "parsing ended in {outcome:?}"
        );
        return Err(outcome);
    }
    let packet = &stage.packet;
    assert_eq!(packet.len as usize, frame.len());
    assert_eq!(
        usize::from(packet.l3),
        eth::LEN + eth::TAG_LEN * packet.vlans.count as usize
    );
    assert_eq!(
        packet.problem().is_some(),
        packet.problem != 0,
        "a problem without a name"
    );
    if !is_unreadable(packet) {
        offsets(packet, frame.len());
        kinds(packet);
    }
    Ok(facts(packet))
}

fn offsets(packet: &Packet, len: usize) {
    let least = if packet.is_v4() { 20 } else { ipv6::LEN };
    assert!(
        packet.l4 >= packet.l3 + least,
        "the transport header in the IP header"
    );
    assert!(
        usize::from(packet.l4) <= end(packet),
        "the transport header beyond the packet"
    );
    assert!(end(packet) <= len, "the packet beyond the frame");
    assert_eq!(usize::from(packet.l4_len()), end(packet) - usize::from(packet.l4));
}

fn kinds(packet: &Packet) {
    let is_later = packet.flags & flag::LATER_FRAGMENT != 0;
    let flow = &packet.flow;
    assert!(is_later || packet.flags & flag::AT_EIGHT == 0);
    assert!(
        packet.flags & (flag::FIRST_FRAGMENT | flag::LATER_FRAGMENT)
            != flag::FIRST_FRAGMENT | flag::LATER_FRAGMENT
    );
    let header = match packet.kind() {
        Kind::Flow => {
            assert!(
                packet.problem != 0 || (flow.source_port != 0 && flow.destination_port != 0),
                "a flow of port 0 without fault"
            );
            match u8::try_from(flow.protocol).ok().and_then(Protocol::from_wire) {
                Some(Protocol::Tcp) => 20,
                Some(Protocol::Udp) => 8,
                Some(Protocol::Sctp) => 12,
                None => panic!("a flow of protocol {}", flow.protocol),
            }
        }
        Kind::Echo | Kind::Error | Kind::Kernel => {
            let number = if packet.is_v4() { icmp::V4 } else { icmp::V6 };
            assert_eq!(flow.protocol, u32::from(number), "ICMP of another family");
            assert!(!packet.is_fragment(), "a fragment of ICMP");
            8
        }
        Kind::LaterFragment => {
            assert!(is_later);
            0
        }
        Kind::Other => 0,
    };
    assert!(packet.l4_len() >= header, "a transport header that is cut off");
    assert!(!is_later || matches!(packet.kind(), Kind::LaterFragment | Kind::Other));
    let is_tcp = packet.is(Kind::Flow) && flow.protocol == Protocol::Tcp.number();
    assert!(
        packet.tcp_flags == 0 || is_tcp,
        "flags of TCP in another protocol"
    );
}

fn facts(packet: &Packet) -> Facts {
    let readable = !is_unreadable(packet);
    // The protocol behind headers that could not be followed is nobody's to use.
    let protocol = if readable && !packet.is(Kind::Other) {
        packet.flow.protocol
    } else {
        0
    };
    let is_fragment = readable && packet.is_fragment();
    Facts {
        flow: FlowKey {
            protocol,
            ..packet.flow
        },
        len: packet.len,
        tags: packet.vlans.count,
        l3: packet.l3,
        inside: readable.then_some((packet.l4, packet.ip_len)),
        fragment: is_fragment.then_some((packet.fragment_id, packet.fragment_protocol)),
        flags: packet.flags,
        kind: packet.kind,
        problem: packet.problem(),
        tcp_flags: packet.tcp_flags,
        ttl: packet.ttl,
        tos: packet.tos,
    }
}
