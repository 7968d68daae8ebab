//! Rates of new flows, of a service and of each of its sources.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use lb_common::{
    outcome::Outcome,
    service::{Picker, service_flags},
};
use xlb_tests::preflight;

use super::{CLIENT, Scene, TCP_PORT, TRACKED, UDP_PORT, VIP};
use crate::wire::{ACK, Frame, RST, SYN, tcp, udp};

/// So slow that none is added while a test runs.
const SLOW: u32 = 1;
const BURST: u32 = 100;

fn scene(flows: (u32, u32), of_source: (u32, u32)) -> Result<Scene> {
    let mut scene = Scene::new(3)?;
    scene.tune(|entry| {
        (entry.flow_rate, entry.flow_burst) = flows;
        (entry.source_rate, entry.source_burst) = of_source;
        (entry.rate_v4, entry.rate_v6) = (24, 56);
        entry.flags |= service_flags::RATED;
    })?;
    Ok(scene)
}

fn from(ip: impl Into<IpAddr>, port: u16, flags: u8) -> Frame {
    tcp((ip.into(), port), (VIP, TCP_PORT), flags)
}

/// How many of these are served, and that the rest has this outcome.
fn served(scene: &mut Scene, frames: impl Iterator<Item = Frame>, else_outcome: Outcome) -> Result<u32> {
    let mut served = 0;
    for frame in frames {
        let got = scene.rig.run(&frame.bytes())?;
        if got.outcome == Outcome::Forwarded {
            served += 1;
        } else {
            assert_eq!((got.outcome, got.frame), (else_outcome, frame.bytes()));
        }
    }
    Ok(served)
}

/// Whether so many are a burst, and what a few seconds have added.
fn is_burst(served: u32) -> bool {
    (BURST..BURST + 20).contains(&served)
}

#[test]
fn new_flows_beyond_the_services_rate_are_counted_and_old_ones_go_on() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = scene((SLOW, BURST), (0, 0))?;
    let syns = (1..1000).map(|port| from(CLIENT, port, SYN));
    let got = served(&mut scene, syns, Outcome::FlowLimited)?;
    assert!(is_burst(got), "{got}");
    // Nothing but SYNs begins a connection.
    for flags in [ACK, RST] {
        let later = (1..1000).map(|port| from(CLIENT, port, flags));
        assert_eq!(served(&mut scene, later, Outcome::FlowLimited)?, 999);
    }
    Ok(())
}

#[test]
fn a_sources_rate_is_its_own() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = scene((0, 0), (SLOW, BURST))?;
    for network in 0..5 {
        // All hosts of a network share one.
        let host = |port: u16| Ipv4Addr::new(10, 64, network, port.to_be_bytes()[1]);
        let syns = (1..1000).map(|port| from(host(port), port, SYN));
        let got = served(&mut scene, syns, Outcome::SourceLimited)?;
        assert!(is_burst(got), "network {network}: {got}");
    }
    Ok(())
}

#[test]
fn what_a_source_may_not_have_takes_nothing_from_the_others() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = scene((SLOW, 2 * BURST), (SLOW, BURST))?;
    let greedy = (1..1000).map(|port| from(CLIENT, port, SYN));
    let got = served(&mut scene, greedy, Outcome::SourceLimited)?;
    assert!(is_burst(got), "{got}");
    let others = (0..100).map(|network| from(Ipv4Addr::new(10, 64, network, 1), 1, SYN));
    let got = served(&mut scene, others, Outcome::FlowLimited)?;
    assert!(got > 80, "{got} of the hundred that are left");
    Ok(())
}

#[test]
fn tracked_datagrams_are_counted_by_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = scene((SLOW, BURST), (0, 0))?;
    scene.tune(|entry| {
        entry.flags |= TRACKED;
        (entry.picker, entry.home) = (Picker::Maglev.wire(), Picker::Maglev.wire());
    })?;
    let datagram = |port| udp((CLIENT, port), (VIP, UDP_PORT), b"?");
    let again = |_| (1..=50).map(datagram);
    let got = served(&mut scene, (0..20).flat_map(again), Outcome::FlowLimited)?;
    assert_eq!(got, 1000, "fifty flows of twenty datagrams");
    let got = served(&mut scene, (1..1000).map(datagram), Outcome::FlowLimited)?;
    assert!(is_burst(got), "{got}: the fifty and fifty more");
    Ok(())
}
