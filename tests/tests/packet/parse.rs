//! Frames that are not sent on: left alone if they are not ours, dropped with a reason if they are and are wrong.

use anyhow::Result;
use lb_common::outcome::Outcome;
use xlb_tests::preflight;

use crate::{
    frames::{self, ETH, ETH_IP, SYN, fix_ip_checksum, tcp, udp},
    nat::{CLIENT, DNS, WEB},
    rig::{DROP, OTHER_VIP, PASS, Rig, TCP_PORT, VIP, backend_ip},
};

/// Runs a frame that must come back unchanged.
fn stays(rig: &mut Rig, frame: &[u8]) -> Result<(u32, Outcome)> {
    let got = rig.run(frame)?;
    assert_eq!(got.frame, frame);
    Ok((got.action, got.outcome))
}

fn with(mut frame: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut frame);
    fix_ip_checksum(&mut frame);
    frame
}

#[test]
fn what_is_not_ours_passes_untouched() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let syn = || tcp((CLIENT, 4000), WEB, SYN);
    let ether_type = |kind: [u8; 2]| {
        let mut frame = syn();
        frame[12..14].copy_from_slice(&kind);
        frame
    };
    let cases = [
        (
            "another port",
            tcp((CLIENT, 4000), (VIP, 81), SYN),
            Outcome::NotOurs,
        ),
        (
            "another protocol",
            udp((CLIENT, 4000), WEB, b"?"),
            Outcome::NotOurs,
        ),
        (
            "another address",
            tcp((CLIENT, 4000), (backend_ip(1), TCP_PORT), SYN),
            Outcome::NotOurs,
        ),
        (
            "ICMP to a VIP",
            with(syn(), |frame| frame[ETH + 9] = 1),
            Outcome::NotOurs,
        ),
        ("ARP", ether_type([8, 6]), Outcome::NotIpv4),
        ("IPv6", ether_type([0x86, 0xdd]), Outcome::NotIpv4),
        ("VLAN", ether_type([0x81, 0]), Outcome::NotIpv4),
        (
            "version 6 in an IPv4 frame",
            with(syn(), |frame| frame[ETH] = 0x65),
            Outcome::NotIpv4,
        ),
        ("to a group", with(syn(), |frame| frame[0] |= 1), Outcome::NotIpv4),
        (
            "broadcast",
            with(syn(), |frame| frame[..6].fill(0xff)),
            Outcome::NotIpv4,
        ),
        (
            "a reply to nobody",
            tcp((backend_ip(1), 8080), (CLIENT, 4000), SYN),
            Outcome::NotOurs,
        ),
        (
            "a fragment for others",
            with(tcp((CLIENT, 1), (CLIENT, 2), SYN), |frame| frame[ETH + 6] = 0x20),
            Outcome::NotOurs,
        ),
        (
            "too long by its own word, for others",
            with(tcp((CLIENT, 1), (CLIENT, 2), SYN), |frame| frame[ETH + 2] = 9),
            Outcome::NotOurs,
        ),
    ];
    for (name, frame, outcome) in cases {
        assert_eq!(stays(&mut rig, &frame)?, (PASS, outcome), "{name}");
    }
    Ok(())
}

#[test]
fn what_is_wrong_and_for_a_vip_is_dropped_with_its_reason() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let syn = || tcp((CLIENT, 4000), WEB, SYN);
    let query = || udp((CLIENT, 4000), DNS, b"?");
    let total_len = u8::try_from(syn().len() - ETH)?;
    let cases = [
        (
            "header shorter than a header",
            with(syn(), |frame| frame[ETH] = 0x44),
            Outcome::Malformed,
        ),
        (
            "total length longer than the frame",
            with(syn(), |frame| frame[ETH + 3] = total_len + 1),
            Outcome::Malformed,
        ),
        (
            "total length shorter than its header",
            with(syn(), |frame| frame[ETH + 3] = 19),
            Outcome::Malformed,
        ),
        (
            "total length ends in the TCP header",
            with(syn(), |frame| frame[ETH + 3] = 20 + 23),
            Outcome::Malformed,
        ),
        (
            "TCP header shorter than a header",
            with(syn(), |frame| frame[ETH_IP + 12] = 0x40),
            Outcome::Malformed,
        ),
        (
            "TCP header longer than the packet",
            with(syn(), |frame| frame[ETH_IP + 12] = 0xf0),
            Outcome::Malformed,
        ),
        (
            "UDP length shorter than its header",
            with(query(), |frame| frame[ETH_IP + 5] = 7),
            Outcome::Malformed,
        ),
        (
            "UDP length longer than the packet",
            with(query(), |frame| frame[ETH_IP + 5] = 10),
            Outcome::Malformed,
        ),
        (
            "first fragment",
            with(syn(), |frame| frame[ETH + 6] = 0x20),
            Outcome::Fragment,
        ),
        (
            "later fragment",
            with(syn(), |frame| frame[ETH + 7] = 0x01),
            Outcome::Fragment,
        ),
        (
            "TTL 1",
            with(syn(), |frame| frame[ETH + 8] = 1),
            Outcome::TtlExpired,
        ),
        (
            "TTL 0",
            with(syn(), |frame| frame[ETH + 8] = 0),
            Outcome::TtlExpired,
        ),
        (
            "TTL 1 for the other VIP",
            with(tcp((CLIENT, 4000), (OTHER_VIP, TCP_PORT), SYN), |f| {
                f[ETH + 8] = 1;
            }),
            Outcome::TtlExpired,
        ),
    ];
    for (name, frame, outcome) in cases {
        assert_eq!(stays(&mut rig, &frame)?, (DROP, outcome), "{name}");
    }
    Ok(())
}

#[test]
fn a_frame_cut_anywhere_is_left_alone() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    for whole in [
        tcp((CLIENT, 4000), WEB, SYN),
        udp((CLIENT, 4000), DNS, b"a question"),
    ] {
        // The kernel takes no test frame shorter than an Ethernet header.
        for len in ETH..whole.len() {
            let outcome = if len < ETH_IP {
                Outcome::NotIpv4
            } else {
                Outcome::Malformed
            };
            let action = if len < ETH_IP { PASS } else { DROP };
            assert_eq!(stays(&mut rig, &whole[..len])?, (action, outcome), "cut at {len}");
        }
    }
    Ok(())
}

#[test]
fn a_tcp_header_that_the_packet_ends_in_is_not_taken_from_the_padding() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new()?;
    let mut ip = frames::ipv4(CLIENT, VIP);
    ip.protocol = etherparse::IpNumber::TCP;
    let mut frame = frames::tcp_in(ip, 4000, TCP_PORT, SYN, b"");
    frame[ETH + 3] = 20 + 8;
    frame.resize(80, 0);
    fix_ip_checksum(&mut frame);
    assert_eq!(stays(&mut rig, &frame)?, (DROP, Outcome::Malformed));
    Ok(())
}
