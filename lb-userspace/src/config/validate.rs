//! What must hold beyond each value's own form: of a service, of the whole file.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    backend::{BackendSpec, WEIGHT},
    check::{CheckKind, CheckSpec, RISE_FALL},
    flows,
    invalid::{Invalid, Step},
    local::{interfaces, limits, node, timeouts},
    model::Config,
    modes,
    network::Network,
    ports::Ports,
    quic::ServerId,
    rules::{check_text, host_header, name, request_path, servable},
    service::ServiceSpec,
    together::{validate_set, validate_sources},
    value::{PORT, lasts, quoted},
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
        validate_set(&self.services, &self.limits)?;
        validate_sources(&self.node.sources, &self.services)?;
        policies(self)
    }
}

impl ServiceSpec {
    /// Whether the service can be as it is. The error names the service and the field.
    pub fn validate(&self) -> Result<(), Invalid> {
        service(self).map_err(|invalid| invalid.of(self.thing()))
    }
}

fn service(spec: &ServiceSpec) -> Result<(), Invalid> {
    name(&spec.name)?;
    if spec.vips.is_empty() {
        return Err(Invalid::field("vip", "there is none: give at least one"));
    }
    for (at, vip) in spec.vips.iter().enumerate() {
        let wrong = |problem| Invalid::field("vip", problem).element(at);
        servable(vip.network).map_err(wrong)?;
        vip.ports.check().map_err(wrong)?;
    }
    modes::service(spec)?;
    flows::service(spec)?;
    if let Some(spec) = &spec.check {
        check(spec).map_err(|invalid| invalid.of("check").at(&[Step::Key("check")]))?;
    }
    let mut pool = Pool::default();
    for (at, backend) in spec.backends.iter().enumerate() {
        let checked = check_backend(backend)
            .and_then(|()| pool.add(spec, backend))
            .and_then(|()| modes::backend(spec, backend))
            .and_then(|()| flows::backend(spec, backend));
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
    let protocol = spec.vips.first().map_or("", |vip| vip.protocol.name());
    let problem = match spec.tcp_ports().len() {
        0 => format!(
            "a probe by TCP says nothing of a {} port: give the port to probe",
            protocol.to_uppercase()
        ),
        1 => format!("{} serves several ports: give the one to probe", backend.thing()),
        _ => format!(
            "{} serves the ports of several VIPs: give the one to probe",
            backend.thing()
        ),
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

/// Whether each policy is of a VIP, and the only one.
fn policies(config: &Config) -> Result<(), Invalid> {
    let services = config.services.iter().flat_map(|service| &service.vips);
    let vips: HashSet<Network> = services.map(|vip| vip.network).collect();
    let mut seen = HashSet::new();
    for (at, policy) in config.vips.iter().enumerate() {
        let address = policy.address;
        let problem = if !vips.contains(&address) {
            format!("{address} is the VIP of no service: remove the policy, or write it as the service does")
        } else if !seen.insert(address) {
            format!("{address} has a policy already: remove one")
        } else {
            continue;
        };
        return Err(Invalid::field("address", problem)
            .of(format!("vip {}", quoted(&address.to_string())))
            .at(&[Step::Key("vip"), Step::Index(at)]));
    }
    Ok(())
}

/// What the backends of a service that were seen before have.
#[derive(Default)]
struct Pool<'a> {
    names: HashSet<&'a str>,
    server_ids: HashMap<ServerId, &'a str>,
    /// Those with a port, by address.
    ported: HashMap<IpAddr, HashMap<u16, &'a str>>,
    /// Those that keep the client's port.
    unported: HashMap<IpAddr, &'a str>,
}

impl<'a> Pool<'a> {
    /// Whether `backend` differs from the others in name, in where it serves, and in its server ID.
    fn add(&mut self, spec: &ServiceSpec, backend: &'a BackendSpec) -> Result<(), Invalid> {
        if !self.names.insert(&backend.name) {
            return Err(Invalid::field(
                "name",
                "another backend of the service has this name: rename one",
            ));
        }
        if let Some((ports, other)) = self.served(spec, backend) {
            let problem = format!(
                "{} of {} is already backend {}: remove one",
                ports.described(),
                backend.address,
                quoted(other)
            );
            return Err(Invalid::field("address", problem));
        }
        if let Some(id) = backend.server_id
            && let Some(other) = self.server_ids.insert(id, &backend.name)
        {
            let problem = format!(
                "{} is already that of backend {}: give it another",
                quoted(&id.to_string()),
                quoted(other)
            );
            return Err(Invalid::field("server_id", problem));
        }
        match backend.port {
            Some(port) => {
                let ported = self.ported.entry(backend.address).or_default();
                ported.insert(port, &backend.name);
            }
            None => _ = self.unported.insert(backend.address, &backend.name),
        }
        Ok(())
    }

    /// Ports of `backend` that another one serves already.
    fn served(&self, spec: &ServiceSpec, backend: &BackendSpec) -> Option<(Ports, &'a str)> {
        let address = backend.address;
        let is_served = |port: u16| spec.vips.iter().any(|vip| vip.ports.contains(port));
        let (ported, unported) = (self.ported.get(&address), self.unported.get(&address));
        match backend.port {
            Some(port) => ported
                .and_then(|ported| ported.get(&port))
                .or(unported.filter(|_| is_served(port)))
                .map(|other| (Ports::One(port), *other)),
            None => {
                let both = spec.vips.first().map(|vip| vip.ports).zip(unported.copied());
                let mut ported = ported.into_iter().flatten();
                both.or_else(|| {
                    let (port, other) = ported.find(|(port, _)| is_served(**port))?;
                    Some((Ports::One(*port), *other))
                })
            }
        }
    }
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
