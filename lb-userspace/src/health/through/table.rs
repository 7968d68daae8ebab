//! The ports that are lent, and what the programs are told of them.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use lb_common::{
    flow::Protocol,
    next_hop::NextHop,
    probe::{Probe, ProbeKey},
};
use tokio::net::TcpSocket;

use super::{Through, ports::Ports};
use crate::datapath::probing::Probes;

/// Ports tried for a probe: this host may use some itself, or another balancer on it.
const TRIES: usize = 64;

pub(super) struct Table {
    probes: Probes,
    /// The way into the namespace.
    door: NextHop,
    tcp: [Ports<Held>; 2],
    udp: [Ports<Held>; 2],
}

/// A port of this host's that nobody else gets: bound, and never used.
#[expect(dead_code, reason = "held open")]
enum Held {
    Tcp(TcpSocket),
    Udp(UdpSocket),
}

impl Table {
    pub fn new(probes: Probes, door: NextHop) -> Self {
        Self {
            probes,
            door,
            tcp: [Ports::new(), Ports::new()],
            udp: [Ports::new(), Ports::new()],
        }
    }

    fn ports(&mut self, protocol: Protocol, is_v4: bool) -> Result<&mut Ports<Held>> {
        match protocol {
            Protocol::Tcp => Ok(&mut self.tcp[usize::from(is_v4)]),
            Protocol::Udp => Ok(&mut self.udp[usize::from(is_v4)]),
            Protocol::Sctp => bail!("there are no probes by {}", protocol.name()),
        }
    }

    /// Lends a port for a probe whose entry is `entry`.
    pub fn lend(&mut self, via: &Through, entry: impl Fn(NextHop) -> Probe) -> Result<ProbeKey> {
        let (protocol, is_v4) = (via.protocol, via.vip.is_ipv4());
        let key = |port: u16| ProbeKey::new(port.to_be(), protocol.number(), is_v4);
        while let Some((port, held)) = self.ports(protocol, is_v4)?.rested(Instant::now()) {
            self.probes.remove(&key(port))?;
            drop(held);
        }
        for _ in 0..TRIES {
            let turn = self.ports(protocol, is_v4)?.turn();
            let port = turn.context("as many probes as there are ports are under way")?;
            let held = match hold(protocol, via.source, port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                held => held.with_context(|| format!("take port {port} of {}", via.source))?,
            };
            self.probes.put(&key(port), &entry(self.door))?;
            self.ports(protocol, is_v4)?.lend(port, held);
            return Ok(key(port));
        }
        bail!("{TRIES} ports of {} in turn are in use", via.source)
    }

    /// Takes a port back.
    pub fn give_back(&mut self, key: ProbeKey) {
        let protocol = u8::try_from(key.protocol).ok().and_then(Protocol::from_wire);
        let ports = protocol.map(|protocol| self.ports(protocol, key.version == 4));
        if let Some(Ok(ports)) = ports {
            ports.give_back(u16::from_be(key.port), Instant::now());
        }
    }
}

fn hold(protocol: Protocol, source: IpAddr, port: u16) -> io::Result<Held> {
    let address = SocketAddr::new(source, port);
    if protocol == Protocol::Udp {
        return UdpSocket::bind(address).map(Held::Udp);
    }
    let socket = if source.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(address)?;
    Ok(Held::Tcp(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_uses_no_probe_gets() {
        let local = IpAddr::from([127, 0, 0, 1]);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let free = (61_000..)
                .find(|&port| hold(protocol, local, port).is_ok())
                .unwrap();
            let held = hold(protocol, local, free).unwrap();
            let again = hold(protocol, local, free).err().map(|error| error.kind());
            assert_eq!(again, Some(io::ErrorKind::AddrInUse), "{protocol:?}");
            drop(held);
            hold(protocol, local, free).unwrap();
        }
        let nobodys = hold(Protocol::Tcp, [192, 0, 2, 1].into(), 61_000).err();
        assert_eq!(nobodys.unwrap().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
