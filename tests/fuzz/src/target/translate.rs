use lb_common::flow::Protocol;

use super::{
    each, faultless,
    rewritten::{Rewritten, place, ttl},
    send_somewhere,
};
use crate::{checksum, forward, generic, kernel, parse::Kind, sum};

/// Translating a packet changes addresses, ports, TTL and checksums alone. The latter cover what they covered; one that is
/// unfinished is right then, or in generic mode unfinished as before.
pub fn translate(data: &[u8]) {
    each(data, |frame| {
        for is_generic in [false, true] {
            generic::set_all(is_generic);
            look(frame);
            if let Some(frame) = unfinished(frame) {
                look(&frame);
            }
        }
    });
}

fn look(frame: &[u8]) {
    let Some(mut stage) = faultless(frame, Kind::Flow) else {
        return;
    };
    let protocol = stage.packet.flow.protocol;
    if protocol == Protocol::Sctp.number() {
        // In no mode that translates.
        return;
    }
    let before = Rewritten::of(frame, &stage.packet);
    send_somewhere(&mut stage, frame);
    let tags = stage.packet.vlans.count;
    let (result, after) = kernel::receive(frame, |frame| {
        checksum::check(frame, &mut stage)?;
        forward::apply(frame, &mut stage)
    });
    assert_eq!(result, Ok(()));
    let hop = &stage.egress.hop;
    assert_eq!(
        after.len() + 4 * tags as usize,
        frame.len() + 4 * hop.vlans.count as usize
    );
    let after = Rewritten::of(&after, &stage.packet);
    let l4 = before.l4;
    assert_eq!((after.l4, after.end), (l4, before.end));
    assert_eq!(after.header(0), before.header(0), "the IPv4 checksum");
    let at = ttl(before.is_v4);
    let (mut was, mut is) = (
        before.blank(&[(0, l4)], protocol),
        after.blank(&[(0, l4)], protocol),
    );
    assert_eq!(is[at] + 1, was[at]);
    (was[at], is[at]) = (0, 0);
    assert_eq!(is, was, "more than it should has changed");
    let Some(place) = place(protocol, l4) else { return };
    let is_udp = protocol == Protocol::Udp.number();
    match (before.check(place), after.check(place)) {
        (Some([0, 0]), check) if is_udp => assert_eq!(check, Some([0, 0]), "UDP without checksum"),
        (_, check) if stage.finished_check == 0 => {
            assert!(!is_udp || check != Some([0, 0]), "UDP has lost its checksum");
            assert_eq!(after.covered(0, l4), before.covered(0, l4), "the checksum");
        }
        (_, check) if checksum::is_left(&stage) => {
            let sum = sum::residue(&[after.addresses(0), &pseudo(&after, protocol)]);
            let check = check.map(|check| sum::residue(&[&check]));
            assert_eq!(check, Some(sum), "a checksum that is left unfinished");
        }
        _ => assert_eq!(whole(&after, protocol), 0, "an unfinished checksum"),
    }
}

/// Residue of a transport header, what it carries, and the pseudo-header.
fn whole(packet: &Rewritten, protocol: u32) -> u16 {
    let (header, body) = (pseudo(packet, protocol), &packet.bytes[packet.l4..packet.end]);
    sum::residue(&[packet.addresses(0), &header, body])
}

/// The pseudo-header behind its addresses.
fn pseudo(packet: &Rewritten, protocol: u32) -> [u8; 4] {
    let [.., low] = protocol.to_be_bytes();
    let [.., l1, l0] = (packet.end - packet.l4).to_be_bytes();
    [0, low, l1, l0]
}

/// The same packet as a sender leaves it to a device that finishes checksums.
fn unfinished(frame: &[u8]) -> Option<Vec<u8>> {
    let stage = faultless(frame, Kind::Flow)?;
    let protocol = stage.packet.flow.protocol;
    let packet = Rewritten::of(frame, &stage.packet);
    let at = place(protocol, packet.l4).filter(|_| !stage.packet.is_fragment())?;
    let sum = sum::residue(&[packet.addresses(0), &pseudo(&packet, protocol)]);
    let mut frame = frame.to_vec();
    let at = at + usize::from(stage.packet.l3);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    Some(frame)
}
