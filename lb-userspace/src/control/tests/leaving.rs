//! Backends that drain, and those that are removed.

use super::{
    flows::{all, count, dsr, pass, remove},
    *,
};
use crate::config::Algorithm;

#[tokio::test]
async fn a_removed_backend_drains_and_is_itself_when_it_is_back() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[dsr(2)]);
    let before = word(&controller, 2);
    controller.change(remove("b2")).unwrap();
    assert_eq!(word(&controller, 2).state(), BackendState::Drain);
    assert_eq!(controller.setup.services[0].backends.len(), 1);
    // Nothing is known of its flows: the time decides.
    count(&mut controller, &[]);
    count(&mut controller, &[]);
    assert_eq!(word(&controller, 2).state(), BackendState::Drain);
    let mut back = backend(2);
    back.port = None;
    let add = |backend| Change::AddBackend {
        service: "web".into(),
        backend,
    };
    controller.change(add(back.clone())).unwrap();
    assert_eq!(word(&controller, 2).scattered(false), before);
    assert!(all(&controller, |slot| slot.previous() == 0));
    controller.change(remove("b2")).unwrap();
    pass(&mut controller, 599);
    assert_eq!(word(&controller, 2).state(), BackendState::Drain);
    pass(&mut controller, 2);
    assert_eq!(word(&controller, 2).state(), BackendState::Free);
    assert!(all(&controller, |slot| slot.owner() == 1 && slot.previous() == 0));
    assert_eq!(controller.datapath.purged, [2]);
    controller.change(add(back)).unwrap();
    assert_eq!(
        word(&controller, 2).state(),
        BackendState::Free,
        "another id, or another generation"
    );
}

#[tokio::test]
async fn where_its_flows_are_known_it_goes_with_the_last_of_them() {
    let rig = Rig::new();
    let mut file = dsr(2);
    file.algorithm = Algorithm::LeastConn;
    let mut controller = rig.start(MemoryDatapath::default(), std::slice::from_ref(&file));
    controller.change(remove("b2")).unwrap();
    for flows in [&[(0, 2)][..], &[], &[(0, 2)], &[]] {
        count(&mut controller, flows);
        assert_eq!(word(&controller, 2).state(), BackendState::Drain);
    }
    count(&mut controller, &[]);
    assert_eq!(word(&controller, 2).state(), BackendState::Free);
}

#[tokio::test]
async fn an_agent_that_starts_lets_go_of_what_an_earlier_one_was_letting_go() {
    let rig = Rig::new();
    let mut first = rig.start(MemoryDatapath::default(), &[dsr(2)]);
    first.change(remove("b2")).unwrap();
    pass(&mut first, 300);
    let mut second = rig.start(first.datapath, &[dsr(2)]);
    assert_eq!(word(&second, 2).state(), BackendState::Drain);
    pass(&mut second, 599);
    assert_eq!(word(&second, 2).state(), BackendState::Drain);
    pass(&mut second, 2);
    assert_eq!(word(&second, 2).state(), BackendState::Free);
}

#[tokio::test]
async fn a_drain_by_hand_ends_with_its_time_and_maintenance_is_at_once() {
    let rig = Rig::new();
    let mut controller = rig.start(MemoryDatapath::default(), &[service("web", 1, 3)]);
    controller.change(drain("b1")).unwrap();
    let maintenance = Change::SetBackend {
        service: "web".into(),
        backend: "b2".into(),
        set: BackendChange {
            admin: Some(Admin::Maintenance),
            ..BackendChange::default()
        },
    };
    controller.change(maintenance).unwrap();
    assert_eq!(
        states(&controller),
        [BackendState::Drain, BackendState::Down, BackendState::Up]
    );
    assert!(owners(&controller, 0).iter().all(|&owner| owner == 3));
    pass(&mut controller, 601);
    assert_eq!(
        states(&controller),
        [BackendState::Down, BackendState::Down, BackendState::Up]
    );
}

#[tokio::test]
async fn an_id_is_taken_from_one_that_leaves_where_it_is_needed() {
    let mut rig = Rig::new();
    rig.limits.backends = 2;
    let mut controller = rig.start(MemoryDatapath::default(), &[dsr(2)]);
    controller.change(remove("b2")).unwrap();
    let mut other = backend(9);
    other.port = None;
    controller
        .change(Change::AddBackend {
            service: "web".into(),
            backend: other,
        })
        .unwrap();
    assert_eq!(word(&controller, 2).generation(), 2);
    assert_eq!(controller.datapath.purged, [2]);
    assert!(all(&controller, |slot| slot.previous() == 0 || slot.previous() == 1));
}
