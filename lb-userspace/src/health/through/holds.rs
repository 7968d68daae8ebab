//! Ports of this host's that nobody else gets: bound, and never used.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Weak},
};

use lb_common::flow::Protocol;
use tokio::net::TcpSocket;

/// The ports that are held, each by all the probes that have it: they ask different VIPs, or ports of them.
#[derive(Default)]
pub(super) struct Holds(BTreeMap<(Protocol, SocketAddr), Weak<Held>>);

/// A port, for as long as somebody has it.
#[expect(dead_code, reason = "held open")]
pub(super) enum Held {
    Tcp(TcpSocket),
    Udp(UdpSocket),
}

impl Holds {
    /// Takes a port, or has a part in it.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where somebody else on this host has it.
    pub fn take(&mut self, protocol: Protocol, address: SocketAddr) -> io::Result<Arc<Held>> {
        let place = self.0.entry((protocol, address)).or_default();
        if let Some(held) = place.upgrade() {
            return Ok(held);
        }
        let held = Arc::new(hold(protocol, address)?);
        *place = Arc::downgrade(&held);
        Ok(held)
    }

    /// Forgets those that nobody has any more.
    pub fn tidy(&mut self) {
        self.0.retain(|_, held| held.strong_count() > 0);
    }
}

fn hold(protocol: Protocol, address: SocketAddr) -> io::Result<Held> {
    if protocol == Protocol::Udp {
        return UdpSocket::bind(address).map(Held::Udp);
    }
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(address)?;
    Ok(Held::Tcp(socket))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// One that nobody has.
    fn free(protocol: Protocol) -> SocketAddr {
        let mut ports = (61_000..).map(|port| SocketAddr::new(LOCAL, port));
        ports.find(|&address| hold(protocol, address).is_ok()).unwrap()
    }

    #[test]
    fn what_this_host_uses_no_probe_gets() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let address = free(protocol);
            let held = hold(protocol, address).unwrap();
            let again = Holds::default().take(protocol, address).err();
            assert_eq!(
                again.map(|error| error.kind()),
                Some(io::ErrorKind::AddrInUse),
                "{protocol:?}"
            );
            drop(held);
            hold(protocol, address).unwrap();
        }
        let nobodys = hold(Protocol::Tcp, SocketAddr::from(([192, 0, 2, 1], 61_000))).err();
        assert_eq!(nobodys.unwrap().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn several_probes_may_have_one_and_it_goes_with_the_last() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (mut holds, address) = (Holds::default(), free(protocol));
            let first = holds.take(protocol, address).unwrap();
            let second = holds.take(protocol, address).unwrap();
            drop(first);
            holds.tidy();
            let others = hold(protocol, address).err().map(|error| error.kind());
            assert_eq!(others, Some(io::ErrorKind::AddrInUse), "{protocol:?}");
            drop(second);
            let _others = hold(protocol, address).unwrap();
            holds.tidy();
            assert!(holds.0.is_empty(), "{protocol:?}");
            assert!(holds.take(protocol, address).is_err(), "{protocol:?}");
        }
    }
}
