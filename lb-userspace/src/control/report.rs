//! The state of things, as the API tells it.

mod remembered;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::Result;
use lb_common::{backend::BackendState, next_hop::Egress, outcome::Outcome};

use crate::{
    api::protocol,
    config::{AttachMode, BackendSpec, Network, ServiceSpec, Unserved},
    control::{Controller, clock, ids::Granted, lookup::Loaded, mac, warnings},
    datapath::{Datapath, attach::Attached, nics, records::Records},
    health::{self, Health},
    netlink::{self, Family, Link, Resolution},
};

/// What the control loop knows of the host.
#[derive(Clone, Debug)]
pub struct Node {
    pub started: Instant,
    pub attached: Vec<Attached>,
    /// What the program was loaded with.
    pub loaded: Loaded,
    /// What it remembers of flows; none where it has no kernel's tables.
    pub records: Option<Arc<Mutex<Records>>>,
    /// What stands in the program's way on them.
    pub nics: Vec<String>,
    /// Names of the interfaces that next hops leave by, by index.
    pub interfaces: BTreeMap<u32, String>,
}

impl Node {
    /// Remembers the name of the interface that a next hop leaves by.
    pub fn learn_interface(&mut self, resolution: &Resolution) {
        if let (Ok(way), Some(name)) = (&resolution.hop, &resolution.interface) {
            self.interfaces.insert(way.hop.ifindex, name.clone());
        }
    }

    /// Takes in whether the interfaces are still there, with our program on them.
    pub fn see(&mut self, links: &[Link]) {
        for attached in &mut self.attached {
            attached.look(links);
        }
        let attached = self.attached.iter();
        self.nics = nics::warnings(links, attached.map(|one| (one.name.as_str(), one.mode)));
    }

    fn name_of(&self, ifindex: u32) -> String {
        self.interfaces
            .get(&ifindex)
            .cloned()
            .unwrap_or_else(|| format!("#{ifindex}"))
    }
}

