//! The table of docs/flows.md: every state of a slot, every kind of packet, every state of its owner.

use anyhow::Result;
use lb_common::{
    backend::{BackendState, BackendWord},
    service::service_flags,
    slot::{Slot, SlotBits},
    written::WrittenState::{self, Claimed, Confirmed, Opened},
};
use xlb::datapath::Datapath as _;
use xlb_tests::preflight;

use super::{SERVICE, Scene, connection, datagram, exchange, hash, segment};
use crate::{
    model::Key,
    wire::{ACK, Frame, SYN},
};

/// Whose the slot was, whose it is, and whom the next hash gives.
const BEFORE: u32 = 1;
const OWNER: u32 = 2;
const NEXT: u32 = 3;

/// The owner of a flow's slot.
pub fn owner_of(scene: &Scene, key: &Key) -> Result<u32> {
    Ok(scene.rig.datapath.table(SERVICE)?.slot(hash(key)).owner())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Settled,
    Young,
    Unsettled,
    Written,
}

/// How the owner is. One that is scattered is up, and has not always been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Up,
    Scattered,
    Draining,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packet {
    Syn,
    Later,
    /// A datagram where those stay.
    Stays,
    /// And where they move.
    Moves,
}

use Owner::{Down, Draining, Scattered, Up};
use State::{Settled, Unsettled, Written, Young};

const PACKETS: [Packet; 4] = [Packet::Syn, Packet::Later, Packet::Stays, Packet::Moves];

/// Where a packet goes, and in which state that is written down.
type Goes = (u32, Option<WrittenState>);

const fn plain(to: u32) -> Goes {
    (to, None)
}

const fn written(to: u32, state: WrittenState) -> Goes {
    (to, Some(state))
}

/// Packets of a flow that is not written down: a SYN, a later segment, a datagram that stays, and one that moves.
const UNWRITTEN: [(State, Owner, [Goes; 4]); 16] = [
    (Settled, Up, [plain(OWNER); 4]),
    (Settled, Scattered, [plain(OWNER); 4]),
    (Settled, Draining, KEPT),
    (Settled, Down, REPICKED),
    (Young, Up, [NEW, OLD, written(BEFORE, Opened), NEW]),
    (Young, Scattered, [NEW, OLD, written(BEFORE, Opened), NEW]),
    (Young, Draining, BEFORE_IT),
    (Young, Down, BEFORE_IT),
    (Unsettled, Up, [NEW, OLD, NEW, NEW]),
    (Unsettled, Scattered, [NEW, OLD, NEW, NEW]),
    (Unsettled, Draining, ELSEWHERE),
    (Unsettled, Down, ELSEWHERE),
    (Written, Up, [plain(OWNER); 4]),
    (Written, Scattered, [plain(OWNER); 4]),
    (Written, Draining, KEPT),
    (Written, Down, REPICKED),
];

const NEW: Goes = written(OWNER, Opened);
const OLD: Goes = written(BEFORE, Claimed);
/// What a draining owner has, and what it gets no more.
const KEPT: [Goes; 4] = [
    written(NEXT, Opened),
    plain(OWNER),
    plain(OWNER),
    written(NEXT, Opened),
];
/// The same where all that is old is of the owner before.
const BEFORE_IT: [Goes; 4] = [
    written(NEXT, Opened),
    OLD,
    written(BEFORE, Opened),
    written(NEXT, Opened),
];
/// All flows of an owner that is down.
const REPICKED: [Goes; 4] = [
    written(NEXT, Opened),
    written(NEXT, Claimed),
    written(NEXT, Opened),
    written(NEXT, Opened),
];
/// New flows of an owner that takes none, while old ones have theirs.
const ELSEWHERE: [Goes; 4] = [
    written(NEXT, Opened),
    OLD,
    written(NEXT, Opened),
    written(NEXT, Opened),
];

impl State {
    fn slot(self) -> Slot {
        let changed = Slot::settled(BEFORE, SlotBits::MIN).passed_to(OWNER, false);
        match self {
            Settled => Slot::settled(OWNER, SlotBits::MIN),
            Young => changed,
            Unsettled => changed.aged(),
            Written => changed.without_previous(),
        }
    }
}

impl Owner {
    fn word(self) -> BackendWord {
        let word = |state| BackendWord::new(state, 1, 1);
        match self {
            Up => word(BackendState::Up),
            Scattered => word(BackendState::Up).scattered(true),
            Draining => word(BackendState::Drain).scattered(true),
            Down => word(BackendState::Down).scattered(true),
        }
    }
}

impl Packet {
    fn frame(self, port: u16) -> Frame {
        match self {
            Self::Syn => segment(port, SYN),
            Self::Later => segment(port, ACK),
            Self::Stays | Self::Moves => datagram(port),
        }
    }

    fn key(self, port: u16) -> Key {
        match self {
            Self::Syn | Self::Later => connection(port),
            Self::Stays | Self::Moves => exchange(port),
        }
    }
}

/// Sets the stage for a packet: its slot, the owner, and whether datagrams move. All other slots are those of the next hash.
fn set(scene: &mut Scene, state: State, owner: Owner, packet: Packet, port: u16) -> Result<()> {
    scene.rig.forget()?;
    scene.rig.set_word(OWNER, owner.word());
    scene.tune(|entry| {
        entry.flags &= !service_flags::UDP_MOVES;
        if packet == Packet::Moves {
            entry.flags |= service_flags::UDP_MOVES;
        }
    })?;
    let others = Slot::settled(NEXT, SlotBits::MIN);
    scene.slots(&packet.key(port), state.slot(), others)
}

