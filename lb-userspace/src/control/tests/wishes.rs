//! What the agents of backends wish.

use super::{lookups::node, *};

pub(super) fn wishing(key: CheckKey, wish: Wish) -> Observation<CheckKey> {
    Observation {
        result: Ok(Answer {
            said: None,
            wish: Some(wish),
        }),
        ..seen(key, true)
    }
}

/// A service whose backends say what they wish.
pub(super) fn with_agents(backends: u8) -> ServiceSpec {
    let mut service = checked(service("web", 1, backends));
    service.checks[0].kind = CheckKind::Agent { send: None };
    service.checks[0].port = Some(9);
    service
}

/// A pool of two, of which the first wishes this and the second is up.
pub(super) fn wished(rig: &Rig, file: &[ServiceSpec], admin: Admin) -> Controller<MemoryDatapath> {
    let mut controller = rig.start(MemoryDatapath::default(), file);
    let wish = Wish {
        admin: Some(admin),
        ..Wish::default()
    };
    controller.observe(&seen((2, 1), true)).unwrap();
    controller.observe(&wishing((1, 1), wish)).unwrap();
    controller
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
    let told = &controller.services(&node()).unwrap()[0].backends[0];
    assert_eq!((told.max_connections, told.max_connections_now), (0, 7));
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
async fn a_wish_holds_under_another_interval() {
    let rig = Rig::new();
    let file = [with_agents(2)];
    let mut controller = wished(&rig, &file, Admin::Drain);
    assert_eq!(states(&controller)[0], BackendState::Drain);
    controller.change(every(&file[0], 1800)).unwrap();
    assert_eq!(states(&controller)[0], BackendState::Drain);
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
async fn a_wish_for_maintenance_holds_over_a_restart() {
    let rig = Rig::new();
    let file = [with_agents(2)];
    let mut controller = wished(&rig, &file, Admin::Maintenance);
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
async fn what_is_known_by_checks_ends_with_them_and_is_told() {
    let rig = Rig::new();
    let mut controller = wished(&rig, &[with_agents(2)], Admin::Drain);
    let told = |controller: &mut Controller<MemoryDatapath>, name: &str, checks: Vec<CheckSpec>| {
        let change = ServiceChange {
            checks: Some(checks),
            ..ServiceChange::default()
        };
        controller.change(set(change)).unwrap();
        let events = rig.outlets.journal.recent(&Filter::default(), None);
        let mut of_backend = events
            .iter()
            .rev()
            .filter(|event| event.backend.as_deref() == Some(name));
        let last = of_backend.next().unwrap();
        (last.event, last.reason.clone())
    };
    // Another check takes the place of the agent's.
    let tcp = checked(service("web", 1, 2)).checks;
    let last = told(&mut controller, "b1", tcp);
    assert_eq!(last, (What::Wish, "nothing any more".to_owned()));
    for _ in 0..3 {
        controller.observe(&seen((2, 1), false)).unwrap();
    }
    let last = told(&mut controller, "b2", Vec::new());
    assert_eq!(last, (What::Up, "it has no check any more".to_owned()));
    assert_eq!(states(&controller), [BackendState::Up, BackendState::Up]);
}
