//! What must hold beyond each value's own form: of a service, of all services together, of the whole file.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use lb_common::limits::VIPS_PER_SERVICE;

use super::{
    check::{CheckKind, CheckSpec, RISE_FALL},
    invalid::{Invalid, Step},
    local::{interfaces, limits, node, timeouts},
    model::{Config, Limits},
    rules::{check_text, host_header, name, request_path, servable},
    service::{BackendSpec, ServiceSpec, WEIGHT},
    value::{PORT, lasts, quoted},
    vip::Vip,
};

const INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(24 * 60 * 60));

impl Config {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let below =
            |key, thing: &'static str| move |invalid: Invalid| invalid.of(thing).at(&[Step::Key(key)]);
        node(&self.node).map_err(below("node", "node"))?;
        limits(&self.limits).map_err(below("limits", "limits"))?;
        timeouts(&self.timeouts).map_err(below("timeouts", "timeouts"))?;
        interfaces(&self.interfaces)?;
        validate_set(&self.services, &self.limits)
    }
}

impl ServiceSpec {
    /// Whether the service can be as it is. The error names the service and the field.
    pub fn validate(&self) -> Result<(), Invalid> {
        service(self).map_err(|invalid| invalid.of(self.thing()))
    }
}

/// Whether each service, and all of them together, can be. The error names the things and the field; its place starts
/// with `service`, the key of the configuration.
pub fn validate_set(services: &[ServiceSpec], limits: &Limits) -> Result<(), Invalid> {
    for (at, spec) in services.iter().enumerate() {
        spec.validate()
            .map_err(|invalid| invalid.at(&[Step::Key("service"), Step::Index(at)]))?;
    }
    let mut set = Set::default();
    for (at, spec) in services.iter().enumerate() {
        set.add(spec, limits).map_err(|invalid| {
            invalid
                .of(spec.thing())
                .at(&[Step::Key("service"), Step::Index(at)])
        })?;
    }
    set.vips_apart_from_backends(services)
}

/// What the services seen so far take.
#[derive(Default)]
struct Set<'a> {
    names: HashSet<&'a str>,
    vips: HashMap<Vip, &'a str>,
    backends: usize,
}

impl<'a> Set<'a> {
    fn add(&mut self, spec: &'a ServiceSpec, limits: &Limits) -> Result<(), Invalid> {
        if !self.names.insert(&spec.name) {
            return Err(Invalid::field(
                "name",
                "another service has this name: rename one",
            ));
        }
        for (at, &vip) in spec.vips.iter().enumerate() {
            if let Some(owner) = self.vips.insert(vip, &spec.name) {
                let problem = if owner == spec.name {
                    format!("{vip} is there twice: remove one")
                } else {
                    let owner = quoted(owner);
                    format!(
                        "{vip} is already a VIP of service {owner}: use another address, port or protocol"
                    )
                };
                return Err(Invalid::field("vip", problem).element(at));
            }
        }
        self.backends += spec.backends.len();
        fits(
            "services",
            self.names.len(),
            limits.services,
            "raise limits.services or remove a service",
        )?;
        fits(
            "backends",
            self.backends,
            limits.backends,
            "raise limits.backends or remove some",
        )?;
        let vips = limits.services.saturating_mul(VIPS_PER_SERVICE);
        fits(
            "VIPs",
            self.vips.len(),
            vips,
            "raise limits.services or remove some",
        )
    }

    fn vips_apart_from_backends(&self, services: &[ServiceSpec]) -> Result<(), Invalid> {
        let owners: HashMap<IpAddr, &str> = self
            .vips
            .iter()
            .map(|(vip, owner)| (vip.address, *owner))
            .collect();
        for (at, spec) in services.iter().enumerate() {
            for (backend_at, backend) in spec.backends.iter().enumerate() {
                if let Some(owner) = owners.get(&backend.address) {
                    let problem = format!(
                        "{} is a VIP of service {}: give the VIP or the backend another address",
                        backend.address,
                        quoted(owner)
                    );
                    return Err(Invalid::field("address", problem)
                        .of(backend.thing())
                        .of(spec.thing())
                        .at(&[
                            Step::Key("service"),
                            Step::Index(at),
                            Step::Key("backend"),
                            Step::Index(backend_at),
                        ]));
                }
            }
        }
        Ok(())
    }
}

