//! What probes do to backends.

use super::*;

#[tokio::test]
async fn a_checked_backend_serves_from_its_first_pass_on() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 2))]);
    assert_eq!(states(&controller), [BackendState::Down, BackendState::Down]);
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(states(&controller), [BackendState::Up, BackendState::Down]);
    // A restart does not ask the first question again: what served goes on, what did not has to rise.
    let mut second = rig.start(controller.datapath, &[checked(service("web", 1, 2))]);
    assert_eq!(states(&second), [BackendState::Up, BackendState::Down]);
    second.observe(&seen((2, 1), true)).unwrap();
    assert_eq!(states(&second), [BackendState::Up, BackendState::Down]);
    second.observe(&seen((2, 1), true)).unwrap();
    assert_eq!(states(&second), [BackendState::Up, BackendState::Up]);
}

#[tokio::test]
async fn a_health_flip_writes_one_word_and_no_table() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 3))]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    let (tables, before) = (
        controller.datapath.tables_written,
        controller.datapath.words.clone(),
    );
    for _ in 0..3 {
        controller.observe(&seen((2, 1), false)).unwrap();
    }
    assert_eq!(controller.datapath.tables_written, tables);
    let changed: Vec<_> = before
        .iter()
        .filter(|&(id, word)| controller.datapath.words[id] != *word)
        .collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(word(&controller, 2).state(), BackendState::Down);
    // With two of three down the table is left to the third.
    for _ in 0..3 {
        controller.observe(&seen((3, 1), false)).unwrap();
    }
    assert!(owners(&controller, 0).iter().all(|&id| id == 1));
}

#[tokio::test]
async fn it_is_noted_how_fast_backends_are_taken_out() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 2))]);
    // A first failure takes nobody out, and a pass neither.
    controller.observe(&seen((1, 1), false)).unwrap();
    controller.observe(&seen((2, 1), true)).unwrap();
    for ago in [3000, 2000, 1000] {
        let at = clock::now().checked_sub(Duration::from_millis(ago)).unwrap();
        let failed = Observation {
            at,
            ..seen((2, 1), false)
        };
        assert_eq!(controller.reaction.told().count, 0);
        controller.observe(&failed).unwrap();
    }
    let told = controller.reaction.told();
    assert!(
        told.count == 1 && (1_000_000_000..2_000_000_000).contains(&told.max),
        "{told:?}"
    );
}

#[tokio::test]
async fn backends_that_fail_together_are_out_before_any_table_is_filled() {
    let rig = Rig::new();
    let (mut controller, waiting) =
        rig.start_hearing(MemoryDatapath::default(), &[checked(service("web", 1, 3))]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    for id in [2, 3] {
        for _ in 0..3 {
            let failed = controller.of_now(&seen((id, 1), false));
            waiting.send(failed, true).await.unwrap();
        }
    }
    let tables = controller.datapath.tables_written;
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(
        states(&controller),
        [BackendState::Up, BackendState::Down, BackendState::Down]
    );
    assert_eq!(controller.datapath.tables_written, tables + 1);
}

#[tokio::test]
async fn only_silence_casts_doubt_on_the_way_and_once() {
    let mut rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    controller.observe(&seen((1, 1), false)).unwrap();
    assert!(rig.suspects.try_recv().is_err(), "a refusal is an answer");
    let silent = || Observation {
        result: Err(ProbeError::timeout(Duration::from_secs(1))),
        ..seen((1, 1), false)
    };
    controller.observe(&silent()).unwrap();
    controller.observe(&silent()).unwrap();
    assert_eq!(rig.suspects.try_recv(), Ok(backend(1).address));
    assert!(rig.suspects.try_recv().is_err());
    controller.observe(&seen((1, 1), true)).unwrap();
    controller.observe(&silent()).unwrap();
    assert_eq!(rig.suspects.try_recv(), Ok(backend(1).address));
}

#[tokio::test]
async fn a_late_result_is_not_the_next_ones() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    // One that is down has no flows to wait for.
    controller
        .change(Change::RemoveBackend {
            service: "web".into(),
            backend: "b1".into(),
        })
        .unwrap();
    controller
        .change(Change::AddBackend {
            service: "web".into(),
            backend: backend(1),
        })
        .unwrap();
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(states(&controller), [BackendState::Free, BackendState::Down]);
}

