//! The whole packet path.

use aya_ebpf::bindings::xdp_action;
use lb_common::{
    maps::switches,
    outcome::Outcome,
    service::{OnFull, Unserved, service_flags, vip_flags},
};

use crate::{
    answer::{self, echo, reset},
    board, checksum, clock, copy,
    count::{self, Inward, Outward},
    error, flow, forward, fragment,
    frame::Frame,
    next_hop,
    parse::{self, Kind, quoted},
    pick, probe, service, sign, source,
    stage::{Stage, stages},
};

/// Sends a packet to its backend or back to its client, or answers it: `stage.sent` and `stage.action`. Else says why not.
///
/// # Errors
/// The outcome; the frame is then as it came.
#[inline(always)]
pub fn run(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    parse::packet(frame, stage)?;
    // Neighbours have addresses of the link, which clients do not.
    if stage.packet.is(Kind::Kernel) {
        return Err(Outcome::NotOurs);
    }
    if let Some(problem) = stage.packet.problem() {
        // A packet that is wrong is ours to judge only if it is for a VIP.
        return service::expect_vip(frame, stage).and(Err(problem));
    }
    stage.now = clock::now();
    stage.finished_check = 0;
    stage.answer_from = stage.packet.flow.destination;
    match stage.packet.kind() {
        Kind::Flow => of_flow(frame, stage),
        Kind::LaterFragment => of_fragment(frame, stage),
        Kind::Error => of_error(frame, stage),
        Kind::Echo | Kind::Other => of_vip(frame, stage),
        Kind::Kernel => Err(Outcome::NotOurs),
    }
}

stages! {
    /// A packet of a client, for `stage.service`.
    fn to_backend as xlb_of_client = forward;
    /// A packet of a backend, if it answers a flow of ours.
    fn of_reply as xlb_of_backend = return_reply;
    /// A packet for a VIP that is for none of its services, or for no VIP.
    fn of_vip as xlb_of_vip = serve_vip;
    /// An ICMP error: goes where a packet of the flow that it is about would go.
    fn of_error as xlb_of_error = pass_error_on;
}

#[inline(always)]
fn of_flow(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let found = service::find(frame, stage);
    if found == Err(Outcome::NotOurs) {
        let switches = board::switches();
        if switches & switches::PROBING != 0 && probe::may_be_answer(&stage.packet) {
            match probe::answer(frame, stage) {
                Err(Outcome::NotOurs) => {}
                done => return done,
            }
        }
        return match switches & switches::REPLIES {
            0 => Err(Outcome::NotOurs),
            _ => of_reply(frame, stage),
        };
    }
    fragment::remember(frame, stage);
    match found {
        Ok(()) => to_backend(frame, stage).inspect_err(|_| count::dropped(stage.service.id)),
        Err(_) => of_vip(frame, stage),
    }
}

/// A later fragment is a packet of its flow, once it is known which: by the first, or by its addresses.
#[inline(always)]
fn of_fragment(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if fragment::recall(frame, stage).is_ok() {
        return of_flow(frame, stage);
    }
    match service::find(frame, stage) {
        Ok(()) if goes_by_addresses(stage) => {
            to_backend(frame, stage).inspect_err(|_| count::dropped(stage.service.id))
        }
        Err(Outcome::Unserved) if !fragment::may_have_ports(&stage.packet) => of_vip(frame, stage),
        Ok(()) | Err(Outcome::Unserved) => Err(Outcome::Fragment),
        Err(outcome) => Err(outcome),
    }
}

/// Whether a packet without ports finds its backend all the same. With a source of ours it does not: that is known by ports.
#[inline(always)]
fn goes_by_addresses(stage: &mut Stage) -> bool {
    stage.mode = stage.service.mode;
    stage.service.flags & service_flags::BY_ADDRESSES != 0 && !source::is_needed(stage)
}

