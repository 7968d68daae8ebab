//! Generic UDP encapsulation (draft-ietf-intarea-gue), variant 1: the packet follows the UDP header directly.

use lb_common::{
    addr::Addr,
    checksum::fold,
    flow::Protocol,
    outcome::Outcome,
    service::{GUE_PORT, service_flags},
};

use crate::{
    checksum,
    forward::outer,
    frame::{Frame, Udp},
    stage::Stage,
};

/// Source ports are from the dynamic range (RFC 6335 §6).
const FIRST_PORT: u16 = 0xc000;

#[inline(always)]
pub fn apply(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let outer = outer::write(frame, stage, Protocol::Udp.wire(), Udp::LEN)?;
    let mut udp = header(outer.hash, stage.packet.ip_len);
    if stage.service.flags & service_flags::GUE_CHECKSUM != 0
        && let Some(inner) = outer::told_sum(frame, stage)
    {
        udp.check = check(&udp, &outer.source, &outer.destination, inner).to_ne_bytes();
    }
    *frame.header_mut(outer.end).ok_or(Outcome::Malformed)? = udp;
    Ok(())
}

/// The UDP header before a packet of `len` bytes, without its checksum.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "bits of a hash")]
pub fn header(hash: u64, len: u16) -> Udp {
    Udp {
        source: (FIRST_PORT | hash as u16 & !FIRST_PORT).to_be_bytes(),
        destination: GUE_PORT.to_be_bytes(),
        len: (len + Udp::LEN).to_be_bytes(),
        check: [0; 2],
    }
}

/// Its checksum, when `inner` is the sum of the packet.
#[inline(always)]
pub fn check(udp: &Udp, source: &Addr, destination: &Addr, inner: u64) -> u16 {
    let len = u16::from_be_bytes(udp.len);
    let word = |bytes: [u8; 2]| u64::from(u16::from_ne_bytes(bytes));
    let sum = checksum::pseudo_header(source, destination, Protocol::Udp.number(), len)
        + word(udp.source)
        + word(udp.destination)
        + word(udp.len)
        + inner;
    match !fold(sum) {
        0 => 0xffff,
        check => check,
    }
}
