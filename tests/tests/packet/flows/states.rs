//! A flow's states.

use anyhow::Result;
use lb_common::{backend::BackendState, conn::FlowState, outcome::Outcome};
use xlb_tests::preflight;

use crate::{
    flows::{Pool, WEB, id, port_for},
    wire::{ACK, FIN, RST, SYN, SYN_ACK},
};

#[test]
fn a_flow_is_followed_through_its_states() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let number = pool.send(4000, SYN)?;
    assert_eq!(pool.state(4000), Some(FlowState::Syn));
    pool.reply(number, 4000, SYN_ACK)?;
    assert_eq!(pool.state(4000), Some(FlowState::Replied));
    pool.send(4000, ACK)?;
    assert_eq!(pool.state(4000), Some(FlowState::Established));
    pool.send(4000, FIN | ACK)?;
    assert_eq!(pool.state(4000), Some(FlowState::ClientFin));
    pool.reply(number, 4000, FIN | ACK)?;
    assert_eq!(pool.state(4000), Some(FlowState::Closed));
    Ok(())
}

#[test]
fn a_reset_that_nobody_heeds_ends_nothing_and_opens_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.send(4000, RST)?;
    assert_eq!(pool.state(4000), None);
    let number = pool.establish(5000)?;
    pool.send(5000, RST)?;
    assert_eq!(pool.state(5000), Some(FlowState::Reset));
    pool.reply(number, 5000, ACK)?;
    pool.send(5000, ACK)?;
    assert_eq!(pool.state(5000), Some(FlowState::Established));
    Ok(())
}

#[test]
fn a_syn_starts_anew_only_when_the_old_connection_is_over() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    let port = port_for(1);
    assert_eq!(pool.establish(port)?, 1);
    pool.share(WEB, &[2])?;
    // Possibly forged: the backend that has the connection is the one to answer.
    assert_eq!(pool.send(port, SYN)?, 1);
    assert_eq!(pool.reply(1, port, RST)?, Outcome::Returned);
    assert_eq!(pool.send(port, SYN)?, 2);
    // A repeated SYN is the same connection.
    pool.share(WEB, &[3])?;
    assert_eq!(pool.send(port, SYN)?, 2);
    Ok(())
}

#[test]
fn flows_are_active_until_one_side_has_closed() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    let loads = |pool: &Pool| (pool.rig.load(id(WEB, 1)), pool.rig.service_load(WEB));
    for port in 4000..4010 {
        pool.establish(port)?;
        pool.send(port, SYN)?;
    }
    assert_eq!(loads(&pool), (10, 10));
    pool.send(4000, FIN | ACK)?;
    pool.reply(1, 4000, FIN | ACK)?;
    pool.reply(1, 4001, FIN | ACK)?;
    pool.send(4002, RST)?;
    assert_eq!(loads(&pool), (7, 7));
    // A reset that nobody has heeded, and a new connection on old ports.
    pool.reply(1, 4002, ACK)?;
    pool.send(4000, SYN)?;
    assert_eq!(loads(&pool), (9, 9));
    pool.set(WEB, 1, BackendState::Down);
    pool.share(WEB, &[2])?;
    assert_eq!(pool.send(4005, ACK)?, 2);
    assert_eq!((loads(&pool), pool.rig.load(id(WEB, 2))), ((8, 9), 1));
    Ok(())
}
