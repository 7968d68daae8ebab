//! Checksums that are unfinished, in frames of interfaces in generic mode: what whoever finishes them gets is what the program makes
//! of the finished packet.

use anyhow::Result;
use lb_common::outcome::Outcome;
use xlb_tests::preflight;

use crate::{
    rig::Rig,
    table::{expect, modes::of_length, stage::Arrived},
    wire::{ACK, Body, Frame, SYN_ACK, read, sum, tcp, udp},
    world::{
        World,
        lanes::{Lane, NARROW_TCP_PORT, NARROW_UDP_PORT, TCP_PORT, UDP_PORT},
        standard::{self, ELSEWHERE, INGRESS},
    },
};

fn world(generic: u32) -> World {
    World {
        partial_checksums: true,
        generic: vec![generic],
        ..standard::world()
    }
}

/// Where the transport header is, and its checksum in that.
fn places(frame: &Frame) -> (usize, usize) {
    let len = transport(frame).len();
    let in_header = if matches!(frame.ip.body, Body::Tcp { .. }) {
        16
    } else {
        6
    };
    (frame.bytes().len() - frame.padding.len() - len, in_header)
}

fn transport(frame: &Frame) -> Vec<u8> {
    frame.ip.body.bytes(frame.ip.from, frame.ip.to)
}

/// What a sender leaves in the place of the checksum.
fn left(frame: &Frame) -> [u8; 2] {
    let ip = &frame.ip;
    let len = transport(frame).len();
    let pseudo = sum::pseudo(ip.from, ip.to, ip.body.protocol(ip.is_v4()), len);
    sum::sum(&[&pseudo]).to_be_bytes()
}

fn unfinished(frame: &Frame) -> Vec<u8> {
    let (l4, in_header) = places(frame);
    let mut bytes = frame.bytes();
    bytes[l4 + in_header..l4 + in_header + 2].copy_from_slice(&left(frame));
    bytes
}

/// Does what the kernel has been told to do with a frame that came as `sent` (`skb_checksum_help`, net/core/dev.c): where the transport
/// header began, counted from the end of the packet, and where the checksum was.
fn finish(sent: &Frame, out: &[u8]) -> Vec<u8> {
    let (l4, in_header) = places(sent);
    let behind = sent.bytes().len() - l4;
    let mut out = out.to_vec();
    let l4 = out.len() - behind;
    let place = l4 + in_header..l4 + in_header + 2;
    let check = sum::udp_checksum(&[&out[l4..]]).to_be_bytes();
    out[place].copy_from_slice(&check);
    out
}

/// A frame whose checksums are all right, without what may be anything.
fn seen(bytes: &[u8]) -> Frame {
    expect::settled(read::frame(bytes).unwrap())
}

/// A packet of each protocol to each of a lane's services.
fn packets(lane: &Lane) -> Vec<Frame> {
    let from = lane.client(4000);
    vec![
        tcp(from, lane.at(TCP_PORT), ACK),
        tcp(from, lane.at(NARROW_TCP_PORT), ACK),
        udp(from, lane.at(UDP_PORT), b"a datagram"),
        udp(from, lane.at(NARROW_UDP_PORT), b"of odd length"),
    ]
}

/// The answer to what a backend got.
fn answer(got: &[u8]) -> Frame {
    let frame = read::frame(got).unwrap();
    Arrived { backend: 0, frame }.reply(SYN_ACK)
}

/// What the program makes of a packet whose sender has finished it, and of the same one unfinished.
fn both(rig: &mut Rig, sent: &Frame, outcome: Outcome) -> Result<[Vec<u8>; 2]> {
    let whole = rig.run(&sent.bytes())?;
    let other = rig.run(&unfinished(sent))?;
    assert_eq!((whole.outcome, other.outcome), (outcome, outcome));
    assert_eq!(whole.action, other.action);
    Ok([whole.frame, other.frame])
}

#[test]
fn an_unfinished_checksum_is_fit_for_being_finished_later() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(world(INGRESS))?;
    for lane in Lane::all() {
        for sent in packets(&lane) {
            // The first packet of a translated flow opens it.
            rig.run(&sent.bytes())?;
            let [whole, other] = both(&mut rig, &sent, Outcome::Forwarded)?;
            assert!(read::frame(&other).is_err(), "{}: finished", lane.name());
            assert_eq!(seen(&finish(&sent, &other)), seen(&whole), "{}", lane.name());
            if !lane.mode.translates() {
                continue;
            }
            let reply = answer(&whole);
            let [whole, other] = both(&mut rig, &reply, Outcome::Returned)?;
            assert!(read::frame(&other).is_err(), "{}: finished", lane.name());
            assert_eq!(seen(&finish(&reply, &other)), seen(&whole), "{}", lane.name());
        }
    }
    Ok(())
}

