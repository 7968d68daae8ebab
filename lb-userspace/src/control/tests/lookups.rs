//! What a lookup says, against where the program in a few lines then sends the packet.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    conn::{Flow, FlowState, Timeouts},
    flow::{FlowKey, Protocol},
    pick::Opens,
};

use super::{
    program::{HASH_KEY, Program},
    *,
};
use crate::{
    api::protocol::{By, Lookup, Match, PacketKind, PoolChange, Probe, SlotState, Target},
    config::{Algorithm, Mode, OnDown},
    control::{Node, lookup::Loaded},
};

const SECOND: u64 = 1_000_000_000;

pub(super) fn node() -> Node {
    Node {
        started: Instant::now(),
        attached: Vec::new(),
        records: None,
        loaded: Loaded {
            hash_key: HASH_KEY,
            timeouts: Timeouts {
                syn: 10 * SECOND,
                established: 7200 * SECOND,
                fin: 120 * SECOND,
                closed: 10 * SECOND,
                udp: 60 * SECOND,
            },
        },
        nics: Vec::new(),
        interfaces: BTreeMap::new(),
    }
}

/// What a lookup says of a packet that the program is about to get.
pub fn foretold(
    controller: &mut Controller<MemoryDatapath>,
    program: &Program,
    flow: &FlowKey,
    opens: Opens,
) -> Lookup {
    controller.datapath.now = program.now();
    controller.datapath.written = program.known(flow).into_iter().collect();
    let socket = |address, port: u16| SocketAddr::new(IpAddr::from(address), u16::from_be(port));
    let protocols = Protocol::ALL.iter();
    let mut protocols = protocols.filter(|protocol| protocol.number() == flow.protocol);
    let kind = match opens {
        Opens::First => PacketKind::Syn,
        Opens::Later => PacketKind::Data,
        Opens::Unknown => PacketKind::Datagram,
    };
    let probe = Probe {
        from: socket(flow.source, flow.source_port),
        to: Target {
            socket: socket(flow.destination, flow.destination_port),
            protocol: *protocols.next().unwrap(),
        },
        packet: Some(kind),
    };
    controller.lookup(&node(), &probe, kind).unwrap()
}

/// Fails where the packet has not got the backend that was foretold.
pub fn assert_came_true(controller: &Controller<MemoryDatapath>, told: &Lookup, got: u32) {
    // The program in a few lines takes an entry that does not hold for none.
    if told.remembered.is_some() && told.by != Some(By::Entry) {
        return;
    }
    let got = controller.name_of(got);
    if told.by == Some(By::Chance) {
        assert!(
            got.is_some_and(|name| told.candidates.contains(&name)),
            "{told:?}"
        );
    } else {
        assert_eq!(
            told.backend.as_ref().map(|backend| &backend.name),
            got.as_ref(),
            "{told:?}"
        );
    }
}

fn asked(controller: &Controller<MemoryDatapath>, to: &str) -> Lookup {
    let probe = Probe {
        from: "198.51.100.7:4000".parse().unwrap(),
        to: to.parse().unwrap(),
        packet: None,
    };
    controller.lookup(&node(), &probe, probe.kind().unwrap()).unwrap()
}

#[tokio::test]
async fn the_most_exact_vip_says_whose_packet_it_is() {
    let named = |name: &str, vip: &str, number| {
        let mut spec = service(name, number, 1);
        spec.mode = Mode::Dsr;
        spec.backends[0].port = None;
        spec.backends[0].address = format!("10.0.0.{number}").parse().unwrap();
        spec.vips = vec![vip.parse().unwrap()];
        spec
    };
    let file = [
        named("port", "192.0.2.1:80/tcp", 1),
        named("range", "192.0.2.1:70-90/tcp", 2),
        named("all", "192.0.2.1:*/tcp", 3),
        named("network", "192.0.2.0/24:80/tcp", 4),
        named("six", "[2001:db8::/64]:*/udp", 5),
    ];
    let controller = Rig::new().start(MemoryDatapath::default(), &file);
    for (to, name, matched) in [
        ("192.0.2.1:80", "port", Match::Exact),
        ("192.0.2.1:81", "range", Match::Range),
        ("192.0.2.1:7000", "all", Match::Range),
        ("192.0.2.9:80", "network", Match::Network),
    ] {
        let told = asked(&controller, to);
        let service = told.service.unwrap();
        assert_eq!((service.name.as_str(), service.matched), (name, matched), "{to}");
    }
    for (to, outcome) in [
        ("192.0.2.1:80/udp", "unserved"),
        ("192.0.2.9:81", "unserved"),
        ("192.0.3.1:80", "not_ours"),
    ] {
        let told = asked(&controller, to);
        assert_eq!(told.outcome, outcome, "{to}");
        assert_eq!(
            (told.service, told.unserved.is_some()),
            (None, outcome == "unserved")
        );
    }
    let probe = Probe {
        from: "[2001:db8:9::1]:4000".parse().unwrap(),
        to: "[2001:db8::77]:5000/udp".parse().unwrap(),
        packet: None,
    };
    let told = controller.lookup(&node(), &probe, PacketKind::Datagram).unwrap();
    assert_eq!(told.service.unwrap().name, "six");
}

