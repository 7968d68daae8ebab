//! Services, as the configuration's `[[service]]`, the HTTP API and the persisted changes write them.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use lb_common::{limits, service::ForwardMode};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    backend::BackendSpec,
    balance::{self, Algorithm, OnDown, OnFull, Udp},
    check::{self, CheckKind, CheckSpec, Via},
    factor,
    health::HealthSpec,
    ports::Ports,
    prefix::Prefix,
    quic::QuicSpec,
    rates::{Affinity, Rate, SourceRate},
    value::{self, Bounded, Bounds, bounded, is_default, quoted},
    vip::{self, Protocol, Vip},
};

/// Longest packets that any network may be set to, and the shortest that every host of a family takes (RFC 791, RFC 8200).
pub(super) const MTU: Bounds = Bounds::new(576, 65_535);
pub(super) const MTU_V6: Bounds = Bounds::new(1280, 65_535);
pub(super) const REPLICAS: Bounds = Bounds::new(1, limits::REPLICAS as i64);
pub(super) const NEED: Bounds = Bounds::new(1, u8::MAX as i64);
/// How long a removed or draining backend keeps its flows, unless the service says otherwise.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A service: VIPs and the backends behind them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    pub name: String,
    #[serde(rename = "vip", deserialize_with = "vip::one_or_more")]
    pub vips: Vec<Vip>,
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How much of a client's address algorithm `source` goes by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source_prefix: Prefix,
    /// Backends that serve an address under algorithm `dest`, told apart by ports.
    #[serde(
        default = "balance::one",
        skip_serializing_if = "is_one",
        deserialize_with = "bounded::<_, _, { REPLICAS.min }, { REPLICAS.max }>"
    )]
    pub replicas: u8,
    /// Percent of its share of the active flows that a backend may have under algorithm `bounded`.
    #[serde(
        default = "balance::load_factor",
        skip_serializing_if = "balance::is_usual_factor",
        with = "factor"
    )]
    pub load_factor: u16,
    /// Backends of one priority serve beside those before them while fewer of those than this are usable.
    #[serde(
        default = "balance::one",
        skip_serializing_if = "is_one",
        deserialize_with = "bounded::<_, _, { NEED.min }, { NEED.max }>"
    )]
    pub need: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_full: OnFull,
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_down: OnDown,
    /// Whether the routes of its VIPs are to go while nobody serves there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub withdraw: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub udp: Udp,
    /// Whether each datagram is balanced for itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub one_packet: bool,
    /// How long a backend that takes no new flows keeps those that it has.
    #[serde(
        default = "balance::drain_timeout",
        skip_serializing_if = "is_usual_drain",
        with = "value::duration"
    )]
    pub drain_timeout: Duration,
    #[serde(default)]
    pub mode: Mode,
    /// Longest packet that may be sent to its backends, outer header included; without it, what the way takes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mtu")]
    pub mtu: Option<u16>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub fragments: Fragments,
    /// Whether the outer UDP of mode `gue` has a checksum.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checksum: bool,
    /// Without it, connection IDs are not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic: Option<QuicSpec>,
    /// Without it, a client's flows are balanced one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// New flows that are taken; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_flows: Option<Rate>,
    /// The same of each source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_flows_per_source: Option<SourceRate>,
    /// Without a check, backends count as up.
    #[serde(
        rename = "check",
        default,
        skip_serializing_if = "Vec::is_empty",
        with = "check::one_or_more"
    )]
    pub checks: Vec<CheckSpec>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: HealthSpec,
    #[serde(rename = "backend", default)]
    pub backends: Vec<BackendSpec>,
}

/// How a packet gets to its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Nat,
    FullNat,
    Dsr,
    Ipip,
    Gue,
}

/// How fragments get to the backend of their packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fragments {
    /// By the first one, which has the ports.
    #[default]
    Track,
    /// All packets of two addresses go to one backend, so that ports do not matter.
    Hash,
}

impl ServiceSpec {
    /// A service with the defaults for everything else, and no backends.
    #[must_use]
    pub fn new(name: impl Into<String>, vips: Vec<Vip>) -> Self {
        Self {
            name: name.into(),
            vips,
            algorithm: Algorithm::default(),
            source_prefix: Prefix::default(),
            replicas: balance::one(),
            load_factor: balance::load_factor(),
            need: balance::one(),
            on_full: OnFull::default(),
            on_down: OnDown::default(),
            withdraw: false,
            udp: Udp::default(),
            one_packet: false,
            drain_timeout: DRAIN_TIMEOUT,
            mode: Mode::default(),
            mtu: None,
            fragments: Fragments::default(),
            checksum: false,
            quic: None,
            affinity: None,
            new_flows: None,
            new_flows_per_source: None,
            checks: Vec::new(),
            health: HealthSpec::default(),
            backends: Vec::new(),
        }
    }

