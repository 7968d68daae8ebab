//! Flows of modes that do not translate: by their slot, or as they are written down (docs/flows.md).

use lb_common::{
    conn::tcp,
    flow::{FlowKey, Protocol},
    outcome::Outcome,
    pick::{self, Opens},
    service::{Picker, Service, service_flags},
    written::{self as record, Entry, WrittenFor, WrittenState},
};

use crate::{
    admit, backend, config, copy, flow,
    frame::Frame,
    loads,
    parse::Packet,
    pick::choose,
    slots,
    stage::{Stage, stages},
    written,
};

stages! {
    /// Finds the slots that the packet's flow has: `stage.slot` that of its home and `stage.home_hash` its hash, `stage.new_hash` that which
    /// a new flow goes by, and `stage.hash` that which it is written down by, and its tunnels are spread by.
    pub fn find as xlb_home = hash;

    /// Hashes `stage.key`: `stage.key_hash`.
    fn of_part as xlb_hash = hash_key;

    /// Finds the backend of a packet whose slot does not say it.
    fn look_up as xlb_unsettled = unsettled;
}

/// What the packet tells of its flow's age. Where flows go by addresses alone, a SYN begins a connection, but no flow.
#[inline(always)]
pub fn opens(service: &Service, packet: &Packet) -> Opens {
    if packet.flow.protocol != Protocol::Tcp.number() {
        return Opens::Unknown;
    }
    // Nothing but its first fragment has the flags of a segment, and a SYN comes in one piece.
    if !packet.has_ports() || packet.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) != tcp::SYN {
        return Opens::Later;
    }
    if service.flags & service_flags::BY_ADDRESSES == 0 {
        Opens::First
    } else {
        Opens::Unknown
    }
}

/// All hashes of a packet are made here, and no other stage has the code for it.
#[inline(always)]
fn hash(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let service = &stage.service;
    let (picker, home) = (
        Picker::from_wire(service.picker).ok_or(Outcome::BadConfig)?,
        Picker::from_wire(service.home).ok_or(Outcome::BadConfig)?,
    );
    stage.hash = if pick::has_ports(service, &stage.packet.flow) {
        stage.packet.flow.hash(config::hash_key())
    } else {
        of_key(frame, stage, Picker::Maglev)?
    };
    (stage.home_hash, stage.new_hash) = (stage.hash, stage.hash);
    if home != Picker::Maglev {
        stage.home_hash = of_key(frame, stage, home)?;
        stage.new_hash = stage.home_hash;
    }
    if picker.home() != home {
        stage.new_hash = of_key(frame, stage, picker.home())?;
    }
    if stage.service.affinity != 0 {
        let service = &stage.service;
        stage.key = stage
            .packet
            .flow
            .source_only(service.affinity_v4, service.affinity_v6);
        of_part(frame, stage)?;
        stage.client_hash = record::client_hash(stage.key_hash, stage.service.id);
    }
    stage.slot = slots::find(stage.service.id, stage.service.slot_bits, stage.home_hash);
    Ok(())
}

/// The hash of all five parts of the packet's flow.
#[inline(always)]
pub fn hash_of_flow(frame: &mut Frame, stage: &mut Stage) -> u64 {
    copy::value(&mut stage.key, &stage.packet.flow);
    hash_of_key(frame, stage)
}

/// The same of another flow.
#[inline(always)]
pub fn hash_of(frame: &mut Frame, stage: &mut Stage, key: &FlowKey) -> u64 {
    copy::value(&mut stage.key, key);
    hash_of_key(frame, stage)
}

/// The same of `stage.reply`'s flow.
#[inline(always)]
pub fn hash_of_answered(frame: &mut Frame, stage: &mut Stage) -> u64 {
    copy::value(&mut stage.key, &stage.reply.flow);
    hash_of_key(frame, stage)
}

#[inline(always)]
fn hash_of_key(frame: &mut Frame, stage: &mut Stage) -> u64 {
    // It always is.
    let _made = of_part(frame, stage);
    stage.key_hash
}

/// The hash of the part of the flow that a picker goes by.
#[inline(always)]
fn of_key(frame: &mut Frame, stage: &mut Stage, picker: Picker) -> Result<u64, Outcome> {
    stage.key = pick::slot_key(picker, &stage.service, &stage.packet.flow);
    of_part(frame, stage)?;
    Ok(stage.key_hash)
}

#[inline(always)]
fn hash_key(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    frame.hold();
    stage.key_hash = stage.key.hash(config::hash_key());
    Ok(())
}

/// Finds the backend of a packet: of one on a settled slot without any further look.
#[inline(always)]
pub fn backend(frame: &mut Frame, stage: &mut Stage, opens: Opens) -> Result<(), Outcome> {
    find(frame, stage)?;
    let special = match opens {
        Opens::Later => service_flags::UNSETTLED,
        _ => service_flags::UNSETTLED | service_flags::RATED,
    };
    if stage.service.flags & special == 0 && stage.slot.is_settled() {
        let id = stage.slot.owner();
        let word = backend::word(id);
        if word.is_plain() && backend::choose(&mut stage.chosen, id, word) {
            stage.is_new = u8::from(opens == Opens::First);
            return Ok(());
        }
    }
    look_up(frame, stage)
}

/// Whether a packet is of an old flow that is not written down, and its backend has kept it: then that is `stage.chosen`.
#[inline(always)]
pub fn is_of_old(stage: &mut Stage, opens: Opens) -> bool {
    let id = stage.slot.home();
    let word = backend::word(id);
    let udp_moves = pick::datagrams_move(&stage.service, stage.slot);
    pick::stays_home(stage.slot, word, opens, udp_moves) && backend::choose(&mut stage.chosen, id, word)
}

