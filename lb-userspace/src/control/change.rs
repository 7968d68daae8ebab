//! Changes made at run time, over the configuration file.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{
    Algorithm, BackendChange, BackendSpec, Invalid, Network, ServiceChange, ServiceSpec, Setup, Unserved,
};

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
        #[serde(flatten)]
        set: BackendChange,
    },
    SetService {
        service: String,
        #[serde(flatten)]
        set: ServiceChange,
    },
    /// Changes the policy of a VIP. It is kept for a VIP that no service has at the moment.
    SetVip {
        address: Network,
        unserved: Option<Unserved>,
        ping: Option<bool>,
    },
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    Service(&'a str),
    /// Of a service.
    Backend(&'a str, &'a str),
    Vip(Network),
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
    #[error(
        "service {0:?}: source_prefix: flows that it has would lose their backends: remove the service and add it again"
    )]
    Rehashes(String),
    #[error("service {0:?}, backend {1:?}: it has no check: give its service one")]
    NoCheck(String, String),
    #[error("vip {0}: no service has it: 'xlb vip list' shows those that there are")]
    NoVip(Network),
}

impl Change {
    /// Carries the change out on what is set up. Whether the result is valid as a whole is for the caller to check.
    ///
    /// # Errors
    /// When it names something that is not there, or makes something that is; nothing is then changed.
    pub fn apply(&self, setup: &mut Setup) -> Result<(), Refusal> {
        let services = &mut setup.services;
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
                set,
            } => {
                let pool = &mut find(services, service)?.backends;
                let one = pool.iter_mut().find(|one| one.name == *backend);
                let one = one.ok_or_else(|| Refusal::NoBackend(service.clone(), backend.clone()))?;
                set.apply(one);
            }
            Self::SetService { service, set } => set.apply(find(services, service)?),
            Self::SetVip {
                address,
                unserved,
                ping,
            } => {
                let mut policy = setup.policy(*address);
                policy.unserved = unserved.unwrap_or(policy.unserved);
                policy.ping = ping.unwrap_or(policy.ping);
                setup.policies.insert(*address, policy);
            }
        }
        Ok(())
    }

    /// Whether flows that there are can keep their backends.
    ///
    /// # Errors
    /// When what they have their backends by would change, and nothing remembers them.
    pub fn keeps_flows(&self, setup: &Setup) -> Result<(), Refusal> {
        let Self::SetService { service, set } = self else {
            return Ok(());
        };
        let Some(before) = setup.services.iter().find(|one| one.name == *service) else {
            return Ok(());
        };
        let mut after = before.clone();
        set.apply(&mut after);
        let by_source = before.algorithm == Algorithm::Source && after.algorithm == Algorithm::Source;
        if by_source && before.source_prefix != after.source_prefix {
            return Err(Refusal::Rehashes(service.clone()));
        }
        Ok(())
    }

    /// Whether the files are there that checks which come by this change name. Those of others are no concern of it.
    ///
    /// # Errors
    /// When one is not.
    pub fn validate_files(&self, setup: &Setup) -> Result<(), Invalid> {
        let (Self::AddService {
            service: ServiceSpec { name, .. },
        }
        | Self::SetService {
            service: name,
            set: ServiceChange { checks: Some(_), .. },
        }) = self
        else {
            return Ok(());
        };
        let service = setup.services.iter().find(|one| one.name == *name);
        service.map_or(Ok(()), ServiceSpec::validate_files)
    }

    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        match self {
            Self::AddService { service } => Subject::Service(&service.name),
            Self::RemoveService { service } | Self::SetService { service, .. } => Subject::Service(service),
            Self::AddBackend { service, backend } => Subject::Backend(service, &backend.name),
            Self::RemoveBackend { service, backend } | Self::SetBackend { service, backend, .. } => {
                Subject::Backend(service, backend)
            }
            Self::SetVip { address, .. } => Subject::Vip(*address),
        }
    }
}

