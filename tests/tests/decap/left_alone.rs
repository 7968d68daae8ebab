//! What is not taken out of a tunnel, and leaves or ends as it came.

use anyhow::Result;
use lb_common::decap::Decap;
use proptest::prelude::*;
use xlb_tests::preflight;

use crate::{
    frames::{
        ETH, GUE, IP4, IP6, STRANGER4, STRANGER6, UDP, V4, V6, VIP4, VIP6, fragment4, fragment6, frame, gue,
        gue_to, gue0, header4, over4, over6, packet4, packet6, with_header4,
    },
    rig::{PORT, Rig},
};

/// A frame in which one byte is another one.
fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

#[track_caller]
fn all_left(rows: impl IntoIterator<Item = (&'static str, Vec<u8>, Decap)>) -> Result<()> {
    let mut rig = Rig::new()?;
    for (what, frame, expected) in rows {
        rig.leaves(what, &frame, expected);
    }
    Ok(())
}

#[test]
fn what_is_no_tunnel_to_this_host_passes() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let four = packet4(VIP4, 0);
    let tunnel = frame(&[], &over4(IP4, &four));
    let mut elsewhere = header4(IP4, &four);
    elsewhere.destination = STRANGER4.octets();
    let mut with_options = header4(IP4, &four);
    with_options.options = [1, 1, 1, 0][..].try_into().unwrap();
    let tag = (0x8100, 10);
    all_left([
        ("a datagram", frame(&[], &four), Decap::NotTunnel),
        (
            "a datagram of IPv6",
            frame(&[], &packet6(VIP6, 0)),
            Decap::NotTunnel,
        ),
        (
            "GUE to another port",
            frame(&[], &over4(UDP, &gue_to(PORT + 1, &four))),
            Decap::NotTunnel,
        ),
        ("GRE", frame(&[], &over4(47, &four)), Decap::NotTunnel),
        (
            "to another host",
            frame(&[], &with_header4(elsewhere, &four)),
            Decap::NotTunnel,
        ),
        (
            "with options",
            frame(&[], &with_header4(with_options, &four)),
            Decap::NotTunnel,
        ),
        (
            "to a group of hosts",
            with(tunnel.clone(), 0, 0x01),
            Decap::NotTunnel,
        ),
        ("ARP", with(tunnel.clone(), 13, 0x06), Decap::NotTunnel),
        (
            "three tags",
            frame(&[tag; 3], &over4(IP4, &four)),
            Decap::NotTunnel,
        ),
        (
            "IPv6 by its type, IPv4 by its version",
            {
                let frame = with(tunnel.clone(), 12, 0x86);
                with(frame, 13, 0xdd)
            },
            Decap::NotTunnel,
        ),
        (
            "no room for a header",
            tunnel[..ETH + V4 - 1].to_vec(),
            Decap::NotTunnel,
        ),
    ])
}

#[test]
fn what_is_in_the_tunnel_must_be_for_this_host() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mapped = packet6(VIP4.to_ipv6_mapped(), 0);
    all_left([
        (
            "4in4",
            frame(&[], &over4(IP4, &packet4(STRANGER4, 0))),
            Decap::NotLocal,
        ),
        (
            "6in4",
            frame(&[], &over4(IP6, &packet6(STRANGER6, 0))),
            Decap::NotLocal,
        ),
        (
            "4in6",
            frame(&[], &over6(IP4, &packet4(STRANGER4, 0))),
            Decap::NotLocal,
        ),
        (
            "in GUE",
            frame(&[], &over6(UDP, &gue(&packet6(STRANGER6, 0)))),
            Decap::NotLocal,
        ),
        (
            "an IPv4-mapped address",
            frame(&[], &over6(IP6, &mapped)),
            Decap::NotLocal,
        ),
    ])
}

#[test]
fn fragments_of_tunnels_are_left_to_the_kernel() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (first, later) = ((0, true), (10, false));
    let four = packet4(VIP4, 0);
    let datagram = gue(&four);
    all_left([
        (
            "first over IPv4",
            frame(&[], &fragment4(IP4, &four, first)),
            Decap::Fragment,
        ),
        (
            "later over IPv4",
            frame(&[], &fragment4(IP4, &four, later)),
            Decap::Fragment,
        ),
        (
            "first of GUE over IPv4",
            frame(&[], &fragment4(UDP, &datagram, first)),
            Decap::Fragment,
        ),
        // It has no port to know it by.
        (
            "later of GUE over IPv4",
            frame(&[], &fragment4(UDP, &datagram, later)),
            Decap::NotTunnel,
        ),
        (
            "first over IPv6",
            frame(&[], &fragment6(IP4, &four, first)),
            Decap::Fragment,
        ),
        (
            "later over IPv6",
            frame(&[], &fragment6(IP6, &four, later)),
            Decap::Fragment,
        ),
        (
            "first of GUE over IPv6",
            frame(&[], &fragment6(UDP, &datagram, first)),
            Decap::Fragment,
        ),
        (
            "later of GUE over IPv6",
            frame(&[], &fragment6(UDP, &datagram, later)),
            Decap::NotTunnel,
        ),
    ])
}

