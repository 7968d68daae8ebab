//! What we answer ourselves, in the place of the packet that asks for it: pings, and the reasons for which packets end here.
//!
//! An answer goes back the way the packet came. Each kind has a rate of its own, so that nobody can make us a source of floods.

pub mod echo;
pub mod error;
pub mod reset;

use aya_ebpf::{bindings::xdp_action, btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{addr::Addr, checksum::fold, next_hop::NextHop, outcome::Outcome};

use crate::{
    config,
    forward::outer,
    frame::{Frame, Ipv4, Ipv6},
    l2, next_hop,
    parse::ipv6,
    stage::Stage,
};

/// Hop limit of our own packets (RFC 1700).
const HOPS: u8 = 64;
/// Internetwork control, the precedence of ICMP errors (RFC 1812 §4.3.2.5).
const CONTROL: u8 = 0xc0;

/// What is answered, each with a rate of its own.
#[derive(Clone, Copy)]
pub enum Kind {
    Echo = 0,
    TimeExceeded = 1,
    TooBig = 2,
    Reset = 3,
}

/// A bucket of tokens, in nanoseconds of the rate: an answer costs a second divided by the rate.
#[derive(Clone, Copy)]
#[repr(C)]
struct Bucket {
    filled: u64,
    credit: u64,
}

#[btf_map]
static BUCKETS: PerCpuArray<Bucket, 4> = PerCpuArray::new();

const SECOND: u64 = 1_000_000_000;

/// Whether one more answer of this kind is within the rate, which it then counts in.
#[inline(always)]
pub fn may(kind: Kind, now: u64) -> bool {
    let rate = u64::from(config::options().answers_per_second);
    if rate == 0 {
        return false;
    }
    let Some(bucket) = BUCKETS.get_ptr_mut(kind as u32) else {
        return false;
    };
    // SAFETY: this CPU's own; XDP runs to completion on one CPU, so there is no other writer.
    let bucket = unsafe { &mut *bucket };
    let credit = bucket
        .credit
        .saturating_add(now.saturating_sub(bucket.filled))
        .min(SECOND);
    let cost = SECOND / rate;
    bucket.filled = now;
    let enough = credit >= cost;
    bucket.credit = if enough { credit - cost } else { credit };
    enough
}

/// The action that sends an answer where its packet came from.
pub const BACK: u32 = xdp_action::XDP_TX;

/// The Ethernet header of an answer.
#[inline(always)]
fn write_l2(frame: &mut Frame, hop: &NextHop, stage: &Stage) -> Result<(), Outcome> {
    l2::write(frame, hop, l2::ether_type(stage.packet.is_v4()))
}

/// The way back.
#[inline(always)]
fn way_back(frame: &Frame, stage: &Stage) -> NextHop {
    next_hop::of_ingress(frame, &stage.packet)
}

/// Writes the IP header of an answer, from `from` to the packet's source, at `at`; gives the offset behind it.
#[inline(always)]
fn write_ip(
    frame: &mut Frame,
    stage: &Stage,
    at: usize,
    from: Addr,
    class: u8,
    protocol: u8,
    len: u16,
) -> Result<usize, Outcome> {
    let to = stage.packet.flow.source;
    if stage.packet.is_v4() {
        let mut ip = Ipv4 {
            version_tos: [0x45, class],
            total_len: (len + Ipv4::LEN).to_be_bytes(),
            id: [0; 2],
            // Never fragmented: the identification means nothing (RFC 6864 §4.1).
            fragment: [0x40, 0],
            ttl: [HOPS],
            protocol: [protocol],
            check: [0; 2],
            source: from.v4_word().to_ne_bytes(),
            destination: to.v4_word().to_ne_bytes(),
        };
        ip.check = (!fold(outer::sum(&ip))).to_ne_bytes();
        *frame.header_mut(at).ok_or(Outcome::Malformed)? = ip;
        return Ok(at + size_of::<Ipv4>());
    }
    *frame.header_mut(at).ok_or(Outcome::Malformed)? = Ipv6 {
        version_class: (6 << 28 | u32::from(class) << 20).to_be_bytes(),
        payload_len: len.to_be_bytes(),
        next_header: [protocol],
        hop_limit: [HOPS],
        source: ipv6::bytes(from),
        destination: ipv6::bytes(to),
    };
    Ok(at + size_of::<Ipv6>())
}
