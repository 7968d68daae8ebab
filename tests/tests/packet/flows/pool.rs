//! What changes of the pool do to flows.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use lb_common::{
    backend::{BackendLimits, BackendState, BackendWord},
    outcome::Outcome,
    service::service_flags,
};
use xlb::datapath::Datapath as _;
use xlb_tests::preflight;

use crate::{
    flows::{BACKEND_PORT, CLIENT, DNS, OTHER_WEB, Pool, TCP_PORT, UDP_PORT, VIP, WEB, id, port_for, server},
    wire::{ACK, FIN, SYN, tcp, udp},
    world::{Change, WEIGHT},
};

#[test]
fn a_changed_table_moves_no_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let before: Vec<u8> = (4000..4100)
        .map(|port| pool.establish(port))
        .collect::<Result<_>>()?;
    for numbers in [&[1, 2][..], &[3], &[2, 3], &[1, 2, 3]] {
        pool.share(WEB, numbers)?;
        for (port, &number) in (4000..).zip(&before) {
            assert_eq!(pool.send(port, ACK)?, number);
        }
    }
    pool.share(WEB, &[2])?;
    assert_eq!(pool.send(5000, SYN)?, 2);
    Ok(())
}

#[test]
fn a_down_backends_flows_pick_again_at_once_and_stay_there() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let port = port_for(2);
    assert_eq!(pool.establish(port)?, 2);
    pool.set(WEB, 2, BackendState::Down);
    let refuge = pool.send(port, ACK)?;
    assert_ne!(refuge, 2);
    // The old backend's late packets are nobody's now; they must not reach the client as the new one's.
    assert_eq!(pool.reply(2, port, ACK)?, Outcome::NotOurs);
    assert_eq!(pool.reply(refuge, port, ACK)?, Outcome::Returned);
    pool.set(WEB, 2, BackendState::Up);
    assert_eq!(pool.send(port, ACK)?, refuge);
    Ok(())
}

#[test]
fn with_one_of_three_up_every_new_flow_goes_there() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.set(WEB, 1, BackendState::Down);
    pool.set(WEB, 3, BackendState::Drain);
    for port in 4000..4200 {
        assert_eq!(pool.send(port, SYN)?, 2);
    }
    pool.set(WEB, 2, BackendState::Down);
    pool.ensure_dropped(&tcp((CLIENT, 9000), (VIP, TCP_PORT), SYN), Outcome::NoBackend)
}

#[test]
fn a_draining_backend_keeps_its_flows_and_gets_no_new_ones() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let port = port_for(1);
    assert_eq!(pool.establish(port)?, 1);
    pool.set(WEB, 1, BackendState::Drain);
    assert_eq!(pool.send(port, ACK)?, 1);
    assert_eq!(pool.reply(1, port, ACK)?, Outcome::Returned);
    for port in 30_000..30_100 {
        assert_ne!(pool.send(port, SYN)?, 1);
    }
    // The old connection ends; the next one of the same client port goes elsewhere.
    pool.send(port, FIN | ACK)?;
    assert_eq!(pool.send(port, ACK)?, 1);
    assert_ne!(pool.send(port, SYN)?, 1);
    Ok(())
}

#[test]
fn late_packets_of_an_ids_owner_before_are_not_the_new_ones() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let port = port_for(3);
    assert_eq!(pool.establish(port)?, 3);
    // The id goes to a server at another address, and the flow with it.
    let moved = SocketAddr::new(server(2), BACKEND_PORT);
    pool.rig.put_backend(id(WEB, 3), moved)?;
    pool.rig
        .set_word(id(WEB, 3), BackendWord::new(BackendState::Up, 1, 2));
    pool.share(WEB, &[3])?;
    assert_eq!(pool.send(port, ACK)?, 2);
    assert_eq!(pool.reply(2, port, ACK)?, Outcome::Returned);
    let late = tcp((server(3), BACKEND_PORT), (CLIENT, port), ACK);
    pool.ensure_dropped(&late, Outcome::StaleReply)?;
    // The first of two fragments says whose the second one is, stale as it is.
    let (head, tail) = late.cut(32);
    pool.ensure_dropped(&head, Outcome::StaleReply)?;
    pool.ensure_dropped(&tail, Outcome::StaleReply)
}

#[test]
fn an_id_that_was_given_to_another_backend_keeps_no_old_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let port = port_for(3);
    assert_eq!(pool.establish(port)?, 3);
    pool.share(WEB, &[1, 2])?;
    pool.rig
        .set_word(id(WEB, 3), BackendWord::new(BackendState::Up, 1, 2));
    assert_ne!(pool.send(port, ACK)?, 3);
    Ok(())
}

