//! What must hold beyond each value's own form: of a service, of the whole file.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    backend::{BackendSpec, WEIGHT},
    check::{CHECKS, CheckKind, CheckSpec, Via, check, files},
    flows,
    invalid::{Invalid, Step},
    local::{interfaces, limits, node, timeouts},
    model::Config,
    modes,
    network::Network,
    ports::Ports,
    quic::ServerId,
    rules::{name, servable},
    service::{ServiceSpec, asked_protocol, asked_vip},
    together::{validate_set, validate_sources},
    value::{PORT, quoted},
    vip::Protocol,
};

impl Config {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let below =
            |key, thing: &'static str| move |invalid: Invalid| invalid.of(thing).at(&[Step::Key(key)]);
        node(&self.node).map_err(below("node", "node"))?;
        limits(&self.limits).map_err(below("limits", "limits"))?;
        timeouts(&self.timeouts).map_err(below("timeouts", "timeouts"))?;
        interfaces(&self.interfaces)?;
        validate_set(&self.services, &self.limits)?;
        for (at, service) in self.services.iter().enumerate() {
            let below = |invalid: Invalid| invalid.at(&[Step::Key("service"), Step::Index(at)]);
            service.validate_files().map_err(below)?;
        }
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

impl ServiceSpec {
    /// Whether the files that its checks name are there.
    ///
    /// # Errors
    /// When one is not: the error names the service and the field.
    pub fn validate_files(&self) -> Result<(), Invalid> {
        for (at, check) in self.checks.iter().enumerate() {
            let found = files(check).map_err(of_check(at));
            found.map_err(|invalid| invalid.of(self.thing()))?;
        }
        Ok(())
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
    checks(spec)?;
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
        for (at, check) in spec.checks.iter().enumerate() {
            if spec.check_target(check, backend).is_none() {
                return Err(of_check(at)(unclear_check_port(spec, check, backend)));
            }
        }
    }
    Ok(())
}

fn checks(spec: &ServiceSpec) -> Result<(), Invalid> {
    for (at, one) in spec.checks.iter().enumerate() {
        check(one).and_then(|()| via(spec, one)).map_err(of_check(at))?;
    }
    if spec.checks.len() > CHECKS {
        let problem = format!("{} are too many: use at most {CHECKS}", spec.checks.len());
        return Err(Invalid::field("check", problem));
    }
    let within = |invalid: Invalid| invalid.of("health").at(&[Step::Key("health")]);
    spec.health.check().map_err(within)
}

/// Whether a check can go by the data path, if it is to.
fn via(spec: &ServiceSpec, check: &CheckSpec) -> Result<(), Invalid> {
    if check.via != Some(Via::Dataplane) || asked_vip(&spec.vips, check).is_some() {
        return Ok(());
    }
    let kind = check.kind.name();
    let protocol = asked_protocol(&check.kind);
    let served = protocol.filter(|protocol| spec.vips.iter().any(|vip| vip.protocol == *protocol));
    let problem = match served.zip(check.port) {
        Some((protocol, port)) => format!(
            "such a probe goes to a VIP, and none of the service serves port {port} by {}: use one that is served, leave port out, or use via = \"direct\"",
            protocol.name()
        ),
        None => format!(
            "a check of type \"{kind}\" asks nothing that a VIP of the service takes: use via = \"direct\""
        ),
    };
    Err(Invalid::field("via", problem))
}

/// The error is one of a check's.
fn of_check(at: usize) -> impl Fn(Invalid) -> Invalid {
    move |invalid| {
        let name = if at == 0 {
            "check".to_owned()
        } else {
            format!("check number {}", at + 1)
        };
        invalid.of(name).at(&[Step::Key("check"), Step::Index(at)])
    }
}

fn unclear_check_port(spec: &ServiceSpec, check: &CheckSpec, backend: &BackendSpec) -> Invalid {
    let protocol = if check.kind.is_udp() {
        Protocol::Udp
    } else {
        Protocol::Tcp
    };
    let problem = match spec.ports(Some(protocol)).len() {
        _ if matches!(check.kind, CheckKind::Agent { .. }) => {
            "what an agent says is on a port of its own: give it".to_owned()
        }
        0 => {
            let mut others: Vec<_> = spec.vips.iter().map(|vip| vip.protocol.name()).collect();
            others.sort_unstable();
            others.dedup();
            let (asked, others) = (protocol.name(), others.join(" or "));
            format!(
                "a probe by {} says nothing of a port of {}: give the port to probe",
                asked.to_uppercase(),
                others.to_uppercase()
            )
        }
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
