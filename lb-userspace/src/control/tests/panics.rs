//! Pools that fail beyond belief.

use super::*;

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
