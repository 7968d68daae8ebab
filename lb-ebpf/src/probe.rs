//! Probes through the data path: out of their namespace to the backend that each is for, and the answers back in.
//!
//! A probe's packet is a client's, but for two things: it does not pick its backend, and it has a source of ours.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use lb_common::{
    backend::BackendState,
    flow::FlowKey,
    limits,
    outcome::Outcome,
    probe::{self, Probe, ProbeKey},
};

use crate::{
    backend, checksum, config, error, flow, forward,
    frame::Frame,
    next_hop,
    parse::{self, Kind, Packet},
    pipeline, service,
    stage::{Stage, stages},
};

#[btf_map]
static PROBES: HashMap<ProbeKey, Probe, { limits::PROBES as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

stages! {
    /// Sends an answer on to its probe, if `stage.packet` is one.
    ///
    /// # Errors
    /// [`Outcome::NotOurs`] for what no probe waits for.
    pub fn answer as xlb_answer = let_in;
    /// Sends an ICMP error on to the probe that it is about, if there is one: `stage.packet.flow` is that of an answer.
    ///
    /// # Errors
    /// [`Outcome::NotOurs`] for one about no probe.
    pub fn error as xlb_answer_error = let_error_in;
}

/// Whether a packet may answer a probe, by what is at hand. Most cannot.
#[inline(always)]
pub fn may_be_answer(packet: &Packet) -> bool {
    probe::is_port(packet.flow.destination_port) && !packet.is_fragment()
}

/// Whether a probe may wait for a packet: what is known by the same may still be another's.
#[inline(always)]
pub fn is_awaited(flow: &FlowKey) -> bool {
    probe::is_port(flow.destination_port) && under(ProbeKey::of_answer(flow)).is_some()
}

#[inline(always)]
fn let_in(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let probe = answered(stage)?;
    let flow = &stage.packet.flow;
    let port = flow.destination_port;
    stage.leaves_as.source = probe.vip;
    stage.leaves_as.destination = probe.inside;
    (stage.leaves_as.source_port, stage.leaves_as.destination_port) = (probe.vip_port, port);
    stage.leaves_as.protocol = flow.protocol;
    stage.egress.hop = probe.door;
    checksum::check(frame, stage)?;
    forward::translate(frame, stage)?;
    pipeline::sent(stage, Outcome::ProbeAnswered, forward::action(frame, stage))
}

#[inline(always)]
fn let_error_in(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let probe = answered(stage)?;
    // From the VIP, whoever has sent it: inside nobody else is known.
    stage.packet.error_from = probe.vip;
    stage.packet.error_to = probe.inside;
    // The quoted packet as the probe has sent it.
    let flow = &stage.packet.flow;
    stage.leaves_as.source = probe.inside;
    stage.leaves_as.destination = probe.vip;
    (stage.leaves_as.source_port, stage.leaves_as.destination_port) = (flow.destination_port, probe.vip_port);
    stage.leaves_as.protocol = flow.protocol;
    stage.egress.hop = probe.door;
    error::translate(frame, stage)?;
    pipeline::sent(stage, Outcome::ProbeAnswered, forward::action(frame, stage))
}

/// The probe that waits for what comes as this packet's flow.
#[inline(always)]
fn answered(stage: &Stage) -> Result<&'static Probe, Outcome> {
    let flow = &stage.packet.flow;
    let probe = under(ProbeKey::of_answer(flow)).ok_or(Outcome::NotOurs)?;
    if flow.destination != probe.outside
        || flow.source != probe.server
        || flow.source_port != probe.server_port
    {
        return Err(Outcome::NotOurs);
    }
    if stage.packet.ttl <= 1 {
        return Err(Outcome::TtlExpired);
    }
    Ok(probe)
}

/// Sends a packet from the namespace to the backend of its probe.
///
/// # Errors
/// Why not. The frame may have been changed: nobody else gets it.
#[inline(always)]
pub fn send(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    parse::packet(frame, stage).map_err(|_| Outcome::ProbeOver)?;
    let packet = &stage.packet;
    // The namespace has some things to say of itself, too.
    if !packet.is(Kind::Flow) || packet.is_fragment() || packet.problem().is_some() {
        return Err(Outcome::ProbeOver);
    }
    let probe = under(ProbeKey::of_question(&packet.flow)).ok_or(Outcome::ProbeOver)?;
    choose(frame, stage, probe)?;
    next_hop::to_backend(frame, stage)?;
    forward::check_fits(stage)?;
    stage.finished_check = 0;
    set_leaves_as(stage, probe);
    if !flow::translates(stage.mode) {
        set_source(frame, stage)?;
    }
    forward::write(frame, stage)?;
    pipeline::sent(stage, Outcome::ProbeSent, forward::action(frame, stage))
}

/// Takes the backend of a probe, whatever its state: that is what is to be found out.
#[inline(always)]
fn choose(frame: &mut Frame, stage: &mut Stage, probe: &Probe) -> Result<(), Outcome> {
    let flow = &stage.packet.flow;
    if flow.source != probe.inside || flow.destination != probe.vip || flow.destination_port != probe.vip_port
    {
        return Err(Outcome::ProbeOver);
    }
    // The VIP, or that port of it, may have gone since.
    service::find(frame, stage).map_err(|_| Outcome::ProbeOver)?;
    let word = backend::word(probe.backend);
    let is_same = word.state() != BackendState::Free && word.generation() == probe.generation;
    if stage.service.id != probe.service
        || !is_same
        || !backend::choose(&mut stage.chosen, probe.backend, word)
    {
        return Err(Outcome::ProbeOver);
    }
    stage.mode = stage.service.mode;
    stage.hash = stage.packet.flow.hash(config::hash_key());
    Ok(())
}

/// The addresses and ports that the packet has outside: `stage.leaves_as`.
#[inline(always)]
fn set_leaves_as(stage: &mut Stage, probe: &Probe) {
    let is_translated = flow::translates(stage.mode);
    let (destination, port) = if is_translated {
        (probe.server, probe.server_port)
    } else {
        (probe.vip, probe.vip_port)
    };
    stage.leaves_as.source = probe.outside;
    stage.leaves_as.destination = destination;
    stage.leaves_as.source_port = stage.packet.flow.source_port;
    stage.leaves_as.destination_port = port;
    stage.leaves_as.protocol = stage.packet.flow.protocol;
}

/// Gives the packet the source that it has outside: a router's work, which takes a hop. What the mode does comes after it.
#[inline(always)]
fn set_source(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let (old, new) = (&stage.packet.flow, &stage.leaves_as);
    let change = forward::addresses_change(old, new);
    forward::rewrite_ip(frame, &stage.packet, new.source, new.destination)?;
    if let Some(at) = checksum::place(&stage.packet) {
        forward::fix_l4_check(frame, at, old.protocol, change).ok_or(Outcome::Malformed)?;
    }
    stage.packet.flow.source = stage.leaves_as.source;
    Ok(())
}

/// The probe that has a key.
#[inline(always)]
fn under(key: ProbeKey) -> Option<&'static Probe> {
    // SAFETY: an entry is not written again while it is there. One that is removed meanwhile may become another probe's, of which each
    // packet is compared with its addresses.
    unsafe { PROBES.get(key) }
}
