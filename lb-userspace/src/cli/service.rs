//! `xlb service …`

use std::time::Duration;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser as NonEmpty, value_parser};

use crate::{
    cli::{
        flows::{self, Setting},
        values,
    },
    config::{
        Affinity, Algorithm, BackendSpec, Fragments, Mode, OnDown, OnFull, Prefix, Rate, SourceRate,
        StatusSet, Udp, Vip,
    },
};

#[derive(Clone, Debug, Subcommand)]
pub enum ServiceCommand {
    /// List all services
    List,
    /// Show one service and its backends
    Show {
        /// Name of the service
        #[arg(value_parser = NonEmpty::new())]
        name: String,
    },
    /// Add a service
    #[command(
        after_help = "Example:\n  xlb service add web --vip 192.0.2.10:80/tcp \\\n    \
        --backend 10.0.0.2:8080,name=b1 --backend 10.0.0.3:8080,name=b2,weight=50 \\\n    \
        --check http --check-path /health --check-status 200-299\n  \
        xlb service add games --vip 198.51.100.0/24:27000-27999/udp --mode gue --backend 10.0.0.2"
    )]
    Add(Box<ServiceAdd>),
    /// Change how a service spreads its flows and how it is checked: what is given, and all else stays
    #[command(after_help = "Examples:\n  xlb service set web --algorithm least-conn\n  \
        xlb service set web --affinity 10m,prefix=24/64 --new-flows-per-source 20,burst=100\n  \
        xlb service set web --affinity off")]
    Set {
        /// Name of the service
        #[arg(value_parser = NonEmpty::new())]
        name: String,
        #[command(flatten)]
        flows: Box<FlowArguments>,
        #[command(flatten)]
        check: Box<CheckArguments>,
    },
    /// Remove a service and its backends; its flows end
    Rm {
        /// Name of the service
        #[arg(value_parser = NonEmpty::new())]
        name: String,
    },
}

#[derive(Clone, Debug, Args)]
pub struct ServiceAdd {
    /// Name of the new service
    #[arg(value_parser = NonEmpty::new())]
    pub name: String,
    /// What clients connect to; repeat for more. The address may be a network, the port a range or *
    #[arg(long = "vip", required = true, value_name = "ADDR:PORT/PROTO")]
    pub vips: Vec<Vip>,
    /// How packets reach a backend: nat, full-nat, dsr, ipip or gue
    #[arg(long, value_name = "MODE", default_value = "nat", value_parser = values::by_name::<Mode>)]
    pub mode: Mode,
    /// Longest packet to send to a backend, outer header included [default: what the way takes]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u16>,
    /// How fragments find their packet's backend: track (by the first one) or hash (by addresses)
    #[arg(long, value_name = "HOW", default_value = "track", value_parser = values::by_name::<Fragments>)]
    pub fragments: Fragments,
    /// Give the outer UDP of mode gue a checksum
    #[arg(long)]
    pub checksum: bool,
    /// Read QUIC connection IDs with these config rotation bits, 0 to 6
    #[arg(long, value_name = "N", requires = "quic_server_id_length")]
    pub quic_config_id: Option<u8>,
    /// Bytes of the server ID in QUIC connection IDs, 1 to 8
    #[arg(long, value_name = "N", requires = "quic_config_id")]
    pub quic_server_id_length: Option<u8>,
    /// A backend; repeat for more. Options: name, weight, max-connections, priority, state, server-id
    #[arg(long = "backend", value_name = "ADDR[:PORT][,OPTION=VALUE]…")]
    #[arg(value_parser = values::backend)]
    pub backends: Vec<BackendSpec>,
    /// Balance each datagram for itself and remember nothing: for stateless UDP
    #[arg(long)]
    pub one_packet: bool,
    #[command(flatten)]
    pub flows: FlowArguments,
    #[command(flatten)]
    pub check: CheckArguments,
}