#[inline(always)]
fn serve_vip(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let vip = service::vip(&stage.packet.flow.destination).ok_or(Outcome::NotOurs)?;
    if stage.packet.is(Kind::Echo) && vip.flags & vip_flags::ECHO != 0 {
        echo::reply(frame, stage)?;
        return sent(stage, Outcome::EchoAnswered, answer::BACK);
    }
    match Unserved::from_wire(vip.unserved) {
        Some(Unserved::Pass) => Err(Outcome::UnservedPassed),
        Some(Unserved::Auto) if next_hop::is_kernels(frame, stage) => Err(Outcome::UnservedPassed),
        Some(Unserved::Reset) => {
            reset::refuse(frame, stage)?;
            sent(stage, Outcome::UnservedReset, answer::BACK)
        }
        Some(Unserved::Auto | Unserved::Drop) | None => Err(Outcome::Unserved),
    }
}

#[inline(always)]
fn forward(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if stage.packet.ttl <= 1 {
        answer::error::time_exceeded(frame, stage)?;
        return sent(stage, Outcome::TtlAnswered, answer::BACK);
    }
    match pick::backend(frame, stage) {
        Err(Outcome::Full) if stage.service.on_full == OnFull::Reject.wire() => {
            reset::refuse(frame, stage).map_err(|_| Outcome::Full)?;
            return sent(stage, Outcome::FullReset, answer::BACK);
        }
        Err(Outcome::NoBackend) => return without_backend(frame, stage),
        found => found?,
    }
    if find_way(frame, stage)? == Fit::TooBig {
        answer::error::too_big(frame, stage)?;
        return sent(stage, Outcome::TooBigAnswered, answer::BACK);
    }
    checksum::check(frame, stage)?;
    if flow::translates(stage.mode) {
        if stage.is_new != 0 && source::is_needed(stage) {
            source::find(frame, stage)?;
        }
        flow::set_leaves_as(stage);
        if stage.is_new != 0 {
            flow::open(frame, stage)?;
        }
    }
    sign::of_client(frame, stage);
    forward::write(frame, stage)?;
    count::inward(&Inward::of(stage));
    sent(stage, Outcome::Forwarded, forward::action(frame, stage))
}

/// What becomes of a packet that no backend takes, as its service says.
#[inline(always)]
fn without_backend(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if stage.service.flags & service_flags::DOWN_PASSES != 0 {
        return sent(stage, Outcome::DownPassed, xdp_action::XDP_PASS);
    }
    if stage.service.flags & service_flags::DOWN_RESETS == 0 {
        return Err(Outcome::NoBackend);
    }
    reset::refuse(frame, stage).map_err(|_| Outcome::NoBackend)?;
    sent(stage, Outcome::DownReset, answer::BACK)
}

/// Whether a packet fits its way.
#[derive(PartialEq, Eq)]
enum Fit {
    Fits,
    TooBig,
}

/// Finds the way to the backend, and whether the packet fits it.
#[inline(always)]
fn find_way(frame: &mut Frame, stage: &mut Stage) -> Result<Fit, Outcome> {
    match next_hop::to_backend(frame, stage).and_then(|()| forward::check_fits(stage)) {
        Ok(()) => Ok(Fit::Fits),
        Err(Outcome::TooBig) => Ok(Fit::TooBig),
        Err(outcome) => Err(outcome),
    }
}

#[inline(always)]
fn return_reply(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if !flow::answers(stage) {
        return Err(Outcome::NotOurs);
    }
    fragment::remember(frame, stage);
    stage.answer_from = stage.reply.flow.destination;
    if stage.packet.ttl <= 1 {
        answer::error::time_exceeded(frame, stage)?;
        return sent(stage, Outcome::TtlAnswered, answer::BACK);
    }
    flow::follow_reply(frame, stage)?;
    stage.leaves_as = stage.reply.flow.reversed();
    match next_hop::to_client(frame, stage) {
        Err(Outcome::TooBig) => {
            answer::error::too_big(frame, stage)?;
            return sent(stage, Outcome::TooBigAnswered, answer::BACK);
        }
        found => found?,
    }
    checksum::check(frame, stage)?;
    forward::translate(frame, stage)?;
    count::outward(&Outward::of(stage));
    sent(stage, Outcome::Returned, forward::action(frame, stage))
}