/// A result of a second check of the service.
fn second(key: CheckKey, passed: bool) -> Observation<CheckKey> {
    Observation {
        check: 1,
        ..seen(key, passed)
    }
}

fn silent(key: CheckKey) -> Observation<CheckKey> {
    Observation {
        result: Err(ProbeError::timeout(Duration::from_secs(1))),
        ..seen(key, false)
    }
}

fn refused(key: CheckKey) -> Observation<CheckKey> {
    Observation {
        result: Err(ProbeError::refusal("connect: connection refused")),
        ..seen(key, false)
    }
}

fn wishing(key: CheckKey, wish: Wish) -> Observation<CheckKey> {
    Observation {
        result: Ok(Answer {
            said: None,
            wish: Some(wish),
        }),
        ..seen(key, true)
    }
}

fn ups(controller: &Controller<MemoryDatapath>) -> usize {
    let up = |state: &&BackendState| **state == BackendState::Up;
    states(controller).iter().filter(up).count()
}

#[tokio::test]
async fn counts_go_on_over_a_restart() {
    let rig = Rig::new();
    let file = [checked(service("web", 1, 2))];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    controller.observe(&seen((1, 1), true)).unwrap();
    controller.observe(&seen((2, 1), true)).unwrap();
    controller.observe(&seen((1, 1), false)).unwrap();
    controller.observe(&seen((1, 1), false)).unwrap();
    controller.write_health(Instant::now()).await;
    let mut second = rig.start(controller.datapath, &file);
    second.observe(&seen((2, 1), false)).unwrap();
    assert_eq!(states(&second), [BackendState::Up, BackendState::Up]);
    // The third in a row.
    second.observe(&seen((1, 1), false)).unwrap();
    assert_eq!(states(&second), [BackendState::Down, BackendState::Up]);
}

#[tokio::test]
async fn both_checks_have_to_pass_and_each_has_its_own_count() {
    let rig = Rig::new();
    let mut both = checked(service("web", 1, 1));
    both.checks.push(both.checks[0].clone());
    let mut controller = rig.start(MemoryDatapath::default(), &[both]);
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(ups(&controller), 0);
    controller.observe(&second((1, 1), true)).unwrap();
    assert_eq!(ups(&controller), 1);
    for _ in 0..2 {
        controller.observe(&seen((1, 1), false)).unwrap();
        controller.observe(&second((1, 1), false)).unwrap();
    }
    assert_eq!(ups(&controller), 1);
    controller.observe(&second((1, 1), false)).unwrap();
    assert_eq!(ups(&controller), 0);
}

#[tokio::test]
async fn a_backend_may_serve_before_it_is_known() {
    let rig = Rig::new();
    let mut file = checked(service("web", 1, 2));
    file.health.checking = Checking::Serve;
    let mut controller = rig.start(MemoryDatapath::default(), &[file]);
    assert_eq!(ups(&controller), 2);
    controller.observe(&seen((1, 1), false)).unwrap();
    assert_eq!(states(&controller), [BackendState::Down, BackendState::Up]);
}

#[tokio::test]
async fn a_pool_that_goes_silent_is_kept_and_one_that_refuses_is_not() {
    let rig = Rig::new();
    let mut file = checked(service("web", 1, 4));
    file.health.panic = 50;
    file.checks[0].fall = 1;
    let mut controller = rig.start(MemoryDatapath::default(), &[file]);
    for id in 1..=4 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    controller.observe(&silent((1, 1))).unwrap();
    controller.observe(&silent((2, 1))).unwrap();
    assert_eq!(ups(&controller), 2, "half of them is not fewer than half");
    controller.observe(&silent((3, 1))).unwrap();
    assert_eq!(ups(&controller), 4);
    let health = controller.checks(Instant::now());
    assert_eq!(health.iter().filter(|one| one.kept_in_panic).count(), 3);
    // What it says itself is believed.
    controller.observe(&refused((2, 1))).unwrap();
    assert_eq!(word(&controller, 2).state(), BackendState::Down);
    assert_eq!(ups(&controller), 3);
    for _ in 0..2 {
        controller.observe(&seen((1, 1), true)).unwrap();
        controller.observe(&seen((3, 1), true)).unwrap();
    }
    assert_eq!(ups(&controller), 3);
    assert!(
        controller
            .checks(Instant::now())
            .iter()
            .all(|one| !one.kept_in_panic)
    );
}

