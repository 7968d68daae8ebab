//! What must hold of all services together: who has which VIP, and that everything fits.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use lb_common::limits::{NETWORKS, PORTS_PER_SERVICE, VIPS_PER_SERVICE};

use super::{
    invalid::{Invalid, Step},
    model::Limits,
    network::Network,
    ports::Ports,
    service::{Fragments, ServiceSpec},
    value::quoted,
    vip::{Protocol, Vip},
};

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

/// Whether no source of translated flows is a VIP: what comes back to a VIP is for its services.
pub fn validate_sources(sources: &[IpAddr], services: &[ServiceSpec]) -> Result<(), Invalid> {
    let mut set = Set::default();
    for spec in services {
        for vip in &spec.vips {
            set.add_address(vip.network, &spec.name);
        }
    }
    for (at, &source) in sources.iter().enumerate() {
        if let Some(is) = set.vip_of(source) {
            let problem = format!("{is}: give the VIP or the source another address");
            return Err(Invalid::field("sources", problem)
                .element(at)
                .of("node")
                .at(&[Step::Key("node")]));
        }
    }
    Ok(())
}

/// What the services seen so far take.
#[derive(Default)]
struct Set<'a> {
    names: HashSet<&'a str>,
    vips: HashMap<Vip, &'a str>,
    /// Ranges of ports by their first one.
    ranges: BTreeMap<(Network, Protocol, u16), (Vip, &'a str)>,
    /// Who takes fragments without ports.
    hashed: HashMap<(Network, Protocol), &'a str>,
    addresses: HashMap<Network, &'a str>,
    /// Lengths of their prefixes.
    sizes: BTreeSet<u8>,
    networks: usize,
    /// Entries for whole ports of addresses.
    exact: usize,
    /// Entries for everything else.
    prefixes: usize,
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
            self.add_vip(spec, vip)
                .map_err(|problem| Invalid::field("vip", problem).element(at))?;
        }
        if spec.fragments == Fragments::Hash {
            self.add_hashed(spec)?;
        }
        self.backends += spec.backends.len();
        self.fit(limits)
    }

    fn add_vip(&mut self, spec: &'a ServiceSpec, vip: Vip) -> Result<(), String> {
        if let Some(owner) = self.vips.insert(vip, &spec.name) {
            return Err(if owner == spec.name {
                format!("{vip} is there twice: remove one")
            } else {
                let owner = quoted(owner);
                format!("{vip} is already a VIP of service {owner}: use another address, port or protocol")
            });
        }
        if let Ports::Range(first, _) = vip.ports {
            if let Some((other, owner)) = self.overlapping(vip) {
                let owner = quoted(owner);
                return Err(format!(
                    "{vip} and {other} of service {owner} have ports in common: give each port to one of them"
                ));
            }
            self.ranges
                .insert((vip.network, vip.protocol, first), (vip, &spec.name));
        }
        self.add_address(vip.network, &spec.name);
        match vip.ports {
            Ports::One(_) if vip.network.address().is_some() => self.exact += 1,
            ports => self.prefixes += ports.prefixes().len(),
        }
        Ok(())
    }

    fn add_address(&mut self, network: Network, owner: &'a str) {
        if self.addresses.contains_key(&network) {
            return;
        }
        self.addresses.insert(network, owner);
        self.sizes.insert(network.prefix_len());
        self.networks += usize::from(network.address().is_none());
    }

    /// A range of the same VIP and protocol that has a port in common with `vip`'s.
    fn overlapping(&self, vip: Vip) -> Option<(Vip, &'a str)> {
        let (first, last) = vip.ports.bounds();
        let from = |port| (vip.network, vip.protocol, port);
        // Those before do not overlap each other, so the nearest one reaches furthest.
        let before = self.ranges.range(from(0)..=from(first)).next_back();
        let after = self.ranges.range(from(first)..=from(last)).next();
        let before = before.filter(|(_, (other, _))| other.ports.contains(first));
        before.or(after).map(|(_, found)| *found)
    }

    fn add_hashed(&mut self, spec: &'a ServiceSpec) -> Result<(), Invalid> {
        for vip in &spec.vips {
            match self.hashed.insert((vip.network, vip.protocol), &spec.name) {
                None if vip.network.address().is_some() => self.exact += 1,
                None => self.prefixes += 1,
                Some(owner) if owner == spec.name => {}
                Some(owner) => {
                    let problem = format!(
                        "service {} has \"hash\" for {} of {} too, and a fragment without ports cannot tell them apart: use \"track\" in one",
                        quoted(owner),
                        vip.protocol.name(),
                        vip.network
                    );
                    return Err(Invalid::field("fragments", problem));
                }
            }
        }
        Ok(())
    }

    fn fit(&self, limits: &Limits) -> Result<(), Invalid> {
        let raise = "raise limits.services or remove some";
        let of_services = |each: u32| limits.services.saturating_mul(each);
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
        fits("VIPs", self.exact, of_services(VIPS_PER_SERVICE), raise)?;
        let addresses = self.addresses.len() - self.networks;
        fits(
            "addresses of VIPs",
            addresses,
            of_services(VIPS_PER_SERVICE),
            raise,
        )?;
        fits("networks", self.networks, NETWORKS, "remove some")?;
        fits(
            "prefixes of ports",
            self.prefixes,
            of_services(PORTS_PER_SERVICE),
            "raise limits.services, or use ranges that begin and end at multiples of a power of two",
        )
    }

    /// Says which VIP an address is.
    fn vip_of(&self, address: IpAddr) -> Option<String> {
        // The longest prefix is the one that counts.
        let sizes = self.sizes.iter().rev();
        let mut around = sizes.filter_map(|&prefix_len| Network::around(address, prefix_len));
        let (vip, owner) = around.find_map(|network| self.addresses.get_key_value(&network))?;
        let owner = quoted(owner);
        Some(match vip.address() {
            Some(address) => format!("{address} is a VIP of service {owner}"),
            None => format!("{address} is in the VIP {vip} of service {owner}"),
        })
    }

    fn vips_apart_from_backends(&self, services: &[ServiceSpec]) -> Result<(), Invalid> {
        for (at, spec) in services.iter().enumerate() {
            for (backend_at, backend) in spec.backends.iter().enumerate() {
                if let Some(is) = self.vip_of(backend.address) {
                    let problem = format!("{is}: give the VIP or the backend another address");
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
