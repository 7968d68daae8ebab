//! What time does to flows: silence ends them, and eviction is made good.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use lb_common::{
    backend::BackendState,
    conn::{REPLY_IDLE, Timeouts},
    line::BELIEF,
    outcome::Outcome,
};
use xlb_tests::preflight;

use crate::{
    flows::{BACKEND_PORT, CLIENT, DNS, Pool, UDP_PORT, VIP, WEB, port_for, server},
    model::Key,
    wire::{ACK, SYN, protocol, udp},
};

const SECOND: u64 = 1_000_000_000;

#[test]
fn silence_ends_a_flow_by_its_state() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let blink = SECOND / 20;
    let mut pool = Pool::with_timeouts(Timeouts {
        syn: blink,
        established: 3600 * SECOND,
        fin: blink,
        closed: blink,
        udp: blink,
    })?;
    let (half_open, open) = (port_for(1), port_for(1) + 1);
    pool.send(half_open, SYN)?;
    let kept = pool.establish(open)?;
    let query = |port| udp((CLIENT, port), (VIP, UDP_PORT), b"?");
    pool.serve(&query(5000))?;
    pool.share(WEB, &[2])?;
    pool.share(DNS, &[3])?;
    pool.set(WEB, 3, BackendState::Down);
    sleep(Duration::from_millis(150));
    assert_eq!(pool.send(half_open, SYN)?, 2);
    assert_eq!(pool.send(open, ACK)?, if kept == 3 { 2 } else { kept });
    assert_eq!(pool.serve(&query(5000))?, 3);
    Ok(())
}

#[test]
fn an_evicted_reply_entry_comes_back_under_a_busy_client() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let number = pool.establish(4000)?;
    let key = Key::between((server(number), BACKEND_PORT), (CLIENT, 4000), protocol::TCP);
    pool.rig.evict_reply(&key.in_maps())?;
    assert_eq!(pool.reply(number, 4000, ACK)?, Outcome::NotOurs);
    let busy = Instant::now();
    while busy.elapsed() <= Duration::from_nanos(BELIEF + REPLY_IDLE) {
        sleep(Duration::from_millis(20));
        pool.send(4000, ACK)?;
    }
    assert_eq!(pool.reply(number, 4000, ACK)?, Outcome::Returned);
    Ok(())
}
