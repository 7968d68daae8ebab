//! The lines of flows: believed while they hold, and not a packet longer.
//!
//! A flow that has a line, and whose entry is then gone, is what tells who was asked: the line still knows its backend.

use std::{thread::sleep, time::Duration};

use anyhow::Result;
use lb_common::{
    backend::{BackendState, BackendWord},
    conn::FlowState,
    line::BELIEF,
    outcome::Outcome,
};
use xlb_tests::preflight;

use crate::{
    flows::{CLIENT, DNS, OTHER_WEB, Pool, TCP_PORT, UDP_PORT, VIP, WEB, dns_key, id, server, web_key},
    rig::TIMEOUTS,
    wire::{ACK, FIN, Frame, RST, SYN, SYN_ACK, read, tcp, udp},
};

const SECOND: u64 = 1_000_000_000;

impl Pool {
    /// A connection with server 1 that has a line, while new ones go to server 2.
    fn with_line(port: u16) -> Result<Self> {
        let mut pool = Self::new()?;
        pool.share(WEB, &[1])?;
        assert_eq!(pool.establish(port)?, 1);
        assert_eq!(pool.send(port, ACK)?, 1);
        pool.share(WEB, &[2])?;
        Ok(pool)
    }

    /// Makes the time pass that the flow's line is believed.
    fn outlive_line(&mut self, port: u16) {
        self.rig.age_line(&web_key(port).in_maps(), 2 * BELIEF);
    }
}

fn query(port: u16) -> Frame {
    udp((CLIENT, port), (VIP, UDP_PORT), b"?")
}

#[test]
fn a_line_is_asked_before_the_entry_and_not_for_long() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::with_line(4000)?;
    pool.rig.evict_flow(&web_key(4000).in_maps())?;
    assert_eq!(pool.send(4000, ACK)?, 1, "by its line");
    pool.outlive_line(4000);
    assert_eq!(pool.send(4000, ACK)?, 2, "nobody knows it any more");
    Ok(())
}

#[test]
fn a_line_lasts_as_long_as_the_clock_says() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::with_line(4000)?;
    pool.rig.evict_flow(&web_key(4000).in_maps())?;
    sleep(Duration::from_nanos(BELIEF + SECOND / 10));
    assert_eq!(pool.send(4000, ACK)?, 2);
    Ok(())
}

#[test]
fn half_open_flows_have_no_lines() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    assert_eq!(pool.send(4000, SYN)?, 1);
    assert_eq!(pool.send(4000, ACK)?, 1);
    assert_eq!(pool.send(4000, ACK)?, 1);
    assert_eq!(pool.rig.line(&web_key(4000).in_maps()), None);
    Ok(())
}

#[test]
fn a_backend_that_goes_takes_its_lines_along() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for state in [BackendState::Down, BackendState::Free] {
        let mut pool = Pool::with_line(4000)?;
        pool.set(WEB, 1, state);
        assert_eq!(pool.send(4000, ACK)?, 2, "{state:?}");
        pool.set(WEB, 1, BackendState::Up);
        assert_eq!(pool.send(4000, ACK)?, 2, "the flow has moved: {state:?}");
        assert_eq!(pool.send(4000, ACK)?, 2, "by its line: {state:?}");
    }
    let mut pool = Pool::with_line(4000)?;
    pool.rig
        .set_word(id(WEB, 1), BackendWord::new(BackendState::Up, 1, 2));
    assert_eq!(pool.send(4000, ACK)?, 2, "the id is another backend's");
    Ok(())
}

#[test]
fn a_draining_backend_keeps_a_connection_with_a_line() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::with_line(4000)?;
    pool.set(WEB, 1, BackendState::Drain);
    assert_eq!(pool.send(4000, ACK)?, 1);
    Ok(())
}

#[test]
fn the_next_connection_of_a_port_is_not_sent_by_the_line_of_the_last() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::with_line(4000)?;
    assert_eq!(pool.send(4000, FIN | ACK)?, 1);
    assert_eq!(pool.send(4000, SYN)?, 2);
    assert_eq!(pool.send(4000, ACK)?, 2);
    assert_eq!(pool.reply(2, 4000, SYN_ACK)?, Outcome::Returned);
    for _ in 0..3 {
        assert_eq!(pool.send(4000, ACK)?, 2);
    }
    Ok(())
}