#[test]
fn outer_headers_that_contradict_themselves_are_the_kernels_to_drop() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let four = packet4(VIP4, 0);
    let tunnel = frame(&[], &over4(IP4, &four));
    let six = frame(&[], &over6(IP4, &four));
    let gue = over4(UDP, &gue(&four));
    let mut short = header4(IP4, &four);
    short.total_len = 19;
    let len = usize::from(gue[V4 + 5]);
    let udp_len = |len: usize| with(frame(&[], &gue), ETH + V4 + 5, u8::try_from(len).unwrap());
    all_left([
        (
            "a wrong checksum",
            with(tunnel.clone(), ETH + 10, tunnel[ETH + 10] ^ 1),
            Decap::BadOuter,
        ),
        (
            "a bit flipped on the way",
            with(tunnel.clone(), ETH + 15, tunnel[ETH + 15] ^ 1),
            Decap::BadOuter,
        ),
        (
            "shorter than its header",
            frame(&[], &with_header4(short, &four)),
            Decap::BadOuter,
        ),
        ("cut short", tunnel[..tunnel.len() - 1].to_vec(), Decap::BadOuter),
        (
            "cut short over IPv6",
            six[..six.len() - 1].to_vec(),
            Decap::BadOuter,
        ),
        ("UDP longer than its packet", udp_len(len + 1), Decap::BadOuter),
        ("UDP shorter than its header", udp_len(7), Decap::BadOuter),
    ])
}

#[test]
fn what_is_in_the_tunnel_must_be_what_the_tunnel_says() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (four, six) = (packet4(VIP4, 0), packet6(VIP6, 0));
    let longer = |mut packet: Vec<u8>, at: usize| {
        packet[at] += 1;
        packet
    };
    all_left([
        ("6 as 4", frame(&[], &over4(IP4, &six)), Decap::BadInner),
        ("4 as 6", frame(&[], &over6(IP6, &four)), Decap::BadInner),
        (
            "a short header",
            frame(&[], &over4(IP4, &with(four.clone(), 0, 0x44))),
            Decap::BadInner,
        ),
        (
            "longer than the tunnel",
            frame(&[], &over4(IP4, &longer(four.clone(), 3))),
            Decap::BadInner,
        ),
        (
            "6 longer than the tunnel",
            frame(&[], &over4(IP6, &longer(six.clone(), 5))),
            Decap::BadInner,
        ),
        (
            "shorter than its header",
            frame(&[], &over4(IP4, &with(four.clone(), 3, 19))),
            Decap::BadInner,
        ),
        ("nothing", frame(&[], &over4(IP4, &[])), Decap::BadInner),
        (
            "half a header",
            frame(&[], &over6(IP6, &six[..V6 - 1])),
            Decap::BadInner,
        ),
        (
            "GUE with nothing",
            frame(&[], &over4(UDP, &gue(&[]))),
            Decap::BadInner,
        ),
        (
            "GUE of another variant",
            frame(&[], &over4(UDP, &gue(&with(four.clone(), 0, 0xc5)))),
            Decap::UnknownGue,
        ),
        (
            "GUE with a version between",
            frame(&[], &over4(UDP, &gue(&with(four.clone(), 0, 0x55)))),
            Decap::UnknownGue,
        ),
        (
            "GUE with another protocol",
            frame(&[], &over4(UDP, &gue0(47, &four))),
            Decap::UnknownGue,
        ),
        (
            "GUE with a flag",
            with(frame(&[], &over4(UDP, &gue0(IP4, &four))), ETH + V4 + GUE + 3, 1),
            Decap::UnknownGue,
        ),
    ])
}

/// Tunnels of all kinds, to be damaged.
fn tunnels() -> [Vec<u8>; 6] {
    let (four, six) = (packet4(VIP4, 2), packet6(VIP6, 2));
    [
        over4(IP4, &four),
        over6(IP6, &six),
        over4(IP6, &six),
        over4(UDP, &gue(&four)),
        over6(UDP, &gue(&six)),
        over6(UDP, &gue0(IP4, &four)),
    ]
}

#[test]
fn damage_never_makes_another_packet_than_the_one_behind_the_outer_header() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let rig = std::cell::RefCell::new(Rig::new()?);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let tags = prop::collection::vec(
        (
            prop::sample::select(vec![0x8100_u16, 0x88a8, 0x9100]),
            any::<u16>(),
        ),
        0..3,
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(5_000));
    runner.run(
        &(
            0..6_usize,
            tags,
            damage,
            any::<prop::sample::Index>(),
            any::<bool>(),
        ),
        |(kind, tags, damage, end, cut)| {
            let mut frame = frame(&tags, &tunnels()[kind]);
            for (at, byte) in damage {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            if cut {
                frame.truncate(end.index(frame.len()).max(ETH));
            }
            let (_, outcome, left) = rig.borrow_mut().run(&frame).unwrap();
            if outcome == Decap::Taken {
                // The Ethernet header but for its type, and what was behind the outer headers but for the ECN bits and checksum.
                let head = 12 + 4 * tags.len();
                prop_assert_eq!(&left[..head], &frame[..head]);
                let rest = left.len() - head - 2;
                prop_assert!(rest + 20 <= frame.len() - head - 2);
                prop_assert_eq!(&left[head + 2 + 12..], &frame[frame.len() - rest + 12..]);
            } else {
                prop_assert_eq!(left, frame);
            }
            Ok(())
        },
    )?;
    Ok(())
}
