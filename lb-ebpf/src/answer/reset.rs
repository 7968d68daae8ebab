//! The refusal of a connection (RFC 9293 §3.10.7.1), in the place of the segment that asked for it.

use lb_common::{
    checksum::fold,
    conn::tcp::{ACK, FIN, RST, SYN},
    flow::Protocol,
    outcome::Outcome,
};

use crate::{
    answer::{Kind, error, may, way_back, write_ip, write_l2},
    checksum,
    frame::{Frame, Tcp},
    parse::{self, Packet},
    stage::{Stage, stages},
};

stages! {
    /// Refuses a TCP segment.
    fn reset as xlb_reset = write;
}

/// Refuses the packet as a host without a listener does.
///
/// # Errors
/// [`Outcome::Unserved`] for what is not refused: other protocols, fragments, resets, and beyond the rate.
#[inline(always)]
pub fn refuse(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let packet = &stage.packet;
    if !packet.is(parse::Kind::Flow) || packet.is_fragment() {
        return Err(Outcome::Unserved);
    }
    if packet.flow.protocol == Protocol::Tcp.number() {
        return reset(frame, stage);
    }
    if packet.flow.protocol == Protocol::Udp.number() {
        return error::unreachable(frame, stage);
    }
    Err(Outcome::Unserved)
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the length of a frame"
)]
fn write(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if stage.packet.tcp_flags & RST != 0 || !may(Kind::Reset, stage.now) {
        return Err(Outcome::Unserved);
    }
    let asked = frame
        .header::<Tcp>(usize::from(stage.packet.l4))
        .ok_or(Outcome::Malformed)?;
    let mut refusal = answer_to(asked, &stage.packet);
    let hop = way_back(frame, stage);
    let from = stage.answer_from;
    write_l2(frame, &hop, stage)?;
    let l3 = usize::from(stage.packet.l3);
    let at = write_ip(frame, stage, l3, from, 0, Protocol::Tcp.wire(), Tcp::LEN)?;
    let pseudo = checksum::pseudo_header(&from, &stage.packet.flow.source, Protocol::Tcp.number(), Tcp::LEN);
    refusal.check = (!fold(pseudo + sum(&refusal))).to_ne_bytes();
    *frame.header_mut(at).ok_or(Outcome::Malformed)? = refusal;
    // What the segment had besides: options, a payload. The lengths do not count it.
    let excess = frame.len() as i32 - (at + size_of::<Tcp>()) as i32;
    if excess > 0 {
        let _kept = frame.cut_tail(excess);
    }
    Ok(())
}

/// The refusal of a segment: where it acknowledges something that is what the refusal starts from, else it is acknowledged.
#[inline(always)]
fn answer_to(asked: &Tcp, packet: &Packet) -> Tcp {
    let (sequence, acknowledgement, flags) = if packet.tcp_flags & ACK != 0 {
        (asked.acknowledgement, [0; 4], RST)
    } else {
        let header = u32::from(asked.offset[0] >> 4) * 4;
        let controls = u32::from(packet.tcp_flags & SYN != 0) + u32::from(packet.tcp_flags & FIN != 0);
        let len = u32::from(packet.l4_len()) - header + controls;
        let next = u32::from_be_bytes(asked.sequence).wrapping_add(len);
        ([0; 4], next.to_be_bytes(), RST | ACK)
    };
    Tcp {
        source: asked.destination,
        destination: asked.source,
        sequence,
        acknowledgement,
        offset: [5 << 4],
        flags: [flags],
        window: [0; 2],
        check: [0; 2],
        urgent: [0; 2],
    }
}

#[inline(always)]
fn sum(tcp: &Tcp) -> u64 {
    let word = |bytes: [u8; 2]| u64::from(u16::from_ne_bytes(bytes));
    let double = |bytes: [u8; 4]| u64::from(u32::from_ne_bytes(bytes));
    word(tcp.source)
        + word(tcp.destination)
        + double(tcp.sequence)
        + double(tcp.acknowledgement)
        + word([tcp.offset[0], tcp.flags[0]])
}
