//! Where a block is: its name is an address of the VIP network, whose ports are its replicas.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::hash::Hash;

/// The service of xlb that the servers are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    network: IpNet,
    first_port: u16,
    replicas: u16,
}

/// A service that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum NoPlaces {
    #[error("{0} has bits set behind its prefix; the network is {1}")]
    HostBits(IpNet, IpNet),
    #[error("ports {0} and {1} more are beyond 65535: the service begins at a lower port")]
    Ports(u16, u16),
}

impl Places {
    pub fn new(network: IpNet, first_port: u16, replicas: u16) -> Result<Self, NoPlaces> {
        if network != network.trunc() {
            return Err(NoPlaces::HostBits(network, network.trunc()));
        }
        let more = replicas.saturating_sub(1);
        if first_port.checked_add(more).is_none() {
            return Err(NoPlaces::Ports(first_port, more));
        }
        Ok(Self {
            network,
            first_port,
            replicas,
        })
    }

    /// The address of whatever has this name.
    #[must_use]
    pub fn address(&self, name: &str) -> IpAddr {
        let drawn = Hash::of(name.as_bytes()).number();
        match self.network {
            IpNet::V4(network) => {
                // The last address is left out as well: where the network is on a link, it is everybody's.
                let host = host(32 - network.prefix_len(), 2, drawn);
                #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits")]
                let host = host as u32;
                Ipv4Addr::from_bits(network.network().to_bits() | host).into()
            }
            IpNet::V6(network) => {
                let host = host(128 - network.prefix_len(), 1, drawn);
                Ipv6Addr::from_bits(network.network().to_bits() | host).into()
            }
        }
    }

    /// Its replicas, the first one first.
    pub fn replicas(&self, name: &str) -> impl ExactSizeIterator<Item = SocketAddr> + use<> {
        let (address, first_port) = (self.address(name), self.first_port);
        (0..self.replicas).map(move |at| SocketAddr::new(address, first_port + at))
    }

    /// How many replicas everything has.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.replicas
    }
}

/// A host part of so many bits, not 0; the highest are left out where `reserved` is 2. A network of one or two addresses is used up
/// to the last.
fn host(bits: u8, reserved: u128, drawn: u128) -> u128 {
    let size = 1u128.checked_shl(bits.into()).unwrap_or(u128::MAX);
    if bits < 2 {
        drawn % size
    } else {
        1 + drawn % (size - reserved)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn places(network: &str) -> Places {
        Places::new(network.parse().unwrap(), 9000, 3).unwrap()
    }

    #[test]
    fn replicas_are_the_ports_of_one_address() {
        let v4 = places("198.51.100.0/24");
        let replicas: Vec<_> = v4.replicas("a/manifest.json").collect();
        let address = v4.address("a/manifest.json");
        assert_eq!(
            replicas,
            [9000, 9001, 9002].map(|port| SocketAddr::new(address, port))
        );
        // Written down, for files that are stored must be found by every later version.
        assert_eq!(address.to_string(), "198.51.100.217");
        assert_eq!(
            places("2001:db8:5::/64").address("a/manifest.json").to_string(),
            "2001:db8:5:0:7ea5:9325:7674:b7c8"
        );
    }

    #[test]
    fn names_spread_over_all_addresses_but_the_first_and_the_last() {
        let places = places("198.51.100.0/28");
        let mut seen = BTreeMap::<_, u32>::new();
        for number in 0..14_000 {
            *seen.entry(places.address(&format!("{number}"))).or_default() += 1;
        }
        let hosts: Vec<_> = seen.keys().map(ToString::to_string).collect();
        let expected: Vec<_> = (1..15).map(|host| format!("198.51.100.{host}")).collect();
        assert_eq!(hosts, expected);
        // 1,000 expected, with a deviation of 31.
        assert!(
            seen.values().all(|&count| (850..1150).contains(&count)),
            "{seen:?}"
        );
    }

    #[test]
    fn small_networks_are_used_whole() {
        assert_eq!(places("192.0.2.7/32").address("x").to_string(), "192.0.2.7");
        assert_eq!(places("2001:db8::7/128").address("x").to_string(), "2001:db8::7");
        let pair = places("192.0.2.6/31");
        assert!((0..64).any(|name| pair.address(&name.to_string()).to_string() == "192.0.2.6"));
        assert!((0..64).any(|name| pair.address(&name.to_string()).to_string() == "192.0.2.7"));
    }

    #[test]
    fn a_network_with_host_bits_is_refused_and_told() {
        let error = Places::new("198.51.100.7/24".parse().unwrap(), 9000, 3).unwrap_err();
        assert!(error.to_string().ends_with("198.51.100.0/24"), "{error}");
        assert!(Places::new("198.51.100.0/24".parse().unwrap(), 65534, 2).is_ok());
        assert!(Places::new("198.51.100.0/24".parse().unwrap(), 65534, 3).is_err());
    }

    proptest! {
        #[test]
        fn every_address_is_in_the_network(bits: u128, v4: bool, len in 0u8..=128, name: String) {
            let network = if v4 {
                #[expect(clippy::cast_possible_truncation, reason = "any address will do")]
                let addr = Ipv4Addr::from_bits(bits as u32);
                IpNet::new(addr.into(), len % 33).unwrap()
            } else {
                IpNet::new(Ipv6Addr::from_bits(bits).into(), len).unwrap()
            };
            let places = Places::new(network.trunc(), 1, 1).unwrap();
            prop_assert!(network.contains(&places.address(&name)));
        }
    }
}
