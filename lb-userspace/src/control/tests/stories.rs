//! Random stories of changes, failures, restarts and packets, against a reference that remembers where every flow has gone: none that is
//! established moves unless its backend is gone, and none goes where it should not.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::{
    flow::{FlowKey, Protocol},
    limits::NO_BACKEND,
    pick::Opens,
    service::Picker,
};
use proptest::prelude::*;

use super::{
    lookups,
    program::{Program, UDP},
    *,
};
use crate::{
    config::{Algorithm, Invalid, Mode, ServiceChange, Udp},
    control::{change::Refusal, clock},
    datapath::Datapath as _,
};

/// Flows of a story, a third of them of datagrams.
const FLOWS: usize = 2000;
/// Those of them that send in one round.
const ROUND: usize = 400;

#[derive(Clone, Debug)]
enum Event {
    Add(u8),
    Remove(u8),
    Set(u8, Admin),
    Weigh(u8, u16),
    Limit(u8, u32),
    Flip(u8),
    Choose(Algorithm),
    Move(bool),
    Restart,
    /// Seconds.
    Pass(u64),
    Census,
    Packets(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let backend = 1..8_u8;
    let admin = prop::sample::select(Admin::ALL);
    let algorithm = prop::sample::select(Algorithm::ALL);
    let seconds = prop::sample::select(&[1_u64, 20, 61, 601, 7300][..]);
    prop_oneof![
        2 => backend.clone().prop_map(Event::Add),
        2 => backend.clone().prop_map(Event::Remove),
        2 => (backend.clone(), admin).prop_map(|(backend, admin)| Event::Set(backend, admin)),
        1 => (backend.clone(), 0..=300_u16).prop_map(|(backend, weight)| Event::Weigh(backend, weight)),
        1 => (backend.clone(), prop::sample::select(&[0_u32, 20, 5000][..]))
            .prop_map(|(backend, limit)| Event::Limit(backend, limit)),
        5 => backend.prop_map(Event::Flip),
        1 => algorithm.prop_map(Event::Choose),
        1 => any::<bool>().prop_map(Event::Move),
        2 => Just(Event::Restart),
        5 => seconds.prop_map(Event::Pass),
        6 => Just(Event::Census),
        10 => (0..FLOWS).prop_map(Event::Packets),
    ]
}

/// What the reference remembers of a flow.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Backend and generation of its last packet, and when that was; none for a flow that is to begin.
    last: Option<(u32, u32, Duration)>,
    /// The last backend that it was with. What is written down of it may outlast a time in which nobody took its packets.
    home: Option<u32>,
    /// It has had more than one packet.
    is_established: bool,
}

struct Story {
    rig: Rig,
    file: Vec<ServiceSpec>,
    controller: Option<Controller<MemoryDatapath>>,
    program: Program,
    memory: Vec<Memory>,
    started: Instant,
}

impl Story {
    fn new() -> Self {
        let rig = Rig::new();
        let mut service = checked(service("web", 1, 4));
        service.mode = Mode::Dsr;
        service.vips = vec![
            "192.0.2.1:80/tcp".parse().unwrap(),
            "192.0.2.1:80/udp".parse().unwrap(),
        ];
        for backend in &mut service.backends {
            backend.port = None;
        }
        let file = vec![service];
        let controller = rig.start(MemoryDatapath::default(), &file);
        let mut story = Self {
            rig,
            file,
            controller: Some(controller),
            program: Program::new(),
            memory: vec![Memory::default(); FLOWS],
            started: clock::now(),
        };
        for number in 1..=4 {
            story.flip(number);
        }
        story
    }

    fn controller(&mut self) -> &mut Controller<MemoryDatapath> {
        self.controller.as_mut().unwrap()
    }

    fn now(&self) -> Duration {
        clock::now() - self.started
    }

