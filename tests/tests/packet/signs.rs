//! What clients suffer of a backend is counted: SYNs that they repeat, resets and errors that they get for an answer.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::{
    backend::{BackendState, BackendWord},
    outcome::Outcome,
    service::ForwardMode,
    sign::Signs,
};
use xlb::datapath::Datapath as _;
use xlb_tests::preflight;

use crate::{
    rig::Rig,
    schedule::stay_on_one_cpu,
    wire::{ACK, Body, Frame, PSH, RST, SYN, SYN_ACK, error, icmp, tcp},
    world::{Backend, Net, Service, Way, World, standard},
};

const PORT: u16 = 80;
const BACKEND_PORT: u16 = 8080;
/// After so long a SYN is a repetition, however slow the clock that the program goes by.
const A_WHILE: Duration = Duration::from_millis(300);
/// Within so long it is none.
const AT_ONCE: Duration = Duration::from_millis(150);

/// Two backends, of which the second gets everything.
struct Scene {
    rig: Rig,
    client: IpAddr,
    vip: IpAddr,
    server: IpAddr,
}

fn world(mode: ForwardMode, vip: IpAddr, servers: [IpAddr; 2]) -> World {
    let backend = |addr| Backend {
        service: 0,
        addr,
        port: if mode.translates() { BACKEND_PORT } else { 0 },
        way: 1,
        server_id: Vec::new(),
    };
    World {
        services: vec![Service::new(mode).tcp(vip, PORT)],
        vips: vec![standard::policy(Net::host(vip))],
        backends: servers.map(backend).to_vec(),
        ways: vec![Way {
            ifindex: standard::INGRESS,
            tags: None,
            mtu: 0,
            source: if vip.is_ipv4() {
                Ipv4Addr::new(10, 20, 0, 1).into()
            } else {
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into()
            },
        }],
        answers_per_second: 1_000_000,
        ..World::default()
    }
}

impl Scene {
    fn new(mode: ForwardMode, v4: bool) -> Result<Self> {
        stay_on_one_cpu()?;
        let (client, vip, servers): (IpAddr, IpAddr, [IpAddr; 2]) = if v4 {
            let servers = [11, 12].map(|host| Ipv4Addr::new(10, 20, 0, host).into());
            ([198, 51, 100, 7].into(), [192, 0, 2, 10].into(), servers)
        } else {
            let servers = [11, 12].map(|host| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into());
            let of = |last| Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, last).into();
            (of(7), of(10), servers)
        };
        let mut rig = Rig::new(world(mode, vip, servers))?;
        rig.share(0, &[2])?;
        Ok(Self {
            rig,
            client,
            vip,
            server: servers[1],
        })
    }

    fn segment(&self, port: u16, flags: u8) -> Frame {
        tcp((self.client, port), (self.vip, PORT), flags)
    }

    /// A client's segment.
    fn send(&mut self, port: u16, flags: u8) -> Result<()> {
        let sent = self.segment(port, flags);
        self.forward(&sent)
    }

    fn forward(&mut self, sent: &Frame) -> Result<()> {
        assert_eq!(self.rig.run(&sent.bytes())?.outcome, Outcome::Forwarded);
        Ok(())
    }

    /// The backend's.
    fn answer(&mut self, port: u16, flags: u8) -> Result<()> {
        let sent = tcp((self.server, BACKEND_PORT), (self.client, port), flags);
        assert_eq!(self.rig.run(&sent.bytes())?.outcome, Outcome::Returned);
        Ok(())
    }

    /// An error about a client's segment, as its backend has got it.
    fn fail(&mut self, port: u16, kind: &icmp::Kind, outcome: Outcome) -> Result<()> {
        let seen = tcp((self.client, port), (self.server, BACKEND_PORT), SYN);
        let sent = error(self.server, self.client, kind, 0, seen.ip.quote(64));
        assert_eq!(self.rig.run(&sent.bytes())?.outcome, outcome);
        Ok(())
    }

    fn signs(&self) -> Result<Signs> {
        assert_eq!(self.rig.datapath.backend_signs(1)?, Signs::default());
        self.rig.datapath.backend_signs(2)
    }

    fn repeated(&self) -> Result<u64> {
        let signs = self.signs()?;
        assert_eq!((signs.resets, signs.unreachables), (0, 0));
        Ok(signs.repeated_syns)
    }
}

