//! The short way: what most packets need, and nothing else.
//!
//! It takes packets for no VIP, plain packets of flows that a settled slot decides, ICMP errors about those, and such of translated flows
//! that change nothing of their flow. What becomes of them is what the stages of [`pipeline`](crate::pipeline) would have made of them: whatever is uncommon, and
//! whatever goes wrong, is left to those, with the frame as it came.

mod answered;
mod ethernet;
mod plain;
mod quoted;
mod settled;
mod translated;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use lb_common::{
    addr::Addr,
    backend::BackendWord,
    board::Head as Board,
    checksum::fold,
    flow::FlowKey,
    maps::switches,
    next_hop::{Egress, Vlans},
    outcome::Outcome,
    pick::Opens,
    service::Service,
};

use crate::{
    board, checksum, client, config,
    count::{self, Inward},
    express::plain::{Head, Plain},
    forward,
    frame::{Frame, Ipv4, Ipv6},
    next_hop,
    parse::{eth, ipv6},
    probe,
    service::{Destination, Short},
    trace,
};

/// The action for a packet, if this is its way.
#[inline(always)]
pub fn take(frame: &mut Frame) -> Option<u32> {
    match xlb_express(frame.raw()) {
        NOT_TAKEN => None,
        action => Some(action),
    }
}

/// No packet ends so here.
const NOT_TAKEN: u32 = xdp_action::XDP_ABORTED;

/// A function of its own, whose stack is nobody else's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xlb_express(ctx: *mut xdp_md) -> u32 {
    by_family(&mut Frame::new(ctx)).unwrap_or(NOT_TAKEN)
}

#[inline(always)]
fn by_family(frame: &mut Frame) -> Option<u32> {
    let (len, board) = (frame.len(), board::head());
    let head = frame.header::<Head<Ipv4>>(0)?;
    if head.macs.destination[0] & 1 != 0 {
        return None;
    }
    match u16::from_ne_bytes(head.ether_type) {
        eth::IPV4 => {
            let ip = &head.ip;
            let address = |bytes| Addr::from_v4_word(u32::from_ne_bytes(bytes));
            let (source, destination) = (address(ip.source), address(ip.destination));
            let protocol = ip.protocol[0];
            if ip.version_tos[0] >> 4 != 4 {
                return None;
            }
            let plain = if plain::is_taken(protocol) {
                if is_nobodys(board, &source, &destination) {
                    return Some(pass((source, destination), u32::from(protocol), len));
                }
                plain::v4(frame, len)
            } else if quoted::is_taken(protocol, true) && board::may_be_vip(&destination) {
                quoted::v4(frame, &plain::ip_v4(frame, len)?)
            } else {
                None
            };
            balance(frame, board, &plain?, len)
        }
        eth::IPV6 => {
            let ip = &frame.header::<Head<Ipv6>>(0)?.ip;
            let (source, destination) = (ipv6::address(&ip.source), ipv6::address(&ip.destination));
            let protocol = ip.next_header[0];
            if ip.version_class[0] >> 4 != 6 {
                return None;
            }
            let plain = if plain::is_taken(protocol) {
                if is_nobodys(board, &source, &destination) {
                    return Some(pass((source, destination), u32::from(protocol), len));
                }
                plain::v6(frame, len)
            } else if quoted::is_taken(protocol, false) && board::may_be_vip(&destination) {
                quoted::v6(frame, &plain::ip_v6(frame, len)?)
            } else {
                None
            };
            balance(frame, board, &plain?, len)
        }
        _ => None,
    }
}

/// Whether packets with these addresses are neither for a VIP nor answers to a flow of ours, nor to a probe. An address is a VIP as long
/// as the filter has it, which begins before its first service is found and ends after its last one.
#[inline(always)]
fn is_nobodys(board: Board, source: &Addr, destination: &Addr) -> bool {
    board.switches() & (switches::NETWORKS | switches::PROBING) == 0 && !is_ours(board, source, destination)
}

/// Whether such packets are, to a host without VIPs that are networks, and to all but probes.
#[inline(always)]
fn is_ours(board: Board, source: &Addr, destination: &Addr) -> bool {
    board::may_be_vip(destination) || (board.switches() & switches::REPLIES != 0 && board::may_answer(source))
}

#[inline(always)]
fn pass((source, destination): (Addr, Addr), protocol: u32, len: u64) -> u32 {
    count::outcome(Outcome::NotOurs, len);
    let flow = FlowKey {
        source,
        destination,
        protocol,
        ..FlowKey::default()
    };
    trace::note(Outcome::NotOurs, &flow);
    xdp_action::XDP_PASS
}

/// Sends a packet on, of a frame of `len` bytes, if that is all that there is to do.
#[inline(always)]
fn balance(frame: &mut Frame, board: Board, plain: &Plain, len: u64) -> Option<u32> {
    if config::has_partial_checksums() && !plain.is_error && is_unfinished(plain) {
        return None;
    }
    let Some(found) = Destination::new(&plain.flow, board.epoch()).found() else {
        if plain.is_error {
            return None;
        }
        let switches = board.switches() & (switches::REPLIES | switches::NETWORKS | switches::PROBING);
        if switches != switches::REPLIES {
            // Answers to probes go before those in flows of clients, as anybody can open one of those in our own name.
            if switches & switches::PROBING == 0
                || switches & switches::NETWORKS != 0
                || probe::is_awaited(&plain.flow)
            {
                return None;
            }
            let addresses = (plain.flow.source, plain.flow.destination);
            if !is_ours(board, &addresses.0, &addresses.1) {
                return Some(pass(addresses, plain.flow.protocol, len));
            }
            if switches & switches::REPLIES == 0 {
                return None;
            }
        }
        if board::may_be_vip(&plain.flow.destination) {
            return None;
        }
        return answered::forward(frame, plain, len);
    };
    if found.short.has(Short::BY_FLOW) {
        if plain.is_error {
            return None;
        }
        return translated::forward(frame, plain, found, len);
    }
    let may = match plain.opens {
        Opens::Later => found.short.has(Short::LATER_BY_SLOT),
        Opens::First | Opens::Unknown => {
            found.short.has(Short::BY_SLOT) && client::is_fine(board, &plain.flow.source)
        }
    };
    if !may {
        return None;
    }
    settled::forward(frame, plain, found, len)
}

/// Whether a sender may have left the packet's checksum to a device.
#[inline(always)]
fn is_unfinished(plain: &Plain) -> bool {
    let flow = &plain.flow;
    let pseudo = checksum::pseudo_header(&flow.source, &flow.destination, flow.protocol, plain.l4_len);
    fold(pseudo) == plain.check
}

/// The way to a backend, if a frame without tags leaves by it without tags, and a packet fits it with what its mode puts before it.
#[inline(always)]
fn way(plain: &Plain, service: &Service, word: BackendWord, overhead: u32) -> Option<&'static Egress> {
    let egress = next_hop::resolved(word)?;
    let mtu = forward::mtu(egress.mtu, service);
    let fits = mtu == 0 || u32::from(plain.ip_len) <= forward::longest(mtu, overhead, plain.is_v4);
    (fits && matches!(egress.hop.vlans.count, 0 | Vlans::KEEP)).then_some(egress)
}

/// Counts a packet that goes to a backend with these addresses, and sends it there.
#[inline(always)]
fn sent(frame: &Frame, packet: &Inward, leaves_as: &FlowKey, egress: &Egress, outcome: Outcome) -> u32 {
    count::outcome(outcome, packet.bytes);
    count::inward(packet);
    trace::note(outcome, leaves_as);
    next_hop::send(frame, egress.hop.ifindex)
}
