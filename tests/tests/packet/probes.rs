//! Probes through the data path: out of their namespace in the form that their backend would get a client's packet in, and the answers
//! back in.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_common::{
    backend::{BackendState, BackendWord},
    outcome::Outcome,
    service::{ForwardMode, ServiceKey},
};
use xlb::datapath::{Datapath as _, probing::Probes};
use xlb_tests::preflight;

use crate::{
    model::{DROP, PASS, REDIRECT, TX},
    rig::{
        Rig,
        door::{Asking, INSIDE_MAC, OUTSIDE_MAC},
    },
    table::expect,
    wire::{ACK, Frame, SYN, SYN_ACK, error, icmp, protocol, read, tcp, udp},
    world::{
        World,
        lanes::{Lane, NARROW_TCP_PORT, NARROW_UDP_PORT, TCP_PORT, UDP_PORT},
        standard::{self, INGRESS},
    },
};

const PORT: u16 = 61_234;

fn inside(v4: bool) -> IpAddr {
    if v4 {
        [169, 254, 0, 2].into()
    } else {
        [0xfdaa, 0, 0, 0, 0, 0, 0, 2].into()
    }
}

/// A probe of a backend on the near way, or of one on the far one.
fn asking(rig: &Rig, lane: &Lane, (near, protocol): (bool, u8)) -> Asking {
    let service = if near { lane.wide } else { lane.narrow };
    let port = match (near, protocol) {
        (true, protocol::TCP) => TCP_PORT,
        (true, _) => UDP_PORT,
        (false, protocol::TCP) => NARROW_TCP_PORT,
        (false, _) => NARROW_UDP_PORT,
    };
    let id = *rig.world.members(service).last().unwrap();
    let backend = rig.world.backend(id);
    let vip = lane.at(port);
    let server = match (lane.mode.translates(), backend.port) {
        (false, _) => vip,
        (true, 0) => SocketAddr::new(backend.addr, port),
        (true, port) => SocketAddr::new(backend.addr, port),
    };
    Asking {
        protocol,
        backend: id,
        service,
        vip,
        server,
        inside: inside(lane.is_v4()),
        outside: rig.world.own_of(lane.is_v4()).unwrap(),
        port: PORT,
    }
}

fn packet(from: SocketAddr, to: SocketAddr, protocol: u8, flags: u8) -> Frame {
    match protocol {
        protocol::TCP => tcp(from, to, flags),
        _ => udp(from, to, b"an odd probe!"),
    }
}

/// Every probe of every lane, one after the other.
fn each(world: World, play: impl Fn(&mut Rig, &mut Probes, &Asking, &str) -> Result<()>) -> Result<()> {
    each_in(Rig::with_door(world)?, play)
}

