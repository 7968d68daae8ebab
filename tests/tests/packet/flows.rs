//! What is remembered: flows stay where they are, whatever the pool does, unless their backend is gone.

use std::{net::Ipv4Addr, thread::sleep, time::Duration};

use anyhow::Result;
use lb_common::{
    backend::{BackendState, BackendWord},
    conn::{FlowState, Timeouts},
    outcome::Outcome,
};
use xlb_tests::preflight;

use crate::{
    frames::{ACK, FIN, Flags, RST, SYN, SYN_ACK, tcp, udp},
    nat::{CLIENT, DNS, WEB, to_backend},
    rig::{BACK, BACKEND_PORT, DROP, PASS, Rig, TCP, UDP, backend_ip, expected},
};

const SECOND: u64 = 1_000_000_000;

/// A client port whose new flow goes to `backend` while all three share the table.
fn port_for(backend: u8) -> u16 {
    (20_000..)
        .find(|&port| expected(0, &[1, 2, 3], (CLIENT, port)) == backend)
        .unwrap()
}

fn send(rig: &mut Rig, port: u16, flags: Flags) -> Result<u8> {
    to_backend(rig, &tcp((CLIENT, port), WEB, flags))
}

fn reply(rig: &mut Rig, backend: u8, port: u16, flags: Flags) -> Result<Outcome> {
    Ok(rig
        .run(&tcp((backend_ip(backend), BACKEND_PORT), (CLIENT, port), flags))?
        .outcome)
}

fn establish(rig: &mut Rig, port: u16) -> Result<u8> {
    let backend = send(rig, port, SYN)?;
    assert_eq!(reply(rig, backend, port, SYN_ACK)?, Outcome::Returned);
    assert_eq!(send(rig, port, ACK)?, backend);
    Ok(backend)
}

fn state(rig: &Rig, port: u16) -> Option<FlowState> {
    rig.flow((CLIENT, port), WEB, TCP).map(|flow| flow.state())
}

#[test]
fn a_flow_is_followed_through_its_states() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let backend = send(&mut rig, 4000, SYN)?;
    assert_eq!(state(&rig, 4000), Some(FlowState::Syn));
    reply(&mut rig, backend, 4000, SYN_ACK)?;
    assert_eq!(state(&rig, 4000), Some(FlowState::Replied));
    send(&mut rig, 4000, ACK)?;
    assert_eq!(state(&rig, 4000), Some(FlowState::Established));
    send(&mut rig, 4000, FIN)?;
    assert_eq!(state(&rig, 4000), Some(FlowState::ClientFin));
    reply(&mut rig, backend, 4000, FIN)?;
    assert_eq!(state(&rig, 4000), Some(FlowState::Closed));
    Ok(())
}

#[test]
fn a_changed_table_moves_no_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let before: Vec<u8> = (4000..4100)
        .map(|port| establish(&mut rig, port))
        .collect::<Result<_>>()?;
    for numbers in [&[1, 2][..], &[3], &[2, 3], &[1, 2, 3]] {
        rig.share(0, numbers)?;
        for (port, &backend) in (4000..).zip(&before) {
            assert_eq!(send(&mut rig, port, ACK)?, backend);
        }
    }
    rig.share(0, &[2])?;
    assert_eq!(send(&mut rig, 5000, SYN)?, 2);
    Ok(())
}

#[test]
fn a_down_backends_flows_pick_again_at_once_and_stay_there() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let port = port_for(2);
    assert_eq!(establish(&mut rig, port)?, 2);
    rig.set(0, 2, BackendState::Down);
    let refuge = send(&mut rig, port, ACK)?;
    assert_ne!(refuge, 2);
    // The old backend's late packets are nobody's now; they must not reach the client as the new one's.
    assert_eq!(reply(&mut rig, 2, port, ACK)?, Outcome::NotOurs);
    assert_eq!(reply(&mut rig, refuge, port, ACK)?, Outcome::Returned);
    rig.set(0, 2, BackendState::Up);
    assert_eq!(send(&mut rig, port, ACK)?, refuge);
    Ok(())
}

