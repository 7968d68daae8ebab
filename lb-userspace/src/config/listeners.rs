//! Whose packets are: of all VIPs the most exact one has them, as the data plane looks them up. And what a check by the data path asks, so
//! that its probes are its own service's.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{
    CheckSpec, Network, Ports, Protocol, ServiceSpec, Vip,
    service::{asked_protocol, asked_vips, check_vip},
    value::quoted,
};

/// What a check may have to try before a packet is its service's.
const TRIES: usize = 4096;

/// The VIPs of services.
pub struct Listeners<'a> {
    /// By network, those of fewer ports first.
    vips: BTreeMap<Network, Vec<(Vip, &'a str)>>,
    /// How much of an address networks fix, from most on.
    sizes: BTreeSet<Reverse<u8>>,
}

impl<'a> Listeners<'a> {
    #[must_use]
    pub fn of(services: &'a [ServiceSpec]) -> Self {
        let (mut vips, mut sizes) = (BTreeMap::<_, Vec<_>>::new(), BTreeSet::new());
        for service in services {
            for vip in &service.vips {
                sizes.insert(Reverse(vip.network.prefix_len()));
                let of_network = vips.entry(vip.network).or_default();
                of_network.push((*vip, service.name.as_str()));
            }
        }
        let count = |ports: Ports| ports.bounds().1 - ports.bounds().0;
        for of_network in vips.values_mut() {
            of_network.sort_by_key(|(vip, _)| count(vip.ports));
        }
        Self { vips, sizes }
    }

    /// Whether an address is a VIP, or in one.
    #[must_use]
    pub fn is_vip(&self, address: IpAddr) -> bool {
        self.around(address).is_some()
    }

    /// The VIPs of the narrowest network around an address that is one.
    fn around(&self, address: IpAddr) -> Option<&Vec<(Vip, &'a str)>> {
        let around = |size: &Reverse<u8>| Network::around(address, size.0);
        let mut networks = self.sizes.iter().filter_map(around);
        networks.find_map(|network| self.vips.get(&network))
    }