#[tokio::test]
async fn the_state_of_the_slot_is_told_and_nothing_is_written() {
    let mut spec = service("web", 1, 3);
    spec.mode = Mode::Dsr;
    spec.backends.iter_mut().for_each(|backend| backend.port = None);
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), std::slice::from_ref(&spec));
    for backend in &spec.backends {
        controller.resolved(backend.address, Ok(way()), None).unwrap();
    }
    controller.settle().unwrap();
    let before = asked(&controller, "192.0.2.1:80");
    let slot = before.slot.as_ref().unwrap();
    assert_eq!(
        (slot.state, &slot.owner),
        (SlotState::Settled, &Some(before.backend.clone().unwrap().name))
    );
    let owner = before.backend.unwrap().name;
    controller.change(drain(&owner)).unwrap();
    let tables = controller.datapath.tables.clone();
    let after = asked(&controller, "192.0.2.1:80");
    let slot = after.slot.unwrap();
    assert_eq!(
        (slot.state, slot.previous),
        (SlotState::Young, Some(owner.clone()))
    );
    assert_eq!(
        (after.by, slot.owner),
        (Some(By::Owner), Some(after.backend.unwrap().name))
    );
    let probe = Probe {
        from: "198.51.100.7:4000".parse().unwrap(),
        to: "192.0.2.1:80".parse().unwrap(),
        packet: None,
    };
    let data = controller.lookup(&node(), &probe, PacketKind::Data).unwrap();
    assert_eq!((data.by, data.backend.unwrap().name), (Some(By::Previous), owner));
    assert_eq!(controller.datapath.tables, tables);
}

#[tokio::test]
async fn a_line_tells_of_packets_that_the_entry_of_a_flow_does_not_know() {
    let rig = Rig::new();
    for (vip, kind, state, timeout, follows) in [
        ("192.0.2.1:80/udp", PacketKind::Datagram, FlowState::Udp, 60, true),
        // It may begin a flow, which is asked of the entry.
        (
            "192.0.2.1:80/tcp",
            PacketKind::Syn,
            FlowState::Established,
            7200,
            false,
        ),
    ] {
        let mut spec = service("web", 1, 1);
        spec.vips = vec![vip.parse().unwrap()];
        let mut controller = rig.start(MemoryDatapath::default(), std::slice::from_ref(&spec));
        controller.resolved(backend(1).address, Ok(way()), None).unwrap();
        controller.settle().unwrap();
        let probe = Probe {
            from: "198.51.100.7:4000".parse().unwrap(),
            to: vip.parse().unwrap(),
            packet: Some(kind),
        };
        let (client, now) = (probe.flow(), 10_000 * SECOND);
        let last_seen = now - timeout * SECOND - SECOND / 2;
        let flow = Flow {
            backend: 1,
            generation: word(&controller, 1).generation(),
            state: u32::from(state.wire()),
            last_seen,
            ..Flow::default()
        };
        controller.datapath.now = now;
        controller.datapath.flows.insert(client, flow);
        let told = |controller: &Controller<MemoryDatapath>| {
            let told = controller.lookup(&node(), &probe, kind).unwrap();
            (told.by == Some(By::Flow), told.remembered.unwrap().age_seconds)
        };
        assert_eq!(told(&controller), (false, timeout), "{vip}");
        let line = (client.hash(HASH_KEY), now - SECOND);
        controller.datapath.lines.extend([line]);
        assert_eq!(told(&controller), (follows, 1), "{vip}");
    }
}

