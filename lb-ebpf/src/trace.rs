//! A line for each packet in the agent's log, when the loader asks for it. With the level left at 0 the verifier removes all
//! of this from the program.

use aya_log_ebpf::{
    debug,
    macro_support::{Level, level_enabled},
};
use lb_common::{flow::FlowKey, outcome::Outcome};

use crate::{
    flow,
    frame::Frame,
    parse::ipv6,
    stage::{self, Stage, stages},
};

/// Bytes of the longest outcome's name, and some.
const WIDTH: usize = 20;

/// The outcomes' names, all as long as each other, and how much of each is name. A name that the program knew as it knows its own
/// constants, the verifier would follow through all that is done with it, each of them alone.
static NAMES: [[u8; WIDTH]; Outcome::ALL.len()] = names();
static LENGTHS: [u8; Outcome::ALL.len()] = lengths();

const fn names() -> [[u8; WIDTH]; Outcome::ALL.len()] {
    let mut names = [[0; WIDTH]; Outcome::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        let (name, mut at) = (Outcome::ALL[index].name().as_bytes(), 0);
        while at < name.len() {
            names[index][at] = name[at];
            at += 1;
        }
        index += 1;
    }
    names
}

#[expect(clippy::cast_possible_truncation, reason = "no name is longer than WIDTH")]
const fn lengths() -> [u8; Outcome::ALL.len()] {
    let mut lengths = [0; Outcome::ALL.len()];
    let mut index = 0;
    while index < lengths.len() {
        lengths[index] = Outcome::ALL[index].name().len() as u8;
        index += 1;
    }
    lengths
}

/// The name of an outcome.
#[inline(always)]
fn name(outcome: Outcome) -> &'static str {
    let index = usize::from(outcome.wire());
    let (Some(name), Some(&len)) = (NAMES.get(index), LENGTHS.get(index)) else {
        return "";
    };
    match name.get(..usize::from(len)) {
        // SAFETY: `names` has copied it from a str, whose length this is.
        Some(name) => unsafe { core::str::from_utf8_unchecked(name) },
        None => "",
    }
}

/// Logs what became of a packet, which is `stage.sent`.
#[inline(always)]
pub fn packet(frame: &mut Frame, stage: &mut Stage) {
    if level_enabled(Level::Debug) {
        let _always_done = log(frame, stage);
    }
}

/// Notes what became of a packet that went the short way, and its addresses on the wire now, for [`noted`]: there is no room for both on
/// one stack.
#[inline(always)]
pub fn note(outcome: Outcome, flow: &FlowKey) {
    if level_enabled(Level::Debug)
        && let Some(stage) = stage::of_this_cpu()
    {
        (stage.packet.flow, stage.leaves_as) = (*flow, *flow);
        stage.sent = u32::from(outcome.wire());
    }
}

/// Logs what was noted.
#[inline(always)]
pub fn noted(frame: &mut Frame) {
    if level_enabled(Level::Debug)
        && let Some(stage) = stage::of_this_cpu()
    {
        packet(frame, stage);
    }
}

/// What leaves with other addresses than it came with, whatever the mode: a bit for each outcome. Of an outcome that is compared the compiler
/// knows how long its name is, and leaves out the comparison that the verifier needs.
const REWRITTEN: u64 = bit(Outcome::Returned) | bit(Outcome::ProbeSent) | bit(Outcome::ProbeAnswered);

const fn bit(outcome: Outcome) -> u64 {
    1 << outcome.wire()
}

stages! {
    /// Logs a line. The addresses are those on the wire now, after a rewrite.
    fn log as xlb_log = write;
}

#[inline(always)]
fn write(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let outcome = stage.outcome();
    // What was not read as IP has no addresses to show.
    if outcome == Outcome::NotIp {
        debug!(
            frame.context(),
            "{}: {} bytes, interface {}",
            name(outcome),
            frame.len(),
            frame.ingress()
        );
        return Ok(());
    }
    let rewritten = if flow::translates(stage.mode) {
        REWRITTEN | bit(Outcome::Forwarded)
    } else {
        REWRITTEN
    };
    let rewritten = rewritten >> outcome.wire() & 1 != 0;
    let flow = if rewritten {
        &stage.leaves_as
    } else {
        &stage.packet.flow
    };
    if flow.source.is_v4() {
        debug!(
            frame.context(),
            "{}: {:i} -> {:i}, protocol {}, {} bytes, interface {}",
            name(outcome),
            u32::from_be(flow.source.v4_word()),
            u32::from_be(flow.destination.v4_word()),
            flow.protocol,
            frame.len(),
            frame.ingress()
        );
    } else {
        debug!(
            frame.context(),
            "{}: {:i} -> {:i}, protocol {}, {} bytes, interface {}",
            name(outcome),
            ipv6::bytes(flow.source),
            ipv6::bytes(flow.destination),
            flow.protocol,
            frame.len(),
            frame.ingress()
        );
    }
    Ok(())
}