#[test]
fn with_one_of_three_up_every_new_flow_goes_there() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.set(0, 1, BackendState::Down);
    rig.set(0, 3, BackendState::Drain);
    for port in 4000..4200 {
        assert_eq!(send(&mut rig, port, SYN)?, 2);
    }
    rig.set(0, 2, BackendState::Down);
    let got = rig.run(&tcp((CLIENT, 9000), WEB, SYN))?;
    assert_eq!((got.action, got.outcome), (DROP, Outcome::NoBackend));
    Ok(())
}

#[test]
fn a_draining_backend_keeps_its_flows_and_gets_no_new_ones() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let port = port_for(1);
    assert_eq!(establish(&mut rig, port)?, 1);
    rig.set(0, 1, BackendState::Drain);
    assert_eq!(send(&mut rig, port, ACK)?, 1);
    assert_eq!(reply(&mut rig, 1, port, ACK)?, Outcome::Returned);
    for port in 30_000..30_100 {
        assert_ne!(send(&mut rig, port, SYN)?, 1);
    }
    // The old connection ends; the next one of the same client port goes elsewhere.
    send(&mut rig, port, FIN)?;
    assert_eq!(send(&mut rig, port, ACK)?, 1);
    assert_ne!(send(&mut rig, port, SYN)?, 1);
    Ok(())
}

#[test]
fn late_packets_of_an_ids_owner_before_are_not_the_new_ones() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let port = port_for(3);
    assert_eq!(establish(&mut rig, port)?, 3);
    // The id goes to a server at another address, and the flow with it.
    rig.put_backend(0, 3, (backend_ip(2), BACKEND_PORT))?;
    rig.set_word(0, 3, BackendWord::new(BackendState::Up, BACK, 2));
    rig.share(0, &[3])?;
    assert_eq!(send(&mut rig, port, ACK)?, 2);
    assert_eq!(reply(&mut rig, 2, port, ACK)?, Outcome::Returned);
    let late = rig.run(&tcp((backend_ip(3), BACKEND_PORT), (CLIENT, port), ACK))?;
    assert_eq!((late.action, late.outcome), (DROP, Outcome::StaleReply));
    Ok(())
}

#[test]
fn a_reset_that_nobody_heeds_ends_nothing_and_opens_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    send(&mut rig, 4000, RST)?;
    assert_eq!(state(&rig, 4000), None);
    let backend = establish(&mut rig, 5000)?;
    send(&mut rig, 5000, RST)?;
    assert_eq!(state(&rig, 5000), Some(FlowState::Reset));
    reply(&mut rig, backend, 5000, ACK)?;
    send(&mut rig, 5000, ACK)?;
    assert_eq!(state(&rig, 5000), Some(FlowState::Established));
    Ok(())
}

#[test]
fn an_evicted_reply_entry_comes_back_under_a_busy_client() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let backend = establish(&mut rig, 4000)?;
    rig.evict_reply(backend, (CLIENT, 4000))?;
    assert_eq!(reply(&mut rig, backend, 4000, ACK)?, Outcome::NotOurs);
    for _ in 0..12 {
        sleep(Duration::from_millis(20));
        send(&mut rig, 4000, ACK)?;
    }
    assert_eq!(reply(&mut rig, backend, 4000, ACK)?, Outcome::Returned);
    Ok(())
}

#[test]
fn connections_stay_when_their_vip_moves_to_another_service_and_datagrams_go_along() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.share(0, &[1])?;
    rig.share(2, &[2])?;
    assert_eq!(establish(&mut rig, 4000)?, 1);
    rig.move_vip((WEB.0, WEB.1, TCP), 2)?;
    assert_eq!(send(&mut rig, 4000, ACK)?, 1);
    assert_eq!(send(&mut rig, 4001, SYN)?, 2);
    rig.share(1, &[1])?;
    let query = udp((CLIENT, 4000), DNS, b"?");
    assert_eq!(to_backend(&mut rig, &query)?, 1);
    rig.move_vip((DNS.0, DNS.1, UDP), 2)?;
    assert_eq!(to_backend(&mut rig, &query)?, 2);
    Ok(())
}

