//! Backends that have been removed and still have flows. Pure.
//!
//! They stay in the data plane as draining ones until their flows are gone or their time is over. One that is added again
//! meanwhile never was away.

use std::collections::BTreeMap;

use lb_common::backend::{Backend, BackendState};

use crate::{
    config::{Admin, BackendSpec, ServiceSpec, Setup},
    control::ids::Ids,
    datapath::Snapshot,
};

/// A backend that is leaving its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub service: String,
    pub backend: BackendSpec,
}

impl Leaving {
    #[must_use]
    pub fn new(service: &ServiceSpec, backend: &BackendSpec) -> Self {
        let mut backend = backend.clone();
        backend.admin = Admin::Drain;
        Self {
            service: service.name.clone(),
            backend,
        }
    }

    fn is(&self, backend: &BackendSpec) -> bool {
        (self.backend.address, self.backend.port) == (backend.address, backend.port)
    }
}

/// What the data plane serves: what is set up, and those that are leaving.
#[must_use]
pub fn served(setup: &Setup, leaving: &[Leaving]) -> Setup {
    let mut served = setup.clone();
    if leaving.is_empty() {
        return served;
    }
    let places = served.services.iter().enumerate();
    let places: BTreeMap<String, usize> = places.map(|(at, one)| (one.name.clone(), at)).collect();
    for one in leaving {
        let Some(service) = places.get(&one.service).map(|&at| &mut served.services[at]) else {
            continue;
        };
        let mut backend = one.backend.clone();
        // Where another has its server ID now, connection IDs are that one's.
        let taken = service
            .backends
            .iter()
            .any(|other| other.server_id == backend.server_id);
        backend.server_id = backend.server_id.filter(|_| !taken);
        service.backends.push(backend);
    }
    served
}

/// Who is leaving after a change from what was `served` to `setup`, those that were before first. Of those that go now, only whoever
/// `has_flows`.
#[must_use]
pub fn after(
    served: &Setup,
    setup: &Setup,
    before: &[Leaving],
    has_flows: impl Fn(&ServiceSpec, &BackendSpec) -> bool,
) -> Vec<Leaving> {
    let mut leaving = still(before, setup);
    let services: BTreeMap<_, _> = setup.services.iter().map(|one| (&one.name, one)).collect();
    for old in &served.services {
        let Some(new) = services.get(&old.name) else {
            continue;
        };
        if new.backends == old.backends {
            continue;
        }
        for backend in &old.backends {
            let one = Leaving::new(old, backend);
            let is_there = new.backends.iter().any(|there| one.is(there));
            let is_known = leaving
                .iter()
                .any(|known| known.service == one.service && known.is(backend));
            if !is_there && !is_known && has_flows(old, backend) {
                leaving.push(one);
            }
        }
    }
    leaving
}

/// Those that are neither back nor without their service.
fn still(leaving: &[Leaving], setup: &Setup) -> Vec<Leaving> {
    let is_away = |one: &&Leaving| {
        let mut services = setup.services.iter();
        let service = services.find(|service| service.name == one.service);
        service.is_some_and(|service| !service.backends.iter().any(|backend| one.is(backend)))
    };
    leaving.iter().filter(is_away).cloned().collect()
}

/// Those that an earlier agent has left in services which are still there.
#[must_use]
pub fn adopt(snapshot: &Snapshot, setup: &Setup, ids: &Ids) -> Vec<Leaving> {
    let services: BTreeMap<u32, &ServiceSpec> = setup
        .services
        .iter()
        .filter_map(|service| Some((ids.service(&service.name)?, service)))
        .collect();
    let left = snapshot.backends.values().filter_map(|(backend, word)| {
        let service = services.get(&backend.service)?;
        let has_flows = matches!(word.state(), BackendState::Up | BackendState::Drain);
        has_flows.then(|| Leaving::new(service, &spec(backend)))
    });
    still(&left.collect::<Vec<_>>(), setup)
}

fn spec(backend: &Backend) -> BackendSpec {
    let port = u16::from_be(backend.port);
    BackendSpec::new(backend.addr.into(), (port != 0).then_some(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::change::tests::{backend, service, setup};

    fn names(leaving: &[Leaving]) -> Vec<&str> {
        leaving.iter().map(|one| one.backend.name.as_str()).collect()
    }

    #[test]
    fn who_is_removed_leaves_until_it_is_back_or_its_service_is_gone() {
        let all = setup(&[service("web", 1, 3), service("api", 2, 2)]);
        let fewer = setup(&[service("web", 1, 1), service("api", 2, 2)]);
        let leaving = after(&all, &fewer, &[], |_, _| true);
        assert_eq!(names(&leaving), ["b2", "b3"]);
        let now = served(&fewer, &leaving);
        let drains = |one: &BackendSpec| one.admin == Admin::Drain;
        assert_eq!(
            now.services[0].backends.iter().filter(|one| drains(one)).count(),
            2
        );
        assert_eq!(now.services[1], all.services[1]);
        // Nothing new: they stay as they are.
        assert_eq!(after(&now, &fewer, &leaving, |_, _| true), leaving);
        let mut back = fewer;
        back.services[0].backends.push(backend(3));
        let leaving = after(&now, &back, &leaving, |_, _| true);
        assert_eq!(names(&leaving), ["b2"]);
        let without = setup(&[service("api", 2, 2)]);
        assert!(after(&served(&back, &leaving), &without, &leaving, |_, _| true).is_empty());
    }

    #[test]
    fn who_has_no_flows_goes_at_once() {
        let (all, fewer) = (setup(&[service("web", 1, 3)]), setup(&[service("web", 1, 1)]));
        let leaving = after(&all, &fewer, &[], |_, backend| backend.name != "b2");
        assert_eq!(names(&leaving), ["b3"]);
    }

    #[test]
    fn a_server_id_is_that_of_the_backend_which_stays() {
        let mut all = setup(&[service("web", 1, 2)]);
        let id = Some("0a0b".parse().unwrap());
        all.services[0].backends[1].server_id = id;
        let mut fewer = setup(&[service("web", 1, 1)]);
        let leaving = after(&all, &fewer, &[], |_, _| true);
        assert_eq!(served(&fewer, &leaving).services[0].backends[1].server_id, id);
        fewer.services[0].backends[0].server_id = id;
        assert_eq!(served(&fewer, &leaving).services[0].backends[1].server_id, None);
    }
}
