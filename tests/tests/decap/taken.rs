//! What is taken out of its tunnel, and comes out byte for byte.

use anyhow::Result;
use xlb_tests::preflight;

use crate::{
    frames::{
        BACKEND4, BALANCER4, IP4, IP6, UDP, VIP4, VIP6, fragment4, frame, gue, gue0, over4, over6, packet4,
        packet6,
    },
    rig::Rig,
};

#[test]
fn a_packet_leaves_every_kind_of_tunnel_as_it_was_sent() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (four, six) = (packet4(VIP4, 0xb8), packet6(VIP6, 0xb8));
    let mut rigs = [Rig::new()?, Rig::for_long_frames()?];
    let tunnels = [
        ("4in4", over4(IP4, &four), &four),
        ("6in4", over4(IP6, &six), &six),
        ("4in6", over6(IP4, &four), &four),
        ("6in6", over6(IP6, &six), &six),
        ("4 in GUE over IPv4", over4(UDP, &gue(&four)), &four),
        ("6 in GUE over IPv4", over4(UDP, &gue(&six)), &six),
        ("4 in GUE over IPv6", over6(UDP, &gue(&four)), &four),
        ("6 in GUE over IPv6", over6(UDP, &gue(&six)), &six),
        ("4 in GUE with a header", over4(UDP, &gue0(IP4, &four)), &four),
        ("6 in GUE with a header", over6(UDP, &gue0(IP6, &six)), &six),
    ];
    for (what, tunnel, inner) in tunnels {
        for tags in [
            &[][..],
            &[(0x8100, 0x600a)],
            &[(0x88a8, 0x0064), (0x8100, 0x600a)],
        ] {
            let what = format!("{what}, {} tags", tags.len());
            for rig in &mut rigs {
                rig.takes(&what, &frame(tags, &tunnel), &frame(tags, inner));
            }
        }
    }
    Ok(())
}

#[test]
fn padding_of_a_short_frame_stays_behind_the_packet() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let inner = packet4(VIP4, 0);
    let padded = |packet: &[u8]| [&frame(&[], packet)[..], &[0; 9]].concat();
    Rig::new()?.takes("padding", &padded(&over4(IP4, &inner)), &padded(&inner));
    Ok(())
}

#[test]
fn a_checksum_of_the_outer_datagram_is_not_looked_at() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let inner = packet4(VIP4, 0);
    let mut datagram = gue(&inner);
    datagram[6..8].copy_from_slice(&[0xab, 0xcd]);
    let tunnel = frame(&[], &over4(UDP, &datagram));
    Rig::new()?.takes("a wrong checksum", &tunnel, &frame(&[], &inner));
    Ok(())
}

#[test]
fn fragments_that_the_balancer_tunnels_whole_are_taken() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    // The packet in the tunnel is a fragment; the tunnel's is not.
    let mut inner = fragment4(UDP, b"the rest of a datagram..", (185, false));
    inner[16..20].copy_from_slice(&VIP4.octets());
    inner[10..12].fill(0);
    let header = etherparse::Ipv4HeaderSlice::from_slice(&inner)
        .unwrap()
        .to_header();
    let check = header.calc_header_checksum().to_be_bytes();
    inner[10..12].copy_from_slice(&check);
    Rig::new()?.takes(
        "a fragment",
        &frame(&[], &over4(IP4, &inner)),
        &frame(&[], &inner),
    );
    Ok(())
}

#[test]
fn only_the_networks_named_may_send_tunnels() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (four, six) = (packet4(VIP4, 0), packet6(VIP6, 0));
    let (over_four, over_six) = (frame(&[], &over4(IP4, &four)), frame(&[], &over6(IP6, &six)));
    let mut rig = Rig::with_sources(&[&BALANCER4.to_string(), "fd00:20::/64"])?;
    rig.takes("the balancer's address", &over_four, &frame(&[], &four));
    rig.takes("the balancer's network", &over_six, &frame(&[], &six));
    let mut rig = Rig::with_sources(&[&BACKEND4.to_string()])?;
    for tunnel in [&over_four, &over_six] {
        rig.leaves("another's", tunnel, lb_common::decap::Decap::ForeignSource);
    }
    Ok(())
}
