//! Which destinations the kernel takes for its own: its local routes, of which every address makes one, and which
//! `ip route add local NETWORK dev lo` makes for whole networks.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    },
    sys::SocketAddr,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};

use crate::config::Network;

/// Routes go with devices and addresses, not always with a word of their own.
const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];
/// `RT_TABLE_LOCAL` (include/uapi/linux/rtnetlink.h).
const LOCAL_TABLE: u8 = 255;
/// How often they are read without cause: the kernel drops messages that nobody fetches in time.
const PERIOD: Duration = Duration::from_secs(5);
/// Changes come in bursts: this long after the first one, they are read.
const BURST: Duration = Duration::from_millis(20);

type Message = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// Reads local routes, and waits for their changes.
pub struct Locals {
    handle: Handle,
    changes: Box<dyn Stream<Item = Message> + Unpin>,
    connections: [JoinHandle<()>; 2],
    next: Instant,
}

impl Locals {
    /// Opens netlink sockets: one for questions, one for changes. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no netlink.
    pub fn connect() -> Result<Self> {
        // With it the kernel sends the local table alone, not all routes that a router has.
        let (questions, handle, _) =
            rtnetlink::new_connection_with_strict_check().context("open a netlink socket")?;
        let (changes, _, messages) =
            rtnetlink::new_multicast_connection(GROUPS).context("open a netlink socket")?;
        Ok(Self {
            handle,
            changes: Box::new(messages),
            connections: [tokio::spawn(questions), tokio::spawn(changes)],
            next: Instant::now() + PERIOD,
        })
    }

    /// The destinations that are this host's now.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn read(&self) -> Result<BTreeSet<Network>> {
        let mut locals = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            question.header.table = LOCAL_TABLE;
            let routes = self.handle.route().get(question).execute();
            let routes: Vec<_> = routes.try_collect().await.context("read the local routes")?;
            locals.extend(routes.iter().filter_map(network));
        }
        Ok(locals)
    }

    /// Returns when they may have changed.
    pub async fn changed(&mut self) {
        loop {
            match timeout_at(self.next, self.changes.next()).await {
                Ok(Some((message, _))) if !concerns(&message) => {}
                Ok(Some(_)) => break sleep_until(Instant::now() + BURST).await,
                // The socket has ended: only time tells.
                Ok(None) => break sleep_until(self.next).await,
                Err(_) => break,
            }
        }
        self.next = Instant::now() + PERIOD;
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        for connection in &self.connections {
            connection.abort();
        }
    }
}

/// Whether a message can mean another set of local routes: most are of routes to elsewhere.
fn concerns(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    match &message.payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
        ) => route.header.kind == RouteType::Local,
        _ => true,
    }
}

/// The destinations of a local route, but for those that never come from outside.
fn network(route: &RouteMessage) -> Option<Network> {
    if route.header.kind != RouteType::Local {
        return None;
    }
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if address.is_loopback() || is_link_local {
        return None;
    }
    Some(Network::new(address, route.header.destination_prefix_length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(address: &str, len: u8) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Local;
        route.header.destination_prefix_length = len;
        let address = match address.parse().unwrap() {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        };
        route.attributes.push(RouteAttribute::Destination(address));
        route
    }

    #[test]
    fn local_routes_name_what_is_this_hosts() {
        for (address, len, expected) in [
            ("10.0.0.2", 32, Some("10.0.0.2")),
            ("198.51.100.0", 24, Some("198.51.100.0/24")),
            ("2001:db8::10", 128, Some("2001:db8::10")),
            ("127.0.0.0", 8, None),
            ("::1", 128, None),
            ("fe80::1", 128, None),
        ] {
            let found = network(&local(address, len)).map(|network| network.to_string());
            assert_eq!(found.as_deref(), expected, "{address}");
        }
        let mut broadcast = local("10.0.0.255", 32);
        broadcast.header.kind = RouteType::Broadcast;
        assert_eq!(network(&broadcast), None);
    }

    #[test]
    fn routes_to_elsewhere_are_no_cause_to_read() {
        let message = |route| NetlinkMessage::from(RouteNetlinkMessage::NewRoute(route));
        let mut elsewhere = local("203.0.113.0", 24);
        assert!(concerns(&message(elsewhere.clone())));
        elsewhere.header.kind = RouteType::Unicast;
        assert!(!concerns(&message(elsewhere)));
    }
}
