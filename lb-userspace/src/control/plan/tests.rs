//! The order of steps, and that they lead where they should.

use lb_common::{
    addr::Addr,
    service::{PortKey, QuicServerKey, Service, ServiceKey, Vip},
};

use super::*;

fn word(state: BackendState, generation: u32) -> u64 {
    BackendWord::new(state, 0, generation).0
}

/// A service on one port of an address and all ports of a network.
fn state(backends: &[u32]) -> State {
    let address = Addr::from_v4_word(7);
    let key = ServiceKey {
        vip: address,
        port: 80,
        protocol: 6,
        ..ServiceKey::default()
    };
    let service = Service {
        id: 0,
        mode: 1,
        picker: 1,
        ..Service::default()
    };
    let mut entries = Entries::default();
    entries.put(Entry::Service(key, service));
    entries.put(Entry::Vip(address, Vip::default()));
    entries.put(Entry::Ports(
        PortKey::BITS_BEFORE_PORT,
        PortKey::default(),
        service,
    ));
    entries.put(Entry::Network(120, address, Vip::default()));
    for &id in backends {
        let server = QuicServerKey {
            server_id: id.into(),
            ..QuicServerKey::default()
        };
        entries.put(Entry::QuicServer(server, id));
    }
    let sharer = |&id: &u32| Sharer {
        key: format!("10.0.0.{id}:80"),
        id,
        weight: 100,
        priority: 0,
    };
    let table = Table {
        algorithm: Algorithm::Maglev,
        size: SlotBits::MIN,
        sharers: backends.iter().map(sharer).collect(),
        members: backends.to_vec(),
        found: Found {
            home: Picker::Maglev,
            is_tracked: false,
            is_unsettled: false,
        },
    };
    let limits = BackendLimits::new(0, 100);
    State {
        switches: entries.switches(),
        entries,
        backends: backends
            .iter()
            .map(|&id| (id, (Backend::default(), word(BackendState::Up, 1))))
            .collect(),
        limits: backends.iter().map(|&id| (id, limits)).collect(),
        tables: [(0, table)].into(),
    }
}

/// Carries the first `count` steps out.
fn carry_out(applied: &mut State, steps: &[Step], count: usize) {
    for step in &steps[..count] {
        applied.took(step.clone());
    }
}

#[test]
fn the_steps_lead_from_one_state_to_the_other_also_after_a_failure_in_the_middle() {
    let mut again = state(&[2, 3]);
    again.backends.get_mut(&2).unwrap().1 = word(BackendState::Down, 4);
    let states = [State::default(), state(&[1]), state(&[1, 2]), again];
    for (from, to) in states
        .iter()
        .flat_map(|from| states.iter().map(move |to| (from, to)))
    {
        let steps = plan(to, from);
        for failed_at in 0..=steps.len() {
            for goal in [to, from] {
                let mut applied = from.clone();
                carry_out(&mut applied, &steps, failed_at);
                let rest = plan(goal, &applied);
                carry_out(&mut applied, &rest, rest.len());
                applied.backends.retain(|_, (_, word)| *word != FREE.0);
                let backends = &applied.backends;
                applied.limits.retain(|id, _| backends.contains_key(id));
                assert_eq!(applied, *goal, "{steps:?} failed at {failed_at}");
            }
        }
    }
}

#[test]
fn a_backend_that_never_got_a_word_is_not_freed_again() {
    let mut applied = State::default();
    let steps = plan(&state(&[1]), &applied);
    carry_out(&mut applied, &steps, 1);
    assert_eq!(plan(&State::default(), &applied), []);
}

fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
    steps.iter().position(wanted).unwrap()
}

#[test]
fn nothing_to_do_is_no_step() {
    assert_eq!(plan(&state(&[1, 2]), &state(&[1, 2])), []);
    assert_eq!(plan(&State::default(), &State::default()), []);
}

#[test]
fn meanings_come_before_names() {
    let steps = plan(&state(&[1]), &State::default());
    let order = [
        position(&steps, |step| matches!(step, Step::NewBackend { .. })),
        position(&steps, |step| matches!(step, Step::SetLimits { .. })),
        position(&steps, |step| matches!(step, Step::SetWord { .. })),
        position(&steps, |step| matches!(step, Step::PutTable { .. })),
        position(&steps, |step| matches!(step, Step::SetSwitches(_))),
        position(&steps, |step| matches!(step, Step::Put(Entry::QuicServer(..)))),
        position(&steps, |step| matches!(step, Step::Put(Entry::Service(..)))),
        position(&steps, |step| matches!(step, Step::Put(Entry::Ports(..)))),
        position(&steps, |step| matches!(step, Step::Put(Entry::Vip(..)))),
        position(&steps, |step| matches!(step, Step::Put(Entry::Network(..)))),
    ];
    assert!(order.is_sorted(), "{steps:?}");
}

#[test]
fn names_go_before_meanings() {
    let steps = plan(&State::default(), &state(&[1]));
    let freed = Step::SetWord {
        id: 1,
        word: BackendWord::new(BackendState::Free, 0, 1),
    };
    let order = [
        position(&steps, |step| matches!(step, Step::Remove(Key::Network(..)))),
        position(&steps, |step| matches!(step, Step::Remove(Key::Vip(..)))),
        position(&steps, |step| matches!(step, Step::Remove(Key::Ports(..)))),
        position(&steps, |step| matches!(step, Step::Remove(Key::Service(..)))),
        position(&steps, |step| matches!(step, Step::Remove(Key::QuicServer(..)))),
        position(&steps, |step| matches!(step, Step::SetSwitches(0))),
        position(&steps, |step| matches!(step, Step::ClearTable { .. })),
        position(&steps, |step| *step == freed),
        position(&steps, |step| matches!(step, Step::Purge(_))),
    ];
    assert!(order.is_sorted(), "{steps:?}");
}

#[test]
fn replies_are_looked_at_as_long_as_flows_may_live() {
    let translating = state(&[1]);
    assert_eq!(translating.switches, switches::REPLIES | switches::NETWORKS);
    assert_eq!(translating.switches_for(&Entries::default()), switches::REPLIES);
    assert_eq!(State::default().switches_for(&Entries::default()), 0);
}

#[test]
fn a_health_flip_is_one_word() {
    let mut down = state(&[1, 2]);
    down.backends.get_mut(&2).unwrap().1 = word(BackendState::Down, 1);
    let expected = Step::SetWord {
        id: 2,
        word: BackendWord::new(BackendState::Down, 0, 1),
    };
    assert_eq!(plan(&down, &state(&[1, 2])), [expected]);
}

#[test]
fn a_removed_backend_leaves_the_table_before_it_is_freed() {
    let steps = plan(&state(&[1]), &state(&[1, 2]));
    assert!(
        matches!(
            steps[..],
            [
                Step::PutTable { .. },
                Step::Remove(Key::QuicServer(..)),
                Step::Forget { backend: 2, .. },
                Step::SetWord { id: 2, .. },
                Step::Purge(_)
            ]
        ),
        "{steps:?}"
    );
}

#[test]
fn an_id_with_another_generation_is_a_new_backend() {
    let mut again = state(&[1]);
    again.backends.get_mut(&1).unwrap().1 = word(BackendState::Up, 2);
    let steps = plan(&again, &state(&[1]));
    assert!(
        matches!(steps[..], [Step::NewBackend { .. }, Step::SetWord { .. }]),
        "{steps:?}"
    );
}
