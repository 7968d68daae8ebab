//! Follows the kernel's tables and tells when the way to a backend changes.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt as _};
use lb_common::next_hop::{Egress, VlanDevice};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::SocketAddr,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use crate::netlink::{
    decide::{self, Neighbour, NeighbourKey, Way},
    doubts::Doubts,
    links::{self, Link},
    tables, vlans,
};

/// What a change of these can turn a way.
const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];
/// How often everything is looked at without cause, and neighbours are kept fresh.
const PERIOD: Duration = Duration::from_secs(5);
/// How often while a neighbour does not answer. The kernel asks three times in three seconds and then gives it up.
const UNANSWERED: Duration = Duration::from_secs(1);
/// How long the kernel has to answer all questions of one round, and the control loop to take the answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// Changes come in bursts: this long after the last one, but at most `BURST` after the first, the tables are read.
const QUIET: Duration = Duration::from_millis(5);
const BURST: Duration = Duration::from_millis(50);
/// Pause before a broken netlink socket is replaced.
const RETRY: Duration = Duration::from_secs(1);

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Way(Resolution),
    /// All VLAN devices that frames can be sent to, by index.
    VlanDevices(BTreeMap<u32, VlanDevice>),
}

/// A way that was found, lost or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub address: IpAddr,
    /// The next hop, or why there is none.
    pub hop: Result<Egress, String>,
    /// The router that the way leads over.
    pub gateway: Option<IpAddr>,
    /// Name of the interface of the next hop.
    pub interface: Option<String>,
}

type Message = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// The running resolver; ends when dropped.
#[derive(Debug)]
pub struct Resolver(JoinHandle<()>);

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Resolver {
    /// Follows the ways to all `targets` and the VLAN devices, and sends what changed. Must be called inside a tokio runtime.
    ///
    /// A target named by `suspects` is asked for anew: somebody has found that it does not answer.
    pub fn spawn(
        targets: watch::Receiver<BTreeSet<IpAddr>>,
        suspects: mpsc::Receiver<IpAddr>,
        out: mpsc::Sender<News>,
    ) -> Self {
        let mut task = Task {
            targets,
            suspects,
            out,
            told: BTreeMap::new(),
            told_vlans: None,
            neighbours: BTreeMap::new(),
            doubts: Doubts::default(),
        };
        Self(tokio::spawn(async move {
            while let Err(error) = task.run().await {
                log::warn!("routes and neighbours are not followed for a moment: {error:#}");
                sleep(RETRY).await;
            }
        }))
    }
}

struct Task {
    targets: watch::Receiver<BTreeSet<IpAddr>>,
    suspects: mpsc::Receiver<IpAddr>,
    out: mpsc::Sender<News>,
    /// What was told last.
    told: BTreeMap<IpAddr, Resolution>,
    told_vlans: Option<BTreeMap<u32, VlanDevice>>,
    /// The neighbour that each target is behind.
    neighbours: BTreeMap<IpAddr, NeighbourKey>,
    /// Those that answers go to.
    doubts: Doubts,
}