/// How flows are spread. What is absent has the configuration's default, or stays as it is.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Flows")]
#[group(id = "flow_settings", multiple = true)]
pub struct FlowArguments {
    /// maglev, source, dest, dest-port, bounded, round-robin, random, p2c, least-conn, first or failover
    #[arg(long, value_name = "NAME", value_parser = values::by_name::<Algorithm>)]
    pub algorithm: Option<Algorithm>,
    /// Bits of a client's address that algorithm source goes by, of IPv4 and IPv6 [default: 32/128]
    #[arg(long, value_name = "V4/V6")]
    pub source_prefix: Option<Prefix>,
    /// Backends of an address under algorithm dest, told apart by ports, 1 to 4 [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub replicas: Option<u8>,
    /// Times its share of the active flows that a backend may have under algorithm bounded [default: 1.25]
    #[arg(long, value_name = "X", value_parser = flows::load_factor, allow_negative_numbers = true)]
    pub load_factor: Option<u16>,
    /// Backends of the next priority serve too while fewer than this are usable [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub need: Option<u8>,
    /// What becomes of a new flow when all backends are full: reject, drop or spill [default: reject]
    #[arg(long, value_name = "WHAT", value_parser = values::by_name::<OnFull>)]
    pub on_full: Option<OnFull>,
    /// What becomes of packets when no backend is up: drop, reset or pass (to this host) [default: drop]
    #[arg(long, value_name = "WHAT", value_parser = values::by_name::<OnDown>)]
    pub on_down: Option<OnDown>,
    /// Whether the routes of its VIPs are to go while nobody serves there: a mark for who announces them [default: false]
    #[arg(long, value_name = "true|false")]
    pub withdraw: Option<bool>,
    /// Whether datagrams stay with their backend when others are to have it: stay or move [default: stay]
    #[arg(long, value_name = "HOW", value_parser = values::by_name::<Udp>)]
    pub udp: Option<Udp>,
    /// How long a draining or removed backend keeps its flows [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub drain_timeout: Option<Duration>,
    /// New flows of a client go where its last one went, for so long after it; or off
    #[arg(long, value_name = "TIME[,prefix=V4/V6]", value_parser = flows::affinity)]
    pub affinity: Option<Setting<Affinity>>,
    /// New flows that are taken in a second; or off
    #[arg(long, value_name = "N[,burst=N]", value_parser = flows::rate)]
    pub new_flows: Option<Setting<Rate>>,
    /// New flows that are taken of each source in a second; or off
    #[arg(long, value_name = "N[,burst=N][,prefix=V4/V6]", value_parser = flows::source_rate)]
    pub new_flows_per_source: Option<Setting<SourceRate>>,
}

/// How backends are probed. What is absent of a check has the configuration's default.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Check")]
pub struct CheckArguments {
    /// A check of the backends: tcp, tcp-hold, http, https, grpc, udp, dns, icmp, exec or agent; repeat for more; of set also none
    #[arg(long = "check", value_name = "TYPE[,FIELD=VALUE]…")]
    pub checks: Vec<String>,
    /// What is made of results: require, checking, slow_start, panic, flaps.hold, passive.signs, … (docs/health.md)
    #[arg(long = "health", value_name = "FIELD=VALUE[,FIELD=VALUE]…")]
    pub health: Option<String>,
    /// Time from one probe to the next, such as 1s
    #[arg(long = "check-interval", value_name = "TIME", requires = "checks", value_parser = values::duration)]
    pub interval: Option<Duration>,
    /// Time a backend has to answer, such as 500ms
    #[arg(long = "check-timeout", value_name = "TIME", requires = "checks", value_parser = values::duration)]
    pub timeout: Option<Duration>,
    /// Passed probes in a row that bring a backend up
    #[arg(long = "check-rise", value_name = "N", requires = "checks")]
    pub rise: Option<u32>,
    /// Failed probes in a row that take a backend down
    #[arg(long = "check-fall", value_name = "N", requires = "checks")]
    pub fall: Option<u32>,
    /// Port to probe [default: the backend's]
    #[arg(long = "check-port", value_name = "PORT", requires = "checks", value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Path to get (http)
    #[arg(long = "check-path", value_name = "PATH", requires = "checks")]
    pub path: Option<String>,
    /// Host header to send (http)
    #[arg(long = "check-host", value_name = "HOST", requires = "checks")]
    pub host: Option<String>,
    /// Status codes that pass, such as 200 or 200-299,304 (http)
    #[arg(long = "check-status", value_name = "CODES", requires = "checks")]
    pub status: Option<StatusSet>,
    /// Text that the body has to contain (http)
    #[arg(long = "check-body", value_name = "TEXT", requires = "checks")]
    pub body: Option<String>,
}
