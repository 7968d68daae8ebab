//! What `xlb decap` is told.

use clap::{Args, builder::NonEmptyStringValueParser as NonEmpty, value_parser};
use lb_common::service::GUE_PORT;

use crate::config::Network;

pub(super) const HELP: &str = "\
For backends of services in the modes ipip and gue that have no tunnel devices (ipip, ip6tnl, sit,
fou). Runs in the foreground until SIGTERM or Ctrl-C, and leaves nothing behind.

Takes a packet out of its tunnel if the tunnel ends at an address of this host and what is in it is
for an address of this host, as a VIP on lo is; everything else goes to the kernel as it came. Who can
reach such an address with tunnels can send packets past filters that look at outer headers alone:
name the balancers with --from, or filter protocols 4 and 41 and the UDP port before this host.

Examples:
  ip addr add 192.0.2.10/32 dev lo
  xlb decap --interface eth0 --from 10.0.0.0/24";

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Interface that tunnels come in by
    #[arg(long, short, value_name = "DEV", value_parser = NonEmpty::new())]
    pub interface: String,
    /// UDP port that GUE comes to
    #[arg(long, value_name = "PORT", default_value_t = GUE_PORT, value_parser = value_parser!(u16).range(1..))]
    pub port: u16,
    /// Address or network that tunnels may come from; repeat for more [default: everywhere]
    #[arg(long = "from", value_name = "NET")]
    pub sources: Vec<Network>,
    /// Take this address or network, and no other, for this host's; repeat for more, VIPs and ends of
    /// tunnels [default: what the kernel takes for its own]
    #[arg(long = "local", value_name = "NET")]
    pub locals: Vec<Network>,
    /// Run the program in the stack, not in the driver
    #[arg(long)]
    pub generic: bool,
}
