//! ICMP errors of our own (RFC 792, RFC 1812 §4.3, RFC 4443 §3): the packet becomes what the error quotes.

use lb_common::{addr::Addr, checksum::fold, flow::icmp, outcome::Outcome};

use crate::{
    answer::{CONTROL, Kind, may, way_back, write_ip, write_l2},
    checksum, config,
    frame::{Frame, Icmp, Ipv4, Ipv6},
    parse::Packet,
    stage::{Stage, stages},
};

/// The most of a packet that is quoted: an error of 576 bytes (RFC 1812 §4.3.2.3), and of the least MTU (RFC 4443 §2.4).
const V4_QUOTE: u16 = 576 - Ipv4::LEN - Icmp::LEN;
const V6_QUOTE: u16 = 1280 - Ipv6::LEN - Icmp::LEN;

stages! {
    /// Tells the sender that the packet's TTL has ended here.
    ///
    /// # Errors
    /// [`Outcome::TtlExpired`] where there is nobody to tell, or beyond the rate.
    pub fn time_exceeded as xlb_time_exceeded = write_time_exceeded;

    /// Tells the sender that the packet is too long, and that one of `stage.fits` bytes is not.
    ///
    /// # Errors
    /// [`Outcome::TooBig`] where there is nobody to tell, or beyond the rate.
    pub fn too_big as xlb_too_big = write_too_big;

    /// Tells the sender that nobody listens.
    ///
    /// # Errors
    /// [`Outcome::Unserved`] where there is nobody to tell, or beyond the rate.
    pub fn unreachable as xlb_unreachable = write_unreachable;
}

/// Type, code and the word behind the checksum.
struct Message {
    kind: u8,
    code: u8,
    rest: [u8; 4],
}

#[inline(always)]
fn write_time_exceeded(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let is_v4 = stage.packet.is_v4();
    let message = Message {
        kind: if is_v4 { 11 } else { 3 },
        code: 0,
        rest: [0; 4],
    };
    // A router answers with an address of its own: traceroute shows where the packet came to.
    let own = if is_v4 { config::own().v4 } else { config::own().v6 };
    let from = if own.is_none() { stage.answer_from } else { own };
    write(frame, stage, Kind::TimeExceeded, from, &message).map_err(|_| Outcome::TtlExpired)
}

#[inline(always)]
fn write_too_big(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let mtu = stage.fits.to_be_bytes();
    let message = if stage.packet.is_v4() {
        Message {
            kind: 3,
            code: 4,
            rest: [0, 0, mtu[2], mtu[3]],
        }
    } else {
        Message {
            kind: 2,
            code: 0,
            rest: mtu,
        }
    };
    write(frame, stage, Kind::TooBig, stage.answer_from, &message).map_err(|_| Outcome::TooBig)
}

#[inline(always)]
fn write_unreachable(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let (kind, code) = if stage.packet.is_v4() { (3, 3) } else { (1, 4) };
    let message = Message {
        kind,
        code,
        rest: [0; 4],
    };
    write(frame, stage, Kind::Reset, stage.answer_from, &message).map_err(|_| Outcome::Unserved)
}

/// Whether the packet is one that errors are sent about (RFC 1122 §3.2.2): no fragment but the first, no error, from a host.
#[inline(always)]
fn has_sender(packet: &Packet) -> bool {
    packet.has_ports() && !packet.is(crate::parse::Kind::Error)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the length of a frame")]
fn write(
    frame: &mut Frame,
    stage: &mut Stage,
    rate: Kind,
    from: Addr,
    message: &Message,
) -> Result<(), Outcome> {
    let is_v4 = stage.packet.is_v4();
    if !has_sender(&stage.packet) || !may(rate, stage.now) {
        return Err(Outcome::NotOurs);
    }
    let (most, ip_len, protocol) = if is_v4 {
        (V4_QUOTE, Ipv4::LEN, icmp::V4)
    } else {
        (V6_QUOTE, Ipv6::LEN, icmp::V6)
    };
    // Whole words: what is summed.
    let quoted = stage.packet.ip_len.min(most) & !3;
    let head = ip_len + Icmp::LEN;
    let hop = way_back(frame, stage);
    let l3 = stage.packet.l3;
    if !frame.grow_head(i32::from(head)) {
        return Err(Outcome::NoHeadroom);
    }
    let excess = frame.len() as i32 - i32::from(l3) - i32::from(head) - i32::from(quoted);
    if excess > 0 && !frame.cut_tail(excess) {
        return Err(Outcome::NoHeadroom);
    }
    write_l2(frame, &hop, stage)?;
    let len = quoted + Icmp::LEN;
    let at = write_ip(frame, stage, usize::from(l3), from, CONTROL, protocol, len)?;
    write_icmp(frame, stage, at, from, message, quoted)
}

#[inline(always)]
fn write_icmp(
    frame: &mut Frame,
    stage: &Stage,
    at: usize,
    from: Addr,
    message: &Message,
    quoted: u16,
) -> Result<(), Outcome> {
    let mut icmp = Icmp {
        kind: [message.kind],
        code: [message.code],
        check: [0; 2],
        rest: message.rest,
    };
    let quote = at + size_of::<Icmp>();
    let mut sum = checksum::sum(frame, quote, quoted).ok_or(Outcome::Malformed)?;
    sum += u64::from(u16::from_ne_bytes([message.kind, message.code]))
        + u64::from(u32::from_ne_bytes(message.rest));
    if !stage.packet.is_v4() {
        let len = quoted + Icmp::LEN;
        sum += checksum::pseudo_header(&from, &stage.packet.flow.source, u32::from(icmp::V6), len);
    }
    icmp.check = (!fold(sum)).to_ne_bytes();
    *frame.header_mut(at).ok_or(Outcome::Malformed)? = icmp;
    Ok(())
}