    fn happen(&mut self, event: &Event) {
        let (service, name) = ("web".to_owned(), |number: u8| format!("b{number}"));
        let change = match *event {
            Event::Add(number) => {
                let mut backend = backend(number);
                backend.port = None;
                Change::AddBackend { service, backend }
            }
            Event::Remove(number) => Change::RemoveBackend {
                service,
                backend: name(number),
            },
            Event::Set(number, admin) => Change::SetBackend {
                service,
                backend: name(number),
                set: BackendChange {
                    admin: Some(admin),
                    ..BackendChange::default()
                },
            },
            Event::Weigh(number, weight) => Change::SetBackend {
                service,
                backend: name(number),
                set: BackendChange {
                    weight: Some(weight),
                    ..BackendChange::default()
                },
            },
            Event::Limit(number, limit) => Change::SetBackend {
                service,
                backend: name(number),
                set: BackendChange {
                    max_connections: Some(limit),
                    ..BackendChange::default()
                },
            },
            Event::Choose(algorithm) => Change::SetService {
                service,
                set: ServiceChange {
                    algorithm: Some(algorithm),
                    ..ServiceChange::default()
                },
            },
            Event::Move(moves) => Change::SetService {
                service,
                set: ServiceChange {
                    udp: Some(if moves { Udp::Move } else { Udp::Stay }),
                    ..ServiceChange::default()
                },
            },
            Event::Flip(number) => return self.flip(number),
            Event::Restart => return self.restart(),
            Event::Pass(seconds) => {
                return self.pass(seconds);
            }
            Event::Census => return self.census(),
            Event::Packets(first) => return self.packets(first),
        };
        if let Err(error) = self.controller().change(change) {
            // Of one that is not there, or of what does not go together.
            let is_refused = error.is::<Refusal>() || error.is::<Invalid>();
            assert!(is_refused, "{error:#}");
        }
    }

    fn pass(&mut self, mut seconds: u64) {
        while seconds > 0 {
            let some = seconds.min(600);
            clock::advance(Duration::from_secs(some));
            self.program
                .sweep(&mut self.controller.as_mut().unwrap().datapath);
            seconds -= some;
        }
        self.controller().settle().unwrap();
    }

    /// The probes find a backend other than they did.
    fn flip(&mut self, number: u8) {
        let controller = self.controller();
        let address = backend(number).address;
        let found = controller
            .served
            .services
            .iter()
            .flat_map(|service| &service.backends)
            .find(|backend| backend.address == address);
        let Some(granted) = found.and_then(|backend| controller.ids.backend(0, backend)) else {
            return;
        };
        let is_up = controller.health(granted) == Some(crate::health::Health::Up);
        for _ in 0..3 {
            let observation = seen((granted.id, granted.generation), !is_up);
            controller.observe(&observation).unwrap();
        }
        let hop = Ok(way());
        controller.resolved(address, hop, None).unwrap();
        controller.settle().unwrap();
    }

    fn restart(&mut self) {
        let datapath = self.controller.take().unwrap().datapath;
        self.controller = Some(self.rig.start(datapath, &self.file));
    }

    fn census(&mut self) {
        let Self {
            controller, program, ..
        } = self;
        let controller = controller.as_mut().unwrap();
        let census = program.census(&mut controller.datapath);
        controller.counted(census).unwrap();
        controller.settle().unwrap();
    }

    fn packets(&mut self, first: usize) {
        self.program
            .purge(&mut self.controller.as_mut().unwrap().datapath);
        for index in (first..first + ROUND).map(|index| index % FLOWS) {
            self.packet(index);
        }
    }

