//! What is known of checks over a restart.

use super::{
    holds::hasty,
    wishes::{wished, with_agents},
    *,
};

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

#[tokio::test]
async fn what_has_not_changed_for_long_is_still_known_after_a_crash() {
    let rig = Rig::new();
    let file = [with_agents(2)];
    let mut controller = wished(&rig, &file, Admin::Drain);
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