#[test]
fn an_id_that_was_given_to_another_backend_keeps_no_old_flow() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let port = port_for(3);
    assert_eq!(establish(&mut rig, port)?, 3);
    rig.share(0, &[1, 2])?;
    rig.set_word(0, 3, BackendWord::new(BackendState::Up, BACK, 2));
    assert_ne!(send(&mut rig, port, ACK)?, 3);
    Ok(())
}

#[test]
fn a_syn_starts_anew_only_when_the_old_connection_is_over() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let port = port_for(1);
    assert_eq!(establish(&mut rig, port)?, 1);
    rig.share(0, &[2])?;
    // Possibly forged: the backend that has the connection is the one to answer.
    assert_eq!(send(&mut rig, port, SYN)?, 1);
    reply(&mut rig, 1, port, RST)?;
    assert_eq!(send(&mut rig, port, SYN)?, 2);
    // A repeated SYN is the same connection.
    rig.share(0, &[3])?;
    assert_eq!(send(&mut rig, port, SYN)?, 2);
    Ok(())
}

#[test]
fn silence_ends_a_flow_by_its_state() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let blink = SECOND / 20;
    let mut rig = Rig::with_timeouts(Timeouts {
        syn: blink,
        established: 3600 * SECOND,
        fin: blink,
        closed: blink,
        udp: blink,
    })?;
    let (half_open, open) = (port_for(1), port_for(1) + 1);
    send(&mut rig, half_open, SYN)?;
    let kept = establish(&mut rig, open)?;
    let query = |port| udp((CLIENT, port), DNS, b"?");
    to_backend(&mut rig, &query(5000))?;
    rig.share(0, &[2])?;
    rig.share(1, &[3])?;
    rig.set(0, 3, BackendState::Down);
    sleep(Duration::from_millis(150));
    assert_eq!(send(&mut rig, half_open, SYN)?, 2);
    assert_eq!(send(&mut rig, open, ACK)?, if kept == 3 { 2 } else { kept });
    assert_eq!(to_backend(&mut rig, &query(5000))?, 3);
    Ok(())
}

#[test]
fn services_of_one_address_do_not_mix() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.share(0, &[1])?;
    rig.share(1, &[2])?;
    assert_eq!(send(&mut rig, 4000, SYN)?, 1);
    assert_eq!(to_backend(&mut rig, &udp((CLIENT, 4000), DNS, b"?"))?, 2);
    // A UDP packet on the TCP flow's reply path is no reply.
    let stray = udp((backend_ip(1), BACKEND_PORT), (CLIENT, 4000), b"?");
    assert_eq!(rig.run(&stray)?.action, PASS);
    Ok(())
}

#[test]
fn counters_tell_who_got_what() -> Result<()> {
    use xlb::datapath::Datapath as _;
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.share(0, &[2])?;
    establish(&mut rig, 4000)?;
    let bytes = tcp((CLIENT, 4000), WEB, ACK).len() as u64;
    for traffic in [rig.datapath.service_traffic(0)?, rig.datapath.backend_traffic(2)?] {
        assert_eq!((traffic.packets_in, traffic.bytes_in), (2, 2 * bytes));
        assert_eq!((traffic.packets_out, traffic.bytes_out), (1, bytes));
        assert_eq!((traffic.flows_opened, traffic.packets_dropped), (1, 0));
    }
    rig.set(0, 2, BackendState::Down);
    rig.run(&tcp((Ipv4Addr::new(198, 51, 100, 8), 4000), WEB, SYN))?;
    assert_eq!(rig.datapath.service_traffic(0)?.packets_dropped, 1);
    assert_eq!(rig.datapath.backend_traffic(1)?.packets_in, 0);
    Ok(())
}