impl Subject<'_> {
    /// Whether it is this service, or a backend of it.
    #[must_use]
    pub fn belongs_to(&self, name: &str) -> bool {
        match self {
            Self::Service(service) | Self::Backend(service, _) => *service == name,
            Self::Vip(_) => false,
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => f.write_str(service),
            Self::Backend(service, backend) => write!(f, "{service}/{backend}"),
            Self::Vip(address) => address.fmt(f),
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
    use crate::config::{Admin, Prefix};

    /// A service `name` on 192.0.2.`host`:80/tcp with backends 10.0.0.1, 10.0.0.2, … named b1, b2, ….
    pub fn service(name: &str, host: u8, backends: u8) -> ServiceSpec {
        let mut spec = ServiceSpec::new(name, vec![format!("192.0.2.{host}:80/tcp").parse().unwrap()]);
        spec.backends = (1..=backends).map(backend).collect();
        spec
    }

    /// These services, as they are set up without policies.
    pub fn setup(services: &[ServiceSpec]) -> Setup {
        Setup {
            services: services.to_vec(),
            ..Setup::default()
        }
    }

    /// Backend `b<number>` at 10.0.0.`number`:8080.
    pub fn backend(number: u8) -> BackendSpec {
        let mut spec = BackendSpec::new(IpAddr::from([10, 0, 0, number]), Some(8080));
        spec.name = format!("b{number}");
        spec
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut setup = setup(&[service("web", 1, 1)]);
        let before = setup.clone();
        let drain = |service: &str, backend: &str| Change::SetBackend {
            service: service.into(),
            backend: backend.into(),
            set: BackendChange {
                admin: Some(Admin::Drain),
                ..BackendChange::default()
            },
        };
        assert_eq!(
            drain("wed", "b1").apply(&mut setup),
            Err(Refusal::NoService("wed".into()))
        );
        assert_eq!(
            drain("web", "b9").apply(&mut setup),
            Err(Refusal::NoBackend("web".into(), "b9".into()))
        );
        let again = Change::AddService {
            service: service("web", 2, 0),
        };
        assert_eq!(again.apply(&mut setup), Err(Refusal::ServiceExists("web".into())));
        let again = Change::AddBackend {
            service: "web".into(),
            backend: backend(1),
        };
        assert_eq!(
            again.apply(&mut setup),
            Err(Refusal::BackendExists("web".into(), "b1".into()))
        );
        assert_eq!(setup, before);
        drain("web", "b1").apply(&mut setup).unwrap();
        assert_eq!(
            (
                setup.services[0].backends[0].admin,
                setup.services[0].backends[0].weight
            ),
            (Admin::Drain, 100)
        );
    }

    #[test]
    fn the_prefix_that_flows_have_their_backends_by_stays() {
        let mut setup = setup(&[service("web", 1, 1)]);
        let set = |algorithm, v4| Change::SetService {
            service: "web".into(),
            set: ServiceChange {
                algorithm,
                source_prefix: Some(Prefix { v4, v6: 64 }),
                ..ServiceChange::default()
            },
        };
        let source = set(Some(Algorithm::Source), 24);
        source.keeps_flows(&setup).unwrap();
        source.apply(&mut setup).unwrap();
        source.keeps_flows(&setup).unwrap();
        assert_eq!(
            set(None, 16).keeps_flows(&setup),
            Err(Refusal::Rehashes("web".into()))
        );
    }

    #[test]
    fn a_policy_changes_by_parts() {
        let mut setup = setup(&[service("web", 1, 0)]);
        let address: Network = "192.0.2.1".parse().unwrap();
        let set = |unserved, ping| Change::SetVip {
            address,
            unserved,
            ping,
        };
        set(Some(Unserved::Drop), None).apply(&mut setup).unwrap();
        set(None, Some(false)).apply(&mut setup).unwrap();
        let policy = setup.policy(address);
        assert_eq!((policy.unserved, policy.ping), (Unserved::Drop, false));
    }
}
