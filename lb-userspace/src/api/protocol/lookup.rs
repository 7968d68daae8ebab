//! Bodies of `GET /v1/lookup`.

use std::{fmt, net::SocketAddr, str::FromStr};

use lb_common::flow::{FlowKey, Protocol};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Backend;
use crate::config::{Algorithm, Mode, Unserved};

/// What is asked: a packet of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub from: SocketAddr,
    pub to: Target,
    /// By default the first of its flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<PacketKind>,
}

/// What a packet is for; reads and writes as `192.0.2.10:80/tcp`, and without a protocol as TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub socket: SocketAddr,
    pub protocol: Protocol,
}

/// What a packet tells of its flow's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketKind {
    /// The first of a TCP connection.
    Syn,
    /// Any other of it.
    Data,
    /// Of a protocol without connections.
    Datagram,
}

/// Which backend a packet would get now, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    pub from: SocketAddr,
    pub to: Target,
    pub packet: PacketKind,
    /// `forwarded`, or what would become of it else.
    pub outcome: String,
    /// What the VIP does with packets that no service takes; null where one does, and for what is no VIP.
    pub unserved: Option<Unserved>,
    pub service: Option<LookupService>,
    pub slot: Option<LookupSlot>,
    /// What is known of the flow, whether it counts or not.
    pub remembered: Option<Remembered>,
    /// Why it is the backend; null where there is none.
    pub by: Option<By>,
    /// Slots that were looked at beside the flow's own.
    pub tries: u32,
    /// Null where there is none, or it is one of `candidates`.
    pub backend: Option<Backend>,
    /// Names of the backends of whom it is one, as chance or a turn has it.
    pub candidates: Vec<String>,
}

/// The service that a packet is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupService {
    pub name: String,
    #[serde(rename = "match")]
    pub matched: Match,
    pub mode: Mode,
    pub algorithm: Algorithm,
}

/// How a VIP says whose packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// By its address and port.
    Exact,
    /// By its address and a range of ports.
    Range,
    /// By a network.
    Network,
}

/// The slot that a flow has its home in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupSlot {
    /// The hash that says it, in hexadecimal digits.
    pub hash: String,
    pub index: u32,
    /// How many there are.
    pub slots: u32,
    pub state: SlotState,
    /// Name of the backend that gets its new flows; null: nobody.
    pub owner: Option<String>,
    /// Name of the one that its flows belong to which are not written down, if that is not the owner.
    pub previous: Option<String>,
    /// The hash by which a new flow goes through the slots, if that is another one.
    pub new_hash: Option<String>,
}

/// The state of a slot (docs/flows.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotState {
    Settled,
    Young,
    Unsettled,
    Written,
}

/// What is known of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    #[serde(rename = "in")]
    pub table: Table,
    pub state: String,
    /// Since its last packet.
    pub age_seconds: u64,
    /// Name of its backend; null for one that is gone.
    pub backend: Option<String>,
}

/// Where a flow is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Among the flows that are translated, exactly.
    Flows,
    /// Among those that are written down, by a fingerprint.
    Written,
}

/// Why a packet gets its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Its flow is remembered.
    Flow,
    /// Its flow is written down.
    Entry,
    /// The slot's owner.
    Owner,
    /// The owner before: its flow may be one of its.
    Previous,
    /// The client's last flow went there.
    Affinity,
    /// The algorithm wants it.
    Algorithm,
    /// The replica that its port asks for.
    Replica,
    /// The owner of a later slot: those before take no new flows.
    NextHash,
    /// There is no room to write its flow down, which stays at home.
    Room,
    /// Chance or a turn decides.
    Chance,
}

impl Probe {
    /// The packet, if there can be such a one.
    ///
    /// # Errors
    /// When there cannot, in words.
    pub fn kind(&self) -> Result<PacketKind, String> {
        let Self { from, to, packet } = self;
        if from.is_ipv4() != to.socket.is_ipv4() {
            return Err(format!(
                "from {from} to {to}: give two addresses of the same family"
            ));
        }
        if from.port() == 0 || to.socket.port() == 0 {
            return Err(format!(
                "from {from} to {to}: no packet has port 0: use 1 to 65535"
            ));
        }
        let is_tcp = to.protocol == Protocol::Tcp;
        match packet {
            None if is_tcp => Ok(PacketKind::Syn),
            None => Ok(PacketKind::Datagram),
            Some(PacketKind::Datagram) if is_tcp => {
                Err("packet: tcp has no datagrams: use syn or data".into())
            }
            Some(PacketKind::Syn | PacketKind::Data) if !is_tcp => Err(format!(
                "packet: {} has no connections here: use datagram",
                to.protocol.name()
            )),
            Some(kind) => Ok(*kind),
        }
    }

    /// Its flow, as the program knows it.
    #[must_use]
    pub fn flow(&self) -> FlowKey {
        FlowKey {
            source: self.from.ip().into(),
            destination: self.to.socket.ip().into(),
            source_port: self.from.port().to_be(),
            destination_port: self.to.socket.port().to_be(),
            protocol: self.to.protocol.number(),
        }
    }
}

impl PacketKind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Data => "data",
            Self::Datagram => "datagram",
        }
    }
}

impl SlotState {
    pub const ALL: &'static [Self] = &[Self::Settled, Self::Young, Self::Unsettled, Self::Written];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Young => "young",
            Self::Unsettled => "unsettled",
            Self::Written => "written",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.socket, self.protocol.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (socket, protocol) = text.rsplit_once('/').unwrap_or((text, Protocol::Tcp.name()));
        let socket = socket
            .parse()
            .map_err(|_| "not an address and a port: write it like 192.0.2.10:80/tcp")?;
        let mut protocols = Protocol::ALL.iter();
        let protocol = protocols.find(|known| known.name() == protocol);
        let protocol = protocol.ok_or("the protocol is none of tcp, udp and sctp")?;
        Ok(Self {
            socket,
            protocol: *protocol,
        })
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(from: &str, to: &str, packet: Option<PacketKind>) -> Probe {
        Probe {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            packet,
        }
    }

    #[test]
    fn a_target_reads_as_it_is_written_and_is_tcp_by_default() {
        for text in ["192.0.2.10:80/tcp", "[2001:db8::1]:443/udp", "192.0.2.10:9/sctp"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let target: Target = "192.0.2.10:80".parse().unwrap();
        assert_eq!(target.to_string(), "192.0.2.10:80/tcp");
        for text in [
            "192.0.2.10",
            "192.0.2.10:80/icmp",
            "192.0.2.10/tcp",
            "2001:db8::1:443/udp",
        ] {
            text.parse::<Target>().unwrap_err();
        }
    }

    #[test]
    fn packets_that_cannot_be_are_refused_with_a_remedy() {
        let from = "198.51.100.7:4000";
        assert_eq!(probe(from, "192.0.2.10:80", None).kind(), Ok(PacketKind::Syn));
        assert_eq!(
            probe(from, "192.0.2.10:80/udp", None).kind(),
            Ok(PacketKind::Datagram)
        );
        for (probe, remedy) in [
            (probe(from, "[2001:db8::1]:80", None), "same family"),
            (probe("198.51.100.7:0", "192.0.2.10:80", None), "use 1 to 65535"),
            (
                probe(from, "192.0.2.10:80", Some(PacketKind::Datagram)),
                "use syn or data",
            ),
            (
                probe(from, "192.0.2.10:80/udp", Some(PacketKind::Syn)),
                "use datagram",
            ),
        ] {
            let refusal = probe.kind().unwrap_err();
            assert!(refusal.contains(remedy), "{refusal}");
        }
    }
}
