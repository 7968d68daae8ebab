//! What must hold for any bytes. Each target panics where it does not.

mod error;
mod parse;
mod rewritten;
mod translate;

pub use error::error;
pub use parse::parse;
pub use translate::translate;

use lb_common::{addr::Addr, flow::FlowKey, hash::Sip, next_hop::Vlans, outcome::Outcome};

use crate::{
    kernel::{self, LONGEST},
    parse::{Kind, Packet},
    stage::Stage,
    sum,
};

/// Has a frame of these bytes looked at, and once more with the IPv4 checksum put right: few mutations leave it so.
fn each(data: &[u8], look: impl Fn(&[u8])) {
    let frame = &data[..data.len().min(LONGEST)];
    look(frame);
    if let Some(mended) = mended(frame) {
        look(&mended);
    }
}

fn mended(frame: &[u8]) -> Option<Vec<u8>> {
    let mut l3 = 14;
    while frame.get(l3 - 2..l3)? != [0x08, 0x00] {
        l3 += 4;
        if l3 > 22 {
            return None;
        }
    }
    let header_len = usize::from(frame.get(l3)? & 0xf) * 4;
    let mut frame = frame.to_vec();
    let header = frame
        .get_mut(l3..l3 + header_len)
        .filter(|header| header.len() >= 20)?;
    header[10..12].fill(0);
    let check = sum::check(&[header]);
    header[10..12].copy_from_slice(&check);
    Some(frame)
}

/// A packet of this kind without fault, parsed; its TTL is that of one that goes on.
fn faultless(frame: &[u8], kind: Kind) -> Option<Stage> {
    let mut stage = Stage::left(0xff);
    let (result, _) = kernel::receive(frame, |frame| crate::parse::packet(frame, &mut stage));
    let packet = &stage.packet;
    let goes_on = result.is_ok() && packet.problem == 0 && packet.is(kind) && packet.ttl > 1;
    goes_on.then_some(stage)
}

/// Sends the packet of `stage` some way, with some addresses and ports: any will do, if they are always the same for the
/// same frame.
fn send_somewhere(stage: &mut Stage, frame: &[u8]) {
    let seed = [u64::from(sum::residue(&[frame])), frame.len() as u64];
    let draw = |number: u64| {
        let [a, b, c, d, e, f, g, h] = Sip::new(seed).word(number).end::<1, 0>(0).to_ne_bytes();
        (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
    };
    let address = |number: u64| {
        let ((a, b), (c, d)) = (draw(number), draw(number + 1));
        if stage.packet.is_v4() {
            Addr::from_v4_word(d)
        } else {
            Addr::from_words([a, b, c, d])
        }
    };
    let (ports, tags) = draw(4);
    let [s0, s1, d0, d1] = ports.to_ne_bytes();
    stage.leaves_as = FlowKey {
        source: address(0),
        destination: address(2),
        source_port: u16::from_ne_bytes([s0, s1]),
        destination_port: u16::from_ne_bytes([d0, d1]),
        protocol: stage.packet.flow.protocol,
    };
    stage.egress.hop.vlans = match tags % 4 {
        0 => Vlans::none(),
        1 => Vlans::of(&[(0x8100, 7)]),
        2 => Vlans::of(&[(0x88a8, 7), (0x8100, 9)]),
        _ => Vlans::keep(),
    };
}

/// Whether nothing stands behind the packet's IP headers that can be believed.
fn is_unreadable(packet: &Packet) -> bool {
    packet.problem() == Some(Outcome::Malformed)
}

/// Offset of the packet's end.
fn end(packet: &Packet) -> usize {
    usize::from(packet.l3) + usize::from(packet.ip_len)
}