#[inline(always)]
fn unsettled(frame: &mut Frame, stage: &mut Stage) -> Result<(), Outcome> {
    let opens = opens(&stage.service, &stage.packet);
    if stage.service.flags & service_flags::ONE_PACKET != 0 {
        admit::new_flow(frame, stage)?;
        return choose::backend(frame, stage);
    }
    let hash = stage.hash;
    let entry = written::find(frame, stage, hash);
    let is_known = entry.state() != WrittenState::Empty;
    if is_known {
        if goes_on(stage, entry, opens) {
            return Ok(());
        }
    } else if is_of_old(stage, opens) {
        // Where there is no room for it, it stays at home all the same.
        let _room = write(frame, stage, opens, is_known);
        return Ok(());
    }
    let is_new = opens != Opens::Later;
    if is_new {
        admit::new_flow(frame, stage)?;
    }
    choose::backend(frame, stage)?;
    // Of a datagram whose flow is not written down nobody knows whether it is the first.
    let is_remembered = is_known || pick::is_written(&stage.service, stage.slot, stage.chosen.id);
    stage.is_new = u8::from(opens == Opens::First || is_new && is_remembered);
    if !write(frame, stage, opens, is_known) {
        go_home(stage);
    }
    Ok(())
}

/// Whether a packet goes on with a flow that is written down: then to its backend, `stage.chosen`.
#[inline(always)]
fn goes_on(stage: &mut Stage, entry: Entry, opens: Opens) -> bool {
    if !is_kept(stage, entry) {
        return false;
    }
    let word = stage.chosen.word;
    let is_over = match opens {
        Opens::Later => false,
        Opens::First => {
            matches!(entry.state(), WrittenState::Closing | WrittenState::Reset)
                || !word.takes_new_flows()
                || is_expired(stage, entry, opens)
        }
        Opens::Unknown => {
            let moves = stage.service.flags & service_flags::UDP_MOVES != 0;
            moves && !word.takes_new_flows() || is_expired(stage, entry, opens)
        }
    };
    if is_over {
        return false;
    }
    refresh(stage, entry, opens);
    true
}

/// Whether the backend of an entry keeps its flow: then it is `stage.chosen`.
#[inline(always)]
fn is_kept(stage: &mut Stage, entry: Entry) -> bool {
    let word = backend::word(entry.backend());
    entry.is_of_generation(word.generation())
        && word.keeps_flow_of(word.generation())
        && backend::choose(&mut stage.chosen, entry.backend(), word)
        && stage.chosen.backend.service == stage.service.id
}

#[inline(always)]
fn is_expired(stage: &Stage, entry: Entry, opens: Opens) -> bool {
    let timeout = match opens {
        Opens::Unknown if stage.packet.flow.protocol != Protocol::Tcp.number() => config::timeouts().udp,
        _ => config::written_timeout(entry.state_number()),
    };
    entry.is_expired(timeout, stage.now)
}

/// Brings an entry up to date: its state, and its age. Most packets change neither.
#[inline(always)]
fn refresh(stage: &Stage, entry: Entry, opens: Opens) {
    let before = entry.state();
    let state = before.after(opens == Opens::First, stage.packet.tcp_flags);
    let new = entry.refreshed(state, stage.now);
    if new == entry || !written::replace(stage, new) {
        return;
    }
    match (before.is_active(), state.is_active()) {
        (true, false) => loads::closed(stage.service.id, entry.backend()),
        (false, true) => loads::opened(stage.service.id, entry.backend()),
        _ => {}
    }
}

/// Writes down that the flow is `stage.chosen`'s, if it has to be: if something `is_known` of it, that holds no more. Whether its later
/// packets will find that.
#[inline(always)]
fn write(frame: &mut Frame, stage: &mut Stage, opens: Opens, is_known: bool) -> bool {
    let (id, generation) = (stage.chosen.id, stage.chosen.word.generation());
    if !is_known && !pick::is_written(&stage.service, stage.slot, id) {
        return true;
    }
    // A reset ends what it finds; there is nothing to remember of it.
    if !flow::is_opened_by(&stage.packet) {
        return true;
    }
    let hash = stage.hash;
    // The choice may have looked for the client meanwhile.
    let found = if stage.service.affinity == 0 {
        stage.asked.found
    } else {
        written::find(frame, stage, hash)
    };
    let state = if opens == Opens::Later {
        WrittenState::Claimed
    } else {
        WrittenState::Opened
    };
    let new = Entry::new(hash, id, generation, state, stage.now);
    let what = WrittenFor::new(stage.service.id, stage.home_hash);
    let written = if found.state() == WrittenState::Empty {
        written::put(frame, stage, new, what)
    } else {
        written::take_over(stage, new, what)
    };
    if written && state.is_active() {
        loads::opened(stage.service.id, id);
    }
    written
}

/// A flow that could not be written down goes where its later packets will: to its home, if that takes new flows.
#[inline(always)]
fn go_home(stage: &mut Stage) {
    let id = stage.slot.home();
    let word = backend::word(id);
    if word.takes_new_flows() {
        let _there = backend::choose(&mut stage.chosen, id, word);
    }
}

/// The backend of the flow that an ICMP error is about: `stage.chosen`. Errors change nothing of a flow.
#[inline(always)]
pub fn recall(frame: &mut Frame, stage: &mut Stage) -> Result<bool, Outcome> {
    find(frame, stage)?;
    let unsettled = stage.service.flags & service_flags::UNSETTLED != 0;
    if unsettled || !stage.slot.is_settled() || !backend::word(stage.slot.owner()).is_plain() {
        let hash = stage.hash;
        let entry = written::find(frame, stage, hash);
        if entry.state() != WrittenState::Empty && is_kept(stage, entry) {
            return Ok(true);
        }
    }
    Ok(is_of_old(stage, Opens::Later))
}