fn fits(what: &str, count: usize, limit: u32, remedy: &str) -> Result<(), Invalid> {
    if count > limit as usize {
        return Err(Invalid::whole(format!(
            "{count} {what} are more than the {limit} that fit: {remedy}"
        )));
    }
    Ok(())
}

fn service(spec: &ServiceSpec) -> Result<(), Invalid> {
    name(&spec.name)?;
    if spec.vips.is_empty() {
        return Err(Invalid::field("vip", "there is none: give at least one"));
    }
    for (at, vip) in spec.vips.iter().enumerate() {
        let wrong = |problem| Invalid::field("vip", problem).element(at);
        servable(vip.address).map_err(wrong)?;
        PORT.check(vip.port)
            .map_err(|problem| wrong(format!("port {problem}")))?;
    }
    if let Some(spec) = &spec.check {
        check(spec).map_err(|invalid| invalid.of("check").at(&[Step::Key("check")]))?;
    }
    let mut names = HashSet::new();
    let mut served = HashMap::new();
    for (at, backend) in spec.backends.iter().enumerate() {
        let checked = check_backend(backend).and_then(|()| distinct(spec, backend, &mut names, &mut served));
        checked.map_err(|invalid| {
            invalid
                .of(backend.thing())
                .at(&[Step::Key("backend"), Step::Index(at)])
        })?;
        if let Some(check) = &spec.check
            && check.port.is_none()
            && spec.probed_port(backend).is_none()
        {
            return Err(unclear_check_port(spec, backend)
                .of("check")
                .at(&[Step::Key("check")]));
        }
    }
    Ok(())
}

fn unclear_check_port(spec: &ServiceSpec, backend: &BackendSpec) -> Invalid {
    let problem = if spec.tcp_ports().is_empty() {
        "a probe by TCP says nothing of a UDP port: give the port to probe".to_owned()
    } else {
        format!(
            "{} serves the ports of several VIPs: give the one to probe",
            backend.thing()
        )
    };
    Invalid::field("port", problem)
}

fn check_backend(backend: &BackendSpec) -> Result<(), Invalid> {
    servable(backend.address).map_err(|problem| Invalid::field("address", problem))?;
    name(&backend.name)?;
    if let Some(port) = backend.port {
        PORT.check(port)
            .map_err(|problem| Invalid::field("port", problem))?;
    }
    WEIGHT
        .check(backend.weight)
        .map_err(|problem| Invalid::field("weight", problem))
}

/// Whether `backend` differs from those of its service that were seen before, in name and in where it serves.
fn distinct<'a>(
    spec: &ServiceSpec,
    backend: &'a BackendSpec,
    names: &mut HashSet<&'a str>,
    served: &mut HashMap<(IpAddr, u16), &'a str>,
) -> Result<(), Invalid> {
    if !names.insert(&backend.name) {
        return Err(Invalid::field(
            "name",
            "another backend of the service has this name: rename one",
        ));
    }
    let ports: BTreeSet<u16> = match backend.port {
        Some(port) => BTreeSet::from([port]),
        None => spec.vips.iter().map(|vip| vip.port).collect(),
    };
    for port in ports {
        if let Some(other) = served.insert((backend.address, port), &backend.name) {
            let problem = format!(
                "port {port} of {} is already backend {}: remove one",
                backend.address,
                quoted(other)
            );
            return Err(Invalid::field("address", problem));
        }
    }
    Ok(())
}

fn check(spec: &CheckSpec) -> Result<(), Invalid> {
    let field = |field| move |problem: String| Invalid::field(field, problem);
    lasts(spec.interval, INTERVAL.0, INTERVAL.1).map_err(field("interval"))?;
    lasts(spec.timeout, Duration::from_millis(1), spec.interval)
        .map_err(|problem| Invalid::field("timeout", format!("{problem} (at most the interval)")))?;
    RISE_FALL.check(spec.rise).map_err(field("rise"))?;
    RISE_FALL.check(spec.fall).map_err(field("fall"))?;
    if let Some(port) = spec.port {
        PORT.check(port).map_err(field("port"))?;
    }
    match &spec.kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http {
            path,
            host,
            status: _,
            body,
        } => {
            request_path(path).map_err(field("path"))?;
            host.as_deref()
                .map_or(Ok(()), host_header)
                .map_err(field("host"))?;
            body.as_deref().map_or(Ok(()), check_text).map_err(field("body"))
        }
    }
}
