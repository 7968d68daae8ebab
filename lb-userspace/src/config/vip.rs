//! A VIP: the addresses, ports and protocol that clients connect to.

use std::{fmt, net::IpAddr, str::FromStr};

pub use lb_common::flow::Protocol;
use serde::{Deserialize, Deserializer, de};

use super::{
    network::{self, Network},
    ports::{self, Ports},
    value::{as_text, quoted},
};

/// What clients connect to; reads and writes as `192.0.2.10:80/tcp`, with a network instead of the address as
/// `198.51.100.0/24:80/tcp` or `[2001:db8::/64]:443/udp`, with a range of ports or `*`, all of them, instead of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vip {
    pub network: Network,
    pub ports: Ports,
    pub protocol: Protocol,
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            network,
            ports,
            protocol,
        } = self;
        match network.base() {
            IpAddr::V4(_) => write!(f, "{network}:{ports}/{}", protocol.name()),
            IpAddr::V6(_) => write!(f, "[{network}]:{ports}/{}", protocol.name()),
        }
    }
}

impl FromStr for Vip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{} {what}: write it like \"192.0.2.10:80/tcp\"", quoted(text));
        let no_port = || wrong("has no port");
        let neither = || wrong("is not an address and a port");
        let (socket, protocol) = text.rsplit_once('/').ok_or_else(|| wrong("has no protocol"))?;
        let protocol = Protocol::ALL
            .iter()
            .copied()
            .find(|candidate| candidate.name() == protocol)
            .ok_or_else(|| match Network::read(text) {
                Ok(_) => wrong("has no port and no protocol"),
                Err(_) => wrong("is none of tcp, udp and sctp"),
            })?;
        if Network::read(socket).is_ok() {
            return Err(no_port());
        }
        let (network, ports) = socket.rsplit_once(':').ok_or_else(neither)?;
        // An IPv6 address has colons itself.
        let bare = network.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let shown = bare.unwrap_or(network);
        let network = Network::read(shown).map_err(|flaw| match flaw {
            network::Flaw::Form => neither(),
            flaw @ network::Flaw::HostBits(_) => flaw.of(shown),
        })?;
        if network.base().is_ipv6() != bare.is_some() {
            return Err(neither());
        }
        let ports = Ports::read(ports).map_err(|flaw| match flaw {
            ports::Flaw::Form => neither(),
            ports::Flaw::Reversed => wrong("has ports that end before they begin"),
        })?;
        Ok(Self {
            network,
            ports,
            protocol,
        })
    }
}

as_text!(Vip);

/// For `deserialize_with`: one VIP or a list of them.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vip>, D::Error> {
    struct Visitor;

    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<Vip>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a VIP like \"192.0.2.10:80/tcp\" or a list of them")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Vip>, E> {
            Ok(vec![text.parse().map_err(E::custom)?])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Vec<Vip>, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "192.0.2.10:80/tcp",
            "192.0.2.10:53/udp",
            "192.0.2.10:3868/sctp",
            "192.0.2.10:8000-8999/udp",
            "192.0.2.10:*/tcp",
            "198.51.100.0/24:80/tcp",
            "[2001:db8::1]:443/tcp",
            "[2001:db8::/64]:443/udp",
            "[2001:db8::/64]:*/udp",
        ] {
            assert_eq!(text.parse::<Vip>().unwrap().to_string(), text);
        }
        let vip: Vip = "[2001:db8::1/128]:80/tcp".parse().unwrap();
        assert_eq!(vip.to_string(), "[2001:db8::1]:80/tcp");
    }

    #[test]
    fn what_is_missing_is_named() {
        let remedy = r#": write it like "192.0.2.10:80/tcp""#;
        for (text, what) in [
            ("192.0.2.1:80", "has no protocol"),
            ("192.0.2.1/tcp", "has no port"),
            ("192.0.2.0/24/tcp", "has no port"),
            ("192.0.2.0/24", "has no port and no protocol"),
            ("2001:db8::1/tcp", "has no port"),
            ("192.0.2.1:80/icmp", "is none of tcp, udp and sctp"),
            ("web:80/tcp", "is not an address and a port"),
            ("2001:db8::1:80x/tcp", "is not an address and a port"),
            ("2001:db8::/64:80/tcp", "is not an address and a port"),
            ("[192.0.2.1]:80/tcp", "is not an address and a port"),
            ("192.0.2.1:http/tcp", "is not an address and a port"),
            ("192.0.2.1:90-80/tcp", "has ports that end before they begin"),
        ] {
            assert_eq!(
                text.parse::<Vip>().unwrap_err(),
                format!("{text:?} {what}{remedy}")
            );
        }
        assert_eq!(
            "198.51.100.7/24:80/tcp".parse::<Vip>().unwrap_err(),
            r#""198.51.100.7/24" has bits behind its prefix: the network is "198.51.100.0/24""#
        );
    }
}
