//! Where the frame leaves: what the agent resolved, else the kernel's own tables.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED,
        BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibLookup, xdp_action,
    },
    btf_maps::Array,
    helpers::generated::{bpf_fib_lookup, bpf_redirect},
    macros::btf_map,
};
use lb_common::{addr::Addr, limits, next_hop::NextHop, outcome::Outcome};

use crate::{
    backend::Chosen,
    frame::{Frame, Macs},
    parse::Packet,
};

const AF_INET: u8 = 2;

/// Entry 0 is unused: a backend's word with next hop 0 has none.
#[btf_map]
static NEXT_HOPS: Array<NextHop, { limits::BACKENDS as usize * 2 }> = Array::new();

/// The way to a backend.
#[inline(always)]
pub fn to_backend(frame: &Frame, packet: &Packet, chosen: &Chosen) -> Result<NextHop, Outcome> {
    let index = chosen.word.next_hop();
    if index != 0
        && let Some(hop) = NEXT_HOPS.get(index)
        && hop.ifindex != 0
    {
        return Ok(*hop);
    }
    fib(frame, packet, packet.flow.source, chosen.backend.addr).map_err(|no_way| no_way.outcome)
}

/// The way to a client: the kernel's route, or, where that has no answer, the way that the client's packets came.
///
/// The second serves hosts that do not forward (`bpf_fib_lookup` refuses there) and clients on our own link whose Ethernet
/// address the kernel never had to learn, since their packets do not reach it. A route that forbids is an answer.
#[inline(always)]
pub fn to_client(
    frame: &Frame,
    packet: &Packet,
    vip: Addr,
    client: Addr,
    came_by: NextHop,
) -> Result<NextHop, Outcome> {
    match fib(frame, packet, vip, client) {
        Err(no_way) if no_way.unknown && came_by.ifindex != 0 => Ok(came_by),
        found => found.map_err(|no_way| no_way.outcome),
    }
}

/// How the frame came, turned round.
#[inline(always)]
pub fn of_ingress(frame: &Frame) -> NextHop {
    match frame.header::<Macs>(0) {
        Some(macs) => NextHop {
            ifindex: frame.ingress(),
            destination_mac: macs.source,
            source_mac: macs.destination,
        },
        None => NextHop::default(),
    }
}

/// Addresses the frame to `hop`; gives the action that sends it there.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the helper returns an action"
)]
pub fn send(frame: &mut Frame, hop: &NextHop) -> u32 {
    if let Some(macs) = frame.header_mut::<Macs>(0) {
        macs.destination = hop.destination_mac;
        macs.source = hop.source_mac;
    }
    if hop.ifindex == frame.ingress() {
        return xdp_action::XDP_TX;
    }
    // SAFETY: the helper takes two integers.
    (unsafe { bpf_redirect(hop.ifindex, 0) }) as u32
}

/// Why the kernel's tables have no way.
struct NoWay {
    outcome: Outcome,
    /// The kernel does not know, rather than does not allow.
    unknown: bool,
}

/// The kernel's route and neighbour for a packet from `source` to `destination`.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a protocol number, the size of a struct and the helper's small codes"
)]
fn fib(frame: &Frame, packet: &Packet, source: Addr, destination: Addr) -> Result<NextHop, NoWay> {
    let mut query = MaybeUninit::uninit();
    let query = clear(&mut query);
    query.family = AF_INET;
    query.l4_protocol = packet.flow.protocol as u8;
    query.ifindex = frame.ingress();
    query.__bindgen_anon_2.tos = packet.tos;
    query.__bindgen_anon_3.ipv4_src = source.v4_word();
    query.__bindgen_anon_4.ipv4_dst = destination.v4_word();
    // SAFETY: `query` lives on this stack frame and its size is passed.
    let answer = unsafe {
        bpf_fib_lookup(
            frame.raw_context(),
            (&raw mut *query).cast(),
            size_of::<FibLookup>() as i32,
            0,
        )
    };
    match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => Ok(NextHop {
            ifindex: query.ifindex,
            destination_mac: query.dmac,
            source_mac: query.smac,
        }),
        BPF_FIB_LKUP_RET_NO_NEIGH => Err(NoWay {
            outcome: Outcome::NoNeighbour,
            unknown: true,
        }),
        code => Err(NoWay {
            outcome: Outcome::NoRoute,
            unknown: matches!(code, BPF_FIB_LKUP_RET_NOT_FWDED | BPF_FIB_LKUP_RET_FWD_DISABLED),
        }),
    }
}

/// Writes zeros over a query.
///
/// By whole words: `zeroed` becomes a call of `memset`, which for this target is a loop over bytes.
#[inline(always)]
fn clear(query: &mut MaybeUninit<FibLookup>) -> &mut FibLookup {
    const WORDS: usize = size_of::<FibLookup>() / size_of::<u32>();
    const _: () = assert!(size_of::<FibLookup>() == WORDS * size_of::<u32>());
    for at in 0..WORDS {
        // SAFETY: inside the query, whose alignment is that of a word.
        let word = unsafe { query.as_mut_ptr().cast::<u32>().add(at) };
        // SAFETY: as above. Volatile keeps the stores from being made a call again.
        unsafe { word.write_volatile(0) };
    }
    // SAFETY: all bytes are written, and the struct is integers and unions of integers, of which zero is a value.
    unsafe { query.assume_init_mut() }
}
