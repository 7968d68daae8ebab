//! `xlb backend …`

use std::net::IpAddr;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser as NonEmpty, value_parser};

use crate::{
    cli::values::{self, BackendPath},
    config::{Admin, MAX_WEIGHT, ServerId},
};

#[derive(Clone, Debug, Subcommand)]
pub enum BackendCommand {
    /// List the backends of one or all services
    List {
        /// Name of the service
        #[arg(value_parser = NonEmpty::new())]
        service: Option<String>,
    },
    /// Add a backend to a service
    #[command(after_help = "Example:\n  xlb backend add web/b3 --address 10.0.0.4 --port 8080 --weight 50")]
    Add(BackendAdd),
    /// Change settings of a backend
    #[command(after_help = "Example:\n  xlb backend set web/b3 --max-connections 500 --priority 1")]
    Set(BackendSet),
    /// Remove a backend; flows that it has may go on for the service's drain timeout ('maintenance' before that ends them)
    Rm {
        /// Service and name of the backend
        #[arg(value_name = "SERVICE/NAME")]
        path: BackendPath,
    },
    /// Give a backend no new flows, and let it keep those it has for the service's drain timeout
    Drain {
        /// Service and name of the backend
        #[arg(value_name = "SERVICE/NAME")]
        path: BackendPath,
    },
    /// Give a backend nothing more; its flows end at once
    Maintenance {
        /// Service and name of the backend
        #[arg(value_name = "SERVICE/NAME")]
        path: BackendPath,
    },
    /// Give a backend new flows again, after a drain or maintenance
    Ready {
        /// Service and name of the backend
        #[arg(value_name = "SERVICE/NAME")]
        path: BackendPath,
    },
    /// Change a backend's share of new flows
    Weight {
        /// Service and name of the backend
        #[arg(value_name = "SERVICE/NAME")]
        path: BackendPath,
        /// Share relative to the others, 0 to 1000
        #[arg(value_name = "N", value_parser = value_parser!(u16).range(..=i64::from(MAX_WEIGHT)))]
        #[arg(allow_negative_numbers = true)]
        weight: u16,
    },
}

#[derive(Clone, Debug, Args)]
pub struct BackendAdd {
    /// Service and name of the new backend
    #[arg(value_name = "SERVICE/NAME")]
    pub path: BackendPath,
    /// Address of the backend
    #[arg(long, value_name = "IP", value_parser = values::address)]
    pub address: IpAddr,
    /// Port to send packets to [default: the VIP's]
    #[arg(long, value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    #[command(flatten)]
    pub settings: BackendSettings,
    /// Server ID in the QUIC connection IDs that it issues, such as 0a0b
    #[arg(long, value_name = "HEX")]
    pub server_id: Option<ServerId>,
}

#[derive(Clone, Debug, Args)]
pub struct BackendSet {
    /// Service and name of the backend
    #[arg(value_name = "SERVICE/NAME")]
    pub path: BackendPath,
    #[command(flatten)]
    pub settings: BackendSettings,
}

/// What may change of a backend.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(id = "backend_settings", multiple = true)]
pub struct BackendSettings {
    /// Share of new flows relative to the others, 0 to 1000 [default for a new one: 100]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(..=i64::from(MAX_WEIGHT)))]
    #[arg(allow_negative_numbers = true)]
    pub weight: Option<u16>,
    /// Active flows with which it gets no new one; 0 for any number [default for a new one: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_connections: Option<u32>,
    /// 0 serves first, higher ones where fewer than the service's need of those before are usable [default for a new one: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<u8>,
    /// ready, drain (keeps its flows, gets no new ones) or maintenance (gets nothing) [default for a new one: ready]
    #[arg(long, value_name = "STATE", value_parser = values::by_name::<Admin>)]
    pub state: Option<Admin>,
}
