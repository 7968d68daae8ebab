//! How stories are made up.

use std::net::{IpAddr, SocketAddr};

use lb_common::backend::BackendState;
use proptest::{prelude::*, sample::select};

use crate::{
    differential::{
        damage::Damage,
        shift::Shift,
        story::{About, Carried, Drawn, Event, Looks, Quoting},
    },
    wire::{ACK, Extension, FIN, PSH, RST, SYN, SYN_ACK},
    world::{lanes::Lane, standard},
};

pub fn event() -> impl Strategy<Value = Event> {
    let frame = (about(), looks(), damage())
        .prop_map(|(about, looks, damage)| Event::Frame(Box::new(Drawn { about, looks, damage })));
    let states = select(vec![BackendState::Up, BackendState::Drain, BackendState::Down]);
    let index = any::<prop::sample::Index>;
    let state = (prop::option::weighted(0.7, index()), index(), states)
        .prop_map(|(flow, backend, state)| Event::State { flow, backend, state });
    let shift = prop_oneof![
        3 => index().prop_map(Shift::Pass),
        1 => Just(Shift::Age),
        1 => Just(Shift::Part),
        1 => Just(Shift::Settle),
    ];
    let slots = (index(), index(), shift).prop_map(|(flow, service, change)| Event::Slots {
        flow,
        service,
        change,
    });
    prop_oneof![20 => frame, 2 => state, 2 => slots]
}

fn about() -> impl Strategy<Value = About> {
    let index = any::<prop::sample::Index>;
    let packet = (ends(), carried()).prop_map(|((from, to), body)| About::Client { from, to, body });
    let reply = (index(), carried()).prop_map(|(flow, body)| About::Backend { flow, body });
    let elsewhere = (index(), 100_u8..103, carried()).prop_map(|(flow, host, body)| About::Elsewhere {
        flow,
        host,
        body,
    });
    let again = (index(), carried()).prop_map(|(flow, body)| About::Again { flow, body });
    let kinds = prop_oneof![3 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let ping = (ends(), kinds, 0_usize..80).prop_map(|((from, to), kind, len)| About::Ping {
        from: from.ip(),
        to: to.ip(),
        kind,
        len,
    });
    let known = prop::option::weighted(0.7, index());
    let to_vip =
        (known, ends(), ends(), quoting()).prop_map(|(flow, (from, _), guess, error)| About::ErrorToVip {
            flow,
            from: from.ip(),
            guess,
            error,
        });
    let to_client = (index(), ends(), quoting()).prop_map(|(flow, (from, _), error)| About::ErrorToClient {
        flow,
        from: from.ip(),
        error,
    });
    prop_oneof![8 => packet, 5 => again, 2 => elsewhere, 3 => reply, 1 => ping, 2 => to_vip, 2 => to_client]
}

/// A client and what it talks to.
fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let client_ports = prop_oneof![8 => 4000_u16..4003, 1 => Just(0), 1 => any::<u16>()];
    any::<bool>().prop_flat_map(move |v4| {
        (client(v4), client_ports.clone(), target(v4), port())
            .prop_map(|(from, from_port, to, port)| ((from, from_port).into(), (to, port).into()))
    })
}

fn client(v4: bool) -> impl Strategy<Value = IpAddr> {
    let odd: Vec<IpAddr> = if v4 {
        [
            "127.0.0.1",
            "0.0.0.1",
            "224.0.0.5",
            "192.0.2.10",
            "192.0.2.100",
            "198.18.5.1",
            "10.10.0.1",
        ]
    } else {
        [
            "::1",
            "fe80::1",
            "ff02::5",
            "2001:db8:5::a",
            "2001:db8:5::64",
            "fd00:10::1",
            "::ffff:1.2.3.4",
        ]
    }
    .map(|text| text.parse().unwrap())
    .to_vec();
    prop_oneof![
        12 => (7_u8..9).prop_map(move |host| standard::client(v4, host)),
        2 => (0_u8..4, 11_u8..13).prop_map(move |(lane, host)| standard::backend(v4, lane, host)),
        1 => select(odd),
    ]
}

fn target(v4: bool) -> impl Strategy<Value = IpAddr> {
    let lanes: Vec<IpAddr> = Lane::all()
        .iter()
        .map(|lane| lane.vip)
        .filter(|vip| vip.is_ipv4() == v4)
        .collect();
    prop_oneof![
        8 => select(lanes),
        5 => (100_u8..103).prop_map(move |host| standard::vip(v4, host)),
        4 => (103_u8..108).prop_map(move |host| standard::vip(v4, host)),
        2 => (any::<bool>(), 8_u8..11).prop_map(move |(wide, host)| standard::inside(v4, wide, host)),
        1 => Just(standard::client(v4, 60)),
    ]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        10 => select(vec![80, 80, 81, 53, 53, 54, 7, 443, 444, 445]),
        2 => select(vec![8000, 8080, 8999, 9000, 1000, 1999, 2000]),
        1 => any::<u16>(),
    ]
}

