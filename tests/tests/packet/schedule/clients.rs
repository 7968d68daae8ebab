//! Affinity, and datagrams that are each balanced for themselves.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Result;
use lb_common::{
    backend::BackendState,
    flow::FlowKey,
    service::{Picker, service_flags},
    written::{WrittenState, client_hash},
};
use xlb_tests::preflight;

use super::{SERVICE, Scene, TCP_PORT, UDP_PORT, VIP, VIP_V6, datagram};
use crate::{
    rig::HASH_KEY,
    wire::{ACK, Frame, SYN, tcp, udp},
};

/// Seconds; as steps of an entry's age they are 28.
const TIMEOUT: u32 = 60;

fn faithful(picker: Picker) -> Result<Scene> {
    let mut scene = Scene::new(5)?;
    scene.go_by(picker)?;
    scene.tune(|entry| {
        (entry.affinity, entry.affinity_v4, entry.affinity_v6) = (TIMEOUT, 24, 56);
        entry.flags |= service_flags::UNSETTLED;
    })?;
    Ok(scene)
}

/// Somebody in a network of clients.
fn client(network: u16, host: u8) -> IpAddr {
    let [high, low] = network.to_be_bytes();
    Ipv4Addr::new(10, 64 + high, low, host).into()
}

fn syn(from: IpAddr, port: u16) -> Frame {
    let vip = if from.is_ipv4() { VIP } else { VIP_V6 };
    tcp((from, port), (vip, TCP_PORT), SYN)
}

/// The hash that a network of clients is written down by.
fn of_client(from: IpAddr) -> u64 {
    let key = FlowKey {
        source: from.into(),
        ..FlowKey::default()
    };
    client_hash(key.source_only(24, 56).hash(HASH_KEY), SERVICE)
}

#[test]
fn all_flows_of_a_client_go_to_one_backend() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for picker in [Picker::Maglev, Picker::RoundRobin, Picker::LeastConn] {
        let mut scene = faithful(picker)?;
        let mut all = BTreeSet::new();
        for network in 0..30 {
            let first = scene.serve(&syn(client(network, 1), 4000))?;
            for host in 2..12 {
                let from = client(network, host);
                assert_eq!(
                    scene.serve(&syn(from, 5000 + u16::from(host)))?,
                    first,
                    "{picker:?}"
                );
                let later = tcp((from, 5000 + u16::from(host)), (VIP, TCP_PORT), ACK);
                assert_eq!(scene.serve(&later)?, first, "{picker:?}");
                let datagram = udp((from, 9), (VIP, UDP_PORT), b"?");
                assert_eq!(scene.serve(&datagram)?, first, "{picker:?}");
            }
            all.insert(first);
        }
        assert_eq!(all.len(), 5, "{picker:?}");
        let v6 = |host| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0x1100 | host, host, 0, 0, 1));
        let first = scene.serve(&syn(v6(0), 4000))?;
        for host in 1..20 {
            assert_eq!(scene.serve(&syn(v6(host), 4000))?, first, "{picker:?}");
        }
    }
    Ok(())
}

#[test]
fn it_ends_some_time_after_the_last_new_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = faithful(Picker::RoundRobin)?;
    let from = client(7, 1);
    let first = scene.serve(&syn(from, 1))?;
    for port in 2..6 {
        // Each new flow begins the time anew.
        scene.rig.age(of_client(from), 20);
        assert_eq!(scene.serve(&syn(from, port))?, first);
    }
    // Packets of old flows do not.
    scene.rig.age(of_client(from), 31);
    assert_eq!(scene.serve(&tcp((from, 1), (VIP, TCP_PORT), ACK))?, first);
    let next = scene.serve(&syn(from, 6))?;
    assert_ne!(next, first, "the next of the round");
    assert_eq!(scene.serve(&syn(from, 7))?, next);
    assert_eq!(scene.serve(&tcp((from, 1), (VIP, TCP_PORT), ACK))?, first);
    Ok(())
}

#[test]
fn a_backend_that_takes_no_new_flows_is_left() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for state in [BackendState::Drain, BackendState::Down] {
        let mut scene = faithful(Picker::Maglev)?;
        let from = client(7, 1);
        let first = scene.serve(&syn(from, 1))?;
        scene.serve(&tcp((from, 1), (VIP, TCP_PORT), ACK))?;
        scene.rig.set(first, state);
        let second = scene.serve(&syn(from, 2))?;
        assert_ne!(second, first);
        scene.rig.set(first, BackendState::Up);
        for port in 3..20 {
            assert_eq!(scene.serve(&syn(from, port))?, second, "of the last one");
        }
    }
    let mut scene = faithful(Picker::Maglev)?;
    scene.tune(|entry| entry.flags |= super::TRACKED)?;
    let from = client(7, 1);
    let first = scene.serve(&syn(from, 1))?;
    scene.limit(first, 1);
    assert_ne!(scene.serve(&syn(from, 2))?, first, "it is full");
    Ok(())
}

#[test]
fn a_client_takes_no_room_of_an_established_flow_and_counts_as_none() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = faithful(Picker::Maglev)?;
    let from = client(7, 1);
    let id = scene.serve(&syn(from, 1))?;
    let entry = scene.rig.written_for(of_client(from));
    assert_eq!(
        entry.map(|entry| (entry.backend(), entry.state())),
        Some((id, WrittenState::Client))
    );
    assert_eq!(
        scene.rig.service_load(SERVICE),
        0,
        "nothing but the client is written down"
    );
    Ok(())
}

#[test]
fn each_datagram_is_balanced_for_itself() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut scene = Scene::new(3)?;
    scene.go_by(Picker::RoundRobin)?;
    scene.tune(|entry| entry.flags = service_flags::ONE_PACKET | service_flags::UNSETTLED)?;
    let served: BTreeSet<u32> = (0..20).map(|_| scene.datagram(1)).collect::<Result<_>>()?;
    assert_eq!(served.len(), 3, "one five-tuple goes round");
    // None goes to a backend that drains, whatever it has had.
    scene.rig.set(2, BackendState::Drain);
    for _ in 0..20 {
        assert_ne!(scene.datagram(1)?, 2);
    }
    assert_eq!(scene.rig.written().count(), 0);
    assert_eq!(scene.rig.service_load(SERVICE), 0);
    scene.go_by(Picker::Maglev)?;
    scene.tune(|entry| entry.flags = service_flags::ONE_PACKET)?;
    scene.rig.set(2, BackendState::Up);
    let sent = datagram(1);
    let home = scene.serve(&sent)?;
    for _ in 0..5 {
        assert_eq!(scene.serve(&sent)?, home, "by its hash");
    }
    assert_eq!(sent.source(), SocketAddr::new(super::CLIENT, 1));
    Ok(())
}
