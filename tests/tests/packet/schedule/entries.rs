//! Flows that are written down, from begin to end.

use anyhow::Result;
use lb_common::{
    backend::{BackendState, BackendWord},
    limits::NO_BACKEND,
    service::Picker,
    slot::{Slot, SlotBits},
    written::{WAYS, WrittenCount, WrittenState},
};
use xlb_tests::preflight;

use super::{Scene, connection, exchange, hash, slots::owner_of};
use crate::wire::{ACK, FIN, RST, SYN, SYN_ACK};

/// More than any timeout of these tests, in steps of 2.1 s.
const LONG: u64 = 3500;

fn round_robin(written: u32) -> Result<Scene> {
    let mut scene = Scene::with_room(3, written)?;
    scene.go_by(Picker::RoundRobin)?;
    Ok(scene)
}

fn state(scene: &Scene, port: u16) -> Option<WrittenState> {
    scene.note(&connection(port)).map(|(_, state)| state)
}

#[test]
fn a_connection_is_followed_as_far_as_its_client_tells() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = round_robin(4096)?;
    let id = scene.segment(1, SYN)?;
    for (flags, known) in [
        (SYN, WrittenState::Opened),
        (ACK, WrittenState::Confirmed),
        (SYN, WrittenState::Confirmed),
        (SYN_ACK, WrittenState::Confirmed),
        (RST, WrittenState::Reset),
        // Nobody has heeded the reset.
        (ACK, WrittenState::Confirmed),
        (FIN | ACK, WrittenState::Closing),
        (ACK, WrittenState::Closing),
    ] {
        assert_eq!(scene.segment(1, flags)?, id);
        assert_eq!(state(&scene, 1), Some(known), "{flags:#x}");
    }
    Ok(())
}

#[test]
fn a_syn_begins_another_connection_only_where_the_old_one_is_over() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for end in [FIN | ACK, RST] {
        let mut scene = round_robin(4096)?;
        let id = scene.segment(1, SYN)?;
        scene.segment(1, ACK)?;
        for _ in 0..10 {
            assert_eq!(scene.segment(1, SYN)?, id, "possibly forged");
        }
        scene.segment(1, end)?;
        assert_ne!(scene.segment(1, SYN)?, id, "the next of the round");
        assert_eq!(state(&scene, 1), Some(WrittenState::Opened));
        assert_eq!(scene.rig.load(id), 0);
    }
    Ok(())
}

#[test]
fn silence_ends_a_flow_for_its_first_packets_alone() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = round_robin(4096)?;
    let (quiet, asked) = (scene.segment(1, SYN)?, scene.datagram(1)?);
    scene.segment(1, ACK)?;
    // The round goes on: it must not come to the same one again by chance.
    assert_ne!(quiet, asked);
    for key in [connection(1), exchange(1)] {
        scene.rig.age(hash(&key), LONG);
    }
    // Nobody knows better where it is.
    assert_eq!(scene.segment(1, ACK)?, quiet);
    assert_ne!(scene.datagram(1)?, asked);
    scene.segment(2, SYN)?;
    scene.rig.age(hash(&connection(1)), LONG);
    assert_ne!(scene.segment(1, SYN)?, quiet);
    Ok(())
}

#[test]
fn a_reset_of_no_flow_is_sent_on_and_forgotten() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = round_robin(4096)?;
    for flags in [RST, RST | ACK] {
        let home = owner_of(&scene, &connection(1))?;
        assert_eq!(scene.segment(1, flags)?, home);
    }
    assert_eq!(scene.rig.written().count(), 0);
    Ok(())
}

#[test]
fn flows_of_a_backend_that_was_down_stay_where_they_fled_to() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::new(3)?;
    let of_2: Vec<u16> = (1..200)
        .filter(|&port| owner_of(&scene, &connection(port)).is_ok_and(|id| id == 2))
        .collect();
    for &port in &of_2 {
        assert_eq!(scene.segment(port, SYN)?, 2);
    }
    scene.rig.set(2, BackendState::Down);
    let (fled, idle) = of_2.split_at(of_2.len() / 2);
    let refuges = fled.iter().map(|&port| scene.segment(port, ACK));
    let refuges: Vec<u32> = refuges.collect::<Result<_>>()?;
    assert!(refuges.iter().all(|&id| id != 2));
    scene.rig.set(2, BackendState::Up);
    for (&port, &id) in fled.iter().zip(&refuges) {
        assert_eq!(scene.segment(port, ACK)?, id);
    }
    for &port in idle {
        assert_eq!(scene.segment(port, ACK)?, 2, "it has never been elsewhere");
    }
    // And when that one goes, it looks again.
    scene.rig.set(refuges[0], BackendState::Down);
    assert_eq!(scene.segment(fled[0], ACK)?, 2);
    Ok(())
}

