//! A line for each packet in the agent's log, when the loader asks for it. With the level left at 0 the verifier removes all
//! of this from the program.

use aya_log_ebpf::debug;
use lb_common::outcome::Outcome;
use network_types::{eth::EthHdr, ip::Ipv4Hdr};

use crate::frame::Frame;

/// Logs what became of a packet. The addresses are those on the wire now, after a rewrite.
#[inline(always)]
pub fn packet(frame: &Frame, outcome: Outcome) {
    // What was not read as IPv4 has no addresses to show.
    if outcome == Outcome::NotIpv4 {
        debug!(
            frame.context(),
            "{}: {} bytes, interface {}",
            outcome.name(),
            frame.len(),
            frame.ingress()
        );
        return;
    }
    let Some(ip) = frame.header::<Ipv4Hdr>(EthHdr::LEN) else {
        return;
    };
    let source = u32::from_be_bytes(ip.src_addr);
    let destination = u32::from_be_bytes(ip.dst_addr);
    debug!(
        frame.context(),
        "{}: {:i} -> {:i}, protocol {}, {} bytes, interface {}",
        outcome.name(),
        source,
        destination,
        ip.proto,
        frame.len(),
        frame.ingress()
    );
}
