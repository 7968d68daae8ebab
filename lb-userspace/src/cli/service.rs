//! `xlb service …`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser as NonEmpty, value_parser};

use crate::{
    cli::values,
    config::{Algorithm, BackendSpec, Fragments, Mode, StatusSet, Vip},
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
    /// How a backend is picked
    #[arg(long, value_name = "NAME", default_value = "maglev", value_parser = values::by_name::<Algorithm>)]
    pub algorithm: Algorithm,
    /// A backend; repeat for more [defaults: the VIP's port, name ADDR:PORT, weight 100]
    #[arg(
        long = "backend",
        value_name = "ADDR[:PORT][,name=N][,weight=N][,server-id=HEX]"
    )]
    #[arg(value_parser = values::backend)]
    pub backends: Vec<BackendSpec>,
    #[command(flatten)]
    pub check: CheckArguments,
}

/// How backends of a new service are probed. What is absent has the configuration's default.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Check")]
pub struct CheckArguments {
    /// Probe the backends: tcp (opens a connection) or http (sends a GET)
    #[arg(long = "check", value_enum, value_name = "KIND", hide_possible_values = true)]
    pub probe: Option<Probe>,
    /// Time from one probe to the next, such as 1s
    #[arg(long = "check-interval", value_name = "TIME", requires = "probe", value_parser = values::duration)]
    pub interval: Option<Duration>,
    /// Time a backend has to answer, such as 500ms
    #[arg(long = "check-timeout", value_name = "TIME", requires = "probe", value_parser = values::duration)]
    pub timeout: Option<Duration>,
    /// Passed probes in a row that bring a backend up
    #[arg(long = "check-rise", value_name = "N", requires = "probe")]
    pub rise: Option<u32>,
    /// Failed probes in a row that take a backend down
    #[arg(long = "check-fall", value_name = "N", requires = "probe")]
    pub fall: Option<u32>,
    /// Port to probe [default: the backend's]
    #[arg(long = "check-port", value_name = "PORT", requires = "probe", value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Path to get (http)
    #[arg(long = "check-path", value_name = "PATH", requires = "probe")]
    pub path: Option<String>,
    /// Host header to send (http)
    #[arg(long = "check-host", value_name = "HOST", requires = "probe")]
    pub host: Option<String>,
    /// Status codes that pass, such as 200 or 200-299,304 (http)
    #[arg(long = "check-status", value_name = "CODES", requires = "probe")]
    pub status: Option<StatusSet>,
    /// Text that the body has to contain (http)
    #[arg(long = "check-body", value_name = "TEXT", requires = "probe")]
    pub body: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    Tcp,
    Http,
}