#[tokio::test]
async fn weight_grows_after_a_recovery() {
    let rig = Rig::new();
    let mut file = checked(service("web", 1, 2));
    file.health.slow_start = Duration::from_secs(10);
    (file.checks[0].rise, file.checks[0].fall) = (1, 1);
    let mut controller = rig.start(MemoryDatapath::default(), &[file]);
    for id in 1..=2 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    let share = |controller: &Controller<MemoryDatapath>| {
        let owners = owners(controller, 0);
        100 * owners.iter().filter(|&&id| id == 1).count() / owners.len()
    };
    let whole = share(&controller);
    controller.observe(&seen((1, 1), false)).unwrap();
    controller.observe(&seen((1, 1), true)).unwrap();
    assert!((5..15).contains(&share(&controller)), "{}", share(&controller));
    assert_eq!(controller.checks(Instant::now())[0].weight_now, 10);
    clock::advance(Duration::from_secs(5));
    controller.catch_up().unwrap();
    clock::advance(Duration::from_millis(50));
    controller.catch_up().unwrap();
    assert!((30..42).contains(&share(&controller)), "{}", share(&controller));
    clock::advance(Duration::from_secs(10));
    controller.catch_up().unwrap();
    clock::advance(Duration::from_millis(50));
    controller.catch_up().unwrap();
    assert_eq!(share(&controller), whole);
}

#[tokio::test]
async fn a_wish_is_followed_as_far_as_the_administrator_allows() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 2))]);
    for id in 1..=2 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    let wish = |admin, weight, max_connections| Wish {
        admin,
        weight,
        max_connections,
        ..Wish::default()
    };
    let soon = |controller: &mut Controller<MemoryDatapath>, wish: Wish| {
        controller.observe(&wishing((1, 1), wish)).unwrap();
        states(controller)[0]
    };
    assert_eq!(
        soon(&mut controller, wish(Some(Admin::Drain), None, None)),
        BackendState::Drain
    );
    assert_eq!(
        soon(&mut controller, wish(Some(Admin::Ready), Some(0), None)),
        BackendState::Drain
    );
    assert_eq!(
        soon(&mut controller, wish(None, Some(50), Some(7))),
        BackendState::Up
    );
    assert_eq!(
        controller.datapath.snapshot().unwrap().limits[&1].max_connections(),
        7
    );
    let described = &controller.checks(Instant::now())[0];
    assert_eq!(described.weight_now, 50);
    controller.change(drain("b1")).unwrap();
    assert_eq!(
        soon(&mut controller, wish(Some(Admin::Ready), None, None)),
        BackendState::Drain
    );
    let down = Wish {
        stand: Some(Stand::Down),
        ..Wish::default()
    };
    assert_eq!(soon(&mut controller, down), BackendState::Down);
}

