//! A VIP: the address, port and protocol that clients connect to.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::value::quoted;

/// An address that clients connect to; reads and writes as `192.0.2.10:80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vip {
    pub address: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub const ALL: &'static [Self] = &[Self::Tcp, Self::Udp];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The protocol's number in the IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            SocketAddr::new(self.address, self.port),
            self.protocol
        )
    }
}

impl FromStr for Vip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{} {what}: write it like \"192.0.2.10:80/tcp\"", quoted(text));
        let (socket, protocol) = text.rsplit_once('/').ok_or_else(|| wrong("has no protocol"))?;
        let protocol = Protocol::ALL
            .iter()
            .copied()
            .find(|candidate| candidate.name() == protocol)
            .ok_or_else(|| wrong("is neither tcp nor udp"))?;
        let socket: SocketAddr = socket.parse().map_err(|_| match socket.parse::<IpAddr>() {
            Ok(_) => wrong("has no port"),
            Err(_) => wrong("is not an address and a port"),
        })?;
        Ok(Self {
            address: socket.ip(),
            port: socket.port(),
            protocol,
        })
    }
}

impl Serialize for Vip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Vip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

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
        for text in ["192.0.2.10:80/tcp", "192.0.2.10:53/udp", "[2001:db8::1]:443/tcp"] {
            assert_eq!(text.parse::<Vip>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str| text.parse::<Vip>().unwrap_err();
        assert_eq!(
            error("192.0.2.1:80"),
            r#""192.0.2.1:80" has no protocol: write it like "192.0.2.10:80/tcp""#
        );
        assert_eq!(
            error("192.0.2.1/tcp"),
            r#""192.0.2.1/tcp" has no port: write it like "192.0.2.10:80/tcp""#
        );
        assert_eq!(
            error("192.0.2.1:80/sctp"),
            r#""192.0.2.1:80/sctp" is neither tcp nor udp: write it like "192.0.2.10:80/tcp""#
        );
        assert_eq!(
            error("web:80/tcp"),
            r#""web:80/tcp" is not an address and a port: write it like "192.0.2.10:80/tcp""#
        );
    }
}
