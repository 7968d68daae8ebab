//! Changes made at run time, over the configuration file.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Admin, BackendSpec, ServiceSpec};

/// One change. Kept in the state directory, so that it holds over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    AddService {
        service: ServiceSpec,
    },
    RemoveService {
        service: String,
    },
    AddBackend {
        service: String,
        backend: BackendSpec,
    },
    RemoveBackend {
        service: String,
        backend: String,
    },
    SetBackend {
        service: String,
        backend: String,
        admin: Option<Admin>,
        weight: Option<u16>,
    },
}

/// Why a change does not fit the services that there are.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("service {0:?}: there is none of that name: 'xlb service list' shows them")]
    NoService(String),
    #[error("service {0:?}: there is one of that name already: remove it first, or choose another name")]
    ServiceExists(String),
    #[error("service {0:?}, backend {1:?}: there is none of that name: 'xlb backend list {0}' shows them")]
    NoBackend(String, String),
    #[error(
        "service {0:?}, backend {1:?}: there is one of that name already: remove it first, or choose another name"
    )]
    BackendExists(String, String),
}

impl Change {
    /// Carries the change out on a set of services. Whether the result is valid as a whole is for the caller to check.
    ///
    /// # Errors
    /// When it names something that is not there, or makes something that is; the set is then as it was.
    pub fn apply(&self, services: &mut Vec<ServiceSpec>) -> Result<(), Refusal> {
        match self {
            Self::AddService { service } => {
                if services.iter().any(|other| other.name == service.name) {
                    return Err(Refusal::ServiceExists(service.name.clone()));
                }
                services.push(service.clone());
            }
            Self::RemoveService { service } => {
                let at = services.iter().position(|one| one.name == *service);
                services.remove(at.ok_or_else(|| Refusal::NoService(service.clone()))?);
            }
            Self::AddBackend { service, backend } => {
                let pool = &mut find(services, service)?.backends;
                if pool.iter().any(|other| other.name == backend.name) {
                    return Err(Refusal::BackendExists(service.clone(), backend.name.clone()));
                }
                pool.push(backend.clone());
            }
            Self::RemoveBackend { service, backend } => {
                let pool = &mut find(services, service)?.backends;
                let at = pool.iter().position(|one| one.name == *backend);
                pool.remove(at.ok_or_else(|| Refusal::NoBackend(service.clone(), backend.clone()))?);
            }
            Self::SetBackend {
                service,
                backend,
                admin,
                weight,
            } => {
                let pool = &mut find(services, service)?.backends;
                let one = pool.iter_mut().find(|one| one.name == *backend);
                let one = one.ok_or_else(|| Refusal::NoBackend(service.clone(), backend.clone()))?;
                one.admin = admin.unwrap_or(one.admin);
                one.weight = weight.unwrap_or(one.weight);
            }
        }
        Ok(())
    }

    /// The service, and the backend if it is about one.
    #[must_use]
    pub fn subject(&self) -> (&str, Option<&str>) {
        match self {
            Self::AddService { service } => (&service.name, None),
            Self::RemoveService { service } => (service, None),
            Self::AddBackend { service, backend } => (service, Some(&backend.name)),
            Self::RemoveBackend { service, backend } | Self::SetBackend { service, backend, .. } => {
                (service, Some(backend))
            }
        }
    }
}

fn find<'a>(services: &'a mut [ServiceSpec], name: &str) -> Result<&'a mut ServiceSpec, Refusal> {
    services
        .iter_mut()
        .find(|one| one.name == name)
        .ok_or_else(|| Refusal::NoService(name.to_owned()))
}

#[cfg(test)]
pub mod tests {
    use std::net::IpAddr;

    use super::*;

    /// A service `name` on 192.0.2.`host`:80/tcp with backends 10.0.0.1, 10.0.0.2, … named b1, b2, ….
    pub fn service(name: &str, host: u8, backends: u8) -> ServiceSpec {
        let mut spec = ServiceSpec::new(name, vec![format!("192.0.2.{host}:80/tcp").parse().unwrap()]);
        spec.backends = (1..=backends).map(backend).collect();
        spec
    }

    /// Backend `b<number>` at 10.0.0.`number`:8080.
    pub fn backend(number: u8) -> BackendSpec {
        let mut spec = BackendSpec::new(IpAddr::from([10, 0, 0, number]), Some(8080));
        spec.name = format!("b{number}");
        spec
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut services = vec![service("web", 1, 1)];
        let before = services.clone();
        let drain = |service: &str, backend: &str| Change::SetBackend {
            service: service.into(),
            backend: backend.into(),
            admin: Some(Admin::Drain),
            weight: None,
        };
        assert_eq!(
            drain("wed", "b1").apply(&mut services),
            Err(Refusal::NoService("wed".into()))
        );
        assert_eq!(
            drain("web", "b9").apply(&mut services),
            Err(Refusal::NoBackend("web".into(), "b9".into()))
        );
        let again = Change::AddService {
            service: service("web", 2, 0),
        };
        assert_eq!(
            again.apply(&mut services),
            Err(Refusal::ServiceExists("web".into()))
        );
        let again = Change::AddBackend {
            service: "web".into(),
            backend: backend(1),
        };
        assert_eq!(
            again.apply(&mut services),
            Err(Refusal::BackendExists("web".into(), "b1".into()))
        );
        assert_eq!(services, before);
        drain("web", "b1").apply(&mut services).unwrap();
        assert_eq!(
            (services[0].backends[0].admin, services[0].backends[0].weight),
            (Admin::Drain, 100)
        );
    }
}