/// Every state of slot and owner, with every packet.
fn every(mut check: impl FnMut(&mut Scene, State, Owner, Packet, Goes) -> Result<()>) -> Result<()> {
    let mut scene = Scene::new(3)?;
    for (state, owner, goes) in UNWRITTEN {
        for (packet, goes) in PACKETS.into_iter().zip(goes) {
            set(&mut scene, state, owner, packet, PORT)?;
            check(&mut scene, state, owner, packet, goes)
                .map_err(|error| error.context(format!("{state:?}, owner {owner:?}, {packet:?}")))?;
        }
    }
    Ok(())
}

const PORT: u16 = 4000;

#[test]
fn a_flow_that_is_not_written_down_is_where_its_slot_says() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    every(|scene, state, owner, packet, goes| {
        let (frame, key) = (packet.frame(PORT), packet.key(PORT));
        let got = (
            scene.serve(&frame)?,
            scene.note(&key).map(|(id, state)| {
                assert_eq!(id, goes.0, "{state:?}, owner {owner:?}, {packet:?}");
                state
            }),
        );
        assert_eq!(got, goes, "{state:?}, owner {owner:?}, {packet:?}");
        // What was decided once stays decided.
        let later = if packet == Packet::Syn {
            segment(PORT, ACK)
        } else {
            frame
        };
        assert_eq!(
            scene.serve(&later)?,
            goes.0,
            "{state:?}, owner {owner:?}, {packet:?}"
        );
        let confirmed = goes.1.map(|_| (goes.0, Confirmed));
        assert_eq!(
            scene.note(&key),
            confirmed,
            "{state:?}, owner {owner:?}, {packet:?}"
        );
        Ok(())
    })
}

/// What has no ports is a later packet of its flow all the same, also where datagrams move.
#[test]
fn a_later_fragment_of_a_segment_goes_where_the_first_went() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::new(3)?;
    let (head, tail) = segment(PORT, ACK).payload(&[7; 64]).cut(32);
    for (state, owner, [_, later, ..]) in UNWRITTEN {
        for moves in [0, service_flags::UDP_MOVES] {
            set(&mut scene, state, owner, Packet::Later, PORT)?;
            scene.tune(|entry| entry.flags |= moves)?;
            let to = [scene.serve(&head)?, scene.serve(&tail)?];
            assert_eq!(to, [later.0; 2], "{state:?}, owner {owner:?}");
        }
    }
    Ok(())
}

/// A flow that is written down for the backend of the next hash is there, unless its slot says that there are none.
#[test]
fn a_flow_that_is_written_down_goes_on_with_its_backend() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    every(|scene, state, owner, packet, _| {
        let key = packet.key(PORT);
        write_down(scene, state, owner, packet)?;
        let looked_up = state != Settled || owner != Up;
        let to = if looked_up { NEXT } else { OWNER };
        assert_eq!(
            scene.serve(&packet.frame(PORT))?,
            to,
            "{state:?}, owner {owner:?}, {packet:?}"
        );
        // A SYN that may be forged confirms nothing.
        let known = if packet == Packet::Syn || !looked_up {
            Opened
        } else {
            Confirmed
        };
        assert_eq!(
            scene.note(&key),
            Some((NEXT, known)),
            "{state:?}, owner {owner:?}, {packet:?}"
        );
        Ok(())
    })
}

/// Has a flow written down for the backend of the next hash.
fn write_down(scene: &mut Scene, state: State, owner: Owner, packet: Packet) -> Result<()> {
    let first = match packet {
        Packet::Syn | Packet::Later => segment(PORT, SYN),
        Packet::Stays | Packet::Moves => datagram(PORT),
    };
    let passed = Slot::settled(BEFORE, SlotBits::MIN).passed_to(NEXT, false);
    let others = Slot::settled(NEXT, SlotBits::MIN);
    scene.slots(&packet.key(PORT), passed.aged(), others)?;
    assert_eq!(scene.serve(&first)?, NEXT);
    assert_eq!(scene.note(&packet.key(PORT)), Some((NEXT, Opened)));
    scene.slots(&packet.key(PORT), state.slot(), others)?;
    scene.rig.set_word(OWNER, owner.word());
    Ok(())
}

/// Where the flow's backend drains, a SYN begins another one; where it is down, every packet looks for a backend as a new flow does.
#[test]
fn a_flow_whose_backend_drains_or_is_down_is_a_new_one_for_its_syn_or_for_all() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for is_down in [false, true] {
        every(|scene, state, owner, packet, _| {
            if matches!(owner, Draining | Down) || state == Settled && owner == Up {
                return Ok(());
            }
            write_down(scene, state, owner, packet)?;
            let to = if is_down {
                BackendState::Down
            } else {
                BackendState::Drain
            };
            scene.rig.set(NEXT, to);
            let moves = is_down || matches!(packet, Packet::Syn | Packet::Moves);
            let expected = if moves { OWNER } else { NEXT };
            let got = scene.serve(&packet.frame(PORT))?;
            let known = match packet {
                Packet::Later if moves => Claimed,
                _ if moves => Opened,
                _ => Confirmed,
            };
            let note = scene.note(&packet.key(PORT));
            scene.rig.set(NEXT, BackendState::Up);
            assert_eq!(
                (got, note),
                (expected, Some((expected, known))),
                "{state:?}, owner {owner:?}, {packet:?}"
            );
            assert_eq!(
                scene.serve(&packet.frame(PORT))?,
                expected,
                "recovery takes nothing away"
            );
            Ok(())
        })?;
    }
    Ok(())
}
