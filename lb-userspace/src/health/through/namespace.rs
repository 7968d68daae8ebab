//! The network namespace that probes' sockets are made in, and the thread that is in it.
//!
//! A socket stays in the namespace that it was made in, whoever uses it. So one thread goes in for good and makes sockets for all others;
//! the namespace has no name, and ends with that thread and the last socket.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::Handle;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpSocket, UdpSocket},
    sync::oneshot,
};

use super::veth;
use crate::health::ProbeError;

/// The address that a socket in the namespace has. Nobody else sees it, so it may be anybody's: but no VIP's.
pub(super) const fn inside(is_v4: bool) -> IpAddr {
    if is_v4 {
        IpAddr::V4(veth::INSIDE_V4)
    } else {
        IpAddr::V6(veth::INSIDE_V6)
    }
}

#[derive(Debug)]
pub(super) struct Namespace {
    asks: mpsc::Sender<Ask>,
    door: u32,
}

/// A socket that is wanted, bound to this address.
enum Ask {
    Tcp(SocketAddr, oneshot::Sender<io::Result<TcpSocket>>),
    Udp(SocketAddr, oneshot::Sender<io::Result<std::net::UdpSocket>>),
}

impl Namespace {
    /// Makes it, with its door on this host. Blocks for a moment.
    pub fn make() -> Result<Self> {
        let (asks, asked) = mpsc::channel();
        let (made, make) = mpsc::channel();
        let thread = thread::Builder::new().name("probes".into());
        thread
            .spawn(move || {
                let entered = enter();
                let is_inside = entered.is_ok();
                if made.send(entered).is_ok() && is_inside {
                    serve(&asked);
                }
            })
            .context("start a thread")?;
        let door = make.recv().context("the thread in the namespace has ended")??;
        Ok(Self { asks, door })
    }

    /// Index of the interface on this host that leads in.
    pub const fn door(&self) -> u32 {
        self.door
    }

    pub async fn tcp(&self, local: SocketAddr) -> Result<TcpSocket, ProbeError> {
        let (tell, told) = oneshot::channel();
        self.ask(Ask::Tcp(local, tell), told).await
    }

    pub async fn udp(&self, local: SocketAddr) -> Result<UdpSocket, ProbeError> {
        let (tell, told) = oneshot::channel();
        let socket = self.ask(Ask::Udp(local, tell), told).await?;
        UdpSocket::from_std(socket).map_err(|error| refused(&error))
    }

    async fn ask<T>(&self, ask: Ask, told: oneshot::Receiver<io::Result<T>>) -> Result<T, ProbeError> {
        let ended = || ProbeError::ours("the thread in the namespace of probes has ended");
        self.asks.send(ask).map_err(|_| ended())?;
        let socket = told.await.map_err(|_| ended())?;
        socket.map_err(|error| refused(&error))
    }
}

fn refused(error: &io::Error) -> ProbeError {
    ProbeError::ours(format!("open a socket in the namespace of probes: {error}"))
}

/// Moves this thread into a new namespace, and furnishes that; gives the index of its door.
fn enter() -> Result<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start a runtime")?.block_on(enter_from_here())
}

async fn enter_from_here() -> Result<u32> {
    let host = File::open("/proc/thread-self/ns/net").context("open this host's network namespace")?;
    // A netlink socket speaks to the namespace that it was made in.
    let of_host = netlink()?;
    unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace for probes (as root)")?;
    // A probe may have the port of one before it that is in TIME-WAIT: its backend is another one, or has closed in order. The kernel's
    // own rule is to allow that to loopback alone (ip-sysctl: tcp_tw_reuse).
    if let Err(error) = fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1") {
        log::warn!("set tcp_tw_reuse for probes: {error}");
    }
    veth::furnish(&netlink()?, (&host, &of_host)).await
}

/// A connection that ends with this thread's runtime.
fn netlink() -> Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Makes sockets until nobody is left who could ask.
fn serve(asked: &mpsc::Receiver<Ask>) {
    for ask in asked {
        // Who does not wait any more has no use for it.
        let _ = match ask {
            Ask::Tcp(local, tell) => tell.send(tcp(local)).map_err(drop),
            Ask::Udp(local, tell) => tell.send(udp(local)).map_err(drop),
        };
    }
}

fn tcp(local: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if local.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // One before it may be in TIME-WAIT, and one that asks another VIP may have the same port.
    socket.set_reuseaddr(true)?;
    socket.bind(local)?;
    Ok(socket)
}

fn udp(local: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, None)?;
    // As above. Once connected, it gets only what comes from what it asks.
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
