//! Frames that are sent on: what changes, what does not.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_common::{
    backend::{BackendState, BackendWord},
    outcome::Outcome,
};
use xlb_tests::preflight;

use crate::{
    frames::{self, ACK, BACKEND_MAC, CLIENT_MAC, End, LB_MAC, Parsed, SYN, SYN_ACK, TTL, parse, tcp, udp},
    rig::{AWAY, BACKEND_PORT, REDIRECT, Rig, TCP_PORT, TX, UDP_PORT, VIP, backend_ip, expected},
};

pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const WEB: End = (VIP, TCP_PORT);
pub const DNS: End = (VIP, UDP_PORT);

/// Runs a frame that has to be sent back out of the interface it came by, and compares it with what it was.
pub fn forwarded(rig: &mut Rig, sent: &[u8], outcome: Outcome) -> Result<Parsed> {
    let got = rig.run(sent)?;
    assert_eq!((got.action, got.outcome), (TX, outcome));
    assert_eq!(got.frame.len(), sent.len());
    let (before, after) = (parse(sent), parse(&got.frame));
    assert_eq!(after.ttl, before.ttl - 1);
    assert_eq!((after.protocol, &after.rest), (before.protocol, &before.rest));
    Ok(after)
}

/// Sends a client's frame; gives the number of the backend it went to.
pub fn to_backend(rig: &mut Rig, sent: &[u8]) -> Result<u8> {
    let after = forwarded(rig, sent, Outcome::Forwarded)?;
    assert_eq!(after.from, parse(sent).from);
    assert_eq!(after.macs, (BACKEND_MAC, LB_MAC));
    Ok(after.to.0.octets()[3] - 10)
}

#[test]
fn a_new_tcp_flow_goes_where_its_hash_says() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for port in 40_000..40_200 {
        let after = forwarded(&mut rig, &tcp((CLIENT, port), WEB, SYN), Outcome::Forwarded)?;
        let backend = expected(0, &[1, 2, 3], (CLIENT, port));
        assert_eq!(after.to, (backend_ip(backend), BACKEND_PORT));
        assert_eq!(after.from, (CLIENT, port));
        assert_eq!(after.ttl, TTL - 1);
    }
    Ok(())
}

#[test]
fn a_reply_comes_from_the_vip() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let backend = to_backend(&mut rig, &tcp((CLIENT, 4000), WEB, SYN))?;
    let reply = tcp((backend_ip(backend), BACKEND_PORT), (CLIENT, 4000), SYN_ACK);
    let after = forwarded(&mut rig, &reply, Outcome::Returned)?;
    assert_eq!((after.from, after.to), (WEB, (CLIENT, 4000)));
    // The loopback interface has no route to the client: the reply leaves by the way its client came.
    assert_eq!(after.macs, (CLIENT_MAC, LB_MAC));
    Ok(())
}

#[test]
fn udp_keeps_the_port_where_the_backend_names_none() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for payload in [&b""[..], b"x", b"even", b"a longer question"] {
        let sent = udp((CLIENT, 5353), DNS, payload);
        let after = forwarded(&mut rig, &sent, Outcome::Forwarded)?;
        assert_eq!(after.to.1, UDP_PORT);
        let reply = udp(after.to, (CLIENT, 5353), payload);
        assert_eq!(forwarded(&mut rig, &reply, Outcome::Returned)?.from, DNS);
    }
    Ok(())
}

#[test]
fn a_udp_packet_without_checksum_stays_without() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let mut sent = udp((CLIENT, 5353), DNS, b"no sum");
    sent[frames::ETH_IP + 6..frames::ETH_IP + 8].fill(0);
    let got = rig.run(&sent)?;
    assert_eq!(got.outcome, Outcome::Forwarded);
    assert_eq!(got.frame[frames::ETH_IP + 6..frames::ETH_IP + 8], [0, 0]);
    parse(&got.frame);
    Ok(())
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_sent_as_ones() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let backend = expected(1, &[1, 2, 3], (CLIENT, 5353));
    // Choose the payload so that the rewritten packet sums to zero: start with zero, add what is missing.
    let to = (backend_ip(backend), UDP_PORT);
    let probe = udp((CLIENT, 5353), to, &[0, 0]);
    let missing = [probe[frames::ETH_IP + 6], probe[frames::ETH_IP + 7]];
    let got = rig.run(&udp((CLIENT, 5353), DNS, &missing))?;
    assert_eq!(got.frame[frames::ETH_IP + 6..frames::ETH_IP + 8], [0xff, 0xff]);
    assert_eq!(parse(&got.frame).to, to);
    Ok(())
}

#[test]
fn ip_options_stay_in_place() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for words in 1..=10 {
        let mut ip = frames::ipv4(CLIENT, VIP);
        // No-operation options (RFC 791), one different from the next in nothing but place.
        ip.options = vec![1; words * 4].as_slice().try_into()?;
        let sent = frames::tcp_in(ip, 6000, TCP_PORT, SYN, b"payload");
        let backend = to_backend(&mut rig, &sent)?;
        assert_eq!(backend, expected(0, &[1, 2, 3], (CLIENT, 6000)));
    }
    Ok(())
}

#[test]
fn padding_behind_the_packet_is_kept() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let mut sent = udp((CLIENT, 5353), DNS, b"short");
    sent.resize(60, 0xa5);
    let got = rig.run(&sent)?;
    assert_eq!((got.action, got.frame.len()), (TX, 60));
    assert_eq!(got.frame[47..], sent[47..]);
    Ok(())
}

#[test]
fn a_backend_behind_another_interface_is_reached_by_redirect() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for number in 1..=3 {
        rig.set_word(0, number, BackendWord::new(BackendState::Up, AWAY, 1));
    }
    let got = rig.run(&tcp((CLIENT, 4000), WEB, ACK))?;
    assert_eq!((got.action, got.outcome), (REDIRECT, Outcome::Forwarded));
    assert_eq!(parse(&got.frame).macs, (BACKEND_MAC, LB_MAC));
    Ok(())
}

#[test]
fn a_backend_that_nobody_knows_the_way_to_gets_nothing_and_nothing_is_written() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for number in 1..=3 {
        rig.set_word(0, number, BackendWord::new(BackendState::Up, 0, 1));
    }
    let sent = tcp((CLIENT, 4000), WEB, SYN);
    let got = rig.run(&sent)?;
    assert_eq!((got.action, got.outcome), (crate::rig::DROP, Outcome::NoRoute));
    assert_eq!(got.frame, sent);
    assert_eq!(rig.flow((CLIENT, 4000), WEB, crate::rig::TCP), None);
    Ok(())
}