    /// The service that a packet is for. An address that is a VIP of its own is none of a wider network's, whatever the port.
    #[must_use]
    pub fn owner(&self, protocol: Protocol, to: SocketAddr) -> Option<&'a str> {
        let takes = |(vip, _): &&(Vip, _)| vip.protocol == protocol && vip.ports.contains(to.port());
        self.around(to.ip())?.iter().find(takes).map(|(_, owner)| *owner)
    }

    /// What a check of a service asks by the data path, if that is its way: the first of what clients would connect to, of which the
    /// packets are the service's.
    ///
    /// # Errors
    /// Where all of it is other services'.
    #[must_use]
    pub fn asked(&self, service: &ServiceSpec, check: &CheckSpec) -> Option<Result<SocketAddr, String>> {
        let first = check_vip(service.mode, &service.vips, check)?;
        let protocol = asked_protocol(&check.kind)?;
        let is_ours = |to: &SocketAddr| self.owner(protocol, *to) == Some(&*service.name);
        if is_ours(&first) {
            return Some(Ok(first));
        }
        let all = asked_vips(&service.vips, check);
        let mut all = all.flat_map(|vip| self.parts(*vip, check.port)).take(TRIES);
        Some(all.find(is_ours).ok_or_else(|| {
            let other = self.owner(protocol, first).unwrap_or_default();
            format!(
                "packets for {first} are service {}'s, whose VIP is more exact: have the check ask another port, or directly (via = \"direct\")",
                quoted(other)
            )
        }))
    }

    /// Of a VIP, where those within it end and it goes on: the first port and the first address, and each behind another VIP's.
    fn parts(&self, vip: Vip, port: Option<u16>) -> impl Iterator<Item = SocketAddr> {
        // Those within come right behind it: by their first addresses, and of the same one the wider first.
        let within = move |(network, _): &(&Network, _)| vip.network.contains(**network);
        let others = || self.vips.range(vip.network..).take_while(within);
        let behind = others().filter_map(|(network, _)| network.behind());
        let is_in = move |address: &IpAddr| vip.network.contains(Network::new(*address, u8::MAX));
        let addresses: BTreeSet<_> = behind.filter(is_in).chain([vip.network.base()]).collect();
        let last = others().flat_map(|(_, vips)| vips.iter().map(|(vip, _)| vip.ports.bounds().1));
        let next = last.filter_map(|last| last.checked_add(1));
        let first = vip.ports.bounds().0.max(1);
        let ports: BTreeSet<u16> = match port {
            Some(port) => [port].into(),
            None => next
                .filter(|port| vip.ports.contains(*port))
                .chain([first])
                .collect(),
        };
        let of_address = move |address| ports.clone().into_iter().map(move |port| (address, port).into());
        addresses.into_iter().flat_map(of_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckKind, Mode, Via};

    fn service(name: &str, vips: &[&str]) -> ServiceSpec {
        ServiceSpec {
            mode: Mode::Dsr,
            ..ServiceSpec::new(name, vips.iter().map(|vip| vip.parse().unwrap()).collect())
        }
    }

    fn to(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_most_exact_vip_has_a_packet() {
        let services = [
            service("all", &["192.0.2.0/24:*/tcp"]),
            service("some", &["192.0.2.0/24:80-89/tcp"]),
            service("one", &["192.0.2.0/24:80/tcp"]),
            service("host", &["192.0.2.7:443/tcp", "192.0.2.7:*/udp"]),
        ];
        let listeners = Listeners::of(&services);
        let tcp = |text| listeners.owner(Protocol::Tcp, to(text));
        assert_eq!(tcp("192.0.2.1:79"), Some("all"));
        assert_eq!(tcp("192.0.2.1:80"), Some("one"));
        assert_eq!(tcp("192.0.2.1:81"), Some("some"));
        assert_eq!(tcp("192.0.2.7:443"), Some("host"));
        assert_eq!(tcp("192.0.2.7:80"), None, "another VIP than the network");
        assert_eq!(tcp("198.51.100.1:80"), None);
        assert_eq!(listeners.owner(Protocol::Udp, to("192.0.2.7:80")), Some("host"));
    }

    #[test]
    fn a_check_asks_what_is_its_own_service_s() {
        let asked = |vips: &[&str], others: &[&[&str]], check: &CheckSpec| {
            let mut services = vec![service("web", vips)];
            let others = others.iter().enumerate();
            services.extend(others.map(|(at, vips)| service(&format!("other{at}"), vips)));
            let asked = Listeners::of(&services).asked(&services[0], check);
            asked.map(|asked| asked.map(|to| to.to_string()))
        };
        let tcp = CheckSpec::new(CheckKind::TCP);
        let ask = |vips: &[&str], others: &[&[&str]]| asked(vips, others, &tcp).unwrap().unwrap();
        assert_eq!(ask(&["192.0.2.1:80/tcp"], &[]), "192.0.2.1:80");
        assert_eq!(ask(&["192.0.2.1:*/tcp"], &[]), "192.0.2.1:1");
        let range = ["192.0.2.1:9027-9029/tcp"];
        assert_eq!(ask(&range, &[&["192.0.2.1:9027/tcp"]]), "192.0.2.1:9028");
        assert_eq!(
            ask(&range, &[&["192.0.2.1:9027/tcp", "192.0.2.1:9028/tcp"]]),
            "192.0.2.1:9029"
        );
        assert_eq!(ask(&range, &[&["192.0.2.1:9027/udp"]]), "192.0.2.1:9027");
        assert_eq!(
            ask(&["192.0.2.1:*/tcp"], &[&["192.0.2.1:1-1023/tcp"]]),
            "192.0.2.1:1024"
        );
        let net = ["192.0.2.0/24:80/tcp"];
        assert_eq!(
            ask(&net, &[&["192.0.2.0:443/tcp"], &["192.0.2.1:80/tcp"]]),
            "192.0.2.2:80"
        );
        assert_eq!(ask(&net, &[&["192.0.2.0/25:80/tcp"]]), "192.0.2.128:80");
        assert_eq!(ask(&net, &[&["192.0.0.0/16:80/tcp"]]), "192.0.2.0:80");
        let all = ["2001:db8::/64:*/tcp".replace("2001:db8::/64", "[2001:db8::/64]")];
        assert_eq!(ask(&[&all[0]], &[&["[2001:db8::]:1/tcp"]]), "[2001:db8::1]:1");
        let two = [range[0], "192.0.2.2:80/tcp"];
        let taken: [&[&str]; 1] = [&["192.0.2.1:9027/tcp", "192.0.2.1:9028/tcp", "192.0.2.1:9029/tcp"]];
        assert_eq!(ask(&two, &taken), "192.0.2.2:80");
        let none = asked(&range, &taken, &tcp).unwrap().unwrap_err();
        assert!(
            none.starts_with("packets for 192.0.2.1:9027 are service \"other0\"'s"),
            "{none}"
        );
        let named = CheckSpec {
            port: Some(9027),
            ..tcp.clone()
        };
        assert!(
            asked(&range, &[&["192.0.2.1:9027/tcp"]], &named)
                .unwrap()
                .is_err()
        );
        let direct = CheckSpec {
            via: Some(Via::Direct),
            ..tcp
        };
        assert_eq!(asked(&range, &taken, &direct), None);
    }
}
