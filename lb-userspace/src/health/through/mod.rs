//! Probes through the data path: a probe's packets go to the VIP, and by the balancer's own rewriting or tunnel to one backend, which
//! answers as it answers clients. So a backend without the VIP, without the other end of its tunnel, or that filters such packets is found
//! down.
//!
//! A probe's socket is made in a network namespace of the agent's own ([`namespace`]), out of which nothing leads but one pair of
//! interfaces. What comes out of it is taken by the program `xlb_probe` (`lb-ebpf/src/probe.rs`), which knows by the socket's port and
//! by what is asked which backend it is for; the balancer's program knows the answers by the same. For as long as a probe has its [`Lease`],
//! no other probe of that VIP and port has the port, nor anybody else on this host.
//!
//! Nothing stays when the agent ends, however it ends: the namespace and its interfaces go with their last file.

mod holds;
mod namespace;
mod ports;
mod table;
mod veth;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use lb_common::{
    flow::Protocol,
    next_hop::{NextHop, Vlans},
    probe::Probe,
    service::ForwardMode,
};
use tokio::{
    net::{TcpSocket, UdpSocket},
    sync::{OnceCell, oneshot},
    task::spawn_blocking,
};

use self::{
    namespace::Namespace,
    table::{Loan, Table},
};
use super::ProbeError;
use crate::datapath::probing::{self, Probes};

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Through {
    pub backend: u32,
    pub generation: u32,
    pub service: u32,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What is asked: to be connected to.
    pub vip: SocketAddr,
    /// Where the answers come from: the VIP, or the backend's own address and port where the mode translates.
    pub server: SocketAddr,
    /// The address of ours, of the VIP's family, that the backend answers.
    pub source: IpAddr,
}

/// The data path, for probes.
#[derive(Clone)]
pub struct Path(Arc<Lazy>);

/// What is made for the first probe: most deployments have none such.
struct Lazy {
    /// The loaded object, when nobody needs it any more, or why there is none.
    object: Mutex<Option<oneshot::Receiver<Result<Ebpf, String>>>>,
    opened: OnceCell<Result<Arc<Open>, String>>,
}

/// The namespace with the programs at its door.
struct Open {
    namespace: Namespace,
    table: Mutex<Table>,
    /// Keeps the program attached.
    _object: Mutex<Ebpf>,
}

impl Path {
    /// A path through the programs of an object: the balancer's, and the [door's](probing::load). It opens when the object is there, or
    /// never where the kernel has refused it.
    #[must_use]
    pub fn expecting() -> (Self, oneshot::Sender<Result<Ebpf, String>>) {
        let (object, expected) = oneshot::channel();
        let path = Self(Arc::new(Lazy {
            object: Mutex::new(Some(expected)),
            opened: OnceCell::new(),
        }));
        (path, object)
    }

    /// A path through the programs of this object.
    #[must_use]
    pub fn new(object: Ebpf) -> Self {
        let (path, expecting) = Self::expecting();
        // The path itself waits for it.
        let _held = expecting.send(Ok(object));
        path
    }

    /// Lends a port to a probe. The first time this takes a moment, and none of the probe's own time should have begun.
    ///
    /// # Errors
    /// When this host cannot do it: nothing is said of the backend.
    pub async fn lease(&self, via: &Through) -> Result<Lease, ProbeError> {
        let open = self.opened().await?;
        let loan = open.lend(via);
        let loan = loan.map_err(|error| ProbeError::ours(format!("{error:#}")))?;
        Ok(Lease { open, loan })
    }

    /// Lets go of the ports that have rested.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn let_go(&self, now: Instant) -> Result<()> {
        match self.0.opened.get() {
            Some(Ok(open)) => open.table().let_go(now),
            _ => Ok(()),
        }
    }

    /// Makes what the first probe needs, if that is not there yet: that takes a moment, which is not the probe's.
    ///
    /// # Errors
    /// When this host cannot do it: nothing is said of any backend.
    pub async fn ready(&self) -> Result<(), ProbeError> {
        self.opened().await.map(drop)
    }

    async fn opened(&self) -> Result<Arc<Open>, ProbeError> {
        if self.0.opened.get().is_none() {
            // In a task of its own: a probe that is given up must not take half of it away.
            let path = self.clone();
            let opening = tokio::spawn(async move {
                path.0.opened.get_or_init(|| path.open()).await;
            });
            opening
                .await
                .map_err(|_| ProbeError::ours("the agent is ending"))?;
        }
        match self.0.opened.get() {
            Some(opened) => opened.clone().map_err(ProbeError::ours),
            None => Err(ProbeError::ours("the agent is ending")),
        }
    }

    async fn open(&self) -> Result<Arc<Open>, String> {
        let expected = self
            .0
            .object
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let object = match expected {
            Some(expected) => expected
                .await
                .unwrap_or_else(|_| Err("the agent is ending".to_owned())),
            None => Err("the BPF object is gone".to_owned()),
        };
        let made = spawn_blocking(move || Open::new(object.map_err(anyhow::Error::msg)?));
        let made = made.await.context("make the way for probes").flatten();
        made.map(Arc::new)
            .inspect_err(|error| log::error!("probes through the data path: {error:#}"))
            .map_err(|error| format!("probes through the data path: {error:#}"))
    }
}

