//! Two VIPs over the same backends: the replies to one client port must not be mixed up.

use anyhow::Result;
use lb_common::{backend::BackendState, outcome::Outcome};
use xlb_tests::preflight;

use crate::{
    frames::{ACK, FIN, Flags, RST, SYN, SYN_ACK, tcp},
    nat::{CLIENT, WEB, forwarded, to_backend},
    rig::{BACKEND_PORT, DROP, OTHER_VIP, Rig, TCP_PORT, backend_ip},
};

const OTHER: (std::net::Ipv4Addr, u16) = (OTHER_VIP, TCP_PORT);

/// Ids of the services of the two VIPs.
const FIRST: u32 = 0;
const SECOND: u32 = 2;

fn send(rig: &mut Rig, vip: (std::net::Ipv4Addr, u16), flags: Flags) -> Result<u8> {
    to_backend(rig, &tcp((CLIENT, 4000), vip, flags))
}

fn ensure_refused(rig: &mut Rig, vip: (std::net::Ipv4Addr, u16)) -> Result<()> {
    let frame = tcp((CLIENT, 4000), vip, SYN);
    let got = rig.run(&frame)?;
    assert_eq!(
        (got.action, got.outcome, &got.frame),
        (DROP, Outcome::FlowCollision, &frame)
    );
    Ok(())
}

/// The VIP that the client sees a backend's packet come from.
fn reply_comes_from(rig: &mut Rig, backend: u8, flags: Flags) -> Result<(std::net::Ipv4Addr, u16)> {
    let frame = tcp((backend_ip(backend), BACKEND_PORT), (CLIENT, 4000), flags);
    Ok(forwarded(rig, &frame, Outcome::Returned)?.from)
}

/// Ends the connection of the client's port to `vip` by both sides' FIN.
fn close(rig: &mut Rig, vip: (std::net::Ipv4Addr, u16), backend: u8) -> Result<()> {
    send(rig, vip, FIN)?;
    assert_eq!(reply_comes_from(rig, backend, FIN)?, vip);
    Ok(())
}

#[test]
fn the_second_flow_takes_another_backend_or_is_refused() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.share(FIRST, &[1])?;
    rig.share(SECOND, &[1])?;
    assert_eq!(send(&mut rig, WEB, SYN)?, 1);
    ensure_refused(&mut rig, OTHER)?;
    rig.share(SECOND, &[1, 2])?;
    assert_eq!(send(&mut rig, OTHER, SYN)?, 2);
    assert_eq!(reply_comes_from(&mut rig, 1, SYN_ACK)?, WEB);
    assert_eq!(reply_comes_from(&mut rig, 2, SYN_ACK)?, OTHER);
    Ok(())
}

#[test]
fn a_free_backend_is_found_whatever_the_order_of_the_slots() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.share(FIRST, &[1])?;
    rig.share(SECOND, &[1, 2])?;
    for port in 4000..4300 {
        assert_eq!(to_backend(&mut rig, &tcp((CLIENT, port), WEB, SYN))?, 1);
        assert_eq!(to_backend(&mut rig, &tcp((CLIENT, port), OTHER, SYN))?, 2);
    }
    Ok(())
}

#[test]
fn a_port_is_free_again_when_both_sides_have_closed() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.share(FIRST, &[1])?;
    rig.share(SECOND, &[1])?;
    send(&mut rig, WEB, SYN)?;
    reply_comes_from(&mut rig, 1, SYN_ACK)?;
    send(&mut rig, WEB, ACK)?;
    // Half closed: the backend goes on sending, and it must arrive as the first VIP's.
    send(&mut rig, WEB, FIN)?;
    ensure_refused(&mut rig, OTHER)?;
    assert_eq!(reply_comes_from(&mut rig, 1, ACK)?, WEB);
    // Nor does a reset free it, which anybody could have sent.
    send(&mut rig, WEB, RST)?;
    ensure_refused(&mut rig, OTHER)?;
    close(&mut rig, WEB, 1)?;
    assert_eq!(send(&mut rig, OTHER, SYN)?, 1);
    assert_eq!(reply_comes_from(&mut rig, 1, SYN_ACK)?, OTHER);
    Ok(())
}

#[test]
fn a_flow_that_starts_anew_takes_no_reply_away_from_the_other_vip() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    rig.share(FIRST, &[1])?;
    rig.share(SECOND, &[1])?;
    send(&mut rig, WEB, SYN)?;
    reply_comes_from(&mut rig, 1, SYN_ACK)?;
    send(&mut rig, WEB, ACK)?;
    close(&mut rig, WEB, 1)?;
    assert_eq!(send(&mut rig, OTHER, SYN)?, 1);
    // The first VIP's old flow named backend 1, whose replies are the second VIP's by now.
    rig.share(FIRST, &[1, 2])?;
    rig.set(FIRST, 1, BackendState::Up);
    assert_eq!(send(&mut rig, WEB, SYN)?, 2);
    assert_eq!(reply_comes_from(&mut rig, 1, SYN_ACK)?, OTHER);
    assert_eq!(reply_comes_from(&mut rig, 2, SYN_ACK)?, WEB);
    Ok(())
}
