//! Where a probe's packets go: straight to the backend, or to the VIP by the data path.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use lb_common::{flow::Protocol, service::ForwardMode};
use tokio::net::{TcpSocket, UdpSocket};

use super::{
    super::through::{Lease, Path, Through},
    ProbeError,
};

/// How a backend's probes get to it by the data path.
#[derive(Clone)]
pub struct Way {
    pub path: Path,
    pub via: Through,
    pub mode: ForwardMode,
}

impl Way {
    /// Whether it leads the same way.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.via, self.mode) == (other.via, other.mode)
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} by {:?}", self.mode, self.via)
    }
}

/// Where the probes of a check go.
#[derive(Clone, Debug)]
pub enum Course {
    /// Straight to the backend's address.
    Direct,
    /// To the VIP, by the data path.
    Through(Way),
    /// There is no way, for this reason: each probe fails by it.
    Nowhere(ProbeError),
}

impl Course {
    #[must_use]
    pub const fn way(&self) -> Option<&Way> {
        match self {
            Self::Through(way) => Some(way),
            Self::Direct | Self::Nowhere(_) => None,
        }
    }
}

impl PartialEq for Course {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Direct, Self::Direct) => true,
            (Self::Through(one), Self::Through(other)) => one.is_same(other),
            (Self::Nowhere(one), Self::Nowhere(other)) => one == other,
            _ => false,
        }
    }
}

/// Where one probe's packets go.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What is connected to.
    pub address: SocketAddr,
    door: Option<&'a Door<'a>>,
}

/// The data path, for the sockets of one probe. To be dropped after them.
pub struct Door<'a> {
    way: &'a Way,
    leases: Mutex<Vec<Arc<Lease>>>,
}

impl<'a> Door<'a> {
    /// # Errors
    /// When this host cannot probe through the data path.
    pub async fn open(way: &'a Way) -> Result<Self, ProbeError> {
        way.path.ready().await?;
        let leases = Mutex::default();
        Ok(Self { way, leases })
    }

    async fn lease(&self, protocol: Protocol) -> Result<Arc<Lease>, ProbeError> {
        let via = Through {
            protocol,
            ..self.way.via
        };
        let lease = Arc::new(self.way.path.lease(&via).await?);
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.push(lease.clone());
        Ok(lease)
    }
}

impl std::fmt::Debug for Door<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.way.fmt(f)
    }
}

impl From<SocketAddr> for Target<'static> {
    /// Straight there.
    fn from(address: SocketAddr) -> Self {
        Self { address, door: None }
    }
}

impl<'a> Target<'a> {
    /// By the data path.
    #[must_use]
    pub const fn through(door: &'a Door<'a>) -> Self {
        Self {
            address: door.way.via.vip,
            door: Some(door),
        }
    }

    /// A socket that can be connected there.
    ///
    /// # Errors
    /// When this host has none.
    pub async fn tcp(self) -> Result<TcpSocket, ProbeError> {
        let Some(door) = self.door else {
            let made = if self.address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            };
            return made.map_err(|error| ProbeError::io("make a socket", &error));
        };
        door.lease(Protocol::Tcp).await?.tcp_socket().await
    }

    /// The same for datagrams; `None` where any will do.
    ///
    /// # Errors
    /// When this host has none.
    pub async fn udp(self) -> Result<Option<UdpSocket>, ProbeError> {
        let Some(door) = self.door else { return Ok(None) };
        door.lease(Protocol::Udp).await?.udp_socket().await.map(Some)
    }
}