#[tokio::test]
async fn what_clients_suffer_has_a_backend_probed_at_once() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 2))]);
    for id in 1..=2 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    let look = |controller: &mut Controller<MemoryDatapath>| {
        // All of them, in slices.
        for _ in 0..8 {
            clock::advance(Duration::from_millis(100));
            controller.catch_up().unwrap();
        }
        let suspected = rig.outlets.journal.recent(&Filter::default(), None);
        suspected
            .into_iter()
            .filter(|event| event.event == What::Suspect)
            .map(|event| (event.backend.clone().unwrap_or_default(), event.reason.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(look(&mut controller), []);
    controller.datapath.signs.entry(2).or_default().resets = 4;
    assert_eq!(look(&mut controller), [], "too few");
    controller.datapath.signs.entry(2).or_default().repeated_syns = 3;
    for _ in 0..9 {
        controller.unreachable(backend(1).address);
    }
    let suspected = look(&mut controller);
    let names: Vec<_> = suspected.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 2, "{suspected:?}");
    assert!(names.contains(&"b1") && names.contains(&"b2"), "{suspected:?}");
    assert_eq!(ups(&controller), 2, "a suspicion is no verdict");
}

/// A service whose backends say what they wish.
fn with_agents(backends: u8) -> ServiceSpec {
    let mut service = checked(service("web", 1, backends));
    service.checks[0].kind = CheckKind::Agent { send: None };
    service.checks[0].port = Some(9);
    service
}

#[tokio::test]
async fn a_wish_holds_over_a_restart_and_what_others_leave_behind() {
    let mut rig = Rig::new();
    rig.limits.backends = 3;
    let file = [with_agents(3)];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    let wish = Wish {
        admin: Some(Admin::Drain),
        weight: Some(50),
        ..Wish::default()
    };
    for id in 2..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    controller.observe(&wishing((1, 1), wish)).unwrap();
    assert_eq!(states(&controller)[0], BackendState::Drain);
    controller.write_health(Instant::now()).await;
    let mut second = rig.start(controller.datapath, &file);
    assert_eq!(states(&second)[0], BackendState::Drain);
    // One leaves with its flows, and has to go at once for another one.
    let remove = Change::RemoveBackend {
        service: "web".into(),
        backend: "b3".into(),
    };
    second.change(remove).unwrap();
    let add = Change::AddBackend {
        service: "web".into(),
        backend: backend(4),
    };
    second.change(add).unwrap();
    assert_eq!(word(&second, 1).state(), BackendState::Drain);
    assert_eq!(second.checks(Instant::now())[0].weight_now, 50);
    // It is what its agent has said, and of no use without one.
    let tcp = Change::SetService {
        service: "web".into(),
        set: ServiceChange {
            checks: Some(checked(service("web", 1, 1)).checks),
            ..ServiceChange::default()
        },
    };
    second.change(tcp).unwrap();
    assert_eq!(word(&second, 1).state(), BackendState::Up);
}

#[tokio::test]
async fn those_that_were_down_before_a_restart_are_no_panic() {
    let rig = Rig::new();
    let mut file = checked(service("web", 1, 3));
    file.health.panic = 50;
    let file = [file];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    controller.observe(&seen((1, 1), true)).unwrap();
    controller.observe(&refused((2, 1))).unwrap();
    controller.observe(&refused((3, 1))).unwrap();
    assert_eq!(ups(&controller), 1);
    let mut second = rig.start(controller.datapath, &file);
    assert_eq!(ups(&second), 1);
    // When they are silent now, that may be ours.
    second.observe(&silent((2, 1))).unwrap();
    second.observe(&silent((3, 1))).unwrap();
    assert_eq!(ups(&second), 3);
}

/// Another interval for its only check.
fn every(file: &ServiceSpec, seconds: u64) -> Change {
    let mut checks = file.checks.clone();
    checks[0].interval = Duration::from_secs(seconds);
    set(ServiceChange {
        checks: Some(checks),
        ..ServiceChange::default()
    })
}

fn set(set: ServiceChange) -> Change {
    Change::SetService {
        service: "web".into(),
        set,
    }
}

#[tokio::test]
async fn counts_go_on_under_another_interval() {
    let rig = Rig::new();
    let file = [checked(service("web", 1, 2))];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    for id in 1..=2 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    for _ in 0..2 {
        controller.observe(&seen((1, 1), false)).unwrap();
    }
    controller.change(every(&file[0], 1800)).unwrap();
    assert!(controller.checks(Instant::now())[0].checks[0].last.is_some());
    controller.observe(&seen((1, 1), false)).unwrap();
    assert_eq!(
        states(&controller),
        [BackendState::Down, BackendState::Up],
        "the third in a row"
    );
}

#[tokio::test]
async fn what_a_check_has_found_is_nothing_of_the_one_in_its_place() {
    let rig = Rig::new();
    let mut file = checked(service("web", 1, 2));
    file.checks[0].fall = 1;
    let (mut controller, waiting) = rig.start_hearing(MemoryDatapath::default(), std::slice::from_ref(&file));
    for id in 1..=2 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    let late = controller.of_now(&seen((1, 1), false));
    controller.change(every(&file, 1800)).unwrap();
    waiting.send(late.clone(), true).await.unwrap();
    assert!(!controller.hear());
    assert_eq!(ups(&controller), 2);
    waiting.send(controller.of_now(&late), true).await.unwrap();
    assert!(controller.hear());
    assert_eq!(states(&controller), [BackendState::Down, BackendState::Up]);
}

#[tokio::test]
async fn a_wish_holds_under_another_interval() {
    let rig = Rig::new();
    let file = [with_agents(2)];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    let wish = Wish {
        admin: Some(Admin::Drain),
        ..Wish::default()
    };
    controller.observe(&seen((2, 1), true)).unwrap();
    controller.observe(&wishing((1, 1), wish)).unwrap();
    assert_eq!(states(&controller)[0], BackendState::Drain);
    controller.change(every(&file[0], 1800)).unwrap();
    assert_eq!(states(&controller)[0], BackendState::Drain);
}

/// Up, down, and up again so often that it is held.
fn flap(controller: &mut Controller<MemoryDatapath>, key: CheckKey) {
    for _ in 0..6 {
        controller.observe(&seen(key, true)).unwrap();
        controller.observe(&seen(key, false)).unwrap();
    }
    controller.observe(&seen(key, true)).unwrap();
}

/// A service whose backends turn with each result, until they are held for a minute.
fn hasty(backends: u8) -> ServiceSpec {
    let mut file = checked(service("web", 1, backends));
    (file.checks[0].rise, file.checks[0].fall) = (1, 1);
    file.health.flaps.hold = Duration::from_secs(60);
    file
}

#[tokio::test]
async fn a_hold_goes_on_under_another_interval() {
    let rig = Rig::new();
    let file = [hasty(2)];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    controller.observe(&seen((2, 1), true)).unwrap();
    flap(&mut controller, (1, 1));
    assert_eq!(states(&controller)[0], BackendState::Down, "held");
    controller.change(every(&file[0], 1800)).unwrap();
    controller.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(states(&controller)[0], BackendState::Down, "still held");
}

#[tokio::test]
async fn other_rules_count_at_once_and_are_no_failure() {
    let rig = Rig::new();
    let mut both = checked(service("web", 1, 1));
    both.checks.push(both.checks[0].clone());
    let mut controller = rig.start(MemoryDatapath::default(), &[both.clone()]);
    controller.observe(&seen((1, 1), true)).unwrap();
    controller.observe(&second((1, 1), false)).unwrap();
    assert_eq!(ups(&controller), 0);
    let require = |require| {
        set(ServiceChange {
            health: HealthChange {
                require: Some(require),
                ..HealthChange::default()
            },
            ..ServiceChange::default()
        })
    };
    controller.change(require(Require::Any)).unwrap();
    assert_eq!(ups(&controller), 1, "one check passes, which is enough now");
    controller.change(require(Require::All)).unwrap();
    assert_eq!(ups(&controller), 0);
    assert_eq!(controller.checks(Instant::now())[0].failures, 0);
    let events = rig.outlets.journal.recent(&Filter::default(), None);
    let reasons: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.event, What::Up | What::Down))
        .map(|event| (event.event, event.reason.as_str()))
        .collect();
    assert_eq!(
        reasons[reasons.len() - 2..],
        [
            (
                What::Up,
                "by its checks and their rules as they are set now: closed"
            ),
            (
                What::Down,
                "by its checks and their rules as they are set now: closed"
            ),
        ]
    );
    // The check that does not pass goes.
    let one = set(ServiceChange {
        checks: Some(both.checks[..1].to_vec()),
        ..ServiceChange::default()
    });
    controller.change(one).unwrap();
    assert_eq!(ups(&controller), 1);
}

