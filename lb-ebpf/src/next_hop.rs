//! Where the frame leaves: what the agent resolved, else the kernel's own tables.

use aya_ebpf::{
    bindings::{
        BPF_F_NO_PREALLOC, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED,
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_check_mtu_ret::BPF_MTU_CHK_RET_FRAG_NEEDED, bpf_fib_lookup as FibLookup, xdp_action,
    },
    btf_maps::{Array, HashMap},
    helpers::generated::{bpf_check_mtu, bpf_fib_lookup, bpf_redirect},
    macros::btf_map,
};
use lb_common::{
    backend::BackendWord,
    limits,
    maps::switches,
    next_hop::{Egress, NextHop, VlanDevice, Vlans},
    outcome::Outcome,
};

use crate::{
    board, copy,
    forward::{longest, longest_by},
    frame::{Frame, Macs},
    parse::{Packet, eth},
    stage::{Stage, stages},
};

/// What is asked of the kernel's tables. In the stage, not on the stack: the addresses in it are not aligned as the stack wants
/// them.
pub type Query = FibLookup;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Entry 0 is unused: a backend's word with next hop 0 has none.
#[btf_map]
static NEXT_HOPS: Array<Egress, { limits::BACKENDS as usize * 2 }> = Array::new();

#[btf_map]
static VLAN_DEVICES: HashMap<
    u32,
    VlanDevice,
    { limits::VLAN_DEVICES as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

stages! {
    /// Finds the way to `stage.chosen`: `stage.egress`.
    pub fn to_backend as xlb_to_backend = find_backend;

    /// Asks the kernel for the way of a packet with `stage.leaves_as`: `stage.egress.hop`.
    ///
    /// # Errors
    /// The outcome; [`Outcome::TooBig`] with what would fit in `stage.fits`; [`Outcome::UnservedPassed`] where the kernel would
    /// keep the packet, or does not forward at all.
    fn ask as xlb_fib = fib;

    /// Checks that the packet fits the interface of `stage.egress.hop`.
    ///
    /// # Errors
    /// [`Outcome::TooBig`] with what would fit in `stage.fits`.
    fn check_link as xlb_fits = fits;
}

/// The way to the backend of a word, if the agent has resolved it.
#[inline(always)]
pub fn resolved(word: BackendWord) -> Option<&'static Egress> {
    let index = word.next_hop();
    if index == 0 {
        return None;
    }
    NEXT_HOPS.get(index).filter(|egress| egress.hop.ifindex != 0)
}

#[inline(always)]
fn find_backend(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if let Some(egress) = resolved(stage.chosen.word) {
        copy::value(&mut stage.egress, egress);
        return Ok(());
    }
    stage.egress.mtu = 0;
    copy::zeros(&mut stage.egress.source);
    stage.leaves_as.source = stage.packet.flow.source;
    stage.leaves_as.destination = stage.chosen.backend.addr;
    // A tunnel's way is that of another packet than the one in hand.
    if stage.leaves_as.source.is_v4() != stage.leaves_as.destination.is_v4() {
        return Err(Outcome::NoRoute);
    }
    match ask(frame, stage) {
        Ok(()) => {
            // The lookup has looked at the packet without what its mode puts before it. It says the route's MTU (since Linux 5.12).
            // SAFETY: any bits are an integer.
            let mtu = u32::from(unsafe { stage.query.__bindgen_anon_1.mtu_result });
            // That of a VLAN device has no room for its own second tag.
            let more = match stage.egress.hop.vlans.count {
                Vlans::KEEP => 0,
                count => beyond_first(count),
            };
            stage.egress.mtu = mtu.saturating_sub(more);
            Ok(())
        }
        Err(Outcome::TooBig) => {
            stage.fits = longest_by(stage, stage.fits)?;
            Err(Outcome::TooBig)
        }
        Err(outcome) if is_unknown(outcome) => Err(Outcome::NoRoute),
        Err(outcome) => Err(outcome),
    }
}

/// Finds the way to a client, of a packet with `stage.leaves_as`: the kernel's route, or, where that has no answer, the way that
/// the client's packets came.
///
/// The second serves hosts that do not forward (`bpf_fib_lookup` refuses there) and clients on our own link whose Ethernet
/// address the kernel never had to learn, since their packets do not reach it. A route that forbids is an answer.
#[inline(always)]
pub fn to_client(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let knows_way = stage.came_by.ifindex != 0;
    match ask(frame, stage) {
        Ok(()) => {
            let same_link = stage.came_by.ifindex == stage.egress.hop.ifindex;
            if same_link && stage.egress.hop.vlans.count == Vlans::KEEP {
                stage.egress.hop.vlans = stage.came_by.vlans;
            }
            // The kernel has looked at the length without them.
            match written_beyond_first(stage) {
                0 => Ok(()),
                _ => check_link(frame, stage),
            }
        }
        Err(outcome) if knows_way && (is_unknown(outcome) || outcome == Outcome::NoNeighbour) => {
            stage.egress.hop = stage.came_by;
            check_link(frame, stage)
        }
        Err(outcome) if is_unknown(outcome) => Err(Outcome::NoRoute),
        Err(outcome) => Err(outcome),
    }
}

/// Whether the kernel would keep a packet with the addresses of `stage.packet`, or not touch it at all.
#[inline(always)]
pub fn is_kernels(frame: &mut Frame, stage: &mut Stage) -> bool {
    stage.leaves_as = stage.packet.flow;
    matches!(ask(frame, stage), Err(outcome) if is_unknown(outcome))
}

/// Whether [`ask`] has said that the kernel would not forward.
#[inline(always)]
fn is_unknown(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::UnservedPassed)
}