#[test]
fn an_id_that_another_backend_has_got_keeps_no_old_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = round_robin(4096)?;
    let id = scene.segment(1, SYN)?;
    scene.segment(1, ACK)?;
    scene.rig.set_word(id, BackendWord::new(BackendState::Up, 1, 2));
    let home = owner_of(&scene, &connection(1))?;
    // Known to be old, and nobody's: it looks for a backend again, and is there under the new generation.
    let now = scene.segment(1, ACK)?;
    assert_eq!(scene.segment(1, ACK)?, now);
    assert_eq!(scene.note(&connection(1)), Some((now, WrittenState::Confirmed)));
    assert_ne!(home, NO_BACKEND);
    Ok(())
}

/// Client ports whose connections share a bucket.
fn neighbours(scene: &Scene, count: usize) -> Vec<u16> {
    let bucket = |port| hash(&connection(port)) & (1024 / WAYS as u64 - 1);
    let ports = (1..u16::MAX).filter(|&port| bucket(port) == bucket(1));
    let ports: Vec<u16> = ports.take(count).collect();
    assert_eq!(ports.len(), count);
    assert_eq!(scene.rig.written().count(), 0);
    ports
}

/// A scene of small room, in which a bucket is full of established connections.
struct Crowd {
    scene: Scene,
    /// Their ports and backends.
    established: Vec<(u16, u32)>,
    /// Ports of two more.
    others: [u16; 2],
}

fn crowded() -> Result<Crowd> {
    let mut scene = round_robin(1024)?;
    let ports = neighbours(&scene, WAYS + 2);
    let mut established = Vec::new();
    for &port in &ports[..WAYS] {
        established.push((port, scene.segment(port, SYN)?));
        scene.segment(port, ACK)?;
        assert_eq!(state(&scene, port), Some(WrittenState::Confirmed));
    }
    Ok(Crowd {
        scene,
        established,
        others: [ports[WAYS], ports[WAYS + 1]],
    })
}

#[test]
fn where_all_are_established_a_new_flow_goes_home() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let Crowd {
        mut scene,
        established,
        others,
    } = crowded()?;
    for port in others {
        let home = owner_of(&scene, &connection(port))?;
        for _ in 0..6 {
            assert_eq!(scene.segment(port, SYN)?, home, "whoever the round has come to");
        }
        assert_eq!(scene.note(&connection(port)), None);
    }
    assert_eq!(scene.rig.written_count(WrittenCount::Refused)?, 12);
    for (port, id) in established {
        assert_eq!(scene.segment(port, ACK)?, id);
    }
    Ok(())
}

#[test]
fn a_packet_of_an_old_flow_pushes_out_no_established_one() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let Crowd {
        mut scene,
        established,
        others: [other, _],
    } = crowded()?;
    for (age, (port, _)) in (1..).zip(&established) {
        scene
            .rig
            .age(hash(&connection(*port)), if age == 5 { 100 } else { age });
    }
    let loads = |scene: &Scene| (1..=3).map(|id| scene.rig.load(id)).sum::<u64>();
    assert_eq!(loads(&scene), 8);
    // In its slot the owner has changed: it is the one before's.
    let key = connection(other);
    let passed = Slot::settled(3, SlotBits::MIN).passed_to(1, false).aged();
    scene.slots(&key, passed, Slot::settled(2, SlotBits::MIN))?;
    // Anybody can send one: it goes home, and takes nobody's place.
    assert_eq!(scene.segment(other, ACK)?, 3);
    assert_eq!(scene.note(&key), None);
    for (port, _) in &established {
        assert_eq!(state(&scene, *port), Some(WrittenState::Confirmed));
    }
    assert_eq!(scene.rig.written_count(WrittenCount::Refused)?, 1);
    assert_eq!(loads(&scene), 8);
    Ok(())
}

#[test]
fn what_is_over_makes_room_before_what_has_just_begun() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = round_robin(1024)?;
    let ports = neighbours(&scene, WAYS + 3);
    for &port in &ports[..WAYS] {
        scene.segment(port, SYN)?;
    }
    // The third is over, the fifth closes, the others have begun; then the next ones come.
    scene.rig.age(hash(&connection(ports[2])), LONG);
    scene.segment(ports[4], FIN | ACK)?;
    for &port in &ports[WAYS..] {
        scene.segment(port, SYN)?;
        scene.segment(port, ACK)?;
    }
    assert_eq!(state(&scene, ports[2]), None);
    assert_eq!(
        state(&scene, ports[4]),
        Some(WrittenState::Closing),
        "dearer than a SYN"
    );
    let [inserted, displaced, refused] = [
        WrittenCount::Inserted,
        WrittenCount::Displaced,
        WrittenCount::Refused,
    ]
    .map(|what| scene.rig.written_count(what));
    assert_eq!((inserted?, displaced?, refused?), (11, 2, 0));
    Ok(())
}