/// The packet of another connection from the same port.
fn of_another(mut sent: Frame) -> Frame {
    if let Body::Tcp { sequence, .. } = &mut sent.ip.body {
        *sequence = sequence.wrapping_add(1);
    }
    sent
}

/// Plays a story in every mode and family.
fn everywhere(modes: &[ForwardMode], story: impl Fn(&mut Scene) -> Result<()>) -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for &mode in modes {
        for v4 in [true, false] {
            let family = if v4 { "IPv4" } else { "IPv6" };
            story(&mut Scene::new(mode, v4)?).with_context(|| format!("{} {family}", mode.name()))?;
        }
    }
    Ok(())
}

const TRANSLATING: &[ForwardMode] = &[ForwardMode::Nat];
const DIRECT: &[ForwardMode] = &[ForwardMode::Dsr, ForwardMode::Ipip, ForwardMode::Gue];

#[test]
fn a_syn_that_comes_again_counts_once_each_time() -> Result<()> {
    everywhere(ForwardMode::ALL, |scene| {
        scene.send(4000, SYN)?;
        scene.send(4001, SYN)?;
        scene.send(4002, SYN)?;
        sleep(A_WHILE);
        assert_eq!(scene.repeated()?, 0);
        // Whichever way it takes.
        scene.rig.go_long()?;
        scene.send(4000, SYN)?;
        assert_eq!(scene.repeated()?, 1);
        scene.rig.go_short();
        scene.send(4001, SYN)?;
        assert_eq!(scene.repeated()?, 2);
        sleep(A_WHILE);
        scene.send(4001, SYN)?;
        assert_eq!(scene.repeated()?, 3);
        // Other flows, and what is no SYN.
        scene.send(4003, SYN)?;
        scene.send(4002, SYN_ACK)?;
        scene.send(4002, ACK)?;
        scene.send(4002, ACK | PSH)?;
        scene.send(4002, RST)?;
        assert_eq!(scene.repeated()?, 3);
        Ok(())
    })
}

#[test]
fn a_copy_that_comes_at_once_does_not() -> Result<()> {
    everywhere(&[ForwardMode::Ipip, ForwardMode::Nat], |scene| {
        for port in 4000..5000 {
            let before = scene.repeated()?;
            let start = Instant::now();
            for _ in 0..3 {
                scene.send(port, SYN)?;
            }
            // A machine that is too busy tells nothing.
            if start.elapsed() < AT_ONCE {
                assert_eq!(scene.repeated()?, before);
                return Ok(());
            }
        }
        panic!("this machine is too slow for three packets in {AT_ONCE:?}")
    })
}

#[test]
fn nor_does_another_connection_from_the_same_port() -> Result<()> {
    everywhere(DIRECT, |scene| {
        for (port, is_long) in [(4000, false), (4001, true)] {
            if is_long {
                scene.rig.go_long()?;
            }
            let first = scene.segment(port, SYN);
            scene.forward(&first)?;
            sleep(A_WHILE);
            scene.forward(&of_another(first))?;
        }
        assert_eq!(scene.repeated()?, 0);
        Ok(())
    })
}

/// Another one has left the first SYN without an answer: one before it, or one that had its id.
#[test]
fn nor_does_a_syn_that_comes_to_its_backend_for_the_first_time() -> Result<()> {
    everywhere(DIRECT, |scene| {
        for (port, is_long) in [(4000, false), (4001, true)] {
            if is_long {
                scene.rig.go_long()?;
            }
            let before = scene.repeated()?;
            scene.rig.share(0, &[1])?;
            scene.send(port, SYN)?;
            sleep(A_WHILE);
            scene.rig.share(0, &[2])?;
            scene.send(port, SYN)?;
            assert_eq!(scene.repeated()?, before, "it has moved");
            sleep(A_WHILE);
            let generation = 2 + u32::from(is_long);
            scene
                .rig
                .set_word(2, BackendWord::new(BackendState::Up, 1, generation));
            scene.send(port, SYN)?;
            assert_eq!(scene.repeated()?, before, "it is another's");
            sleep(A_WHILE);
            scene.send(port, SYN)?;
            assert_eq!(scene.repeated()?, before + 1);
        }
        Ok(())
    })
}