impl Open {
    fn new(mut object: Ebpf) -> Result<Self> {
        let probes = Probes::take(&mut object)?;
        let namespace = Namespace::make()?;
        let door = namespace.door();
        // The link is the object's.
        probing::attach(&mut object, door)?;
        log::info!("probes through the data path: by interface {door}");
        let hop = NextHop::new(door, veth::INSIDE_MAC, veth::OUTSIDE_MAC, Vlans::none());
        Ok(Self {
            namespace,
            table: Mutex::new(Table::new(probes, hop)),
            _object: Mutex::new(object),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self, via: &Through) -> Result<Loan> {
        let Through { vip, server, .. } = via;
        if vip.is_ipv4() != via.source.is_ipv4() || vip.is_ipv4() != server.is_ipv4() {
            bail!(
                "probe of {vip}: {} and {server} are not all of its family",
                via.source
            );
        }
        let inside = namespace::inside(vip.is_ipv4());
        let entry = |door| Probe {
            inside: inside.into(),
            outside: via.source.into(),
            vip: vip.ip().into(),
            server: server.ip().into(),
            vip_port: vip.port().to_be(),
            server_port: server.port().to_be(),
            backend: via.backend,
            generation: via.generation,
            service: via.service,
            door,
        };
        self.table().lend(via, entry, Instant::now())
    }
}

/// A port that no other probe has that asks the same. To be dropped after the probe's socket.
///
/// What its socket still has to say when it is closed goes on for a moment after that.
pub struct Lease {
    open: Arc<Open>,
    loan: Loan,
}

impl Lease {
    /// A socket to be connected to the VIP.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub async fn tcp_socket(&self) -> Result<TcpSocket, ProbeError> {
        self.open.namespace.tcp(self.local()).await
    }

    /// The same for datagrams.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub async fn udp_socket(&self) -> Result<UdpSocket, ProbeError> {
        self.open.namespace.udp(self.local()).await
    }

    fn local(&self) -> SocketAddr {
        SocketAddr::new(namespace::inside(self.loan.is_v4()), self.loan.port)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.open.table().give_back(self.loan, Instant::now());
    }
}

/// What to look at when nothing comes back from a backend through the data path.
#[must_use]
pub const fn missing(mode: ForwardMode) -> &'static str {
    match mode {
        ForwardMode::Dsr => {
            "no answer from the VIP: does the backend have it on lo, with arp_ignore and arp_announce, and no rp_filter? 'xlb backend-setup' prints what it takes"
        }
        ForwardMode::Ipip => {
            "no answer from the VIP: does the backend have the VIP on lo, an IPIP tunnel device that is up (or 'xlb decap'), and no rp_filter? 'xlb backend-setup' prints what it takes"
        }
        ForwardMode::Gue => {
            "no answer from the VIP: does the backend have the VIP on lo, GUE on UDP port 6080 (or 'xlb decap'), and no rp_filter? 'xlb backend-setup' prints what it takes"
        }
        ForwardMode::Nat | ForwardMode::FullNat => {
            "no answer from the backend to what the data path has translated: does it listen, and is its way back to this host's address the interface that xlb is on?"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn silence_has_a_hint_and_an_answer_speaks_for_itself() {
        for &mode in ForwardMode::ALL {
            let silence = ProbeError::timeout(Duration::from_secs(1)).through(mode);
            let text = silence.to_string();
            assert!(
                text.starts_with("timeout after 1s: no answer from the "),
                "{text}"
            );
            assert_eq!(text.contains("'xlb backend-setup'"), !mode.translates(), "{text}");
            assert!(silence.is_silence());
            let refused = ProbeError::refusal("connect: connection refused");
            assert_eq!(refused.clone().through(mode), refused);
        }
    }
}
