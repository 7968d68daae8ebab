//! A flood of SYNs: established flows survive it.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_common::{
    service::Picker,
    slot::{Slot, SlotBits},
    written::{WrittenCount, WrittenState},
};
use xlb_tests::preflight;

use super::{
    Scene, TCP_PORT, connection,
    shares::{Syn, arrived_at},
};
use crate::wire::{ACK, SYN};

const ROOM: u32 = 1024;
const FLOWS: u16 = 200;

/// Ten times as many SYNs as there is room for, each from a source of its own; gives how many reached a backend.
fn flood(scene: &Scene) -> Result<u32> {
    let (mut syn, mut out, mut source, mut served) = (Syn::new(), Vec::new(), 0x1234_5678_u32, 0);
    let vip = Ipv4Addr::new(192, 0, 2, 10);
    for _ in 0..10 * ROOM {
        // Numerical Recipes' generator; inside 10.64.0.0/10.
        source = source.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let from = Ipv4Addr::from_bits(0x0a40_0000 | source >> 10);
        let port = 1024 + u16::try_from(source & 0x7fff)?;
        scene
            .rig
            .send(syn.between((from, port), (vip, TCP_PORT)), &mut out)?;
        served += u32::from(arrived_at(&out).is_some());
    }
    Ok(served)
}

fn survives(mut scene: Scene) -> Result<()> {
    let mut established = Vec::new();
    for port in 1..=FLOWS {
        let id = scene.segment(port, SYN)?;
        assert_eq!(scene.segment(port, ACK)?, id);
        established.push((port, id));
    }
    assert_eq!(flood(&scene)?, 10 * ROOM, "every SYN finds a backend");
    let full = u32::try_from(scene.rig.written().count())?;
    assert!(full > ROOM * 9 / 10, "{full} entries: no flood");
    for (port, id) in established {
        assert_eq!(
            scene.note(&connection(port)),
            Some((id, WrittenState::Confirmed)),
            "flow {port}"
        );
        assert_eq!(scene.segment(port, ACK)?, id);
    }
    assert!(scene.rig.written_count(WrittenCount::Displaced)? > u64::from(8 * ROOM));
    // What is counted is what is written down.
    let active = scene
        .rig
        .written()
        .filter(|entry| entry.state().is_active())
        .count();
    let loads: u64 = (1..=3).map(|id| scene.rig.load(id)).sum();
    assert_eq!(loads, u64::try_from(active)?);
    Ok(())
}

#[test]
fn established_flows_survive_where_every_flow_is_written_down() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::with_room(3, ROOM)?;
    scene.go_by(Picker::RoundRobin)?;
    survives(scene)
}

#[test]
fn established_flows_survive_while_slots_change() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::with_room(3, ROOM)?;
    let passed = Slot::settled(3, SlotBits::MIN).passed_to(1, false);
    scene.slots(&connection(1), passed, passed.passed_to(2, false))?;
    survives(scene)
}
