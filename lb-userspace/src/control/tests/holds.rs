//! Backends that fail too often, and are held down.

use super::*;

/// Up, down, and up again so often that it is held.
fn flap(controller: &mut Controller<MemoryDatapath>, key: CheckKey) {
    for _ in 0..6 {
        controller.observe(&seen(key, true)).unwrap();
        controller.observe(&seen(key, false)).unwrap();
    }
    controller.observe(&seen(key, true)).unwrap();
}

/// A service whose backends turn with each result, until they are held for a minute.
pub(super) fn hasty(backends: u8) -> ServiceSpec {
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
async fn who_would_not_serve_is_not_let_up() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[hasty(2)]);
    controller.observe(&seen((2, 1), true)).unwrap();
    flap(&mut controller, (1, 1));
    let by = |backend: &str, admin| Change::SetBackend {
        service: "web".into(),
        backend: backend.into(),
        set: BackendChange {
            admin: Some(admin),
            ..BackendChange::default()
        },
    };
    controller.change(by("b1", Admin::Maintenance)).unwrap();
    controller.change(drain("b2")).unwrap();
    assert!(controller.checks(Instant::now())[0].held_seconds.is_some());
    // Now it would.
    controller.change(by("b1", Admin::Ready)).unwrap();
    assert_eq!(states(&controller), [BackendState::Up, BackendState::Drain]);
}
