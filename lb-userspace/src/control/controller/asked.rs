//! What the controller says of its checks when asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{CheckKey, Controller, Question, Watched};
use crate::{
    api::protocol::{self, BackendChecks, Check, CheckResult},
    config::{BackendSpec, CheckKind, ServiceSpec, Via},
    control::{change::Refusal, ids::Granted},
    datapath::Datapath,
    health::{Health, Monitor, Who, Wish},
};

impl<D: Datapath> Controller<D> {
    /// The checks of all backends that are probed, by service and backend.
    #[must_use]
    pub fn checks(&self, now: Instant) -> Vec<BackendChecks> {
        let all = self.setup.services.iter().flat_map(|service| {
            let backends = service.backends.iter();
            backends.map(|backend| ((service.name.as_str(), backend.name.as_str()), backend.weight))
        });
        let set: BTreeMap<_, _> = all.collect();
        let mut all: Vec<_> = self
            .everybody()
            .filter_map(|(service, backend, granted)| {
                let watched = self.watched(granted)?;
                Some(BackendChecks {
                    service: service.name.clone(),
                    backend: backend.name.clone(),
                    health: health(watched.case.health()),
                    state: protocol::State::from(self.state(service, backend, granted)),
                    since_seconds: watched
                        .case
                        .changed()
                        .map(|at| now.saturating_duration_since(at).as_secs()),
                    failures: watched.case.failures(now),
                    held_seconds: watched
                        .case
                        .held_until(now)
                        .map(|until| until.saturating_duration_since(now).as_secs() + 1),
                    weight: set
                        .get(&(service.name.as_str(), backend.name.as_str()))
                        .copied()
                        .unwrap_or(backend.weight),
                    weight_now: self.weight_now(backend, granted),
                    wish: Some(watched.case.wish().clone()).filter(|wish| *wish != Wish::default()),
                    kept_in_panic: self.is_kept(&service.name, granted),
                    checks: self.told_checks(watched, now),
                })
            })
            .collect();
        all.sort_by(|a, b| (&a.service, &a.backend).cmp(&(&b.service, &b.backend)));
        all
    }

    /// The service of this name, if it has such a backend.
    ///
    /// # Errors
    /// When there is none, or it has not.
    pub fn known(&self, service: &str, backend: Option<&str>) -> Result<&ServiceSpec, Refusal> {
        let mut services = self.setup.services.iter();
        let known = services
            .find(|one| one.name == service)
            .ok_or_else(|| Refusal::NoService(service.to_owned()))?;
        match backend {
            Some(backend) if !known.backends.iter().any(|one| one.name == backend) => {
                Err(Refusal::NoBackend(service.to_owned(), backend.to_owned()))
            }
            _ => Ok(known),
        }
    }

    /// The weight that a backend has by now.
    pub(in crate::control) fn weight_now(&self, backend: &BackendSpec, granted: Granted) -> u16 {
        let limits = self.applied.limits.get(&granted.id);
        let weight = limits.map(|limits| u16::try_from(limits.weight()).unwrap_or(u16::MAX));
        weight.unwrap_or(backend.weight)
    }

    /// With how many active flows a backend gets no new one by now; 0 for any number.
    pub(in crate::control) fn max_connections_now(&self, backend: &BackendSpec, granted: Granted) -> u32 {
        let limits = self.applied.limits.get(&granted.id);
        limits.map_or(backend.max_connections, |limits| limits.max_connections())
    }

    /// Services in panic, with how many of their backends are kept although their checks fail.
    pub(in crate::control) fn in_panic(&self) -> Vec<(&str, usize)> {
        if self.panicking.is_empty() {
            return Vec::new();
        }
        let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
        for (service, _, granted) in self.everybody() {
            let is_in = self
                .ids
                .service(&service.name)
                .is_some_and(|id| self.panicking.contains(&id));
            if is_in {
                *kept.entry(&service.name).or_default() += usize::from(self.is_kept(&service.name, granted));
            }
        }
        kept.into_iter().collect()
    }

