//! `first` and `failover`, and what becomes of new flows when all are full.

use anyhow::Result;
use lb_common::{
    backend::BackendState,
    outcome::Outcome,
    service::{OnFull, Picker},
};
use xlb_tests::preflight;

use super::{Scene, connection, datagram, segment};
use crate::wire::{ACK, Body, FIN, RST, SYN, read};

/// Three backends, who stand in the order 2, 1, 3.
fn scene(picker: Picker) -> Result<Scene> {
    let mut scene = Scene::new(3)?;
    scene.order(&[2, 1, 3])?;
    scene.go_by(picker)?;
    Ok(scene)
}

/// Two flows for each.
fn full(on_full: OnFull) -> Result<Scene> {
    let mut scene = scene(Picker::First)?;
    scene.tune(|entry| entry.on_full = on_full.wire())?;
    for id in 1..=3 {
        scene.limit(id, 2);
    }
    for (port, id) in (1..).zip([2, 2, 1, 1, 3, 3]) {
        assert_eq!(scene.segment(port, SYN)?, id, "flow {port}");
        scene.segment(port, ACK)?;
    }
    Ok(scene)
}

#[test]
fn first_fills_one_after_the_other_and_again_what_has_become_free() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = full(OnFull::Reject)?;
    // The third flow was with backend 1, the first with backend 2.
    for (closing, id) in [(3, 1), (1, 2)] {
        scene.segment(closing, FIN | ACK)?;
        let port = 100 + closing;
        assert_eq!(scene.segment(port, SYN)?, id);
        scene.refuse(&segment(200, SYN), Outcome::FullReset)?;
    }
    for port in [2, 4, 5, 6] {
        scene.segment(port, ACK)?;
    }
    Ok(())
}

#[test]
fn first_passes_over_the_one_that_is_down() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = scene(Picker::First)?;
    assert_eq!(scene.segment(1, SYN)?, 2);
    for (state, others) in [(BackendState::Down, 1), (BackendState::Drain, 1)] {
        scene.rig.set(2, state);
        assert_eq!(scene.segment(2 + u16::from(state.wire()), SYN)?, others);
    }
    assert_eq!(scene.segment(1, ACK)?, 2, "a draining backend keeps its flows");
    scene.rig.set(2, BackendState::Up);
    assert_eq!(scene.segment(9, SYN)?, 2);
    Ok(())
}

#[test]
fn failover_goes_by_the_order_alone() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = scene(Picker::Failover)?;
    // No limit has a backend passed over.
    scene.limit(2, 1);
    for port in 1..20 {
        assert_eq!(scene.segment(port, SYN)?, 2);
    }
    scene.rig.set(2, BackendState::Down);
    assert_eq!(scene.segment(20, SYN)?, 1);
    assert_eq!(scene.segment(1, ACK)?, 1, "a flow of the one that is down");
    scene.rig.set(1, BackendState::Down);
    assert_eq!(scene.segment(21, SYN)?, 3);
    scene.rig.set(3, BackendState::Drain);
    scene.refuse(&segment(22, SYN), Outcome::NoBackend)?;
    scene.rig.set(2, BackendState::Up);
    assert_eq!(scene.segment(23, SYN)?, 2);
    assert_eq!(scene.segment(21, ACK)?, 3, "recovery takes no flow away");
    Ok(())
}

#[test]
fn a_new_flow_beyond_all_limits_is_refused_as_by_a_host_without_a_listener() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = full(OnFull::Reject)?;
    let sent = segment(9, SYN);
    let got = read::frame(&scene.refuse(&sent, Outcome::FullReset)?).map_err(anyhow::Error::msg)?;
    assert_eq!(
        (got.source(), got.destination()),
        (sent.destination(), sent.source())
    );
    let Body::Tcp {
        flags, acknowledged, ..
    } = got.ip.body
    else {
        panic!("no TCP")
    };
    // The SYN and its payload of 19 bytes.
    assert_eq!((flags, acknowledged), (RST | ACK, 0x1000_0000 + 20));
    let sent = datagram(9);
    let got = read::frame(&scene.refuse(&sent, Outcome::FullReset)?).map_err(anyhow::Error::msg)?;
    assert_eq!((got.ip.from, got.ip.to), (sent.ip.to, sent.ip.from));
    assert!(matches!(got.ip.body, Body::Error { .. }), "no port unreachable");
    assert_eq!(scene.note(&connection(9)), None);
    Ok(())
}

#[test]
fn or_dropped() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = full(OnFull::Drop)?;
    for sent in [segment(9, SYN), datagram(9)] {
        assert_eq!(scene.refuse(&sent, Outcome::Full)?, sent.bytes());
    }
    Ok(())
}

#[test]
fn or_spills() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = full(OnFull::Spill)?;
    for port in 10..30 {
        let id = scene.segment(port, SYN)?;
        assert_eq!(scene.segment(port, ACK)?, id);
    }
    // All are down but one: that one, and where all are, nobody.
    for id in [1, 3] {
        scene.rig.set(id, BackendState::Down);
    }
    assert_eq!(scene.segment(40, SYN)?, 2);
    scene.rig.set(2, BackendState::Down);
    scene.refuse(&segment(41, SYN), Outcome::NoBackend)?;
    Ok(())
}

/// A limit is kept by every algorithm.
#[test]
fn a_full_backend_gets_no_new_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for &picker in Picker::ALL.iter().filter(|picker| **picker != Picker::Failover) {
        let mut scene = scene(picker)?;
        scene.tune(|entry| entry.flags |= super::TRACKED)?;
        scene.limit(2, 3);
        let served = (1..100).map(|port| scene.segment(port, SYN));
        let served: Vec<u32> = served.collect::<Result<_>>()?;
        let fulls = served.iter().filter(|&&id| id == 2).count();
        assert!(fulls <= 3, "{picker:?}: {fulls}");
        // `dest` and `dest-port` want the same backend for all of these.
        let others = served.iter().any(|&id| id != 2);
        assert!(others, "{picker:?}");
        assert_eq!(scene.rig.load(2), u64::try_from(fulls)?, "{picker:?}");
    }
    Ok(())
}