#[test]
fn connections_stay_when_their_vip_moves_to_another_service_and_datagrams_go_along() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    pool.share(OTHER_WEB, &[2])?;
    assert_eq!(pool.establish(4000)?, 1);
    pool.rig.move_listener(WEB, OTHER_WEB)?;
    assert_eq!(pool.send(4000, ACK)?, 1);
    assert_eq!(pool.send(4001, SYN)?, 2);
    pool.share(DNS, &[1])?;
    let query = udp((CLIENT, 4000), (VIP, UDP_PORT), b"?");
    assert_eq!(pool.serve(&query)?, 1);
    pool.rig.move_listener(DNS, OTHER_WEB)?;
    assert_eq!(pool.serve(&query)?, 2);
    Ok(())
}

#[test]
fn services_of_one_address_do_not_mix() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    pool.share(DNS, &[2])?;
    assert_eq!(pool.send(4000, SYN)?, 1);
    assert_eq!(pool.serve(&udp((CLIENT, 4000), (VIP, UDP_PORT), b"?"))?, 2);
    // A UDP packet on the TCP flow's reply path is no reply.
    let stray = udp((server(1), BACKEND_PORT), (CLIENT, 4000), b"?");
    assert_eq!(pool.rig.run(&stray.bytes())?.outcome, Outcome::NotOurs);
    Ok(())
}

#[test]
fn counters_tell_who_got_what() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[2])?;
    pool.establish(4000)?;
    let bytes = tcp((CLIENT, 4000), (VIP, TCP_PORT), ACK).bytes().len() as u64;
    let datapath = &pool.rig.datapath;
    for traffic in [
        datapath.service_traffic(WEB)?,
        datapath.backend_traffic(id(WEB, 2))?,
    ] {
        assert_eq!((traffic.packets_in, traffic.bytes_in), (2, 2 * bytes));
        assert_eq!((traffic.packets_out, traffic.bytes_out), (1, bytes));
        assert_eq!((traffic.flows_opened, traffic.packets_dropped), (1, 0));
    }
    pool.set(WEB, 2, BackendState::Down);
    let other = (Ipv4Addr::new(198, 51, 100, 8), 4000);
    pool.rig.run(&tcp(other, (VIP, TCP_PORT), SYN).bytes())?;
    assert_eq!(pool.rig.datapath.service_traffic(WEB)?.packets_dropped, 1);
    assert_eq!(pool.rig.datapath.backend_traffic(id(WEB, 1))?.packets_in, 0);
    Ok(())
}

#[test]
fn a_draining_backend_gets_no_first_datagram() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let query = |port| udp((CLIENT, port), (VIP, UDP_PORT), b"?");
    pool.share(DNS, &[1])?;
    assert_eq!(pool.serve(&query(4000))?, 1);
    pool.share(DNS, &[1, 2, 3])?;
    pool.set(DNS, 1, BackendState::Drain);
    assert_eq!(pool.serve(&query(4000))?, 1, "the old flow stays");
    for port in 5000..5100 {
        assert_ne!(pool.serve(&query(port))?, 1);
    }
    Ok(())
}

/// As after an eviction, or where another balancer has had them.
#[test]
fn connections_that_nobody_remembers_are_looked_for_at_home() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    for service in [WEB, DNS] {
        pool.share(service, &[1])?;
        pool.rig.change(service, Change::PassTo(id(service, 2)))?;
    }
    assert_eq!(pool.send(4000, ACK)?, 1);
    assert_eq!(pool.reply(1, 4000, ACK)?, Outcome::Returned);
    assert_eq!(pool.send(4001, SYN)?, 2);
    assert_eq!(pool.serve(&udp((CLIENT, 4000), (VIP, UDP_PORT), b"?"))?, 2);
    pool.rig.change(WEB, Change::Part)?;
    assert_eq!(pool.send(4000, ACK)?, 1, "it is remembered now");
    assert_eq!(pool.send(4002, ACK)?, 2);
    assert_eq!(pool.rig.written().count(), 0, "what is translated is in FLOWS");
    Ok(())
}

#[test]
fn a_full_backend_gets_no_new_translated_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let mut entry = pool.rig.entry(WEB);
    entry.flags |= service_flags::TRACKED | service_flags::UNSETTLED;
    pool.rig.put_entry(&entry)?;
    for number in 1..=3 {
        let limits = BackendLimits::new(u32::from(number), WEIGHT);
        pool.rig.datapath.set_limits(id(WEB, number), limits);
    }
    let mut counts = [0; 3];
    for port in 4000..4006 {
        counts[usize::from(pool.establish(port)? - 1)] += 1;
    }
    assert_eq!(counts, [1, 2, 3]);
    let syn = tcp((CLIENT, 5000), (VIP, TCP_PORT), SYN);
    assert_eq!(pool.rig.run(&syn.bytes())?.outcome, Outcome::FullReset);
    let freed = pool.send(4000, FIN | ACK)?;
    assert_eq!(pool.serve(&syn)?, freed);
    Ok(())
}