    /// Checks that cannot be made, by service, type and reason: the backends.
    pub(in crate::control) fn unprobed(&self) -> BTreeMap<(&str, &str, &str), Vec<&str>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for watched in self.watched.values() {
            for (spec, monitor) in watched.specs.iter().zip(watched.case.checks()) {
                let Some(unprobed) = monitor.unprobed() else {
                    continue;
                };
                let Who { service, backend } = &watched.who;
                let key = (service.as_str(), spec.kind.name(), unprobed.reason.as_str());
                found.entry(key).or_default().push(backend.as_str());
            }
        }
        found
    }

    /// Backends that are held down, with for how long still, and how often they have failed lately.
    pub(in crate::control) fn held(&self, now: Instant) -> Vec<(&Who, Duration, u32)> {
        let held = self.watched.values().filter_map(|watched| {
            let left = watched.case.held_until(now)?.saturating_duration_since(now);
            Some((&watched.who, left, watched.case.failures(now)))
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by(|(a, ..), (b, ..)| (&a.service, &a.backend).cmp(&(&b.service, &b.backend)));
        held
    }

    /// What to probe because somebody asks.
    ///
    /// # Errors
    /// When there is no such service or backend, or it has no check.
    pub fn questions(&self, service: &str, backend: &str) -> Result<Vec<Question>, Refusal> {
        self.known(service, Some(backend))?;
        let granted = self
            .everybody()
            .find(|(of, one, _)| of.name == service && one.name == backend)
            .map(|(_, _, granted)| granted);
        let watched = granted.and_then(|granted| self.watched(granted));
        let watched = watched.ok_or_else(|| Refusal::NoCheck(service.to_owned(), backend.to_owned()))?;
        let questions = (0..watched.specs.len()).map(|check| Question {
            spec: watched.specs[check].clone(),
            target: watched.targets[check],
            asks: self.asks(watched, check),
            who: watched.who.clone(),
            course: watched.aims[check].course(),
        });
        Ok(questions.collect())
    }

    /// The VIP that a check asks, or will ask, by the data path; `None` where it goes straight to its target.
    fn asks(&self, watched: &Watched, check: usize) -> Option<SocketAddr> {
        let aim = watched.aims.get(check)?;
        if aim.is_direct() {
            return None;
        }
        let service = self.served.services.get(watched.place.0)?;
        aim.vip().or_else(|| service.check_vip(watched.specs.get(check)?))
    }

    fn told_checks(&self, watched: &Watched, now: Instant) -> Vec<Check> {
        let all = watched.specs.iter().zip(&watched.targets);
        let all = all.zip(watched.case.checks()).enumerate();
        all.map(|(at, ((spec, target), monitor))| {
            let vip = self.asks(watched, at);
            Check {
                kind: spec.kind.name().to_owned(),
                target: where_to(&spec.kind, &vip.unwrap_or(*target)),
                via: via(vip),
                how: spec.told(vip.is_some()),
                health: health(monitor.health()),
                streak: monitor.streak(),
                needed: monitor.needed(),
                suspicion: monitor.suspicion(now).map(|phi| (phi * 100.0).round() / 100.0),
                hurries: spec.fast_interval.is_some() && monitor.is_changing(),
                last: result(monitor, now),
                unprobed: monitor.unprobed().map(|one| protocol::Unprobed {
                    seconds: now.saturating_duration_since(one.since).as_secs(),
                    reason: one.reason.clone(),
                }),
            }
        })
        .collect()
    }

    /// Whether it is probed, and what it is called.
    #[must_use]
    pub fn key_of(&self, service: &str, backend: &str) -> Option<CheckKey> {
        let (_, _, Granted { id, generation }) = self
            .everybody()
            .find(|(of, one, _)| of.name == service && one.name == backend)?;
        Some((id, generation))
    }
}

fn health(health: Health) -> protocol::Health {
    match health {
        Health::Checking => protocol::Health::Checking,
        Health::Up => protocol::Health::Up,
        Health::Down => protocol::Health::Down,
    }
}

/// What a check asks.
#[must_use]
pub fn where_to(kind: &CheckKind, target: &SocketAddr) -> String {
    if kind.has_port() {
        target.to_string()
    } else {
        target.ip().to_string()
    }
}

/// How it is asked: by the data path, where that is a VIP.
#[must_use]
pub const fn via(vip: Option<SocketAddr>) -> Via {
    if vip.is_some() {
        Via::Dataplane
    } else {
        Via::Direct
    }
}

fn result(monitor: &Monitor, now: Instant) -> Option<CheckResult> {
    let last = monitor.last()?;
    Some(CheckResult {
        passed: last.passed,
        said: last.said(),
        took_ms: (last.took.as_secs_f64() * 1e6).round() / 1e3,
        age_seconds: (now.saturating_duration_since(last.at).as_secs_f64() * 1e3).round() / 1e3,
    })
}
