//! A UDP echo in this process, on a socket in the host's namespace.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::host::Host;

/// How long a dropped server may stay in recv.
const POLL: Duration = Duration::from_millis(50);

/// One socket takes the bursts of many clients: the kernel's default would lose some.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Sends every datagram back to where it came from.
#[derive(Debug)]
pub struct UdpEcho {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    received: AtomicU64,
}

impl UdpEcho {
    pub(super) fn start(host: &Host, on: SocketAddr) -> Result<Self> {
        let socket = host.ns.run(|| UdpSocket::bind(on))?;
        let socket = socket.with_context(|| format!("UDP socket {on} on {}", host.name))?;
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).context("enlarge a receive buffer")?;
        socket.set_read_timeout(Some(POLL))?;
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new()
            .name(format!("udp-echo-{}", host.name))
            .spawn({
                let shared = shared.clone();
                move || serve(&socket, &shared)
            })?;
        Ok(Self {
            addr: if on.ip().is_unspecified() {
                SocketAddr::new(host.addr.into(), on.port())
            } else {
                on
            },
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many datagrams it has got.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, not even that it panicked.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = vec![0; 65_536];
    while !shared.ended.load(Ordering::Relaxed) {
        // Errors are timeouts and ICMP messages about earlier replies: both leave the server running.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        shared.received.fetch_add(1, Ordering::Relaxed);
        let _ = socket.send_to(&buffer[..length], from);
    }
}
