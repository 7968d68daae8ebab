//! Datagrams to an echo.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host::Host;

/// Bytes of each datagram: a number, then its low byte over and over.
const LENGTH: usize = 64;

/// What became of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpReport {
    /// Sent.
    pub sent: u64,
    /// Echoed to the socket that sent them byte for byte.
    pub echoed: u64,
    /// Replies that are not what their socket sent, or came too late.
    pub wrong: u64,
    /// Sends that the kernel refused, an ICMP error to an earlier datagram among the reasons.
    pub refused: u64,
}

impl Host {
    /// Sends `count` datagrams to `to`, in turn from `sockets` sockets (each a flow), and waits up to `timeout` for
    /// each round of echoes: at most `sockets` datagrams are under way.
    pub fn udp_echo_test(
        &self,
        to: SocketAddr,
        count: u64,
        sockets: u16,
        timeout: Duration,
    ) -> Result<UdpReport> {
        let open = || {
            let any = if to.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.connect(to).map(|()| socket)
        };
        let sockets = self.ns.run(|| {
            (0..sockets.max(1))
                .map(|_| open())
                .collect::<std::io::Result<Vec<_>>>()
        })?;
        let sockets = sockets.with_context(|| format!("open UDP sockets on {}", self.name))?;
        let mut report = UdpReport::default();
        let mut number = 0;
        while number < count {
            let mut round = Vec::new();
            for socket in sockets
                .iter()
                .take(usize::try_from(count - number).unwrap_or(usize::MAX))
            {
                number += 1;
                match socket.send(&datagram(number)) {
                    Ok(_) => round.push((socket, number)),
                    Err(_) => report.refused += 1,
                }
            }
            report.sent += round.len() as u64;
            let deadline = Instant::now() + timeout;
            for (socket, number) in round {
                receive(socket, number, deadline, &mut report)?;
            }
        }
        Ok(report)
    }
}

/// Waits for the echo of `number`; counts what else comes as wrong.
fn receive(socket: &UdpSocket, number: u64, deadline: Instant, report: &mut UdpReport) -> Result<()> {
    let mut buffer = [0; LENGTH + 1];
    loop {
        // Zero would mean for ever.
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(length) if buffer[..length] == datagram(number) => report.echoed += 1,
            Ok(_) => {
                report.wrong += 1;
                continue;
            }
            // Not echoed.
            Err(_) => {}
        }
        return Ok(());
    }
}

fn datagram(number: u64) -> [u8; LENGTH] {
    let head = number.to_be_bytes();
    let mut bytes = [head[7]; LENGTH];
    bytes[..8].copy_from_slice(&head);
    bytes
}