/// How the frame came, turned round.
#[inline(always)]
pub fn of_ingress(frame: &Frame, packet: &Packet) -> NextHop {
    match frame.header::<Macs>(0) {
        Some(macs) => NextHop::new(frame.ingress(), macs.source, macs.destination, packet.vlans),
        None => NextHop::default(),
    }
}

/// Whether a frame without tags came as `before`.
#[inline(always)]
pub fn is_as_before(frame: &Frame, before: &NextHop) -> bool {
    frame.header::<Macs>(0).is_some_and(|macs| {
        before.destination_mac == macs.source
            && before.source_mac == macs.destination
            && before.ifindex == frame.ingress()
            && before.vlans.count == 0
    })
}

/// The action that sends the frame out of an interface.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the helper returns an action"
)]
pub fn send(frame: &Frame, ifindex: u32) -> u32 {
    if ifindex == frame.ingress() {
        return xdp_action::XDP_TX;
    }
    // SAFETY: the helper takes two integers.
    (unsafe { bpf_redirect(ifindex, 0) }) as u32
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a protocol number, the size of a struct and the helper's small codes"
)]
fn fib(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let query = &mut stage.query;
    clear(query);
    let (source, destination) = (stage.leaves_as.source, stage.leaves_as.destination);
    query.l4_protocol = stage.packet.flow.protocol as u8;
    query.__bindgen_anon_1.tot_len = stage.packet.ip_len;
    query.ifindex = frame.ingress();
    if destination.is_v4() {
        query.family = AF_INET;
        query.__bindgen_anon_2.tos = stage.packet.tos;
        query.__bindgen_anon_3.ipv4_src = source.v4_word();
        query.__bindgen_anon_4.ipv4_dst = destination.v4_word();
    } else {
        query.family = AF_INET6;
        query.__bindgen_anon_2.flowinfo = (u32::from(stage.packet.tos) << 20).to_be();
        query.__bindgen_anon_3.ipv6_src = source.words();
        query.__bindgen_anon_4.ipv6_dst = destination.words();
    }
    // SAFETY: the query is in this CPU's stage, and its size is passed.
    let answer = unsafe {
        bpf_fib_lookup(
            frame.raw().cast(),
            (&raw mut *query).cast(),
            size_of::<FibLookup>() as i32,
            0,
        )
    };
    match answer as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => {
            let (ifindex, vlans) = below(query.ifindex);
            stage.egress.hop = NextHop::new(ifindex, query.dmac, query.smac, vlans);
            Ok(())
        }
        BPF_FIB_LKUP_RET_NO_NEIGH => Err(Outcome::NoNeighbour),
        BPF_FIB_LKUP_RET_FRAG_NEEDED => {
            // SAFETY: any bits are an integer.
            stage.fits = u32::from(unsafe { query.__bindgen_anon_1.mtu_result });
            Err(Outcome::TooBig)
        }
        BPF_FIB_LKUP_RET_NOT_FWDED | BPF_FIB_LKUP_RET_FWD_DISABLED => Err(Outcome::UnservedPassed),
        _ => Err(Outcome::NoRoute),
    }
}

/// The bytes of so many tags beyond the one that an interface has room for besides its MTU (`is_skb_forwardable`, `xdp_ok_fwd_dev`).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "four bytes")]
const fn beyond_first(tags: u32) -> u32 {
    tags.saturating_sub(1) * eth::TAG_LEN as u32
}

/// The bytes of such tags that a frame keeps. Of other ways the agent has taken them from the MTU.
#[inline(always)]
pub fn kept_beyond_first(stage: &Stage) -> u32 {
    match stage.egress.hop.vlans.count {
        Vlans::KEEP => beyond_first(stage.packet.vlans.count),
        _ => 0,
    }
}

/// The bytes of such tags that a frame leaves with.
#[inline(always)]
fn written_beyond_first(stage: &Stage) -> u32 {
    match stage.egress.hop.vlans.count {
        Vlans::KEEP => kept_beyond_first(stage),
        count => beyond_first(count),
    }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a few bytes, and the helper's small codes"
)]
fn fits(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let more = written_beyond_first(stage);
    let mut len = u32::from(stage.packet.ip_len);
    // SAFETY: the helper reads and writes one integer, which is on the stack.
    let answer = unsafe {
        bpf_check_mtu(
            frame.raw().cast(),
            stage.egress.hop.ifindex,
            &raw mut len,
            more as i32,
            0,
        )
    };
    if answer as u32 == BPF_MTU_CHK_RET_FRAG_NEEDED {
        stage.fits = longest(len, more, stage.packet.is_v4());
        if u32::from(stage.packet.ip_len) > stage.fits {
            return Err(Outcome::TooBig);
        }
    }
    Ok(())
}

/// Sets a query to zeros, word by word ([`copy`]): its addresses are aligned to four bytes.
#[inline(always)]
fn clear(query: &mut Query) {
    let words = (&raw mut *query).cast::<u32>();
    for word in 0..size_of::<Query>() / size_of::<u32>() {
        // SAFETY: inside the query, which is aligned to such words.
        let word = unsafe { words.add(word) };
        // SAFETY: as above; integers and unions of integers, of which zero is a value.
        unsafe { word.write_volatile(0) };
    }
}

/// What a frame to an interface really leaves by, and the tags that it then has.
#[inline(always)]
fn below(ifindex: u32) -> (u32, Vlans) {
    if board::switches() & switches::VLAN_DEVICES == 0 {
        return (ifindex, Vlans::keep());
    }
    // SAFETY: the value is copied at once, and any bytes are a value.
    match unsafe { VLAN_DEVICES.get(ifindex) } {
        Some(device) => (device.ifindex, device.vlans),
        None => (ifindex, Vlans::none()),
    }
}