#[test]
fn nor_does_a_syn_that_has_been_answered() -> Result<()> {
    everywhere(TRANSLATING, |scene| {
        scene.send(4000, SYN)?;
        scene.answer(4000, SYN_ACK)?;
        sleep(A_WHILE);
        scene.send(4000, SYN)?;
        assert_eq!(scene.repeated()?, 0);
        Ok(())
    })
}

#[test]
fn a_reset_counts_that_answers_a_syn() -> Result<()> {
    everywhere(TRANSLATING, |scene| {
        let mut expected = Signs::default();
        scene.send(4000, SYN)?;
        // Of the connection before.
        scene.answer(4000, RST)?;
        assert_eq!(scene.signs()?, expected);
        scene.answer(4000, RST | ACK)?;
        expected.resets = 1;
        assert_eq!(scene.signs()?, expected);
        // The connection is over.
        scene.answer(4000, RST | ACK)?;
        assert_eq!(scene.signs()?, expected);
        scene.send(4001, SYN)?;
        scene.answer(4001, SYN_ACK)?;
        scene.send(4001, ACK)?;
        scene.answer(4001, RST | ACK)?;
        assert_eq!(scene.signs()?, expected, "it was served");
        scene.send(4000, SYN)?;
        scene.answer(4000, RST | ACK)?;
        expected.resets = 2;
        assert_eq!(scene.signs()?, expected);
        Ok(())
    })
}

/// A backend that has left its id may still answer.
#[test]
fn but_not_for_another_that_has_the_id_since() -> Result<()> {
    everywhere(TRANSLATING, |scene| {
        scene.send(4000, SYN)?;
        scene.send(4001, SYN)?;
        scene.rig.set_word(2, BackendWord::new(BackendState::Up, 1, 2));
        scene.answer(4000, RST | ACK)?;
        scene.fail(4001, &icmp::PORT_UNREACHABLE, Outcome::ErrorReturned)?;
        assert_eq!(scene.signs()?, Signs::default());
        Ok(())
    })
}

#[test]
fn an_error_counts_that_says_unreachable() -> Result<()> {
    everywhere(TRANSLATING, |scene| {
        scene.send(4000, SYN)?;
        for kind in [&icmp::TOO_BIG, &icmp::TIME_EXCEEDED, &icmp::PARAMETER_PROBLEM] {
            scene.fail(4000, kind, Outcome::ErrorReturned)?;
        }
        assert_eq!(scene.signs()?, Signs::default());
        scene.fail(4000, &icmp::PORT_UNREACHABLE, Outcome::ErrorReturned)?;
        scene.fail(4001, &icmp::PORT_UNREACHABLE, Outcome::NotOurs)?;
        let expected = Signs {
            unreachables: 1,
            ..Signs::default()
        };
        assert_eq!(scene.signs()?, expected);
        Ok(())
    })
}

#[test]
fn a_backend_that_is_new_under_its_id_begins_without_signs() -> Result<()> {
    everywhere(TRANSLATING, |scene| {
        scene.send(4000, SYN)?;
        scene.answer(4000, RST | ACK)?;
        assert_eq!(scene.signs()?.resets, 1);
        scene.rig.datapath.reset_backend(2)?;
        assert_eq!(scene.signs()?, Signs::default());
        scene
            .rig
            .put_backend(2, SocketAddr::new(scene.server, BACKEND_PORT))?;
        scene.send(4001, SYN)?;
        assert_eq!(scene.signs()?, Signs::default());
        Ok(())
    })
}
