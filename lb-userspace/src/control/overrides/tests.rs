//! What is kept of changes, and what is forgotten.

use proptest::prelude::*;

use super::*;
use crate::{
    config::ServiceSpec,
    control::change::tests::{backend, service, setup},
};

fn set(name: &str, admin: Option<Admin>, weight: Option<u16>) -> Change {
    Change::SetBackend {
        service: "web".into(),
        backend: name.into(),
        admin,
        weight,
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
    (name, 1_u8..4, 0_u16..3, 0..6).prop_map(|(name, number, weight, kind)| match kind {
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
        _ => Change::SetBackend {
            service: name.into(),
            backend: format!("b{number}"),
            admin: (weight == 0).then_some(Admin::Drain),
            weight: Some(weight),
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