fn carried() -> impl Strategy<Value = Carried> {
    let flags = select(vec![
        SYN,
        SYN_ACK,
        ACK,
        ACK | PSH,
        FIN | ACK,
        RST,
        RST | ACK,
        0,
        SYN | FIN,
    ]);
    let len = || prop_oneof![12 => 0_usize..48, 2 => 1150_usize..1460, 1 => 3300_usize..9000];
    let tcp = (flags, len()).prop_map(|(flags, payload)| Carried::Tcp { flags, payload });
    let bytes = len().prop_map(|len| vec![0x55; len]);
    let udp = (prop::bool::weighted(0.8), prop_oneof![3 => bytes, 1 => quic()])
        .prop_map(|(checked, payload)| Carried::Udp { checked, payload });
    let other =
        select(vec![0_u8, 1, 2, 4, 47, 50, 51, 58, 59, 60]).prop_map(|protocol| Carried::Other { protocol });
    prop_oneof![5 => tcp, 4 => udp, 1 => Just(Carried::Sctp), 1 => other]
}

/// What looks like QUIC with a server ID, of one byte or of three.
fn quic() -> impl Strategy<Value = Vec<u8>> {
    let server_id = prop_oneof![
        (20_u8..24).prop_map(|last| vec![last]),
        (10_u8..15).prop_map(|last| vec![0xc0, 0, last]),
    ];
    (any::<bool>(), select(vec![0_u8, 2, 7]), server_id, 0_usize..9).prop_map(
        |(long, config, server_id, more)| {
            let id = [&[config << 5 | 1][..], &server_id, &vec![0xee; more]].concat();
            let len = u8::try_from(id.len()).unwrap();
            let head = if long {
                vec![0xc3, 0, 0, 0, 1, len]
            } else {
                vec![0x41]
            };
            [head, id].concat()
        },
    )
}

fn quoting() -> impl Strategy<Value = Quoting> {
    let quoted = prop_oneof![2 => Just(9000_usize), 2 => Just(8), 1 => 0_usize..40];
    (
        0_usize..4,
        any::<u16>(),
        quoted,
        prop_oneof![10 => 0_usize..40, 2 => 1150_usize..1460, 1 => 3300_usize..9000],
        prop::bool::weighted(0.2),
    )
        .prop_map(|(kind, word, quoted, payload, extended)| Quoting {
            kind,
            word: u32::from(word),
            quoted,
            payload,
            extended,
        })
}

fn looks() -> impl Strategy<Value = Looks> {
    let tags = prop_oneof![
        6 => Just(Vec::new()),
        1 => Just(vec![(0x8100, 0x2064)]),
        1 => Just(vec![(0x88a8, 7), (0x8100, 9)]),
    ];
    let ttl = prop_oneof![10 => Just(57_u8), 1 => 0_u8..3, 1 => Just(255)];
    let options = prop_oneof![8 => Just(0_usize), 1 => 1_usize..11];
    let padding = prop_oneof![6 => Just(0_usize), 1 => 1_usize..30];
    let cut = (1_u16..6, any::<bool>(), 0_u32..3).prop_map(|(units, first, id)| (units * 8, first, id));
    let cut = prop::option::weighted(0.15, cut);
    (
        (tags, any::<u8>(), ttl, any::<bool>()),
        (options, chain(), padding, cut, prop::bool::weighted(0.3)),
    )
        .prop_map(
            |((tags, tos, ttl, dont_fragment), (options, chain, padding, cut, unfinished))| Looks {
                tags,
                tos,
                ttl,
                dont_fragment,
                options,
                chain,
                padding,
                cut,
                unfinished,
            },
        )
}

fn chain() -> impl Strategy<Value = Vec<Extension>> {
    let extension = prop_oneof![
        Just(Extension::hop_by_hop()),
        Just(Extension::destination()),
        (0_u8..2).prop_map(Extension::routing),
        Just(Extension::authentication()),
        (0_u32..3).prop_map(|id| Extension::fragment(id, 0, false)),
        (1_u8..64).prop_map(|units| Extension::padding(crate::wire::protocol::DESTINATION, units)),
    ];
    prop_oneof![5 => Just(Vec::new()), 2 => prop::collection::vec(extension, 1..8)]
}

/// Most frames arrive whole.
fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = prop_oneof![4 => 0_usize..80, 1 => 0_usize..1500];
    let byte = (at, any::<u8>()).prop_map(|(at, value)| Damage::Byte { at, value });
    let cut = (14_usize..140).prop_map(|len| Damage::Cut { len });
    let some = prop::collection::vec(prop_oneof![4 => byte, 1 => cut, 3 => Just(Damage::Repair)], 1..5);
    prop_oneof![3 => Just(Vec::new()), 1 => some]
}