#[inline(always)]
fn pass_error_on(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if quoted::flow(frame, stage).is_err() {
        return leave_error(frame, stage);
    }
    match service::find(frame, stage) {
        Ok(()) => error_to_backend(frame, stage).inspect_err(|_| count::dropped(stage.service.id)),
        Err(Outcome::NotOurs) => error_to_sender(frame, stage),
        Err(_) => leave_error(frame, stage),
    }
}

/// An error about what is for no VIP: a probe, or what a client has sent.
#[inline(always)]
fn error_to_sender(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let switches = board::switches();
    if switches & switches::PROBING != 0 && probe::may_be_answer(&stage.packet) {
        match probe::error(frame, stage) {
            Err(Outcome::NotOurs) => {}
            done => return done,
        }
    }
    if switches & switches::REPLIES != 0 && flow::answers(stage) {
        return error_to_client(frame, stage);
    }
    Err(Outcome::NotOurs)
}

/// An error about no service: the kernel's, if it is about what the kernel serves itself on a VIP.
#[inline(always)]
fn leave_error(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    stage.packet.flow.source = stage.packet.error_from;
    stage.packet.flow.destination = stage.packet.error_to;
    match of_vip(frame, stage) {
        Err(Outcome::Unserved) => Err(Outcome::ErrorUnknown),
        left => left,
    }
}

#[inline(always)]
fn error_to_backend(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if stage.packet.ttl <= 1 {
        return Err(Outcome::TtlExpired);
    }
    stage.is_new = 0;
    if !flow::recall(stage) {
        stage.mode = stage.service.mode;
        copy::zeros(&mut stage.source);
        // The backend knows such a flow by a source that is not known here.
        if source::is_needed(stage) {
            return Err(Outcome::ErrorUnknown);
        }
        match pick::of_quoted(frame, stage) {
            // Whoever serves in the backends' place needs the errors about it. Others get no answer to an error.
            Err(Outcome::NoBackend) if stage.service.flags & service_flags::DOWN_PASSES != 0 => {
                return sent(stage, Outcome::DownPassed, xdp_action::XDP_PASS);
            }
            found => found?,
        }
    }
    next_hop::to_backend(frame, stage)?;
    forward::check_fits(stage)?;
    if flow::translates(stage.mode) {
        flow::set_leaves_as(stage);
        stage.packet.error_to = stage.leaves_as.destination;
        if !stage.source.is_none() {
            stage.packet.error_from = stage.source;
        }
        // The quoted packet goes the other way.
        stage.leaves_as = stage.leaves_as.reversed();
        error::translate(frame, stage)?;
    } else {
        forward::write(frame, stage)?;
    }
    count::inward(&Inward::of(stage));
    sent(stage, Outcome::ErrorForwarded, forward::action(frame, stage))
}

#[inline(always)]
fn error_to_client(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    if stage.packet.ttl <= 1 {
        return Err(Outcome::TtlExpired);
    }
    // From the VIP, whoever has sent it: what is behind the VIP is nobody's business.
    stage.packet.error_from = stage.reply.flow.destination;
    stage.packet.error_to = stage.reply.flow.source;
    stage.leaves_as = stage.reply.flow.reversed();
    flow::find_client_hop(stage);
    next_hop::to_client(frame, stage)?;
    stage.leaves_as = stage.reply.flow;
    sign::of_error(frame, stage);
    error::translate(frame, stage)?;
    count::outward(&Outward::of(stage));
    sent(stage, Outcome::ErrorReturned, forward::action(frame, stage))
}

/// Notes what became of a packet that leaves.
#[inline(always)]
pub fn sent(stage: &mut Stage, outcome: Outcome, action: u32) -> Result<(), Outcome> {
    (stage.sent, stage.action) = (u32::from(outcome.wire()), action);
    Ok(())
}
