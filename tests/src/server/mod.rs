//! Real servers on hosts: nginx, iperf3, dnsmasq, a UDP echo, a TCP server that behaves to order, the far end of tunnels. Each ends when
//! its handle is dropped.

mod decap;
mod dns;
mod iperf;
mod nginx;
mod scripted;
mod udp_echo;

pub mod files;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;

use crate::host::Host;
use crate::preflight;

pub use decap::Decap;
pub use dns::Dns;
pub use iperf::Iperf;
pub use nginx::{Nginx, NginxBuilder};
pub use scripted::{Manner, Scripted};
pub use udp_echo::UdpEcho;

impl Host {
    /// nginx on port 80; [`Host::nginx_with`] for more.
    pub fn nginx(&self) -> Result<Nginx> {
        self.nginx_with().start()
    }

    /// nginx on other ports, or with files to serve.
    pub fn nginx_with(&self) -> NginxBuilder {
        NginxBuilder::new(self)
    }

    /// A UDP echo on `port` of every address.
    pub fn udp_echo(&self, port: u16) -> Result<UdpEcho> {
        UdpEcho::start(self, any(port))
    }

    /// A UDP echo on one address, which it then answers from: on every address, the kernel would choose one.
    pub fn udp_echo_on(&self, addr: SocketAddr) -> Result<UdpEcho> {
        UdpEcho::start(self, addr)
    }

    /// `xlb decap` on `eth0`, with more arguments.
    pub fn decap(&self, args: &[&str]) -> Result<Decap> {
        Decap::start(self, args)
    }

    /// iperf3's server on `port` of an address.
    pub fn iperf_server(&self, addr: SocketAddr) -> Result<Iperf> {
        Iperf::start(self, addr)
    }

    /// A DNS server on port 53 of every address; [`Dns::NAME`] has a text of so many bytes, in strings of its own, and
    /// [`Dns::SITE`] an address.
    pub fn dns(&self, bytes: usize) -> Result<Dns> {
        Dns::start(self, bytes)
    }

    /// A TCP server on `port` of every address that greets with the host's name and a newline, then echoes.
    pub fn tcp_echo(&self, port: u16) -> Result<Scripted> {
        self.scripted(port, [Manner::Echoes(format!("{}\n", self.name))])
    }

    /// A TCP server on `port` of every address. Connections meet one manner after another of a script, then all its last.
    pub fn scripted(&self, port: u16, script: impl IntoIterator<Item = Manner>) -> Result<Scripted> {
        Scripted::start(self, port, script)
    }
}

/// Every address, of IPv4 too: an IPv6 socket takes both.
fn any(port: u16) -> SocketAddr {
    let any = if preflight::has_ipv6() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    SocketAddr::new(any, port)
}