#[tokio::test]
async fn a_hold_ends_when_it_is_switched_off() {
    let rig = Rig::new();
    let file = hasty(2);
    let mut controller = rig.start(MemoryDatapath::default(), &[file]);
    controller.observe(&seen((2, 1), true)).unwrap();
    flap(&mut controller, (1, 1));
    assert_eq!(states(&controller)[0], BackendState::Down, "held");
    let flaps = FlapsChange {
        hold: Some(Duration::ZERO),
        ..FlapsChange::default()
    };
    let off = set(ServiceChange {
        health: HealthChange {
            flaps,
            ..HealthChange::default()
        },
        ..ServiceChange::default()
    });
    controller.change(off).unwrap();
    assert_eq!(states(&controller)[0], BackendState::Up);
    assert_eq!(controller.checks(Instant::now())[0].held_seconds, None);
}

#[tokio::test]
async fn nobody_is_held_down_where_nobody_else_is_up() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[hasty(3)]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    flap(&mut controller, (1, 1));
    flap(&mut controller, (2, 1));
    assert_eq!(states(&controller)[..2], [BackendState::Down; 2], "held");
    // With the last other one down, the one that has waited longest is let up, and only that.
    controller.observe(&seen((3, 1), false)).unwrap();
    assert_eq!(
        states(&controller),
        [BackendState::Up, BackendState::Down, BackendState::Down]
    );
    let reasons = |controller: &Controller<MemoryDatapath>, backend: &str| {
        let events = controller.journal.recent(&Filter::default(), None);
        let up = events
            .iter()
            .rfind(|event| event.event == What::Up && event.backend.as_deref() == Some(backend));
        up.map(|event| event.reason.clone()).unwrap_or_default()
    };
    assert_eq!(
        reasons(&controller, "b1"),
        "no longer held down: nobody else of its pool is up"
    );
    // Whoever fails then is down, as without a hold, and the next one is let up.
    controller.observe(&seen((1, 1), false)).unwrap();
    assert_eq!(
        states(&controller),
        [BackendState::Down, BackendState::Up, BackendState::Down]
    );
    // The only one comes up with its first pass.
    controller.observe(&seen((2, 1), false)).unwrap();
    assert_eq!(ups(&controller), 0);
    controller.observe(&seen((2, 1), true)).unwrap();
    assert_eq!(states(&controller)[1], BackendState::Up);
    // And is held as before when another one is there.
    controller.observe(&seen((3, 1), true)).unwrap();
    controller.observe(&seen((2, 1), false)).unwrap();
    controller.observe(&seen((2, 1), true)).unwrap();
    assert_eq!(states(&controller)[1], BackendState::Down, "held");
}

