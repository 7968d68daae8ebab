//! Ids of services and backends: stable over restarts, never given to a stranger while somebody may still remember them.
//!
//! The data plane itself is where they are kept: a service is known again by its VIPs, a backend by its service, address and
//! port. A file beside it could only contradict it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Result, bail};

use crate::{
    config::{BackendSpec, Limits, Ports, ServiceSpec},
    control::key::{self, Place},
    datapath::Snapshot,
};

/// A backend as the data plane knows it: service id, address and port (0 for the VIP's).
pub type Identity = (u32, IpAddr, u16);

/// A backend id and how often it has been given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub id: u32,
    pub generation: u32,
}

/// Who has which id.
#[derive(Clone, Debug)]
pub struct Ids {
    services: BTreeMap<String, u32>,
    backends: BTreeMap<Identity, Granted>,
    generations: BTreeMap<u32, u32>,
    /// Service ids that the data plane still gives to services which are to go.
    leaving: BTreeSet<u32>,
    /// Ids are searched for from here on, so that one that was given back rests as long as possible.
    next_service: u32,
    next_backend: u32,
    limits: Limits,
}

impl Ids {
    /// The ids that the data plane gives to `services`.
    #[must_use]
    pub fn adopt(snapshot: &Snapshot, services: &[ServiceSpec], limits: Limits) -> Self {
        let mut names = BTreeMap::new();
        let mut taken = BTreeSet::new();
        // A port of its own may be a prefix of another's range: whose it is shows with the services of single ports.
        let (single, others): (Vec<_>, Vec<_>) =
            services.iter().partition(|service| has_single_port(service));
        for service in single.into_iter().chain(others) {
            let mut places: Vec<_> = service.vips.iter().flat_map(key::places).collect();
            places.sort_by_key(Place::ambiguity);
            let mut known = places.iter().filter_map(|place| place.service(snapshot));
            if let Some(id) = known.find(|id| !taken.contains(id)) {
                taken.insert(id);
                names.insert(service.name.clone(), id);
            }
        }
        let known = snapshot.services.values().chain(snapshot.ports.values());
        let leaving = known.map(|service| service.id).filter(|id| !taken.contains(id));
        let leaving = leaving.collect();
        let backends = snapshot.backends.iter().map(|(&id, (backend, word))| {
            let identity = (backend.service, backend.addr.into(), u16::from_be(backend.port));
            (
                identity,
                Granted {
                    id,
                    generation: word.generation(),
                },
            )
        });
        Self {
            services: names,
            backends: backends.collect(),
            generations: snapshot.generations.clone(),
            leaving,
            next_service: 0,
            next_backend: 1,
            limits,
        }
    }

    /// Gives an id to each service and backend that has none.
    ///
    /// # Errors
    /// When there are more than fit.
    pub fn assign(&mut self, services: &[ServiceSpec]) -> Result<()> {
        let mut taken: BTreeSet<u32> = self.backends.values().map(|granted| granted.id).collect();
        for service in services {
            let id = self.assign_service(service)?;
            for backend in &service.backends {
                self.assign_backend(identity(id, backend), &mut taken)?;
            }
        }
        Ok(())
    }

    /// Those of `services` and their backends that have ids, and no others.
    #[must_use]
    pub fn known_of(&self, services: &[ServiceSpec]) -> Vec<ServiceSpec> {
        let known = services.iter().filter_map(|service| {
            let id = self.service(&service.name)?;
            let mut service = service.clone();
            service
                .backends
                .retain(|backend| self.backend(id, backend).is_some());
            Some(service)
        });
        known.collect()
    }

    /// Takes back the ids of everything that is not in `services`, once nothing in the data plane names them.
    pub fn release_others(&mut self, services: &[ServiceSpec]) {
        self.leaving.clear();
        let names: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
        self.services.retain(|name, _| names.contains(name.as_str()));
        let kept: BTreeSet<Identity> = services
            .iter()
            .filter_map(|service| Some((self.service(&service.name)?, service)))
            .flat_map(|(id, service)| service.backends.iter().map(move |backend| identity(id, backend)))
            .collect();
        self.backends.retain(|identity, _| kept.contains(identity));
    }