    fn packet(&mut self, index: usize) {
        let (flow, now) = (flow(index), self.now());
        let is_udp = flow.protocol == UDP;
        let moves = self.controller().setup.services[0].udp == Udp::Move;
        let mut memory = self.memory[index];
        let lasts = Duration::from_secs(match (is_udp, memory.is_established) {
            (true, _) => 58,
            (false, false) => 9,
            (false, true) => 7190,
        });
        memory.last = memory.last.filter(|(.., seen)| now < *seen + lasts);
        let opens = match (is_udp, memory.last) {
            (true, _) => Opens::Unknown,
            (false, None) => Opens::First,
            (false, Some(_)) => Opens::Later,
        };
        let controller = self.controller.as_mut().unwrap();
        let told = index
            .is_multiple_of(5)
            .then(|| lookups::foretold(controller, &self.program, &flow, opens));
        let datapath = &controller.datapath;
        let full: Vec<u32> = datapath
            .words
            .keys()
            .copied()
            .filter(|&id| is_full(datapath, id))
            .collect();
        let was_full = |id| full.contains(&id);
        let got = self.program.send(&mut controller.datapath, &flow, opens);
        if let Some(told) = told {
            lookups::assert_came_true(controller, &told, got);
        }
        let datapath = &controller.datapath;
        let word = |id: u32| datapath.words.get(&id).copied().unwrap_or_default();
        let is_up = |word: BackendWord| word.state() == BackendState::Up;
        if let Some((id, generation, _)) = memory.last
            && word(id).keeps_flow_of(generation)
            && !(is_udp && moves)
        {
            assert_eq!(got, id, "flow {index} has moved: {opens:?}, {memory:?}");
        } else if got == NO_BACKEND {
            let shares = |id| datapath.tables[&0].slots().iter().any(|slot| slot.owner() == id);
            let mut ids = datapath.words.keys().copied();
            let usable = ids.find(|&id| is_up(word(id)) && shares(id) && !is_full(datapath, id));
            assert!(usable.is_none(), "flow {index} got nobody beside {usable:?}");
        } else {
            let state = word(got).state();
            let takes = match opens {
                Opens::First => state == BackendState::Up,
                Opens::Later | Opens::Unknown => matches!(state, BackendState::Up | BackendState::Drain),
            };
            // A SYN on a flow that the program still knows is none of a new one.
            let was_here = memory.home == Some(got);
            let is_new = opens == Opens::First && !was_here;
            assert!(
                !is_new || !was_full(got),
                "flow {index} is with {got}, which is full"
            );
            assert!(takes, "flow {index} is with {got}, which is {state:?}");
        }
        memory.is_established = memory.last.is_some();
        memory.home = Some(got).filter(|&id| id != NO_BACKEND).or(memory.home);
        memory.last = (got != NO_BACKEND).then(|| (got, word(got).generation(), now));
        self.memory[index] = memory;
    }

    /// Whether all that is there is settled.
    fn is_settled(&mut self) -> bool {
        let datapath = &self.controller().datapath;
        datapath.tables[&0].slots().iter().all(|slot| slot.is_settled())
            && datapath
                .words
                .values()
                .all(|word| word.state() != BackendState::Up || word.is_plain())
    }
}

fn is_full(datapath: &MemoryDatapath, id: u32) -> bool {
    let limits = datapath.snapshot.limits.get(&id).copied().unwrap_or_default();
    // Failover knows no limits.
    let service = datapath.snapshot.services.values().next();
    let heeds = service.is_some_and(|service| service.picker != Picker::Failover.wire());
    heeds && limits.is_full(datapath.backend_load(id))
}

fn flow(index: usize) -> FlowKey {
    let number = u16::try_from(index).unwrap();
    let source = Ipv4Addr::from(0x0a01_0000 + u32::from(number) / 3);
    FlowKey {
        source: IpAddr::from(source).into(),
        destination: "192.0.2.1".parse::<IpAddr>().unwrap().into(),
        source_port: (1024 + number).to_be(),
        destination_port: 80_u16.to_be(),
        protocol: if index.is_multiple_of(3) {
            UDP
        } else {
            Protocol::Tcp.number()
        },
    }
}

fn tell(events: &[Event]) -> Story {
    let mut story = Story::new();
    for event in events {
        story.happen(event);
    }
    story
}

/// Some, or as many as `XLB_CASES` asks for.
fn cases() -> u32 {
    let asked = std::env::var("XLB_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

fn in_runtime<T>(act: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Nothing here waits, so that no probe ever runs.
    runtime.block_on(async { act() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn no_flow_moves_unless_its_backend_is_gone(events in prop::collection::vec(event(), 10..80)) {
        in_runtime(|| tell(&events));
    }

    #[test]
    fn everything_settles_in_the_end(events in prop::collection::vec(event(), 10..40)) {
        in_runtime(|| {
            let mut story = tell(&events);
            story.happen(&Event::Choose(Algorithm::Maglev));
            (1..8).for_each(|number| story.happen(&Event::Limit(number, 0)));
            // Homes of before, then what is written down by them.
            for _ in 0..4 {
                story.happen(&Event::Pass(7300));
                story.happen(&Event::Census);
                story.happen(&Event::Census);
            }
            assert!(story.is_settled(), "{:?}", story.program.written());
        });
    }
}
