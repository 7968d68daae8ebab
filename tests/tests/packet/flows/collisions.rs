//! Two VIPs over the same servers: the replies to one client port must not be mixed up.

use std::net::SocketAddr;

use anyhow::Result;
use lb_common::{backend::BackendState, outcome::Outcome};
use xlb::datapath::Datapath as _;
use xlb_tests::preflight;

use crate::{
    flows::{CLIENT, OTHER_VIP, OTHER_WEB, Pool, TCP_PORT, VIP, WEB, server, world},
    model::TX,
    wire::{ACK, FIN, RST, SYN, SYN_ACK, read, tcp},
};

const WEB_END: SocketAddr = SocketAddr::new(VIP, TCP_PORT);
const OTHER_END: SocketAddr = SocketAddr::new(OTHER_VIP, TCP_PORT);

impl Pool {
    fn send_to(&mut self, vip: SocketAddr, flags: u8) -> Result<u8> {
        self.serve(&tcp((CLIENT, 4000), vip, flags))
    }

    fn ensure_refused(&mut self, vip: SocketAddr) -> Result<()> {
        self.ensure_dropped(&tcp((CLIENT, 4000), vip, SYN), Outcome::FlowCollision)
    }

    /// Ends the connection of the client's port to `vip` by both sides' FIN.
    fn close(&mut self, vip: SocketAddr, number: u8) -> Result<()> {
        self.send_to(vip, FIN | ACK)?;
        assert_eq!(self.reply_comes_from(number, 4000, FIN | ACK)?, vip);
        Ok(())
    }
}

#[test]
fn the_second_flow_takes_another_backend_or_is_refused() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    pool.share(OTHER_WEB, &[1])?;
    assert_eq!(pool.send_to(WEB_END, SYN)?, 1);
    pool.ensure_refused(OTHER_END)?;
    pool.share(OTHER_WEB, &[1, 2])?;
    assert_eq!(pool.send_to(OTHER_END, SYN)?, 2);
    assert_eq!(pool.reply_comes_from(1, 4000, SYN_ACK)?, WEB_END);
    assert_eq!(pool.reply_comes_from(2, 4000, SYN_ACK)?, OTHER_END);
    Ok(())
}

#[test]
fn a_free_backend_is_found_whatever_the_order_of_the_slots() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    pool.share(OTHER_WEB, &[1, 2])?;
    for port in 4000..4300 {
        assert_eq!(pool.serve(&tcp((CLIENT, port), WEB_END, SYN))?, 1);
        assert_eq!(pool.serve(&tcp((CLIENT, port), OTHER_END, SYN))?, 2);
    }
    Ok(())
}

#[test]
fn a_port_is_free_again_when_both_sides_have_closed() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    pool.share(OTHER_WEB, &[1])?;
    pool.send_to(WEB_END, SYN)?;
    pool.reply_comes_from(1, 4000, SYN_ACK)?;
    pool.send_to(WEB_END, ACK)?;
    // Half closed: the backend goes on sending, and it must arrive as the first VIP's.
    pool.send_to(WEB_END, FIN | ACK)?;
    pool.ensure_refused(OTHER_END)?;
    assert_eq!(pool.reply_comes_from(1, 4000, ACK)?, WEB_END);
    // Nor does a reset free it, which anybody could have sent.
    pool.send_to(WEB_END, RST)?;
    pool.ensure_refused(OTHER_END)?;
    pool.close(WEB_END, 1)?;
    assert_eq!(pool.send_to(OTHER_END, SYN)?, 1);
    assert_eq!(pool.reply_comes_from(1, 4000, SYN_ACK)?, OTHER_END);
    Ok(())
}

#[test]
fn a_flow_that_starts_anew_takes_no_reply_away_from_the_other_vip() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    pool.share(OTHER_WEB, &[1])?;
    pool.send_to(WEB_END, SYN)?;
    pool.reply_comes_from(1, 4000, SYN_ACK)?;
    pool.send_to(WEB_END, ACK)?;
    pool.close(WEB_END, 1)?;
    assert_eq!(pool.send_to(OTHER_END, SYN)?, 1);
    // The first VIP's old flow named server 1, whose replies are the second VIP's by now.
    pool.share(WEB, &[1, 2])?;
    pool.set(WEB, 1, BackendState::Up);
    assert_eq!(pool.send_to(WEB_END, SYN)?, 2);
    assert_eq!(pool.reply_comes_from(1, 4000, SYN_ACK)?, OTHER_END);
    assert_eq!(pool.reply_comes_from(2, 4000, SYN_ACK)?, WEB_END);
    Ok(())
}

#[test]
fn a_client_that_gets_a_source_of_ours_collides_with_nobody() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut pool = Pool::new()?;
    pool.share(WEB, &[1])?;
    pool.share(OTHER_WEB, &[1])?;
    assert_eq!(pool.send_to(WEB_END, SYN)?, 1);
    pool.ensure_refused(OTHER_END)?;
    // The client becomes a backend: server 1 sees its new flows come from us, and tells them from the old one.
    pool.rig.datapath.put_hairpin(&CLIENT.into(), 1)?;
    let got = pool.rig.run(&tcp((CLIENT, 4000), OTHER_END, SYN).bytes())?;
    assert_eq!((got.action, got.outcome), (TX, Outcome::Forwarded));
    let arrived = read::frame(&got.frame).map_err(anyhow::Error::msg)?;
    assert_eq!(
        (arrived.ip.from, arrived.ip.to),
        (world().ways[0].source, server(1))
    );
    assert_eq!(pool.reply_comes_from(1, 4000, SYN_ACK)?, WEB_END);
    Ok(())
}
