//! xlb's XDP program. [`pipeline`] is the whole packet path on one screen; every other file is one stage of it.
//!
//! What holds everywhere: nothing is written to a packet before every lookup that can fail has been done, and every packet
//! ends in exactly one [`Outcome`].
#![no_std]
#![no_main]

mod backend;
mod clock;
mod config;
mod count;
mod flow;
mod forward;
mod frame;
mod next_hop;
mod parse;
mod pick;
mod pipeline;
mod service;
mod trace;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::outcome::{Fate, Outcome};

use crate::frame::Frame;

#[xdp]
pub fn xlb(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(ctx);
    let len = frame.len();
    let (outcome, action) = match pipeline::run(&mut frame) {
        Ok(sent) => (sent.outcome, sent.action),
        Err(outcome) => (outcome, action_of(outcome)),
    };
    count::outcome(outcome, len);
    trace::packet(&frame, outcome);
    action
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
