//! What probes do to backends.

use super::*;
use crate::config::Mode;

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
async fn what_clients_suffer_has_a_backend_probed_at_once() {
    let rig = Rig::new();
    let tunnel = ServiceSpec {
        mode: Mode::Ipip,
        ..checked(service("web", 1, 2))
    };
    let direct = ServiceSpec {
        mode: Mode::Dsr,
        ..checked(service("dsr", 2, 1))
    };
    let mut controller = rig.start(MemoryDatapath::default(), &[tunnel, direct]);
    for id in 1..=3 {
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
            .map(|event| (event.whom().unwrap_or_default(), event.reason.clone()))
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
    assert_eq!(names.len(), 2, "no tunnel is another mode's: {suspected:?}");
    assert!(
        names.contains(&"web/b1") && names.contains(&"web/b2"),
        "{suspected:?}"
    );
    assert_eq!(ups(&controller), 3, "a suspicion is no verdict");
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
                "by its checks and their rules as they are set now: passed in 0.0 ms"
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
