//! `xlb lookup`

use std::net::SocketAddr;

use clap::Args;

use crate::{
    api::protocol::{PacketKind, Probe, Target},
    cli::values,
};

/// Below the help.
pub const HELP: &str = "\
Nothing is sent, and nothing is changed. The exit code is 0 if a backend gets the packet, 2 if the service has
none for it, and 1 if no service takes it.

Examples:
  xlb lookup --from 198.51.100.7:40000 --to 192.0.2.10:80
  xlb lookup --from 198.51.100.7:40000 --to 192.0.2.10:80/tcp --packet data
  xlb lookup --from [2001:db8::7]:5353 --to [2001:db8:1::10]:53/udp";

#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub ends: Ends,
    /// What it is: syn or data of a TCP connection, or a datagram [default: the first of its flow]
    #[arg(long, value_name = "WHAT", value_parser = values::by_name::<PacketKind>)]
    pub packet: Option<PacketKind>,
}

/// Both ends of a client's flow.
#[derive(Clone, Copy, Debug, Args)]
pub struct Ends {
    /// Address and port of the client
    #[arg(long, value_name = "IP:PORT", value_parser = values::socket)]
    pub from: SocketAddr,
    /// What the client sends to: tcp, unless it says udp or sctp
    #[arg(long, value_name = "VIP:PORT[/PROTO]")]
    pub to: Target,
}

impl Arguments {
    #[must_use]
    pub const fn probe(&self) -> Probe {
        let Ends { from, to } = self.ends;
        Probe {
            from,
            to,
            packet: self.packet,
        }
    }
}
