//! How packets get to their backends and back, one file for each mode.

pub mod gue;
pub mod hop_limit;
mod ipip;
mod nat;
pub mod outer;

use lb_common::{
    outcome::Outcome,
    service::{ForwardMode, Service},
};

use crate::{
    checksum,
    frame::Frame,
    l2, next_hop,
    stage::{Stage, stages},
};

pub use nat::{
    address_change, addresses_change, fix_l4_check, rewrite_ip, rewrite_v4, rewrite_v6, write_ports,
};

/// The least that every IPv6 link takes (RFC 8200 §5).
const IPV6_MIN: u32 = 1280;

/// Checks that the packet fits its way with what its mode puts before it.
///
/// # Errors
/// [`Outcome::TooBig`], with what would fit in `stage.fits`.
#[inline(always)]
pub fn check_fits(stage: &mut Stage) -> Result<(), Outcome> {
    let kept = next_hop::kept_beyond_first(stage);
    let fits = longest_by(stage, stage.egress.mtu.saturating_sub(kept))?;
    stage.fits = fits;
    if fits != 0 && u32::from(stage.packet.ip_len) > fits {
        return Err(Outcome::TooBig);
    }
    Ok(())
}

/// The longest packet that is let through to the backend by a way that takes so many bytes; 0 where no length is known.
#[inline(always)]
pub fn longest_by(stage: &Stage, of_way: u32) -> Result<u32, Outcome> {
    let mode = ForwardMode::from_wire(stage.mode).ok_or(Outcome::BadConfig)?;
    let mtu = mtu(of_way, &stage.service);
    if mtu == 0 {
        return Ok(0);
    }
    let overhead = mode.overhead(stage.chosen.backend.addr.is_v4());
    Ok(longest(mtu, overhead, stage.packet.is_v4()))
}

/// The longest packet that may be sent to a service's backend by a way that takes so many bytes; 0 where no length is known.
#[inline(always)]
pub fn mtu(of_way: u32, service: &Service) -> u32 {
    match (of_way, u32::from(service.mtu)) {
        (0, mtu) | (mtu, 0) => mtu,
        (a, b) => a.min(b),
    }
}

/// The longest packet that is let through with so many bytes before it.
#[inline(always)]
pub fn longest(mtu: u32, overhead: u32, is_v4: bool) -> u32 {
    let fits = mtu.saturating_sub(overhead);
    if is_v4 { fits } else { fits.max(IPV6_MIN) }
}

stages! {
    /// Writes the client's packet as its backend is to get it. Everything that could fail has been done.
    pub fn write as xlb_forward = apply;

    /// Writes the packet with the addresses and ports of `stage.leaves_as`.
    pub fn translate as xlb_translate = nat::apply;
}

#[inline(always)]
fn apply(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    match ForwardMode::from_wire(stage.mode).ok_or(Outcome::BadConfig)? {
        ForwardMode::Nat | ForwardMode::FullNat => translate(frame, stage),
        ForwardMode::Dsr => dsr(frame, stage),
        ForwardMode::Ipip => ipip::apply(frame, stage),
        ForwardMode::Gue => gue::apply(frame, stage),
    }
}

/// Direct server return on the link: nothing changes but the Ethernet addresses.
#[inline(always)]
fn dsr(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    l2::make_room(frame, &mut stage.packet, &mut stage.egress.hop, 0)?;
    checksum::complete(frame, stage);
    hop_limit::take(frame, &stage.packet)?;
    l2::write(frame, &stage.egress.hop, l2::ether_type(stage.packet.is_v4()))
}

/// The action that sends the frame where it was written for.
#[inline(always)]
pub fn action(frame: &Frame, stage: &Stage) -> u32 {
    next_hop::send(frame, stage.egress.hop.ifindex)
}
