//! Arguments of `xlb backend-setup`.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

use super::values;
use crate::config::{Mode, Vip};

/// A service by its file or by its own words, and what the file does not say.
#[derive(Clone, Debug, Args)]
pub struct BackendSetup {
    /// Print the commands and run none of them, which is the default
    #[arg(long)]
    pub print: bool,
    /// Configuration file that the service is in
    #[arg(long, short, value_name = "FILE", requires = "service")]
    pub config: Option<PathBuf>,
    /// Name of the service
    #[arg(long, value_name = "NAME", requires = "config", conflicts_with = "vips")]
    pub service: Option<String>,
    /// Name of a backend [default: commands that fit each of them]
    #[arg(long, value_name = "NAME", requires = "config", conflicts_with = "vips")]
    pub backend: Option<String>,
    /// Without a file: address that clients connect to; repeat for more
    #[arg(long = "vip", value_name = "ADDR:PORT/PROTO", requires = "mode")]
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    pub vips: Vec<Vip>,
    /// Without a file: how packets reach the backend
    // clap requires nothing of an argument that conflicts with one that is there: both have to be said.
    #[arg(long, value_name = "MODE", requires = "vips", conflicts_with = "config", value_parser = values::by_name::<Mode>)]
    pub mode: Option<Mode>,
    /// Without a file: the backend's own address; repeat for more
    #[arg(long = "address", value_name = "IP", requires = "vips", conflicts_with = "config", value_parser = values::address)]
    pub addresses: Vec<IpAddr>,
    /// The backend's interface to the balancer [default: the one with the backend's address]
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Address of the balancer on the backend's network, which replies go to in mode nat; repeat for the other family
    #[arg(long = "balancer", value_name = "IP", value_parser = values::address)]
    pub balancers: Vec<IpAddr>,
    /// Take outer headers off with 'xlb decap', where the kernel has no tunnel devices
    #[arg(long)]
    pub decap: bool,
}
