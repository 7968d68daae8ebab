//! The state of things, as the API tells it.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Result;
use lb_common::{backend::BackendState, outcome::Outcome};

use crate::{
    api::protocol,
    config::{AttachMode, BackendSpec, ServiceSpec},
    control::{Controller, ids::Granted, mac},
    datapath::{Datapath, attach::Attached},
    health::Health,
    netlink::{self, Links, Resolution},
};

/// What the control loop knows of the host.
#[derive(Clone, Debug)]
pub struct Node {
    pub started: Instant,
    pub attached: Vec<Attached>,
    /// Names of the interfaces that next hops leave by, by index.
    pub interfaces: BTreeMap<u32, String>,
}

impl Node {
    /// Remembers the name of the interface that a next hop leaves by.
    pub fn learn_interface(&mut self, resolution: &Resolution) {
        if let (Ok(hop), Some(name)) = (&resolution.hop, &resolution.interface) {
            self.interfaces.insert(hop.ifindex, name.clone());
        }
    }

    /// Looks whether the interfaces are still there, with our program on them; where the kernel gives no answer, the last one
    /// holds.
    pub async fn look(&mut self, links: &Links) {
        match links.all().await {
            Ok(links) => self
                .attached
                .iter_mut()
                .for_each(|attached| attached.look(&links)),
            Err(error) => log::warn!("interfaces are not looked at: {error:#}"),
        }
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
            flows: self.census.total,
            warnings: self.warnings(node),
        })
    }

    /// All services, by name.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn services(&self, node: &Node) -> Result<Vec<protocol::Service>> {
        let services: Result<Vec<_>> = self
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
        self.services
            .iter()
            .find(|service| service.name == name)
            .map(|service| self.describe(node, service))
            .transpose()
    }

    fn describe(&self, node: &Node, service: &ServiceSpec) -> Result<protocol::Service> {
        let id = self.ids.service(&service.name);
        let with_id = |backend| Some((backend, self.ids.backend(id?, backend)?));
        let backends: Result<Vec<_>> = service
            .backends
            .iter()
            .filter_map(with_id)
            .map(|(backend, granted)| self.describe_backend(node, backend, granted))
            .collect();
        let mut backends = backends?;
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        let traffic = id
            .map(|id| self.datapath.service_traffic(id))
            .transpose()?
            .unwrap_or_default();
        Ok(protocol::Service {
            name: service.name.clone(),
            vips: service.vips.clone(),
            mode: service.mode,
            algorithm: service.algorithm,
            check: service.check.clone(),
            counters: traffic.into(),
            backends,
        })
    }

    fn describe_backend(
        &self,
        node: &Node,
        backend: &BackendSpec,
        granted: Granted,
    ) -> Result<protocol::Backend> {
        let health = self.health(granted);
        let next_hop = self.hops.get(backend.address).map(|hop| protocol::NextHop {
            interface: node.name_of(hop.ifindex),
            mac: mac(hop.destination_mac),
        });
        Ok(protocol::Backend {
            name: backend.name.clone(),
            address: backend.address,
            port: backend.port,
            weight: backend.weight,
            admin: backend.admin,
            health: match health {
                None => protocol::Health::Unchecked,
                Some((Health::Checking, _)) => protocol::Health::Checking,
                Some((Health::Up, _)) => protocol::Health::Up,
                Some((Health::Down, _)) => protocol::Health::Down,
            },
            state: match self.state(backend, granted) {
                BackendState::Up => protocol::State::Up,
                BackendState::Drain => protocol::State::Drain,
                BackendState::Down | BackendState::Free => protocol::State::Down,
            },
            next_hop,
            flows: self.census.by_backend.get(&granted.id).copied().unwrap_or(0),
            last_check: health.and_then(|(_, said)| said.map(str::to_owned)),
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
            if !netlink::forwarding(&attached.name) {
                warnings.push(format!(
                    "interface {0}: net.ipv4.conf.{0}.forwarding is 0: replies leave by the way their client's packets came, not by the routes",
                    attached.name
                ));
            }
        }
        for service in &self.services {
            for backend in &service.backends {
                warnings.extend(self.way_warning(node, service, backend));
            }
        }
        warnings
    }

    fn way_warning(&self, node: &Node, service: &ServiceSpec, backend: &BackendSpec) -> Option<String> {
        let name = format!("backend {}/{}", service.name, backend.name);
        let Some(hop) = self.hops.get(backend.address) else {
            let reason = self.hops.why_not(backend.address)?;
            return Some(format!("{name}: no next hop: {reason}"));
        };
        let interface = node.name_of(hop.ifindex);
        let bypasses = !node.attached.iter().any(|attached| attached.index == hop.ifindex);
        bypasses.then(|| {
            format!("{name} is reached by interface {interface}, which xlb is not attached to: its replies are not translated")
        })
    }
}
