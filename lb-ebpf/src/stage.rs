//! What the stages hand on to each other, and how they call each other.
//!
//! A stage that is `extern "C"` is a function of its own to the verifier, which checks it once for any packet and not once
//! for each way to it (global functions, Linux 5.6; with pointers to memory, 5.12). What such stages share cannot be on the
//! 512 bytes of stack that they have in common, so it is in a map of this CPU's.

use aya_ebpf::{bindings::xdp_md, btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{
    addr::Addr,
    conn::{Flow, Reply},
    flow::FlowKey,
    next_hop::{Egress, NextHop},
    outcome::Outcome,
    service::Service,
    slot::Slot,
};

use crate::{backend::Chosen, frame::Frame, next_hop::Query, parse::Packet, pick::Walk, written::Asked};

/// Everything that is known of the packet in hand.
#[repr(C)]
pub struct Stage {
    pub packet: Packet,
    /// The service that the packet is for.
    pub service: Service,
    /// Who gets it.
    pub chosen: Chosen,
    /// The slot that the flow has its home in, and its hash; the hash that a new flow goes by; and that which it is written down by.
    pub slot: Slot,
    pub home_hash: u64,
    pub new_hash: u64,
    pub hash: u64,
    /// The hash that its client is written down by.
    pub client_hash: u64,
    /// What is hashed, and its hash.
    pub key: FlowKey,
    pub key_hash: u64,
    /// The entry of the table of written flows that was last looked for.
    pub asked: Asked,
    /// The backend that a connection ID names; 0 for none.
    pub named: u32,
    /// By which algorithm a backend is asked for, and from which place of the order on.
    pub picker: u32,
    pub place: u32,
    pub _pad: u32,
    /// The backend that the algorithm wants; 0 for none in particular.
    pub wanted: u32,
    /// How closely limits are kept, from the closest on.
    pub rigour: u32,
    pub walk: Walk,
    /// Where it leaves.
    pub egress: Egress,
    /// The way that the client's packets came, for one that goes back to it.
    pub came_by: NextHop,
    /// The addresses and ports it leaves with.
    pub leaves_as: FlowKey,
    /// The addresses and ports that the flow's answers come with.
    pub answered_as: FlowKey,
    /// The flow, as it is remembered, and the entry that finds it from its answers.
    pub flow: Flow,
    pub reply: Reply,
    /// The source that its backend sees, if that is not the client's.
    pub source: Addr,
    /// Its port, network order.
    pub source_port: u16,
    /// The flow's [`ForwardMode`](lb_common::service::ForwardMode): that of the service when it was opened.
    pub mode: u8,
    /// Whether the packet begins a flow that is to be remembered.
    pub is_new: u8,
    /// What a TCP or UDP checksum must be that its sender has left unfinished, plus one; 0 for one that is finished, and more than
    /// any for one that stays unfinished.
    pub finished_check: u32,
    /// The most that an IP packet may have on its way, for the sender of one that has more.
    pub fits: u32,
    /// Who answers when we do.
    pub answer_from: Addr,
    pub now: u64,
    /// What became of the packet, and the action for it.
    pub sent: u32,
    pub action: u32,
    /// What is asked of the kernel's tables.
    pub query: Query,
}

impl Stage {
    /// What became of the packet.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "an outcome's number")]
    pub fn outcome(&self) -> Outcome {
        Outcome::from_wire(self.sent as u8).unwrap_or(Outcome::BadConfig)
    }
}

#[btf_map]
static STAGE: PerCpuArray<Stage, 1> = PerCpuArray::new();

/// The stage of this CPU.
#[inline(always)]
pub fn of_this_cpu() -> Option<&'static mut Stage> {
    // SAFETY: this CPU's own, and XDP runs to completion on one CPU. Who takes it is done with it before the next one does: the entry for the
    // long way; or the short way for an answer, then its note, then the log.
    STAGE.get_ptr_mut(0).map(|stage| unsafe { &mut *stage })
}

/// What a stage that is a function of its own returns: 0 for done, else an outcome's number plus one.
pub type Code = u32;

/// Turns a result into a code.
#[inline(always)]
pub fn code(result: Result<(), Outcome>) -> Code {
    match result {
        Ok(()) => 0,
        Err(outcome) => u32::from(outcome.wire()) + 1,
    }
}

/// Turns a code back into a result.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "what does not fit is no outcome's number"
)]
pub fn result(code: Code) -> Result<(), Outcome> {
    match code.checked_sub(1) {
        None => Ok(()),
        Some(number) => Err(Outcome::from_wire(number as u8).unwrap_or(Outcome::BadConfig)),
    }
}

/// Declares stages that the verifier checks on their own, as methods would be: `name(frame, stage)`, a result.
///
/// The function behind has the C ABI and a name of its own; the pointers it gets are the caller's references.
macro_rules! stages {
    ($($(#[$attribute:meta])* $visibility:vis fn $name:ident as $symbol:ident = $body:path;)*) => {
        $(
            $(#[$attribute])*
            #[inline(always)]
            $visibility fn $name(
                frame: &mut $crate::frame::Frame,
                stage: &mut $crate::stage::Stage,
            ) -> Result<(), lb_common::outcome::Outcome> {
                #[unsafe(no_mangle)]
                #[inline(never)]
                extern "C" fn $symbol(
                    ctx: *mut aya_ebpf::bindings::xdp_md,
                    stage: *mut $crate::stage::Stage,
                ) -> $crate::stage::Code {
                    $crate::stage::enter(ctx, stage, $body)
                }
                $crate::stage::result($symbol(frame.raw(), stage))
            }
        )*
    };
}
pub(crate) use stages;

/// The inside of a function that [`stages!`] declares.
#[inline(always)]
pub fn enter(
    ctx: *mut xdp_md,
    stage: *mut Stage,
    body: impl FnOnce(&mut Frame, &mut Stage) -> Result<(), Outcome>,
) -> Code {
    // SAFETY: `stages!` passes a reference, which the verifier, too, wants to be compared with null here.
    let Some(stage) = (unsafe { stage.as_mut() }) else {
        return code(Err(Outcome::BadConfig));
    };
    code(body(&mut Frame::new(ctx), stage))
}
