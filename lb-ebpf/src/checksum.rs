//! Sums over a frame: of checksums that a sender has left to a device, and of what we write ourselves.
//!
//! A local sender over veth hands on packets whose TCP or UDP checksum is only the sum of the pseudo-header
//! (`CHECKSUM_PARTIAL`, include/linux/skbuff.h). Nobody behind XDP in native mode would finish it. In generic mode the frame stays
//! the stack's (`bpf_prog_run_generic_xdp`, net/core/dev.c), which knows of the checksum, and where it is: the stack or a device
//! finishes it later, whatever is in its place, so that must stay the sum of a pseudo-header.

use lb_common::{addr::Addr, checksum::fold, flow::Protocol, outcome::Outcome};

use crate::{
    config,
    frame::Frame,
    generic,
    parse::{Kind, Packet},
    stage::{Stage, stages},
};

/// The longest run of bytes that is summed: a packet that fits one buffer.
const LONGEST: u32 = 4096;
/// Stands for a checksum that stays unfinished, where others are that were found, plus one.
const LEFT: u32 = 1 << 17;
/// Where the checksum stands in a header.
pub const IN_TCP: usize = 16;
pub const IN_UDP: usize = 6;

/// Where the packet's checksum stands in the frame; none for protocols that cover no addresses.
#[inline(always)]
pub fn place(packet: &Packet) -> Option<usize> {
    match Protocol::from_wire((packet.flow.protocol & 0xff) as u8)? {
        Protocol::Tcp => Some(usize::from(packet.l4) + IN_TCP),
        Protocol::Udp => Some(usize::from(packet.l4) + IN_UDP),
        Protocol::Sctp => None,
    }
}

stages! {
    /// Finds out whether the packet's checksum is unfinished: `stage.finished_check`. Nothing is written.
    ///
    /// A finished checksum looks like that once in 65,536 times; the sum then gives the same checksum again.
    ///
    /// # Errors
    /// [`Outcome::PartialChecksum`] for one that is unfinished in a frame of several buffers, unless it stays so.
    pub fn finish as xlb_finish = look;
}

/// Looks for unfinished checksums where senders may leave them; elsewhere this is no code at all.
#[inline(always)]
pub fn check(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    stage.finished_check = 0;
    if !config::has_partial_checksums() || !stage.packet.is(Kind::Flow) || stage.packet.is_fragment() {
        return Ok(());
    }
    finish(frame, stage)
}

#[inline(always)]
fn look(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let packet = &stage.packet;
    let Some(at) = place(packet) else { return Ok(()) };
    let Some(&found) = frame.header::<[u8; 2]>(at) else {
        return Ok(());
    };
    let found = u16::from_ne_bytes(found);
    let pseudo = pseudo_header(
        &packet.flow.source,
        &packet.flow.destination,
        packet.flow.protocol,
        packet.l4_len(),
    );
    if found == 0 || fold(pseudo) != found {
        return Ok(());
    }
    stage.finished_check = match finished(frame, packet) {
        Some(check) if check == found => 0,
        _ if generic::has(frame.ingress()) => LEFT,
        Some(check) => u32::from(check) + 1,
        None => return Err(Outcome::PartialChecksum),
    };
    Ok(())
}

/// What the checksum must be where the sum of the pseudo-header is now; `None` where the frame does not tell.
#[inline(always)]
fn finished(frame: &Frame, packet: &Packet) -> Option<u16> {
    let sum = sum(frame, usize::from(packet.l4), packet.l4_len())?;
    Some(match !fold(sum) {
        0 if packet.flow.protocol == Protocol::Udp.number() => 0xffff,
        check => check,
    })
}

/// Whether [`check`] has found a checksum that is for others to finish.
#[inline(always)]
pub fn is_left(stage: &Stage) -> bool {
    config::has_partial_checksums() && stage.finished_check == LEFT
}

/// Writes what [`check`] has found.
#[inline(always)]
pub fn complete(frame: &mut Frame, stage: &Stage) {
    if !config::has_partial_checksums() || stage.finished_check == 0 || is_left(stage) {
        return;
    }
    let check = ((stage.finished_check - 1) & 0xffff) as u16;
    if let Some(place) = place(&stage.packet).and_then(|at| frame.header_mut::<[u8; 2]>(at)) {
        *place = check.to_ne_bytes();
    }
}

/// Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) of `len` bytes, as its words stand in memory.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a protocol number")]
pub fn pseudo_header(source: &Addr, destination: &Addr, protocol: u32, len: u16) -> u64 {
    let numbers = u64::from((protocol as u16).to_be()) + u64::from(len.to_be());
    addresses(source, destination) + numbers
}

/// Sum of two addresses.
#[inline(always)]
pub fn addresses(source: &Addr, destination: &Addr) -> u64 {
    if source.is_v4() {
        return u64::from(source.v4_word()) + u64::from(destination.v4_word());
    }
    let sum = |address: &Addr| {
        let [a, b, c, d] = address.words();
        u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
    };
    sum(source) + sum(destination)
}

/// Sum of the words from `start` on, as they stand in memory; `None` where the frame does not hold them.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an offset within a frame")]
pub fn sum(frame: &Frame, start: usize, len: u16) -> Option<u64> {
    match xlb_sum(frame.raw(), start as u32, u32::from(len)) {
        u64::MAX => None,
        sum => Some(sum),
    }
}

/// A function of its own: the verifier follows its loop once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xlb_sum(ctx: *mut aya_ebpf::bindings::xdp_md, start: u32, len: u32) -> u64 {
    if len > LONGEST {
        return u64::MAX;
    }
    run(&Frame::new(ctx), start as usize, len).unwrap_or(u64::MAX)
}

#[inline(always)]
fn run(frame: &Frame, start: usize, len: u32) -> Option<u64> {
    let (mut sum, mut at) = (0_u64, 0_u32);
    for _ in 0..LONGEST / 4 {
        if at + 4 > len {
            break;
        }
        sum += u64::from(u32::from_ne_bytes(*frame.header(start + at as usize)?));
        at += 4;
    }
    if at + 2 <= len {
        sum += u64::from(u16::from_ne_bytes(*frame.header(start + at as usize)?));
        at += 2;
    }
    if at < len {
        let last = frame.byte(start + at as usize)?;
        sum += u64::from(u16::from_ne_bytes([last, 0]));
    }
    Some(sum)
}