fn each_in(
    (mut rig, mut probes): (Rig, Probes),
    mut play: impl FnMut(&mut Rig, &mut Probes, &Asking, &str) -> Result<()>,
) -> Result<()> {
    for lane in Lane::all() {
        for near in [true, false] {
            for protocol in [protocol::TCP, protocol::UDP] {
                let asking = asking(&rig, &lane, (near, protocol));
                let name = format!("{}, near {near}, protocol {protocol}", lane.name());
                asking.begin(&mut probes)?;
                play(&mut rig, &mut probes, &asking, &name)?;
                asking.end(&mut probes)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_probe_gets_to_its_backend_as_a_clients_packet_would() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for world in [standard::without_networks(), standard::world()] {
        each(world, |rig, _, asking, name| {
            let sent = packet(asking.inside(), asking.vip, asking.protocol, SYN);
            let got = rig.leave(&sent.bytes())?;
            assert_eq!(got.outcome, Outcome::ProbeSent, "{name}");
            let translates = rig.world.service(asking.service).mode.translates();
            let expected = if translates {
                expect::forwarded(&rig.world, &sent, asking.backend, Some(asking.outside()))
            } else {
                // Behind a router that gives it its address outside.
                let routed = packet(asking.outside(), asking.vip, asking.protocol, SYN);
                expect::forwarded(&rig.world, &routed.ttl(sent.ip.ttl - 1), asking.backend, None)
            };
            let arrived = expect::settled(read::frame(&got.frame).unwrap());
            assert_eq!(arrived, expect::settled(expected), "{name}");
            let way = rig.world.backend(asking.backend).way;
            let near = rig.world.ways[way as usize - 1].ifindex == INGRESS;
            assert_eq!(got.action, if near { TX } else { REDIRECT }, "{name}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A backend that is down is what probes are for; one that has gone is another's.
#[test]
fn a_probe_asks_its_own_backend_whatever_its_state() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    each(standard::without_networks(), |rig, probes, asking, name| {
        let sent = packet(asking.inside(), asking.vip, asking.protocol, SYN).bytes();
        let way = rig.world.backend(asking.backend).way;
        for (state, generation, outcome) in [
            (BackendState::Drain, 1, Outcome::ProbeSent),
            (BackendState::Down, 1, Outcome::ProbeSent),
            (BackendState::Free, 1, Outcome::ProbeOver),
            (BackendState::Up, 2, Outcome::ProbeOver),
            (BackendState::Up, 1, Outcome::ProbeSent),
        ] {
            rig.set_word(asking.backend, BackendWord::new(state, way, generation));
            let got = rig.leave(&sent)?;
            assert_eq!(got.outcome, outcome, "{name} {state:?} {generation}");
            assert_eq!(got.action == DROP, outcome == Outcome::ProbeOver, "{name}");
        }
        // Nor is a service that has its id since the probe's.
        let mut entry = asking.entry();
        entry.service += 1;
        asking.end(probes)?;
        asking.begin_as(probes, &entry)?;
        assert_eq!(rig.leave(&sent)?.outcome, Outcome::ProbeOver, "{name}");
        Ok(())
    })
}

#[test]
fn a_probe_whose_vip_has_gone_is_over() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    each(standard::without_networks(), |rig, _, asking, name| {
        let sent = packet(asking.inside(), asking.vip, asking.protocol, SYN).bytes();
        assert_eq!(rig.leave(&sent)?.outcome, Outcome::ProbeSent, "{name}");
        let key = ServiceKey {
            vip: asking.vip.ip().into(),
            port: asking.vip.port().to_be(),
            protocol: asking.protocol.into(),
            ..ServiceKey::default()
        };
        rig.datapath.remove_service(&key)?;
        let got = rig.leave(&sent)?;
        assert_eq!(
            (got.outcome, got.action),
            (Outcome::ProbeOver, DROP),
            "{name}: no service"
        );
        if asking.vip.port() == NARROW_UDP_PORT {
            // The lane's last one.
            rig.datapath.remove_vip(&asking.vip.ip().into())?;
            let got = rig.leave(&sent)?;
            assert_eq!(
                (got.outcome, got.action),
                (Outcome::ProbeOver, DROP),
                "{name}: no VIP"
            );
        }
        Ok(())
    })
}

/// With the addresses on the wire, after the rewrite.
#[test]
fn its_packets_are_logged_as_they_leave() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (mut rig, probes) = Rig::with_door_and_lines(standard::without_networks())?;
    let mut lines = rig.logged()?;
    each_in((rig, probes), |rig, _, asking, name| {
        rig.leave(&packet(asking.inside(), asking.vip, asking.protocol, SYN).bytes())?;
        rig.run(&packet(asking.server, asking.outside(), asking.protocol, SYN_ACK).bytes())?;
        let line = |outcome: Outcome, from: IpAddr, to: IpAddr| {
            format!(
                "{}: {from} -> {to}, protocol {}, ",
                outcome.name(),
                asking.protocol
            )
        };
        let expected = [
            line(Outcome::ProbeSent, asking.outside, asking.server.ip()),
            line(Outcome::ProbeAnswered, asking.vip.ip(), asking.inside),
        ];
        let said = lines.take();
        assert_eq!(said.len(), 2, "{name}: {said:?}");
        for (said, expected) in said.iter().zip(&expected) {
            assert!(said.starts_with(expected), "{name}: {said} instead of {expected}");
        }
        Ok(())
    })
}

/// The ports of probes are counted for each VIP and port of it, and for each backend where that answers.
#[test]
fn probes_of_others_may_have_the_same_port() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (mut rig, mut probes) = Rig::with_door(standard::without_networks())?;
    let all: Vec<Asking> = Lane::all()
        .iter()
        .flat_map(|lane| {
            [
                (true, protocol::TCP),
                (true, protocol::UDP),
                (false, protocol::TCP),
            ]
            .map(|which| asking(&rig, lane, which))
        })
        .collect();
    for asking in &all {
        asking.begin(&mut probes)?;
    }
    for asking in &all {
        let sent = packet(asking.inside(), asking.vip, asking.protocol, SYN).bytes();
        assert_eq!(rig.leave(&sent)?.outcome, Outcome::ProbeSent, "{asking:?}");
        let answer = packet(asking.server, asking.outside(), asking.protocol, SYN_ACK).bytes();
        let got = rig.run(&answer)?;
        assert_eq!(got.outcome, Outcome::ProbeAnswered, "{asking:?}");
        let arrived = read::frame(&got.frame).unwrap();
        assert_eq!(
            (arrived.source(), arrived.destination()),
            (asking.vip, asking.inside())
        );
    }
    Ok(())
}

#[test]
fn what_is_no_probe_does_not_leave() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    each(standard::without_networks(), |rig, _, asking, name| {
        let (from, other) = (asking.inside(), |at: SocketAddr| {
            SocketAddr::new(at.ip(), at.port() + 1)
        });
        let stranger = SocketAddr::new(standard::client(asking.vip.is_ipv4(), 7), PORT);
        for (from, to) in [
            (other(from), asking.vip),
            (from, other(asking.vip)),
            (stranger, asking.vip),
        ] {
            let got = rig.leave(&packet(from, to, asking.protocol, SYN).bytes())?;
            assert_eq!((got.outcome, got.action), (Outcome::ProbeOver, DROP), "{name}");
        }
        Ok(())
    })
}

#[test]
fn an_answer_goes_back_into_the_namespace() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for world in [standard::without_networks(), standard::world()] {
        each(world, |rig, probes, asking, name| {
            for tags in [&[][..], &[(0x8100, 7)]] {
                let sent = packet(asking.server, asking.outside(), asking.protocol, SYN_ACK).tagged(tags);
                let got = rig.run(&sent.bytes())?;
                assert_eq!(
                    (got.outcome, got.action),
                    (Outcome::ProbeAnswered, REDIRECT),
                    "{name}"
                );
                let mut expected =
                    packet(asking.vip, asking.inside(), asking.protocol, SYN_ACK).ttl(sent.ip.ttl - 1);
                (expected.to, expected.from) = (INSIDE_MAC, OUTSIDE_MAC);
                assert_eq!(read::frame(&got.frame).unwrap(), expected, "{name}");
            }
            let late = packet(asking.server, asking.outside(), asking.protocol, ACK).bytes();
            asking.end(probes)?;
            let got = rig.run(&late)?;
            assert_eq!((got.outcome, got.action), (Outcome::NotOurs, PASS), "{name}");
            assert_eq!(got.frame, late, "{name}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The ports of probes are the host's like all others, but for what a probe waits for.
#[test]
fn what_no_probe_waits_for_is_the_kernels() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for world in [standard::without_networks(), standard::world()] {
        each(world, |rig, _, asking, name| {
            let (outside, server) = (asking.outside(), asking.server);
            let next = |at: SocketAddr| SocketAddr::new(at.ip(), at.port() - 1);
            let stranger = SocketAddr::new(standard::client(asking.vip.is_ipv4(), 7), 4000);
            let neighbour = standard::backend(asking.vip.is_ipv4(), 77, 9);
            for (from, to) in [
                (stranger, outside),
                (next(server), outside),
                (server, next(outside)),
                (SocketAddr::new(neighbour, server.port()), outside),
                (server, SocketAddr::new(neighbour, PORT)),
                (stranger, SocketAddr::new(outside.ip(), 22)),
            ] {
                let sent = packet(from, to, asking.protocol, SYN).bytes();
                let got = rig.run(&sent)?;
                assert_eq!(
                    (got.outcome, got.action),
                    (Outcome::NotOurs, PASS),
                    "{name} {from} {to}"
                );
                assert_eq!(got.frame, sent, "{name}");
            }
            // Where nobody probes, nothing is looked for.
            let answer = packet(server, outside, asking.protocol, SYN_ACK).bytes();
            rig.go_short();
            assert_eq!(rig.run(&answer)?.outcome, Outcome::NotOurs, "{name}");
            rig.probing();
            assert_eq!(rig.run(&answer)?.outcome, Outcome::ProbeAnswered, "{name}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A port unreachable, above all: what a UDP server that has died is told by.
#[test]
fn an_error_about_a_probe_goes_back_into_the_namespace() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for world in [standard::without_networks(), standard::world()] {
        each(world, |rig, probes, asking, name| {
            let v4 = asking.vip.is_ipv4();
            let header = if v4 { 20 } else { 40 };
            let quoted = |from, to, len: usize| {
                let seen = packet(from, to, asking.protocol, SYN);
                seen.ip.quote(header + len)
            };
            let (outside, server) = (asking.outside(), asking.server);
            let router = standard::client(v4, 9);
            for (kind, word) in [(&icmp::PORT_UNREACHABLE, 0), (&icmp::TOO_BIG, 1400)] {
                for (sender, len) in [(server.ip(), 64), (server.ip(), 8), (router, 64)] {
                    let quote = quoted(outside, server, len);
                    let sent = error(sender, outside.ip(), kind, word, quote);
                    let got = rig.run(&sent.bytes())?;
                    assert_eq!(
                        (got.outcome, got.action),
                        (Outcome::ProbeAnswered, REDIRECT),
                        "{name} {len}"
                    );
                    let quote = quoted(asking.inside(), asking.vip, len);
                    let mut expected =
                        error(asking.vip.ip(), asking.inside, kind, word, quote).ttl(sent.ip.ttl - 1);
                    (expected.to, expected.from) = (INSIDE_MAC, OUTSIDE_MAC);
                    assert_eq!(read::frame(&got.frame).unwrap(), expected, "{name} {len}");
                    let got = rig.run(&sent.ttl(1).bytes())?;
                    assert_eq!(got.outcome, Outcome::TtlExpired, "{name}");
                }
            }
            // About what no probe has sent, and of one that is over.
            let next = |at: SocketAddr| SocketAddr::new(at.ip(), at.port() - 1);
            let left = |rig: &mut Rig, from, to| -> Result<()> {
                let quote = quoted(from, to, 64);
                let sent = error(server.ip(), outside.ip(), &icmp::PORT_UNREACHABLE, 0, quote).bytes();
                let got = rig.run(&sent)?;
                assert_eq!(
                    (got.outcome, got.action),
                    (Outcome::NotOurs, PASS),
                    "{name} {from} {to}"
                );
                assert_eq!(got.frame, sent, "{name}");
                Ok(())
            };
            left(rig, next(outside), server)?;
            left(rig, outside, next(server))?;
            asking.end(probes)?;
            left(rig, outside, server)
        })?;
    }
    Ok(())
}

/// Anybody could open a flow in a name that is ours now, whose answers would come with all that a probe's answer comes with.
#[test]
fn a_flow_that_looks_like_a_probe_takes_none_of_its_answers() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (mut rig, mut probes) = Rig::with_door(standard::without_networks())?;
    for lane in Lane::all().iter().filter(|lane| lane.mode == ForwardMode::Nat) {
        let name = lane.name();
        let asking = asking(&rig, lane, (true, protocol::TCP));
        rig.share(asking.service, &[asking.backend])?;
        // Before the address is ours, or before anybody has told the program.
        let ours = asking.outside().ip().into();
        rig.datapath.remove_local(&ours)?;
        for flags in [SYN, ACK] {
            let forged = tcp(asking.outside(), asking.vip, flags).bytes();
            assert_eq!(rig.run(&forged)?.outcome, Outcome::Forwarded, "{name}");
            let answer = tcp(asking.server, asking.outside(), SYN_ACK).bytes();
            assert_eq!(
                rig.run(&answer)?.outcome,
                Outcome::Returned,
                "{name}: the forger's"
            );
        }
        rig.datapath.put_local(&ours)?;
        asking.begin(&mut probes)?;
        for flags in [SYN_ACK, ACK] {
            let answer = tcp(asking.server, asking.outside(), flags).bytes();
            let got = rig.run(&answer)?;
            assert_eq!(got.outcome, Outcome::ProbeAnswered, "{name}: flags {flags}");
        }
        asking.end(&mut probes)?;
    }
    Ok(())
}

/// Clients are served as ever, while their backends are probed.
#[test]
fn clients_do_not_notice() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let (mut rig, _probes) = Rig::with_door(standard::without_networks())?;
    for lane in Lane::all() {
        // Also one whose port a probe could have.
        for port in [4000, PORT] {
            let sent = tcp(lane.client(port), lane.at(TCP_PORT), SYN).bytes();
            let long = rig.run(&sent)?;
            assert_eq!(long.outcome, Outcome::Forwarded, "{}", lane.name());
            let short = rig.run(&sent)?;
            assert_eq!(
                (short.outcome, short.action),
                (long.outcome, long.action),
                "{}",
                lane.name()
            );
            if !lane.mode.translates() {
                continue;
            }
            let arrived = read::frame(&short.frame).unwrap();
            for _ in 0..2 {
                for flags in [SYN_ACK, ACK] {
                    let back = tcp(arrived.destination(), arrived.source(), flags).bytes();
                    assert_eq!(rig.run(&back)?.outcome, Outcome::Returned, "{}", lane.name());
                }
            }
        }
    }
    Ok(())
}