#[tokio::test]
async fn a_held_backend_is_let_up_when_the_others_are_drained() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[hasty(2)]);
    controller.observe(&seen((2, 1), true)).unwrap();
    flap(&mut controller, (1, 1));
    assert_eq!(states(&controller), [BackendState::Down, BackendState::Up]);
    controller.change(drain("b2")).unwrap();
    assert_eq!(states(&controller), [BackendState::Up, BackendState::Drain]);
}

#[tokio::test]
async fn a_wish_for_maintenance_holds_over_a_restart() {
    let rig = Rig::new();
    let file = [with_agents(2)];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    let wish = Wish {
        admin: Some(Admin::Maintenance),
        ..Wish::default()
    };
    controller.observe(&seen((2, 1), true)).unwrap();
    controller.observe(&wishing((1, 1), wish)).unwrap();
    assert_eq!(states(&controller)[0], BackendState::Down);
    controller.write_health(Instant::now()).await;
    let mut second = rig.start(controller.datapath, &file);
    // The agent says something else now, and nothing of that.
    let half = Wish {
        weight: Some(50),
        ..Wish::default()
    };
    for _ in 0..3 {
        second.observe(&wishing((1, 1), half.clone())).unwrap();
    }
    assert_eq!(states(&second)[0], BackendState::Down);
    let ready = Wish {
        admin: Some(Admin::Ready),
        ..Wish::default()
    };
    second.observe(&wishing((1, 1), ready)).unwrap();
    assert_eq!(states(&second)[0], BackendState::Up);
}

#[tokio::test]
async fn what_has_not_changed_for_long_is_still_known_after_a_crash() {
    let rig = Rig::new();
    let file = [with_agents(2)];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    let wish = Wish {
        admin: Some(Admin::Drain),
        ..Wish::default()
    };
    controller.observe(&seen((2, 1), true)).unwrap();
    controller.observe(&wishing((1, 1), wish)).unwrap();
    controller.write_health(clock::now()).await;
    // Eleven minutes go by.
    let path = rig.state.path().join("health.json");
    let text = std::fs::read(&path).unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(&text).unwrap();
    document["written"] = (document["written"].as_f64().unwrap() - 660.0).into();
    std::fs::write(&path, serde_json::to_vec(&document).unwrap()).unwrap();
    clock::advance(Duration::from_secs(660));
    assert!(controller.due().is_some_and(|due| due <= clock::now()));
    controller.catch_up().unwrap();
    controller.kept_written().await;
    let second = rig.start(controller.datapath, &file);
    assert_eq!(states(&second)[0], BackendState::Drain);
}

