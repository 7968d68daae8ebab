//! Algorithms that go by a part of the five-tuple, and replicas.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Result;
use lb_common::{backend::BackendState, service::Picker};
use xlb_tests::preflight;

use super::{CLIENT, NETWORK, Scene, TCP_PORT, TRACKED, UDP_PORT, VIP, VIP_V6};
use crate::wire::{ACK, SYN, tcp, udp};

const FIRST_PORT: u16 = 7000;
const REPLICAS: u8 = 3;

fn scene(picker: Picker) -> Result<Scene> {
    let mut scene = Scene::new(5)?;
    scene.go_by(picker)?;
    Ok(scene)
}

/// An address of the network.
fn inside(index: u32) -> IpAddr {
    Ipv4Addr::from_bits(NETWORK.to_bits() + index).into()
}

/// Who gets new flows of each of a hundred rows.
fn rows(scene: &mut Scene, row: impl Fn(u16, u16) -> (SocketAddr, SocketAddr)) -> Result<()> {
    let mut all = BTreeSet::new();
    for index in 0..100 {
        let mut of_row = BTreeSet::new();
        for column in 0..8 {
            let (from, to) = row(index, column);
            of_row.insert(scene.serve(&tcp(from, to, SYN))?);
            of_row.insert(scene.serve(&tcp(from, to, ACK))?);
        }
        assert_eq!(of_row.len(), 1, "row {index}: {of_row:?}");
        all.extend(of_row);
    }
    assert_eq!(all.len(), 5, "of all backends: {all:?}");
    assert_eq!(scene.rig.written().count(), 0);
    Ok(())
}

#[test]
fn one_destination_has_one_backend() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    rows(&mut scene(Picker::Dest)?, |address, other| {
        let from = (CLIENT, 4000 + other);
        (from.into(), (inside(u32::from(address)), 80 + other).into())
    })
}

#[test]
fn one_port_has_one_backend() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    rows(&mut scene(Picker::DestPort)?, |port, other| {
        let from = (CLIENT, 4000 + other);
        (from.into(), (inside(u32::from(other)), 80 + port).into())
    })
}

#[test]
fn one_source_has_one_backend_whatever_it_asks_for() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    rows(&mut scene(Picker::Source)?, |source, other| {
        let from = Ipv4Addr::from_bits(0x0a40_0000 + u32::from(source));
        (
            (from, 4000 + other).into(),
            (inside(u32::from(other)), 80 + other).into(),
        )
    })
}

#[test]
fn sources_under_a_prefix_are_one() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut by_prefix = scene(Picker::Source)?;
    by_prefix.tune(|entry| (entry.source_v4, entry.source_v6) = (24, 56))?;
    rows(&mut by_prefix, |network, host| {
        let from = Ipv4Addr::from_bits(0x0a40_0000 + (u32::from(network) << 8) + 31 * u32::from(host));
        ((from, 4000 + host).into(), (VIP, TCP_PORT).into())
    })?;
    rows(&mut by_prefix, |network, host| {
        let from = Ipv6Addr::new(0x2001, 0xdb8, 0xc, network << 8 | host, host, 0, 0, 1);
        ((from, 4000 + host).into(), (VIP_V6, TCP_PORT).into())
    })?;
    // Their datagrams as their connections.
    let from = (Ipv4Addr::new(10, 64, 9, 9), 1);
    let id = by_prefix.serve(&tcp(from, (VIP, TCP_PORT), SYN))?;
    let from = (Ipv4Addr::new(10, 64, 9, 200), 2);
    assert_eq!(by_prefix.serve(&udp(from, (VIP, UDP_PORT), b"?"))?, id);
    Ok(())
}

fn replicated() -> Result<Scene> {
    let mut scene = scene(Picker::Dest)?;
    scene.tune(|entry| {
        (entry.replicas, entry.first_port) = (REPLICAS, FIRST_PORT.to_be());
        entry.flags |= TRACKED;
    })?;
    Ok(scene)
}

/// The backends of an address' replicas, for a client's port.
fn replicas(scene: &mut Scene, address: u32, port: u16) -> Result<Vec<u32>> {
    let ports = FIRST_PORT..FIRST_PORT + u16::from(REPLICAS);
    ports
        .map(|replica| scene.serve(&tcp((CLIENT, port), (inside(address), replica), SYN)))
        .collect()
}

#[test]
fn the_ports_name_different_replicas_of_an_address() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = replicated()?;
    for address in 0..50 {
        let ids = replicas(&mut scene, address, 4000)?;
        let different: BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), 3, "{ids:?}");
        assert_eq!(replicas(&mut scene, address, 4001)?, ids, "for every client");
        // Later packets find them, too.
        for (replica, id) in (FIRST_PORT..).zip(&ids) {
            let later = tcp((CLIENT, 4000), (inside(address), replica), ACK);
            assert_eq!(scene.serve(&later)?, *id);
        }
    }
    Ok(())
}

#[test]
fn the_port_of_a_replica_that_is_down_goes_on_to_the_next() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = replicated()?;
    for address in 0..20 {
        let before = replicas(&mut scene, address, 4000)?;
        scene.rig.set(before[0], BackendState::Down);
        let after = replicas(&mut scene, address, 5000)?;
        assert_eq!(after, [before[1], before[1], before[2]], "the others stay");
        scene.rig.set(before[0], BackendState::Up);
        scene.rig.set(before[1], BackendState::Down);
        let after = replicas(&mut scene, address, 6000)?;
        assert_eq!(after, [before[0], before[2], before[2]]);
        scene.rig.set(before[1], BackendState::Up);
        assert_eq!(replicas(&mut scene, address, 7000)?, before);
    }
    Ok(())
}
