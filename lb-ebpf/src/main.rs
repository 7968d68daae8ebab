//! xlb's XDP program. [`pipeline`] is the whole packet path on one screen, and [`express`] the short way for the packets that need little of
//! it; every other file is one stage.
//!
//! What holds everywhere: nothing is written to a packet before every lookup that can fail has been done, and every packet
//! ends in exactly one [`Outcome`].
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod admit;
mod answer;
mod atomic;
mod backend;
mod board;
mod checksum;
mod client;
mod clock;
mod config;
mod copy;
mod count;
mod error;
mod express;
mod flow;
mod forward;
mod fragment;
mod frame;
mod generic;
mod l2;
mod line;
mod loads;
mod next_hop;
mod parse;
mod pick;
mod pipeline;
mod probe;
mod service;
mod sign;
mod slots;
mod source;
mod stage;
mod trace;
mod written;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::outcome::{Fate, Outcome};

use crate::frame::Frame;

/// For frames that fit one buffer.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "what the macro passes")]
pub fn xlb(ctx: XdpContext) -> u32 {
    balance(&ctx)
}

/// For frames of any length (Linux 5.18).
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "what the macro passes")]
pub fn xlb_frags(ctx: XdpContext) -> u32 {
    balance(&ctx)
}

/// For what comes out of the namespace of probes.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "what the macro passes")]
pub fn xlb_probe(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(ctx.ctx);
    let len = frame.len();
    let Some(stage) = stage::of_this_cpu() else {
        return xdp_action::XDP_ABORTED;
    };
    if let Err(outcome) = probe::send(&mut frame, stage) {
        // Whatever it is, there is nobody behind the door.
        (stage.sent, stage.action) = (u32::from(outcome.wire()), xdp_action::XDP_DROP);
    }
    count::outcome(stage.outcome(), len);
    trace::packet(&mut frame, stage);
    stage.action
}

#[inline(always)]
fn balance(ctx: &XdpContext) -> u32 {
    let mut frame = Frame::new(ctx.ctx);
    if let Some(action) = express::take(&mut frame) {
        trace::noted(&mut frame);
        return action;
    }
    let len = frame.len();
    let Some(stage) = stage::of_this_cpu() else {
        return xdp_action::XDP_ABORTED;
    };
    if let Err(outcome) = pipeline::run(&mut frame, stage) {
        (stage.sent, stage.action) = (u32::from(outcome.wire()), action_of(outcome));
    }
    count::outcome(stage.outcome(), len);
    trace::packet(&mut frame, stage);
    stage.action
}

fn action_of(outcome: Outcome) -> u32 {
    match outcome.fate() {
        Fate::Pass => xdp_action::XDP_PASS,
        // A packet that was sent has brought its own action.
        Fate::Drop | Fate::Send => xdp_action::XDP_DROP,
    }
}

/// The kernel takes programs that call GPL-only helpers from GPL-compatible licences only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the verifier refuses the loop if a panic were reachable.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