#[test]
fn whoever_ends_a_connection_ends_its_line() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for (by_client, flags) in [(true, FIN | ACK), (true, RST), (false, FIN | ACK), (false, RST)] {
        let mut pool = Pool::with_line(4000)?;
        let key = web_key(4000).in_maps();
        assert!(pool.rig.line(&key).is_some());
        if by_client {
            pool.send(4000, flags)?;
        } else {
            pool.reply(1, 4000, flags)?;
        }
        assert_eq!(pool.rig.line(&key), None, "{by_client} {flags:#x}");
    }
    Ok(())
}

#[test]
fn a_connection_that_goes_on_after_a_reset_is_established_again() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::with_line(4000)?;
    pool.send(4000, RST)?;
    pool.reply(1, 4000, ACK)?;
    pool.send(4000, ACK)?;
    assert_eq!(pool.state(4000), Some(FlowState::Established));
    Ok(())
}

#[test]
fn datagrams_leave_their_line_when_their_vip_moves() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(DNS, &[1])?;
    pool.share(OTHER_WEB, &[2])?;
    for _ in 0..2 {
        assert_eq!(pool.serve(&query(4000))?, 1);
    }
    assert!(pool.rig.line(&dns_key(4000).in_maps()).is_some());
    pool.rig.move_listener(DNS, OTHER_WEB)?;
    assert_eq!(pool.serve(&query(4000))?, 2);
    Ok(())
}

/// Only the line has seen the last packets.
#[test]
fn datagrams_by_a_line_keep_their_flow_alive() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(DNS, &[1])?;
    for _ in 0..2 {
        assert_eq!(pool.serve(&query(4000))?, 1);
    }
    pool.share(DNS, &[2])?;
    let key = dns_key(4000).in_maps();
    pool.rig.age_flow(&key, TIMEOUTS.udp + SECOND)?;
    pool.rig.age_line(&key, TIMEOUTS.udp / 2);
    assert_eq!(pool.serve(&query(4000))?, 1, "silent for half of its time");
    pool.rig.age_flow(&key, TIMEOUTS.udp + SECOND)?;
    pool.rig.age_line(&key, TIMEOUTS.udp + SECOND);
    assert_eq!(pool.serve(&query(4000))?, 2, "silent for all of it");
    Ok(())
}

#[test]
fn a_client_that_comes_another_way_is_answered_there() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::with_line(4000)?;
    let neighbour = [2, 0, 0, 0, 0, 0x77];
    let mut moved = tcp((CLIENT, 4000), (VIP, TCP_PORT), ACK).bytes();
    moved[6..12].copy_from_slice(&neighbour);
    let got = pool.rig.run(&moved)?;
    assert_eq!(got.outcome, Outcome::Forwarded);
    assert_eq!(
        read::frame(&got.frame).map_err(anyhow::Error::msg)?.ip.to,
        server(1)
    );
    let (outcome, frame) = pool.answer(1, 4000, ACK)?;
    assert_eq!((outcome, &frame[..6]), (Outcome::Returned, &neighbour[..]));
    Ok(())
}

/// Of three flows with the same two places, the first two have lines, and the third as soon as one of those has not been used.
#[test]
fn a_line_that_is_believed_is_not_taken_over() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::with_line(4000)?;
    let key = |port| web_key(port).in_maps();
    let pair = |pool: &Pool, port| pool.rig.line_places(&key(port)).map(|place| place / 2);
    let others = (4001..).filter(|&port| pair(&pool, port) == pair(&pool, 4000));
    let [second, third] = *others.take(2).collect::<Vec<_>>() else {
        panic!("more lines than ports");
    };
    for port in [second, third] {
        assert_eq!(pool.establish(port)?, 2);
        assert_eq!(pool.send(port, ACK)?, 2);
    }
    let has = |pool: &Pool| [4000, second, third].map(|port| pool.rig.line(&key(port)).is_some());
    assert_eq!(has(&pool), [true, true, false]);
    for (port, backend) in [(4000, 1), (third, 2), (second, 2)] {
        assert_eq!(pool.send(port, ACK)?, backend);
    }
    for (old, expected) in [(second, [true, false, true]), (4000, [false, true, true])] {
        pool.outlive_line(old);
        let new = if old == second { third } else { second };
        assert_eq!(pool.send(new, ACK)?, 2);
        assert_eq!(has(&pool), expected);
    }
    assert_eq!(pool.send(4000, ACK)?, 1);
    Ok(())
}