    /// The id of a service.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<u32> {
        self.services.get(name).copied()
    }

    /// The id of a backend of the service with id `service`.
    #[must_use]
    pub fn backend(&self, service: u32, backend: &BackendSpec) -> Option<Granted> {
        self.backends.get(&identity(service, backend)).copied()
    }

    fn assign_service(&mut self, service: &ServiceSpec) -> Result<u32> {
        if let Some(id) = self.service(&service.name) {
            return Ok(id);
        }
        let taken: BTreeSet<u32> = self.services.values().chain(&self.leaving).copied().collect();
        let Some(id) = first_free(self.next_service, 0, self.limits.services, &taken) else {
            bail!(
                "service {:?}: no room for more than {} services: raise limits.services",
                service.name,
                self.limits.services
            );
        };
        self.next_service = id + 1;
        self.services.insert(service.name.clone(), id);
        Ok(id)
    }

    fn assign_backend(&mut self, identity: Identity, taken: &mut BTreeSet<u32>) -> Result<()> {
        if self.backends.contains_key(&identity) {
            return Ok(());
        }
        let Some(id) = first_free(self.next_backend, 1, self.limits.backends + 1, taken) else {
            bail!(
                "backend {}: no room for more than {} backends: raise limits.backends",
                identity.1,
                self.limits.backends
            );
        };
        self.next_backend = id + 1;
        taken.insert(id);
        let generation = self.generations.entry(id).or_default();
        // Generation 0 is that of a word that was never written.
        *generation = generation.wrapping_add(1).max(1);
        self.backends.insert(
            identity,
            Granted {
                id,
                generation: *generation,
            },
        );
        Ok(())
    }
}

fn has_single_port(service: &ServiceSpec) -> bool {
    service.vips.iter().any(|vip| matches!(vip.ports, Ports::One(_)))
}

fn identity(service: u32, backend: &BackendSpec) -> Identity {
    (service, backend.address, backend.port.unwrap_or(0))
}

/// The first id in `low..high` that is not taken, going round from `start`.
fn first_free(start: u32, low: u32, high: u32, taken: &BTreeSet<u32>) -> Option<u32> {
    (start.max(low)..high)
        .chain(low..start.min(high))
        .find(|id| !taken.contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::change::tests::service;

    fn ids() -> Ids {
        Ids::adopt(
            &Snapshot::default(),
            &[],
            Limits {
                backends: 3,
                services: 2,
                ..Limits::default()
            },
        )
    }

    #[test]
    fn an_id_that_was_given_back_rests_and_returns_as_another_generation() {
        let mut ids = ids();
        ids.assign(&[service("web", 1, 1)]).unwrap();
        let first = ids.backend(0, &service("web", 1, 1).backends[0]).unwrap();
        assert_eq!(first, Granted { id: 1, generation: 1 });
        ids.release_others(&[service("web", 1, 0)]);
        let mut granted = Vec::new();
        for _ in 0..3 {
            ids.assign(&[service("web", 1, 1)]).unwrap();
            granted.push(ids.backend(0, &service("web", 1, 1).backends[0]).unwrap());
            ids.release_others(&[service("web", 1, 0)]);
        }
        assert_eq!(
            granted.iter().map(|granted| granted.id).collect::<Vec<_>>(),
            [2, 3, 1]
        );
        assert_eq!(granted[2].generation, 2);
    }

    #[test]
    fn more_than_fit_are_refused_by_name() {
        let mut ids = ids();
        let refusal = ids.assign(&[service("web", 1, 4)]).unwrap_err().to_string();
        assert!(refusal.contains("limits.backends"), "{refusal}");
    }

    #[test]
    fn assigning_twice_changes_nothing() {
        let mut ids = ids();
        let services = [service("web", 1, 2), service("api", 2, 1)];
        ids.assign(&services).unwrap();
        let before = ids.clone();
        ids.assign(&services).unwrap();
        assert_eq!(ids.backends, before.backends);
        assert_eq!(ids.services, before.services);
    }
}