impl<D: Datapath> Controller<D> {
    /// One screen about everything.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn status(&self, node: &Node) -> Result<protocol::Status> {
        let counts = self.datapath.outcomes()?;
        let outcomes = Outcome::ALL
            .iter()
            .zip(&counts)
            .map(|(outcome, count)| protocol::OutcomeCount {
                name: outcome.name().to_owned(),
                packets: count.packets,
                bytes: count.bytes,
            });
        let interfaces = node.attached.iter().map(|attached| protocol::Interface {
            name: attached.name.clone(),
            mode: attached.mode,
            attached: attached.is_there(),
        });
        Ok(protocol::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: node.started.elapsed().as_secs(),
            interfaces: interfaces.collect(),
            services: self.services(node)?,
            packets_seen: counts.iter().map(|count| count.packets).sum(),
            outcomes: outcomes.collect(),
            flows: self.census.total(),
            written: self.written()?,
            reaction: self.reaction.told(),
            memory: self.memory(),
            warnings: self.warnings(node),
        })
    }

    /// All services, by name.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn services(&self, node: &Node) -> Result<Vec<protocol::Service>> {
        let services: Result<Vec<_>> = self
            .setup
            .services
            .iter()
            .map(|service| self.describe(node, service))
            .collect();
        let mut services = services?;
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(services)
    }

    /// One service.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn service(&self, node: &Node, name: &str) -> Result<Option<protocol::Service>> {
        self.setup
            .services
            .iter()
            .find(|service| service.name == name)
            .map(|service| self.describe(node, service))
            .transpose()
    }

    /// All VIPs, by address.
    #[must_use]
    pub fn vips(&self) -> Vec<protocol::Vip> {
        let mut services: BTreeMap<Network, BTreeMap<&str, &ServiceSpec>> = BTreeMap::new();
        for service in &self.setup.services {
            for vip in &service.vips {
                let of_vip = services.entry(vip.network).or_default();
                of_vip.insert(&service.name, service);
            }
        }
        let described = services.into_iter().map(|(address, services)| {
            let withdraws = services.values().any(|service| service.withdraw);
            let policy = self.setup.policy(address);
            protocol::Vip {
                address,
                unserved: policy.unserved,
                ping: policy.ping,
                announce: !withdraws || services.values().any(|service| self.is_usable(service)),
                services: services.into_keys().map(str::to_owned).collect(),
            }
        });
        described.collect()
    }

    /// Whether a new flow finds a backend.
    fn is_usable(&self, service: &ServiceSpec) -> bool {
        let Some(id) = self.ids.service(&service.name) else {
            return false;
        };
        service.backends.iter().any(|backend| {
            let granted = self.ids.backend(id, backend);
            granted.is_some_and(|granted| {
                let served = self.as_served(backend, granted);
                backend.weight > 0 && self.state(service, served, granted) == BackendState::Up
            })
        })
    }

    fn describe(&self, node: &Node, service: &ServiceSpec) -> Result<protocol::Service> {
        let id = self.ids.service(&service.name);
        let with_id = |backend| Some((backend, self.ids.backend(id?, backend)?));
        let backends: Result<Vec<_>> = service
            .backends
            .iter()
            .filter_map(with_id)
            .map(|(backend, granted)| self.describe_backend(node, service, backend, granted))
            .collect();
        let mut backends = backends?;
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        let leaving: Result<Vec<_>> = self
            .leaving
            .iter()
            .filter(|one| one.service == service.name)
            .filter_map(|one| with_id(&one.backend))
            .map(|(backend, granted)| self.describe_backend(node, service, backend, granted))
            .collect();
        let traffic = id
            .map(|id| self.datapath.service_traffic(id))
            .transpose()?
            .unwrap_or_default();
        Ok(protocol::Service {
            name: service.name.clone(),
            vips: service.vips.clone(),
            mode: service.mode,
            balance: service.into(),
            mtu: service.mtu,
            fragments: service.fragments,
            checksum: service.checksum,
            quic: service.quic,
            checks: service.checks.clone(),
            health: service.health,
            usable: backends.iter().any(protocol::Backend::takes_new_flows),
            counters: traffic.into(),
            backends,
            leaving: leaving?,
        })
    }

    pub(super) fn describe_backend(
        &self,
        node: &Node,
        service: &ServiceSpec,
        backend: &BackendSpec,
        granted: Granted,
    ) -> Result<protocol::Backend> {
        let health = self.health(granted);
        let (active, drift) = self.load(service, granted.id);
        let next_hop = self.hops.get(backend.address).map(|way| protocol::NextHop {
            interface: node.name_of(way.hop.ifindex),
            mac: mac(way.hop.destination_mac),
        });
        Ok(protocol::Backend {
            name: backend.name.clone(),
            address: backend.address,
            port: backend.port,
            weight: backend.weight,
            weight_now: self.weight_now(backend, granted),
            max_connections: backend.max_connections,
            max_connections_now: self.max_connections_now(backend, granted),
            priority: backend.priority,
            admin: backend.admin,
            server_id: backend.server_id,
            health: match health {
                None => protocol::Health::Unchecked,
                Some(Health::Checking) => protocol::Health::Checking,
                Some(Health::Up) => protocol::Health::Up,
                Some(Health::Down) => protocol::Health::Down,
            },
            state: self
                .state(service, self.as_served(backend, granted), granted)
                .into(),
            next_hop,
            flows: self.census.of_backend(granted.id),
            active,
            drift,
            drain_ends_seconds: self.drain_left(service, (granted.id, granted.generation)),
            last_check: self.last_result(granted),
            counters: self.datapath.backend_traffic(granted.id)?.into(),
        })
    }

    fn warnings(&self, node: &Node) -> Vec<String> {
        let mut warnings = self.misfits.clone();
        if !self.overrides.is_empty() {
            let file = super::overrides::FILE;
            let changes = match self.overrides.len() {
                1 => "1 change made at run time applies".to_owned(),
                count => format!("{count} changes made at run time apply"),
            };
            warnings.push(format!(
                "{changes} over the configuration file ({file} in state_dir)"
            ));
        }
        for attached in &node.attached {
            if !attached.is_there() {
                warnings.push(format!(
                    "interface {}: the program is not on it any more: restart the agent",
                    attached.name
                ));
            } else if attached.mode == AttachMode::Generic {
                warnings.push(format!(
                    "interface {}: generic XDP, several times slower than native",
                    attached.name
                ));
            }
            for family in self.translated_families() {
                if !netlink::forwarding(&attached.name, family) {
                    warnings.push(warnings::not_forwarding(&attached.name, family));
                }
            }
            if self.asks_ipv6_routes()
                && netlink::forwarding("all", Family::Ipv6)
                && !netlink::forwarding(&attached.name, Family::Ipv6)
            {
                warnings.push(warnings::forwarding_unseen(&attached.name));
            }
        }
        warnings.extend_from_slice(&node.nics);
        let in_panic = self.in_panic().into_iter();
        warnings.extend(in_panic.map(|(service, kept)| warnings::in_panic(service, kept)));
        let unprobed = self.unprobed().into_iter();
        warnings.extend(unprobed.map(|(of, backends)| warnings::unprobed(of, &backends)));
        warnings.extend(health::late_turns(clock::now()));
        let held = self.held(clock::now()).into_iter();
        warnings.extend(held.map(|(who, left, failures)| warnings::held(who, left, failures)));
        for service in &self.setup.services {
            for backend in &service.backends {
                warnings.extend(self.way_warning(node, service, backend));
            }
            warnings.extend(self.narrow_ways(node, service));
        }
        warnings
    }

    /// The families of VIPs whose replies come back through us.
    fn translated_families(&self) -> Vec<Family> {
        let translating = self
            .setup
            .services
            .iter()
            .filter(|service| service.mode.forward().translates());
        let vips: Vec<_> = translating.flat_map(|service| &service.vips).collect();
        let mut families = Vec::new();
        if vips.iter().any(|vip| vip.network.base().is_ipv4()) {
            families.push(Family::Ipv4);
        }
        if vips.iter().any(|vip| vip.network.base().is_ipv6()) {
            families.push(Family::Ipv6);
        }
        families
    }

    /// Whether the kernel's routes decide about what comes to an IPv6 VIP and is for no service.
    fn asks_ipv6_routes(&self) -> bool {
        let vips = self.setup.services.iter().flat_map(|service| &service.vips);
        let mut addresses = vips.map(|vip| vip.network);
        addresses
            .any(|address| address.base().is_ipv6() && self.setup.policy(address).unserved == Unserved::Auto)
    }

    fn narrow_ways(&self, node: &Node, service: &ServiceSpec) -> Vec<String> {
        let families = service
            .vips
            .iter()
            .map(|vip| vip.network.base().is_ipv4())
            .collect();
        let narrow = warnings::Narrow {
            service: &service.name,
            mode: service.mode.forward(),
            families: &families,
        };
        narrow.warnings(service.backends.iter().filter_map(|backend| {
            let way = self.hops.get(backend.address)?;
            let interface = node.name_of(way.hop.ifindex);
            Some((backend.name.as_str(), interface, backend.address.is_ipv4(), way))
        }))
    }

    fn way_warning(&self, node: &Node, service: &ServiceSpec, backend: &BackendSpec) -> Option<String> {
        let name = format!("backend {}/{}", service.name, backend.name);
        let mode = service.mode.forward();
        if let Some(reason) = self.hops.why_not(backend.address, mode) {
            return Some(format!("{name}: no next hop: {reason}"));
        }
        let Egress { hop, .. } = self.hops.get(backend.address)?;
        let interface = node.name_of(hop.ifindex);
        let bypasses = !node.attached.iter().any(|attached| attached.index == hop.ifindex);
        bypasses.then(|| warnings::not_attached(&name, &interface, mode))
    }
}
