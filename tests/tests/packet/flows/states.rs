//! A flow's states.

use anyhow::Result;
use lb_common::{conn::FlowState, outcome::Outcome};
use xlb_tests::preflight;

use crate::{
    flows::{Pool, WEB, port_for},
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