impl Task {
    /// Runs on one netlink socket for changes and one for questions: when changes come faster than they are read, the kernel
    /// drops what is sent to that socket, and an answer among it would be waited for in vain. Ends well when nobody wants to
    /// know any more.
    async fn run(&mut self) -> Result<()> {
        let (changes, _, mut messages) =
            rtnetlink::new_multicast_connection(GROUPS).context("open a netlink socket")?;
        let (questions, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
        let connections = [tokio::spawn(changes), tokio::spawn(questions)];
        let ended = self.follow(&handle, &mut messages).await;
        for connection in connections {
            connection.abort();
        }
        ended
    }

    async fn follow(
        &mut self,
        handle: &Handle,
        messages: &mut (impl Stream<Item = Message> + Unpin),
    ) -> Result<()> {
        let mut period = Instant::now();
        loop {
            let due = Instant::now() >= period;
            let refreshed = timeout(PATIENCE, self.refresh(handle, due)).await;
            if refreshed.context("the kernel does not answer")??.is_none() {
                return Ok(());
            }
            if due {
                period = Instant::now() + self.pause();
            }
            tokio::select! {
                changed = self.targets.changed() => if changed.is_err() { return Ok(()) },
                suspect = self.suspects.recv() => match suspect {
                    Some(address) => timeout(PATIENCE, self.suspect(handle, address))
                        .await
                        .context("the kernel does not answer")?,
                    None => return Ok(()),
                },
                () = change(messages, &self.neighbours) => {}
                () = sleep_until(period) => {}
            }
        }
    }

    /// How long until everything is looked at again without cause.
    fn pause(&self) -> Duration {
        if self.neighbours.keys().any(|address| self.told_no(*address)) {
            UNANSWERED
        } else {
            PERIOD
        }
    }

    /// Whether the last that was told of `address` is that there is no way.
    fn told_no(&self, address: IpAddr) -> bool {
        self.told.get(&address).is_some_and(|told| told.hop.is_err())
    }

    /// Reads the tables and tells what has changed; keeps neighbours fresh when `due`. `None` when nobody listens any more.
    async fn refresh(&mut self, handle: &Handle, due: bool) -> Result<Option<()>> {
        let links: BTreeMap<u32, Link> = links::all(handle)
            .await?
            .into_iter()
            .map(|link| (link.index, link))
            .collect();
        let neighbours = tables::neighbours(handle).await?;
        let targets = self.targets.borrow_and_update().clone();
        self.told.retain(|address, _| targets.contains(address));
        self.neighbours.retain(|address, _| targets.contains(address));
        if self.tell_vlans(vlans::devices(&links)).await.is_none() {
            return Ok(None);
        }
        let mut asked = BTreeSet::new();
        for address in targets {
            let route = tables::route(handle, address).await?;
            let way = decide::way(address, &route, &links, &neighbours);
            let wanted = self.wanted(address, &way, due, &neighbours);
            if let Some(neighbour) = wanted
                && asked.insert(neighbour)
            {
                tables::ask_for(handle, neighbour).await;
            }
            if self.tell(address, way, &links).await.is_none() {
                return Ok(None);
            }
        }
        if due {
            for neighbour in self.doubts.turn(Instant::now(), &links, &neighbours, &asked) {
                tables::ask_for(handle, neighbour).await;
            }
        }
        Ok(Some(()))
    }

    /// The neighbour that the kernel has to be asked about: one that it does not know, and from time to time one that it is
    /// not sure of or that did not answer.
    ///
    /// One that has just failed is asked for at once: the kernel has tried its old Ethernet address only, and it may have
    /// another one by now.
    fn wanted(
        &mut self,
        address: IpAddr,
        way: &Way,
        due: bool,
        neighbours: &BTreeMap<NeighbourKey, Neighbour>,
    ) -> Option<NeighbourKey> {
        let (neighbour, ask) = match way {
            Way::Found { neighbour, fresh, .. } => (*neighbour, due && !fresh),
            Way::Unknown { neighbour } => (*neighbour, due || !neighbours.contains_key(neighbour)),
            Way::No {
                neighbour: Some(neighbour),
                ..
            } => (*neighbour, due || !self.told_no(address)),
            Way::No { neighbour: None, .. } => {
                self.neighbours.remove(&address);
                return None;
            }
        };
        self.neighbours.insert(address, neighbour);
        ask.then_some(neighbour)
    }

    async fn tell(&mut self, address: IpAddr, way: Way, links: &BTreeMap<u32, Link>) -> Option<()> {
        let (hop, gateway) = match way {
            Way::Found { hop, gateway, .. } => (Ok(hop), gateway),
            Way::No { reason, .. } => (Err(reason), None),
            // The way that was known goes on until the kernel has its answer.
            Way::Unknown { .. } => return Some(()),
        };
        let interface = hop
            .as_ref()
            .ok()
            .and_then(|way| links.get(&way.hop.ifindex))
            .map(|link| link.name.clone());
        let resolution = Resolution {
            address,
            hop,
            gateway,
            interface,
        };
        if self.told.get(&address) == Some(&resolution) {
            return Some(());
        }
        self.told.insert(address, resolution.clone());
        self.out.send(News::Way(resolution)).await.ok()
    }

    async fn tell_vlans(&mut self, devices: BTreeMap<u32, VlanDevice>) -> Option<()> {
        if self.told_vlans.as_ref() == Some(&devices) {
            return Some(());
        }
        self.told_vlans = Some(devices.clone());
        self.out.send(News::VlanDevices(devices)).await.ok()
    }

    async fn suspect(&mut self, handle: &Handle, address: IpAddr) {
        let Some(&key) = self.neighbours.get(&address) else {
            return;
        };
        let fixed = match tables::neighbours(handle).await {
            Ok(neighbours) => matches!(neighbours.get(&key), Some(Neighbour::Known { fixed: true, .. })),
            Err(_) => true,
        };
        if !fixed {
            tables::ask_anew(handle, key).await;
        }
    }
}

/// Waits for a change that matters, and for the end of its burst.
async fn change(messages: &mut (impl Stream<Item = Message> + Unpin), used: &BTreeMap<IpAddr, NeighbourKey>) {
    loop {
        match messages.next().await {
            Some((message, _)) if matters(&message, used) => break,
            Some(_) => {}
            // The socket is gone; the next question to the kernel will say so.
            None => return sleep(RETRY).await,
        }
    }
    let end = Instant::now() + BURST;
    while let Ok(Some(_)) = timeout_at(end.min(Instant::now() + QUIET), messages.next()).await {}
}

/// Whether a message may turn a way. Of neighbours only those that we use do.
fn matters(message: &NetlinkMessage<RouteNetlinkMessage>, used: &BTreeMap<IpAddr, NeighbourKey>) -> bool {
    match &message.payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour),
        ) => tables::subject(neighbour).is_some_and(|key| used.values().any(|used| *used == key)),
        _ => true,
    }
}
