//! What is kept of changes, and what is forgotten.

use proptest::prelude::*;

use super::*;
use crate::{
    config::{Admin, Algorithm, OnFull, ServiceSpec},
    control::change::tests::{backend, service, setup},
};

fn set(name: &str, admin: Option<Admin>, weight: Option<u16>) -> Change {
    Change::SetBackend {
        service: "web".into(),
        backend: name.into(),
        set: BackendChange {
            admin,
            weight,
            ..BackendChange::default()
        },
    }
}

#[test]
fn what_is_undone_leaves_no_trace() {
    let mut overrides = Overrides::default();
    overrides.push(Change::AddService {
        service: service("api", 2, 1),
    });
    overrides.push(Change::AddBackend {
        service: "api".into(),
        backend: backend(2),
    });
    overrides.push(Change::RemoveService {
        service: "api".into(),
    });
    assert!(overrides.is_empty());
    overrides.push(set("b1", Some(Admin::Drain), None));
    overrides.push(set("b1", None, Some(5)));
    overrides.push(set("b1", Some(Admin::Ready), None));
    assert_eq!(overrides.changes, [set("b1", Some(Admin::Ready), Some(5))]);
}

#[test]
fn changes_survive_on_disk() {
    let state = tempfile::tempdir().unwrap();
    assert!(Overrides::load(state.path()).unwrap().is_empty());
    let mut overrides = Overrides::default();
    overrides.push(Change::AddService {
        service: service("api", 2, 1),
    });
    overrides.push(set("b1", Some(Admin::Drain), None));
    overrides.save(state.path()).unwrap();
    assert_eq!(Overrides::load(state.path()).unwrap(), overrides);
    fs::write(file(state.path()), "[{}").unwrap();
    assert!(format!("{:#}", Overrides::load(state.path()).unwrap_err()).contains("changes.json"));
}

#[test]
fn a_change_that_no_longer_fits_is_left_out_and_named() {
    let mut overrides = Overrides::default();
    overrides.push(set("b9", Some(Admin::Drain), None));
    overrides.push(set("b1", Some(Admin::Drain), None));
    let (found, misfits) = overrides.over(&setup(&[service("web", 1, 2)]), &Limits::default());
    assert_eq!(found.services[0].backends[0].admin, Admin::Drain);
    assert_eq!(misfits.len(), 1);
    assert!(misfits[0].contains("b9"), "{misfits:?}");
}

fn any_change() -> impl Strategy<Value = Change> {
    let name = prop::sample::select(vec!["web", "api", "new"]);
    (name, 1_u8..4, 0_u16..3, 0..8).prop_map(|(name, number, weight, kind)| match kind {
        0 => Change::AddService {
            service: service(name, number, 2),
        },
        1 => Change::RemoveService { service: name.into() },
        2 => Change::AddBackend {
            service: name.into(),
            backend: backend(number),
        },
        3 => Change::RemoveBackend {
            service: name.into(),
            backend: format!("b{number}"),
        },
        4 => Change::SetVip {
            address: format!("192.0.2.{number}").parse().unwrap(),
            unserved: (weight == 0).then_some(Unserved::Reset),
            ping: (weight < 2).then_some(weight == 0),
        },
        5 | 6 => Change::SetService {
            service: name.into(),
            set: ServiceChange {
                algorithm: [
                    None,
                    Some(Algorithm::Failover),
                    Some(Algorithm::Bounded),
                    Some(Algorithm::First),
                ][usize::from(number)],
                load_factor: (number == 2).then_some(150 + weight),
                on_full: (weight == 1).then_some(OnFull::Spill),
                ..ServiceChange::default()
            },
        },
        _ => Change::SetBackend {
            service: name.into(),
            backend: format!("b{number}"),
            set: BackendChange {
                admin: (weight == 0).then_some(Admin::Drain),
                weight: Some(weight),
                max_connections: (number < 3).then_some(weight.into()),
                ..BackendChange::default()
            },
        },
    })
}

/// Order in a set means nothing.
fn sorted(mut services: Vec<ServiceSpec>) -> Vec<ServiceSpec> {
    for service in &mut services {
        service.backends.sort_by(|a, b| a.name.cmp(&b.name));
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

#[test]
fn changes_of_earlier_versions_are_read() {
    let state = tempfile::tempdir().unwrap();
    let old =
        r#"[{"change": "set_backend", "service": "web", "backend": "b1", "admin": "drain", "weight": null}]"#;
    fs::write(file(state.path()), old).unwrap();
    let overrides = Overrides::load(state.path()).unwrap();
    assert_eq!(overrides.changes, [set("b1", Some(Admin::Drain), None)]);
}

#[test]
fn what_fits_only_as_a_whole_is_kept_as_a_whole() {
    let set_service = |algorithm| Change::SetService {
        service: "web".into(),
        set: ServiceChange {
            algorithm: Some(algorithm),
            ..ServiceChange::default()
        },
    };
    let limited = |max_connections| Change::SetBackend {
        service: "web".into(),
        backend: "b1".into(),
        set: BackendChange {
            max_connections: Some(max_connections),
            ..BackendChange::default()
        },
    };
    let file = setup(&[service("web", 1, 2)]);
    let mut overrides = Overrides::default();
    overrides.push(limited(7));
    overrides.push(set_service(Algorithm::First));
    overrides.push(limited(0));
    overrides.push(set_service(Algorithm::Failover));
    overrides.push(set_service(Algorithm::First));
    overrides.push(limited(5));
    let (found, misfits) = overrides.over(&file, &Limits::default());
    assert_eq!(misfits, Vec::<String>::new());
    let web = &found.services[0];
    assert_eq!(
        (web.algorithm, web.backends[0].max_connections),
        (Algorithm::First, 5)
    );
    assert_eq!(overrides.len(), 2);
    overrides.push(set_service(Algorithm::Maglev));
    overrides.push(limited(0));
    overrides.forget_restored(&file);
    assert!(overrides.is_empty());
}

#[test]
fn a_policy_that_the_file_has_again_is_no_change() {
    let address: Network = "192.0.2.1".parse().unwrap();
    let set = |unserved, ping| Change::SetVip {
        address,
        unserved,
        ping,
    };
    let file = setup(&[service("web", 1, 1)]);
    let mut overrides = Overrides::default();
    overrides.push(set(Some(Unserved::Drop), None));
    overrides.push(set(None, Some(false)));
    overrides.forget_restored(&file);
    assert_eq!(overrides.changes, [set(Some(Unserved::Drop), Some(false))]);
    overrides.push(set(Some(Unserved::Auto), Some(true)));
    overrides.forget_restored(&file);
    assert!(overrides.is_empty());
}

proptest! {
    #[test]
    fn forgetting_changes_nothing_that_matters(changes in prop::collection::vec(any_change(), 0..30)) {
        let file = setup(&[service("web", 1, 2), service("api", 2, 1)]);
        let mut live = file.clone();
        let mut overrides = Overrides::default();
        for change in changes {
            let mut next = live.clone();
            if change.apply(&mut next).is_ok() && validate_set(&next.services, &Limits::default()).is_ok() {
                live = next;
                overrides.push(change);
            }
        }
        let (restarted, misfits) = overrides.over(&file, &Limits::default());
        prop_assert_eq!(misfits, Vec::<String>::new());
        prop_assert_eq!(sorted(restarted.services), sorted(live.services));
        prop_assert_eq!(restarted.policies, live.policies);
    }
}