#[tokio::test]
async fn what_is_written_last_stays_whatever_was_under_way() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[checked(service("web", 1, 1))]);
    controller.observe(&seen((1, 1), true)).unwrap();
    controller.observe(&seen((1, 1), false)).unwrap();
    let path = rig.state.path().join("health.json");
    let (done, older_written) = tokio::sync::oneshot::channel();
    let older = path.clone();
    controller.write_meanwhile(tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(100));
        std::fs::write(older, "older").unwrap();
        done.send(()).unwrap();
    }));
    controller.write_health(clock::now()).await;
    older_written.await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("web/b1"), "{text}");
}

#[tokio::test]
async fn a_pool_in_panic_is_kept_over_a_restart() {
    let rig = Rig::new();
    let mut pool = checked(service("web", 1, 4));
    pool.health.panic = 50;
    pool.checks[0].fall = 1;
    let file = [pool];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    for id in 1..=4 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    for id in 1..=4 {
        controller.observe(&silent((id, 1))).unwrap();
    }
    assert_eq!(ups(&controller), 4);
    controller.write_health(Instant::now()).await;
    let mut second = rig.start(controller.datapath, &file);
    assert_eq!(ups(&second), 4);
    second.observe(&silent((1, 1))).unwrap();
    second.observe(&silent((2, 1))).unwrap();
    assert_eq!(ups(&second), 4, "they were kept, and still are");
    second.observe(&refused((2, 1))).unwrap();
    assert_eq!(ups(&second), 3);
}

#[tokio::test]
async fn weight_goes_on_growing_over_a_restart() {
    let rig = Rig::new();
    let mut pool = hasty(2);
    pool.health.slow_start = Duration::from_secs(1000);
    let file = [pool];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    for id in 1..=2 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    controller.observe(&seen((1, 1), false)).unwrap();
    controller.observe(&seen((1, 1), true)).unwrap();
    clock::advance(Duration::from_secs(450));
    controller.write_health(clock::now()).await;
    let second = rig.start(controller.datapath, &file);
    assert_eq!(second.checks(clock::now())[0].weight_now, 50);
}

#[tokio::test]
async fn a_word_that_others_have_changed_is_all_that_is_known() {
    let rig = Rig::new();
    let file = [checked(service("web", 1, 2))];
    let mut controller = rig.start(MemoryDatapath::default(), &file);
    for id in 1..=2 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    controller.observe(&seen((1, 1), false)).unwrap();
    controller.observe(&seen((1, 1), false)).unwrap();
    controller.write_health(Instant::now()).await;
    let was = word(&controller, 1);
    let down = BackendWord::new(BackendState::Down, was.next_hop(), was.generation());
    controller.datapath.words.insert(1, down);
    let mut second = rig.start(controller.datapath, &file);
    // It has to rise.
    second.observe(&seen((1, 1), true)).unwrap();
    assert_eq!(states(&second)[0], BackendState::Down);
}

/// Four backends and two backups, that may panic.
fn with_backups(need: u8) -> ServiceSpec {
    let mut pool = checked(service("web", 1, 6));
    pool.need = need;
    pool.health.panic = 50;
    pool.checks[0].fall = 1;
    for backup in &mut pool.backends[4..] {
        backup.priority = 1;
    }
    pool
}

#[tokio::test]
async fn healthy_backups_serve_in_place_of_a_panic() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[with_backups(1)]);
    for id in 1..=6 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    for id in 1..=4 {
        controller.observe(&silent((id, 1))).unwrap();
    }
    let serving: BTreeSet<_> = owners(&controller, 0).into_iter().collect();
    assert_eq!(serving, BTreeSet::from([5, 6]));
    assert_eq!(ups(&controller), 2);
    // When they go too, it is likelier that the probes are wrong.
    controller.observe(&silent((5, 1))).unwrap();
    controller.observe(&silent((6, 1))).unwrap();
    assert_eq!(ups(&controller), 6);
}

#[tokio::test]
async fn who_is_kept_keeps_no_healthy_backup_from_serving() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[with_backups(2)]);
    for id in 1..=6 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    for id in 1..=5 {
        controller.observe(&silent((id, 1))).unwrap();
    }
    assert_eq!(ups(&controller), 6, "one backup is too few");
    assert!(owners(&controller, 0).contains(&6));
}
