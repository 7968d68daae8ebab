use lb_common::{flow::Protocol, outcome::Outcome};

use super::{
    each, end, faultless,
    rewritten::{Rewritten, place, ttl},
    send_somewhere,
};
use crate::{
    error::translate,
    kernel,
    parse::{Kind, Packet, ipv6, quoted},
    stage::Stage,
};

/// The packet that an ICMP error quotes is found inside it, and translating the error changes addresses, ports, TTL and
/// checksums alone. The latter cover what they covered: what was right is right.
pub fn error(data: &[u8]) {
    each(data, |frame| {
        let Some(mut stage) = faultless(frame, Kind::Error) else {
            return;
        };
        let (result, after) = kernel::receive(frame, |frame| quoted::flow(frame, &mut stage));
        assert_eq!(after, frame, "reading the quoted packet changed the frame");
        match result {
            Ok(()) => found(&stage.packet),
            Err(outcome) => return assert_eq!(outcome, Outcome::ErrorUnknown),
        }
        // In no mode that translates.
        if stage.packet.flow.protocol != Protocol::Sctp.number() {
            rewrite(frame, &mut stage);
        }
    });
}

fn found(packet: &Packet) {
    let least = if packet.is_v4() { 20 } else { ipv6::LEN };
    assert!(packet.quoted_l4 >= quoted::l3(packet) + least);
    assert!(
        usize::from(packet.quoted_l4) + 8 <= end(packet),
        "ports beyond the packet"
    );
    assert_eq!(
        packet.flow.destination, packet.error_to,
        "an error for another host"
    );
}

fn rewrite(frame: &[u8], stage: &mut Stage) {
    send_somewhere(stage, frame);
    let before = Rewritten::of(frame, &stage.packet);
    let l3 = usize::from(quoted::l3(&stage.packet) - stage.packet.l3);
    let l4 = usize::from(stage.packet.quoted_l4 - stage.packet.l3);
    let (protocol, tags) = (stage.packet.flow.protocol, stage.packet.vlans.count);
    // As if the packet's receiver sent it: some addresses of the right family.
    (stage.packet.error_from, stage.packet.error_to) = (stage.leaves_as.destination, stage.leaves_as.source);
    let (result, after) = kernel::receive(frame, |frame| translate(frame, stage));
    assert_eq!(result, Ok(()));
    assert_eq!(
        after.len() + 4 * tags as usize,
        frame.len() + 4 * stage.egress.hop.vlans.count as usize
    );
    let after = Rewritten::of(&after, &stage.packet);
    assert_eq!((after.l4, after.end), (before.l4, before.end));
    assert_eq!(usize::from(stage.packet.quoted_l4 - stage.packet.l3), l4);
    for header in [0, l3] {
        assert_eq!(
            after.header(header),
            before.header(header),
            "the IPv4 checksum at {header}"
        );
    }
    assert_eq!(after.icmp(), before.icmp(), "the ICMP checksum");
    checks(&before, &after, l3, l4, protocol);
    assert_eq!(
        rest(&after, l3, l4, protocol, 1),
        rest(&before, l3, l4, protocol, 0)
    );
}

fn checks(before: &Rewritten, after: &Rewritten, l3: usize, l4: usize, protocol: u32) {
    let Some(at) = place(protocol, l4) else { return };
    match (before.check(at), after.check(at)) {
        (None, _) => {}
        (Some([0, 0]), check) if protocol == Protocol::Udp.number() => {
            assert_eq!(check, Some([0, 0]), "quoted UDP without checksum");
        }
        _ => assert_eq!(
            after.covered(l3, l4),
            before.covered(l3, l4),
            "the quoted checksum"
        ),
    }
}

/// What is left of an error, whose TTL has lost `hops`, but for what translating it may change.
fn rest(packet: &Rewritten, l3: usize, l4: usize, protocol: u32, hops: u8) -> Vec<u8> {
    let mut bytes = packet.blank(&[(l3, l4)], protocol);
    bytes[packet.l4 + 2..packet.l4 + 4].fill(0);
    let addresses = if packet.is_v4 { 10..20 } else { 8..40 };
    bytes[addresses].fill(0);
    bytes[ttl(packet.is_v4)] += hops;
    bytes
}
