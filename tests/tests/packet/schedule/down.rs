//! What becomes of packets when nobody of the pool is up: `on_down`.

use std::{collections::BTreeSet, net::Ipv6Addr};

use anyhow::Result;
use lb_common::{
    backend::BackendState,
    outcome::Outcome,
    service::{ForwardMode, service_flags},
};
use xlb::datapath::Datapath as _;
use xlb_tests::preflight;

use super::{CLIENT, IpAddr, Scene, TCP_PORT, UDP_PORT, VIP, VIP_V6, segment};
use crate::{
    model::{DROP, PASS, TX},
    table::expect,
    wire::{ACK, Frame, RST, SYN, error, icmp, read, tcp, udp},
};

const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 7));
const FAMILIES: [(IpAddr, IpAddr); 2] = [(CLIENT, VIP), (CLIENT_V6, VIP_V6)];
const MODES: [ForwardMode; 2] = [ForwardMode::Ipip, ForwardMode::Nat];

/// A pool of which nobody is up.
fn scene(mode: ForwardMode, flags: u16) -> Result<Scene> {
    let mut scene = Scene::new(3)?;
    scene.tune(|entry| {
        entry.mode = mode.wire();
        entry.flags |= flags;
    })?;
    for id in 1..=3 {
        scene.rig.set(id, BackendState::Down);
    }
    Ok(scene)
}

/// A SYN, a segment in the middle and a datagram of each family.
fn packets() -> Vec<Frame> {
    let of = |(client, vip)| {
        [
            tcp((client, 4000), (vip, TCP_PORT), SYN),
            tcp((client, 4001), (vip, TCP_PORT), ACK),
            udp((client, 4000), (vip, UDP_PORT), b"?"),
        ]
    };
    FAMILIES.into_iter().flat_map(of).collect()
}

/// Sends a frame that must stay as it is.
fn stays(scene: &mut Scene, sent: &Frame, action: u32, outcome: Outcome) -> Result<()> {
    let got = scene.rig.run(&sent.bytes())?;
    assert_eq!((got.action, got.outcome), (action, outcome), "{sent:?}");
    assert_eq!(got.frame, sent.bytes());
    Ok(())
}

/// Sends a frame that must be answered.
fn is_answered(scene: &mut Scene, sent: &Frame, answer: &Frame) -> Result<()> {
    let got = scene.rig.run(&sent.bytes())?;
    assert_eq!((got.action, got.outcome), (TX, Outcome::DownReset), "{sent:?}");
    assert_eq!(read::frame(&got.frame).map_err(anyhow::Error::msg)?, *answer);
    Ok(())
}

#[test]
fn it_is_dropped() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in MODES {
        let mut scene = scene(mode, 0)?;
        for sent in packets() {
            stays(&mut scene, &sent, DROP, Outcome::NoBackend)?;
        }
    }
    Ok(())
}

#[test]
fn or_refused_as_by_a_host_without_a_listener() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in MODES {
        let mut scene = scene(mode, service_flags::DOWN_RESETS)?;
        for (client, vip) in FAMILIES {
            let sent = tcp((client, 4000), (vip, TCP_PORT), SYN).payload(b"early");
            let refusal = expect::refusal(&sent, 0, 0x1000_0000 + 6, RST | ACK);
            is_answered(&mut scene, &sent, &refusal)?;
            let sent = tcp((client, 4001), (vip, TCP_PORT), ACK);
            is_answered(&mut scene, &sent, &expect::refusal(&sent, 77, 0, RST))?;
            let sent = udp((client, 4000), (vip, UDP_PORT), b"?");
            let answer = expect::error_about(&sent, vip, &icmp::PORT_UNREACHABLE, 0);
            is_answered(&mut scene, &sent, &answer)?;
            // What is not refused.
            let reset = tcp((client, 4002), (vip, TCP_PORT), RST);
            stays(&mut scene, &reset, DROP, Outcome::NoBackend)?;
            let (head, _) = udp((client, 4000), (vip, UDP_PORT), &[1; 40]).cut(16);
            stays(&mut scene, &head, DROP, Outcome::NoBackend)?;
        }
    }
    Ok(())
}

#[test]
fn or_left_to_the_kernel_as_it_came() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in MODES {
        let mut scene = scene(mode, service_flags::DOWN_PASSES)?;
        for sent in packets() {
            stays(&mut scene, &sent, PASS, Outcome::DownPassed)?;
        }
        for (client, vip) in FAMILIES {
            let (head, tail) = udp((client, 4000), (vip, UDP_PORT), &[1; 40]).cut(16);
            stays(&mut scene, &head, PASS, Outcome::DownPassed)?;
            stays(&mut scene, &tail, PASS, Outcome::DownPassed)?;
            // About what the kernel has sent to the client in the backends' place.
            let seen = tcp((vip, TCP_PORT), (client, 4000), ACK);
            let sent = error(client, vip, &icmp::TOO_BIG, 1300, seen.ip.quote(64));
            stays(&mut scene, &sent, PASS, Outcome::DownPassed)?;
        }
        let traffic = scene.rig.datapath.service_traffic(super::SERVICE)?;
        assert_eq!(traffic.packets_dropped, 0, "what is passed is not dropped");
    }
    Ok(())
}

#[test]
fn as_long_as_nobody_is_up() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for flags in [0, service_flags::DOWN_RESETS, service_flags::DOWN_PASSES] {
        let mut scene = scene(ForwardMode::Ipip, flags)?;
        // A draining one takes no new flows.
        scene.rig.set(2, BackendState::Drain);
        for port in 4000..4020 {
            let got = scene.rig.run(&segment(port, SYN).bytes())?;
            assert_ne!(got.outcome, Outcome::Forwarded, "flow {port}");
        }
        scene.rig.set(3, BackendState::Up);
        assert_eq!(scene.segment(4000, SYN)?, 3);
    }
    // All full is another matter.
    let mut scene = scene(ForwardMode::Ipip, service_flags::DOWN_PASSES | super::TRACKED)?;
    scene.rig.set(3, BackendState::Up);
    scene.limit(3, 1);
    assert_eq!(scene.segment(4000, SYN)?, 3);
    let other = segment(4001, SYN);
    scene.refuse(&other, Outcome::FullReset)?;
    // Also for errors: about flows that are at home there, and about those that nobody has.
    let about = |port| {
        let seen = tcp((VIP, TCP_PORT), (CLIENT, port), ACK);
        error(CLIENT, VIP, &icmp::TOO_BIG, 1300, seen.ip.quote(64))
    };
    let mut became = |port| Ok(scene.rig.run(&about(port).bytes())?.outcome);
    let all = (4001..4021).map(&mut became).collect::<Result<BTreeSet<_>>>()?;
    assert_eq!(
        all,
        BTreeSet::from([Outcome::ErrorForwarded, Outcome::ErrorUnknown])
    );
    scene.rig.set(3, BackendState::Down);
    stays(&mut scene, &about(4001), PASS, Outcome::DownPassed)?;
    Ok(())
}
