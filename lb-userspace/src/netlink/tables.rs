//! Reading the kernel's tables, and asking it to look at a neighbour again.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
    },
};

use crate::netlink::decide::{Neighbour, NeighbourKey, Route};

/// The neighbours of all interfaces.
///
/// # Errors
/// When the kernel does not answer.
pub async fn neighbours(handle: &Handle) -> Result<BTreeMap<NeighbourKey, Neighbour>> {
    let messages: Vec<_> = handle
        .neighbours()
        .get()
        .execute()
        .try_collect()
        .await
        .context("read the neighbours")?;
    Ok(messages.iter().filter_map(neighbour).collect())
}

/// The kernel's route to `address`, as for a packet of our own.
///
/// # Errors
/// When the kernel does not answer. That there is no route is an answer.
pub async fn route(handle: &Handle, address: IpAddr) -> Result<Route> {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let wanted = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, prefix)
        .with_context(|| format!("ask for the route to {address}"))?
        .build();
    match handle.route().get(wanted).execute().try_next().await {
        Ok(Some(message)) => Ok(parse_route(&message)),
        Ok(None) => Ok(Route::None("the kernel has no route".to_owned())),
        Err(error) if says_no(&error) => Ok(Route::None(format!("the kernel has no route ({error})"))),
        Err(error) => Err(error).with_context(|| format!("ask for the route to {address}")),
    }
}

/// Whether an error is the kernel's answer that there is no way (`ip_route_output_key_hash_rcu`, `fib_props`), rather than no
/// answer.
fn says_no(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return false;
    };
    message.code.is_some_and(|code| {
        matches!(
            Errno::from_raw(code.get().wrapping_neg()),
            Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL
        )
    })
}

/// Which neighbour a message of the kernel is about.
#[must_use]
pub fn subject(message: &NeighbourMessage) -> Option<NeighbourKey> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    Some((message.header.ifindex, address?))
}

/// Makes the kernel ask for a neighbour, or confirm the one it knows: packets that XDP sends do not do that.
///
/// The kernel does what it does when it sends a packet itself (`NTF_USE`); an entry that was set by hand stays as it is.
pub async fn ask_for(handle: &Handle, (interface, address): NeighbourKey) {
    let request = handle
        .neighbours()
        .add(interface, address)
        .replace()
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use);
    if let Err(error) = request.execute().await {
        log::debug!("ask for neighbour {address}: {error}");
    }
}

/// Makes the kernel forget what it knows of a neighbour and ask anew, by broadcast. To confirm it would first send to the old
/// Ethernet address for some seconds.
pub async fn ask_anew(handle: &Handle, key: NeighbourKey) {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = key.0;
    message.header.family = match key.1 {
        IpAddr::V4(_) => rtnetlink::packet_route::AddressFamily::Inet,
        IpAddr::V6(_) => rtnetlink::packet_route::AddressFamily::Inet6,
    };
    message
        .attributes
        .push(NeighbourAttribute::Destination(match key.1 {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        }));
    if let Err(error) = handle.neighbours().del(message).execute().await {
        log::debug!("forget neighbour {}: {error}", key.1);
    }
    ask_for(handle, key).await;
}

fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    let key = subject(message)?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    // What a routing daemon has learned elsewhere is not the kernel's to ask for.
    let learned = message.header.flags.contains(NeighbourFlags::ExtLearned);
    let known = |fresh, fixed| {
        mac.map(|mac| Neighbour::Known {
            mac,
            fresh: fresh || learned,
            fixed: fixed || learned,
        })
    };
    let state = match message.header.state {
        NeighbourState::Reachable => known(true, false),
        NeighbourState::Permanent | NeighbourState::Noarp => known(true, true),
        // On its way to be confirmed already.
        NeighbourState::Delay | NeighbourState::Probe => known(true, false),
        NeighbourState::Stale => known(false, false),
        NeighbourState::Failed => Some(Neighbour::Failed),
        _ => Some(Neighbour::Asked),
    };
    Some((key, state?))
}

fn parse_route(message: &RouteMessage) -> Route {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Route::Local,
        other => return Route::None(format!("the kernel's route is of type {other:?}").to_lowercase()),
    }
    let mut interface = None;
    let mut gateway = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
                gateway = Some(IpAddr::V4(*v4));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
                gateway = Some(IpAddr::V6(*v6));
            }
            _ => {}
        }
    }
    match interface {
        Some(interface) => Route::Unicast { interface, gateway },
        None => Route::None("the kernel's route names no interface".to_owned()),
    }
}