/// A flow may begin with such a packet, too.
#[test]
fn a_flow_is_opened_by_an_unfinished_packet() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(world(INGRESS))?;
    for lane in Lane::all() {
        for sent in packets(&lane) {
            let got = rig.run(&unfinished(&sent))?;
            assert_eq!(got.outcome, Outcome::Forwarded, "{}", lane.name());
            let whole = rig.run(&sent.bytes())?;
            let finished = finish(&sent, &got.frame);
            assert_eq!(seen(&finished), seen(&whole.frame), "{}", lane.name());
        }
    }
    Ok(())
}

/// Nobody finishes it behind native XDP, whatever the mode of other interfaces.
#[test]
fn the_mode_is_that_of_the_interface_the_packet_came_by() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut rig = Rig::new(world(ELSEWHERE))?;
    for lane in Lane::all() {
        for sent in packets(&lane) {
            rig.run(&sent.bytes())?;
            let [whole, other] = both(&mut rig, &sent, Outcome::Forwarded)?;
            assert_eq!(seen(&other), seen(&whole), "{}", lane.name());
            if lane.mode.translates() {
                let [whole, other] = both(&mut rig, &answer(&whole), Outcome::Returned)?;
                assert_eq!(seen(&other), seen(&whole), "{}", lane.name());
            }
        }
    }
    Ok(())
}

/// The same with two bytes in the payload that make the checksum what looks unfinished.
fn with_luck(frame: &Frame) -> Frame {
    let none = frame.clone().payload(&[0, 0]);
    let (l4, in_header) = places(&none);
    let bytes = none.bytes();
    let check = u16::from_be_bytes([bytes[l4 + in_header], bytes[l4 + in_header + 1]]);
    let wanted = u16::from_be_bytes(left(&none));
    let missing = sum::fold(u64::from(check) + u64::from(!wanted));
    let lucky = none.payload(&missing.to_be_bytes());
    assert_eq!(unfinished(&lucky), lucky.bytes());
    lucky
}

#[test]
fn a_checksum_that_only_looks_unfinished_is_kept_right() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for generic in [INGRESS, ELSEWHERE] {
        let mut rig = Rig::new(world(generic))?;
        for lane in Lane::all() {
            for sent in packets(&lane) {
                let lucky = with_luck(&sent);
                let got = rig.run(&lucky.bytes())?;
                assert_eq!(got.outcome, Outcome::Forwarded, "{}", lane.name());
                let is_whole = read::frame(&got.frame);
                assert!(is_whole.is_ok(), "{}: {is_whole:?}", lane.name());
                if !lane.mode.translates() {
                    continue;
                }
                let lucky = with_luck(&answer(&got.frame));
                let got = rig.run(&lucky.bytes())?;
                assert_eq!(got.outcome, Outcome::Returned, "{}", lane.name());
                let is_whole = read::frame(&got.frame);
                assert!(is_whole.is_ok(), "{}: {is_whole:?}", lane.name());
            }
        }
    }
    Ok(())
}

/// Where the program cannot sum the packet, it is unfinished most probably, and needs no sum.
#[test]
fn a_long_packet_is_left_unfinished_too() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for (generic, outcome) in [
        (INGRESS, Outcome::Forwarded),
        (ELSEWHERE, Outcome::PartialChecksum),
    ] {
        let mut rig = Rig::new(World {
            multi_buffer: true,
            ways: standard::other().ways,
            ..world(generic)
        })?;
        for lane in Lane::all() {
            let sent = of_length(&lane, UDP_PORT, 5000);
            let whole = rig.run(&sent.bytes())?;
            let other = rig.run(&unfinished(&sent))?;
            assert_eq!(other.outcome, outcome, "{}", lane.name());
            if outcome == Outcome::Forwarded {
                let finished = finish(&sent, &other.frame);
                assert_eq!(seen(&finished), seen(&whole.frame), "{}", lane.name());
            }
        }
    }
    Ok(())
}
