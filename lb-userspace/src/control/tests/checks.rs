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
async fn backends_that_fail_together_are_out_before_any_table_is_filled() {
    let rig = Rig::new();
    let (mut controller, waiting) =
        rig.start_hearing(MemoryDatapath::default(), &[checked(service("web", 1, 3))]);
    for id in 1..=3 {
        controller.observe(&seen((id, 1), true)).unwrap();
    }
    for id in [2, 3] {
        for _ in 0..3 {
            waiting.send(seen((id, 1), false)).await.unwrap();
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
