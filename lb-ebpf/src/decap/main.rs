//! The XDP program of `xlb decap`: takes packets out of the tunnels that a balancer sends them in, on hosts that have no
//! tunnel devices, and passes them to the kernel.
//!
//! It takes IPv4 and IPv6 in IPv4, IPv6 and GUE, to an address of this host, and of these the packets that are themselves for
//! an address of this host. An open decapsulator would send whatever anybody packs up, in this host's name and past filters
//! that saw only the outer header. What it does not take stays as it came. UDP checksums of the outer header are not
//! verified: what they cover, the packet's own checksums and the two look-ups of destinations cover too.
#![no_std]
#![no_main]

#[path = "../frame.rs"]
#[expect(dead_code, reason = "the balancer's program uses all of it")]
mod frame;

mod config;
mod count;
mod hosts;
mod inner;
mod link;
mod outer;
mod tunnel;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::decap::Decap;

use crate::frame::Frame;

/// For frames that fit one buffer.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "as the macro calls it")]
pub fn xlb_decap(ctx: XdpContext) -> u32 {
    run(Frame::new(ctx.ctx))
}

/// For frames of any length (Linux 5.18).
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "as the macro calls it")]
pub fn xlb_decap_frags(ctx: XdpContext) -> u32 {
    run(Frame::new(ctx.ctx))
}

#[inline(always)]
fn run(mut frame: Frame) -> u32 {
    let len = frame.len();
    let outcome = match take(&mut frame) {
        Ok(()) => Decap::Taken,
        Err(why) => why,
    };
    count::outcome(outcome, len);
    if outcome.passes() {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_DROP
    }
}

/// Takes a packet out of its tunnel, or says why not; the frame is then as it came.
#[inline(always)]
fn take(frame: &mut Frame) -> Result<(), Decap> {
    let link = link::read(frame)?;
    let outer = outer::read(frame, &link)?;
    let tunnel = tunnel::read(frame, &outer)?;
    let packet = inner::read(frame, &tunnel)?;
    let ecn = packet.ecn_behind(&outer).ok_or(Decap::Congested)?;
    link::move_to(frame, &link, &tunnel)?;
    inner::set_ecn(frame, &link, &packet, ecn);
    Ok(())
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