#[tokio::test]
async fn chance_names_those_that_it_may_choose() {
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::TwoChoices,
        Algorithm::LeastConn,
    ] {
        let mut spec = service("web", 1, 3);
        spec.algorithm = algorithm;
        let mut controller = Rig::new().start(MemoryDatapath::default(), std::slice::from_ref(&spec));
        for backend in &spec.backends {
            controller.resolved(backend.address, Ok(way()), None).unwrap();
        }
        controller.settle().unwrap();
        let told = asked(&controller, "192.0.2.1:80");
        assert_eq!(
            (told.by, told.candidates.len()),
            (Some(By::Chance), 3),
            "{algorithm:?}"
        );
        // One that has fewer flows than the others is the least loaded.
        controller.datapath.loads = [(1, 5), (2, 4), (3, 5)].into();
        let told = asked(&controller, "192.0.2.1:80");
        let least = told.backend.map(|backend| backend.name);
        let expected = (algorithm == Algorithm::LeastConn).then(|| "b2".to_owned());
        assert_eq!(least, expected, "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_thought_change_of_a_pool_moves_what_the_change_then_moves() {
    let mut spec = service("web", 1, 4);
    spec.backends[1].weight = 50;
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), std::slice::from_ref(&spec));
    for number in 1..=5 {
        controller
            .resolved(backend(number).address, Ok(way()), None)
            .unwrap();
    }
    controller.settle().unwrap();
    let slots = controller.slots("web").unwrap();
    assert_eq!(
        (slots.slots, slots.unowned, slots.states[&SlotState::Settled]),
        (1024, 0, 1024)
    );
    for share in &slots.shares {
        assert!((f64::from(share.slots) - share.ideal).abs() < 1.0, "{share:?}");
    }
    let thought = PoolChange {
        add: vec![backend(5)],
        remove: vec!["b1".into()],
        weights: [("b2".to_owned(), 100)].into(),
    };
    let moves = controller.slots_after("web", &thought).unwrap();
    let before = owners(&controller, 0);
    let web = || "web".to_owned();
    for change in [
        Change::AddBackend {
            service: web(),
            backend: backend(5),
        },
        Change::RemoveBackend {
            service: web(),
            backend: "b1".into(),
        },
        Change::SetBackend {
            service: web(),
            backend: "b2".into(),
            set: BackendChange {
                weight: Some(100),
                ..BackendChange::default()
            },
        },
    ] {
        controller.change(change).unwrap();
    }
    let after = owners(&controller, 0);
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after);
    assert_eq!(moves.moved as usize, moved.count());
    assert!(moves.least <= moves.moved && moves.least >= 256, "{moves:?}");
    // Those of b1 that are not written down are its for now.
    let left = controller.slots("web").unwrap();
    assert_eq!(
        left.shares.iter().map(|share| share.previous).sum::<u32>(),
        moves.moved
    );
    let unknown = PoolChange {
        remove: vec!["b9".into()],
        ..PoolChange::default()
    };
    controller.slots_after("web", &unknown).unwrap_err();
}

#[tokio::test]
async fn what_no_backend_takes_is_what_the_service_makes_of_it() {
    for (on_down, outcome) in [
        (OnDown::Drop, "no_backend"),
        (OnDown::Reset, "down_reset"),
        (OnDown::Pass, "down_passed"),
    ] {
        let mut spec = service("web", 1, 1);
        spec.on_down = on_down;
        let rig = Rig::new();
        let mut controller = rig.start(MemoryDatapath::default(), std::slice::from_ref(&spec));
        controller.resolved(backend(1).address, Ok(way()), None).unwrap();
        controller.settle().unwrap();
        let usable =
            |controller: &Controller<MemoryDatapath>| controller.services(&node()).unwrap()[0].usable;
        assert_eq!(asked(&controller, "192.0.2.1:80").outcome, "forwarded");
        assert!(usable(&controller));
        let set = BackendChange {
            admin: Some(Admin::Drain),
            ..BackendChange::default()
        };
        let change = Change::SetBackend {
            service: "web".into(),
            backend: "b1".into(),
            set,
        };
        controller.change(change).unwrap();
        controller.settle().unwrap();
        assert_eq!(asked(&controller, "192.0.2.1:80").outcome, outcome);
        assert!(!usable(&controller));
    }
}
