//! VIPs as the data plane's keys.

use lb_common::{
    addr::Addr,
    service::{PortKey, ServiceKey},
};

use crate::{
    config::{Network, PortPrefix, Ports, Vip},
    datapath::Snapshot,
};

/// Where the data plane looks a service up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One port of an address.
    Exact(ServiceKey),
    /// Ports that begin with the same bits, of an address or a network: as many bits of the key.
    Ports(u32, PortKey),
}

impl Place {
    /// Places that only one service can have come first: exact ones, and then those of many ports.
    #[must_use]
    pub const fn ambiguity(&self) -> u32 {
        match self {
            Self::Exact(_) => 0,
            Self::Ports(bits, _) => *bits,
        }
    }

    /// The id of the service that is there.
    #[must_use]
    pub fn service(self, snapshot: &Snapshot) -> Option<u32> {
        let service = match self {
            Self::Exact(key) => snapshot.services.get(&key),
            Self::Ports(bits, key) => snapshot.ports.get(&(bits, key)),
        };
        service.map(|service| service.id)
    }
}

/// Every place that makes up the VIP.
#[must_use]
pub fn places(vip: &Vip) -> Vec<Place> {
    if let Ports::One(port) = vip.ports {
        return vec![whole(vip, port)];
    }
    vip.ports
        .prefixes()
        .into_iter()
        .map(|prefix| ports(vip, prefix))
        .collect()
}

/// Where fragments without ports are looked up: as port 0, which no packet has.
#[must_use]
pub fn without_ports(vip: &Vip) -> Place {
    whole(vip, 0)
}

/// A network as a key: the bits that it fixes, and its first address.
#[must_use]
pub fn network(network: Network) -> (u32, Addr) {
    (network.prefix_len().into(), network.into())
}

fn whole(vip: &Vip, port: u16) -> Place {
    if vip.network.address().is_none() {
        return ports(
            vip,
            PortPrefix {
                first: port,
                bits: 16,
            },
        );
    }
    Place::Exact(ServiceKey {
        vip: vip.network.into(),
        port: port.to_be(),
        protocol: vip.protocol.wire().into(),
        ..ServiceKey::default()
    })
}

fn ports(vip: &Vip, prefix: PortPrefix) -> Place {
    let key = PortKey {
        base: vip.network.into(),
        prefix_len: vip.network.prefix_len().into(),
        protocol: vip.protocol.wire().into(),
        port: prefix.first.to_be(),
        _pad: 0,
    };
    Place::Ports(PortKey::BITS_BEFORE_PORT + prefix.bits, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places_of(vip: &str) -> Vec<Place> {
        places(&vip.parse().unwrap())
    }

    fn ports(base: &str, prefix_len: u16, first: u16) -> PortKey {
        PortKey {
            base: base.parse::<std::net::IpAddr>().unwrap().into(),
            prefix_len,
            protocol: 6,
            port: first.to_be(),
            _pad: 0,
        }
    }

    #[test]
    fn only_one_port_of_one_address_is_exact() {
        let key = ServiceKey {
            vip: Addr::from_v4_word(u32::from_ne_bytes([192, 0, 2, 10])),
            port: 80_u16.to_be(),
            protocol: 6,
            ..ServiceKey::default()
        };
        assert_eq!(places_of("192.0.2.10:80/tcp"), [Place::Exact(key)]);
        assert_eq!(
            places_of("192.0.2.10:8001-8002/tcp"),
            [8001, 8002].map(|port| Place::Ports(176, ports("192.0.2.10", 128, port)))
        );
        assert_eq!(
            places_of("192.0.2.10:*/tcp"),
            [Place::Ports(160, ports("192.0.2.10", 128, 0))]
        );
        assert_eq!(
            places_of("192.0.2.0/24:80/tcp"),
            [Place::Ports(176, ports("192.0.2.0", 120, 80))]
        );
    }

    #[test]
    fn a_fragment_without_ports_is_of_the_whole_vip() {
        let place = |vip: &str| without_ports(&vip.parse().unwrap());
        let Place::Exact(key) = place("192.0.2.10:8000-8999/tcp") else {
            panic!("not exact");
        };
        assert_eq!(key.port, 0);
        assert_eq!(place("192.0.2.10:*/tcp"), place("192.0.2.10:80/tcp"));
        assert_eq!(
            place("192.0.2.0/24:*/tcp"),
            Place::Ports(176, ports("192.0.2.0", 120, 0))
        );
    }
}