    /// Where `check` probes `backend`: nowhere where no port can be told, which a valid service rules out. A probe that has no use
    /// for a port gets one all the same where it is clear, to hand on; one by the data path ends where its VIP's packets do.
    #[must_use]
    pub fn check_target(&self, check: &CheckSpec, backend: &BackendSpec) -> Option<SocketAddr> {
        let port = match self.check_vip(check) {
            Some(vip) => Some(backend.port.unwrap_or(vip.port())),
            None => check.port.or_else(|| self.probed_port(&check.kind, backend)),
        };
        let port = if check.kind.has_port() {
            port?
        } else {
            port.unwrap_or(0)
        };
        Some(SocketAddr::new(backend.address, port))
    }

    /// What `check` asks by the data path, if that is its way.
    #[must_use]
    pub fn check_vip(&self, check: &CheckSpec) -> Option<SocketAddr> {
        check_vip(self.mode, &self.vips, check)
    }

    /// How errors name it.
    pub(super) fn thing(&self) -> String {
        format!("service {}", quoted(&self.name))
    }

    /// The one port at which a probe of this kind tells something of the service at `backend`, if there is one.
    pub(super) fn probed_port(&self, kind: &CheckKind, backend: &BackendSpec) -> Option<u16> {
        let ports = match kind {
            CheckKind::Icmp | CheckKind::Exec { .. } => self.ports(None),
            // What an agent says is on a port of its own.
            CheckKind::Agent { .. } => return None,
            kind if kind.is_udp() => self.ports(Some(Protocol::Udp)),
            _ => self.ports(Some(Protocol::Tcp)),
        };
        let mut ports = ports.iter();
        match (ports.next(), ports.next(), backend.port) {
            (Some(_), _, Some(port)) => Some(port),
            (Some(Ports::One(port)), None, None) => Some(*port),
            _ => None,
        }
    }

    /// The ports of the VIPs that are served by a protocol, or by any.
    pub(super) fn ports(&self, protocol: Option<Protocol>) -> BTreeSet<Ports> {
        self.vips
            .iter()
            .filter(|vip| protocol.is_none_or(|protocol| vip.protocol == protocol))
            .map(|vip| vip.ports)
            .collect()
    }
}

/// What a check of a service in `mode` asks by the data path, if that is its way: what a client would connect to. Of a VIP with many
/// addresses and ports it is the first of each, unless the check names the port.
#[must_use]
pub fn check_vip(mode: Mode, vips: &[Vip], check: &CheckSpec) -> Option<SocketAddr> {
    let vip = asked_vip(vips, check)?;
    let goes_there = match check.via {
        Some(Via::Direct) => false,
        Some(Via::Dataplane) => true,
        None => !mode.forward().translates(),
    };
    let (first, _) = vip.ports.bounds();
    let port = check.port.unwrap_or(first.max(1));
    goes_there.then(|| SocketAddr::new(vip.network.base(), port))
}

/// The first VIP that a probe of this kind, to the port that it names, can be sent to.
pub(super) fn asked_vip<'a>(vips: &'a [Vip], check: &CheckSpec) -> Option<&'a Vip> {
    asked_vips(vips, check).next()
}

/// All such VIPs.
pub(super) fn asked_vips<'a>(vips: &'a [Vip], check: &CheckSpec) -> impl Iterator<Item = &'a Vip> {
    let (protocol, port) = (asked_protocol(&check.kind), check.port);
    vips.iter()
        .filter(move |vip| Some(vip.protocol) == protocol && port.is_none_or(|port| vip.ports.contains(port)))
}

/// By what a probe of this kind asks a VIP, if it can.
pub(super) const fn asked_protocol(kind: &CheckKind) -> Option<Protocol> {
    match kind {
        CheckKind::Icmp | CheckKind::Exec { .. } | CheckKind::Agent { .. } => None,
        kind if kind.is_udp() => Some(Protocol::Udp),
        _ => Some(Protocol::Tcp),
    }
}

impl Mode {
    pub const ALL: &'static [Self] = &[Self::Nat, Self::FullNat, Self::Dsr, Self::Ipip, Self::Gue];

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.forward().name()
    }

    /// What the data path does for it.
    #[must_use]
    pub const fn forward(self) -> ForwardMode {
        match self {
            Self::Nat => ForwardMode::Nat,
            Self::FullNat => ForwardMode::FullNat,
            Self::Dsr => ForwardMode::Dsr,
            Self::Ipip => ForwardMode::Ipip,
            Self::Gue => ForwardMode::Gue,
        }
    }
}

impl Fragments {
    pub const ALL: &'static [Self] = &[Self::Track, Self::Hash];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Hash => "hash",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over so")]
const fn is_one(number: &u8) -> bool {
    *number == 1
}

fn is_usual_drain(timeout: &Duration) -> bool {
    *timeout == DRAIN_TIMEOUT
}

fn mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let mtu = Option::<Bounded<u16, { MTU.min }, { MTU.max }>>::deserialize(deserializer)?;
    Ok(mtu.map(|mtu| mtu.0))
}
