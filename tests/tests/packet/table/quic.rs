//! Section 3: QUIC's connection IDs.

use std::net::IpAddr;

use lb_common::{backend::BackendState, outcome::Outcome};

use crate::{
    table::{Row, once, row, services::service},
    wire::{protocol, udp},
    world::{
        World,
        standard::{QUIC_NAT_PORT, QUIC_NAT_PORT_2, QUIC_PORT, special, vip},
    },
};

pub const ROWS: &[Row] = &[
    row(
        "a server ID names the backend, in headers of both forms",
        once,
        |s, l| {
            let to = vip(l.is_v4(), special::QUIC);
            for (port, config) in [(QUIC_PORT, 2), (QUIC_NAT_PORT, 0)] {
                let (id, backends) = pool(s.world(), to, port);
                for (backend, server_id) in backends {
                    for payload in [short(config, &server_id), long(config, &server_id)] {
                        let sent = udp(l.client(4000), (to, port), &payload);
                        let got = s.forwards(id, &sent).backend;
                        assert!(port == QUIC_PORT || got == backend, "{got} instead of {backend}");
                    }
                }
            }
        },
    ),
    row("a client that moves stays with its server", once, |s, l| {
        let to = vip(l.is_v4(), special::QUIC);
        let (id, backends) = pool(s.world(), to, QUIC_NAT_PORT);
        for client_port in 5000..5020 {
            let (backend, server_id) = &backends[0];
            let sent = udp(l.client(client_port), (to, QUIC_NAT_PORT), &short(0, server_id));
            assert_eq!(s.forwards(id, &sent).backend, *backend);
        }
    }),
    row(
        "another configuration, an unknown server, a short ID: as if there were none",
        once,
        |s, l| {
            let to = vip(l.is_v4(), special::QUIC);
            let (id, backends) = pool(s.world(), to, QUIC_NAT_PORT);
            let server_id = backends[0].1.clone();
            let mut chosen = Vec::new();
            for payload in [
                short(1, &server_id),
                short(0, &[0x77]),
                vec![0x40],
                Vec::new(),
                long(7, &server_id),
            ] {
                chosen.push(
                    s.forwards(id, &udp(l.client(4000), (to, QUIC_NAT_PORT), &payload))
                        .backend,
                );
            }
            assert!(chosen.windows(2).all(|pair| pair[0] == pair[1]), "{chosen:?}");
        },
    ),
    row(
        "a long header opens no flow on a draining server",
        once,
        |s, l| {
            let to = vip(l.is_v4(), special::QUIC);
            let (id, backends) = pool(s.world(), to, QUIC_NAT_PORT);
            let ((draining, server_id), (other, _)) = (&backends[0], &backends[1]);
            let sent = |port, payload: &[u8]| udp(l.client(port), (to, QUIC_NAT_PORT), payload);
            assert_eq!(
                s.forwards(id, &sent(4000, &long(0, server_id))).backend,
                *draining
            );
            s.set(*draining, BackendState::Drain);
            assert_eq!(s.forwards(id, &sent(4001, &long(0, server_id))).backend, *other);
            assert_eq!(
                s.forwards(id, &sent(4002, &short(0, server_id))).backend,
                *draining
            );
            // A flow that goes on does so without being named.
            assert_eq!(
                s.forwards(id, &sent(4000, &long(0, server_id))).backend,
                *draining
            );
            s.set(*draining, BackendState::Up);
        },
    ),
    row(
        "a server gets no second flow that it could not tell from the first",
        once,
        |s, l| {
            let to = vip(l.is_v4(), special::QUIC);
            let (id, backends) = pool(s.world(), to, QUIC_NAT_PORT);
            for payload in [short, long] {
                let sent = |port, at: usize| udp(l.client(4000), (to, port), &payload(0, &backends[at].1));
                assert_eq!(s.forwards(id, &sent(QUIC_NAT_PORT, 0)).backend, backends[0].0);
                let second = sent(QUIC_NAT_PORT_2, 0);
                s.stays(&second.bytes(), Outcome::FlowCollision);
                assert_eq!(s.forwards(id, &sent(QUIC_NAT_PORT_2, 1)).backend, backends[1].0);
                // Where the second flow is already, the first cannot go.
                s.stays(&sent(QUIC_NAT_PORT, 1).bytes(), Outcome::FlowCollision);
                assert_eq!(s.forwards(id, &sent(QUIC_NAT_PORT, 0)).backend, backends[0].0);
            }
        },
    ),
    row("a server that is down gets nothing", once, |s, l| {
        let to = vip(l.is_v4(), special::QUIC);
        let (id, backends) = pool(s.world(), to, QUIC_NAT_PORT);
        let sent = udp(l.client(4000), (to, QUIC_NAT_PORT), &short(0, &backends[0].1));
        s.set(backends[0].0, BackendState::Down);
        assert_eq!(s.forwards(id, &sent).backend, backends[1].0);
        s.set(backends[0].0, BackendState::Drain);
        assert_eq!(s.forwards(id, &sent).backend, backends[0].0);
        s.set(backends[0].0, BackendState::Up);
    }),
];

/// A service, and its backends with their server IDs.
fn pool(world: &World, to: IpAddr, port: u16) -> (u32, Vec<(u32, Vec<u8>)>) {
    let id = service(world, to, protocol::UDP, port);
    let backends = (1..)
        .zip(&world.backends)
        .filter(|(_, backend)| backend.service == id);
    (
        id,
        backends
            .map(|(id, backend)| (id, backend.server_id.clone()))
            .collect(),
    )
}

/// A short header (RFC 9000 §17.3): the connection ID is right behind the first byte.
fn short(config: u8, server_id: &[u8]) -> Vec<u8> {
    [&[0x40, config << 5 | 7][..], server_id, &[0xaa; 20]].concat()
}

/// A long header (RFC 9000 §17.2): version, then the connection IDs with their lengths.
fn long(config: u8, server_id: &[u8]) -> Vec<u8> {
    let id = [&[config << 5 | 7][..], server_id, &[0xaa; 3]].concat();
    let len = u8::try_from(id.len()).unwrap();
    [&[0xc0, 0, 0, 0, 1, len][..], &id, &[0, 0, 0xbb]].concat()
}
