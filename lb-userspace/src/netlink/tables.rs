//! Reading the kernel's tables, and asking it to look at a neighbour again.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{
            RouteAddress, RouteAttribute, RouteLwEnCapType, RouteMessage, RouteMetric, RouteType, RouteVia,
        },
    },
};

use crate::netlink::decide::{Neighbour, NeighbourKey, Route, Unicast};

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
    let mut route = Unicast::default();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(v4)) => route.gateway = Some(IpAddr::V4(*v4)),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => route.gateway = Some(IpAddr::V6(*v6)),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            RouteAttribute::EncapType(kind) if *kind != RouteLwEnCapType::None => {
                return Route::None(format!(
                    "the kernel's route encapsulates ({kind}), which XDP goes by"
                ));
            }
            _ => {}
        }
    }
    match interface {
        Some(interface) => Route::Unicast(Unicast { interface, ..route }),
        None => Route::None("the kernel's route names no interface".to_owned()),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// The MTU that the route was given, or that the kernel has learned for this destination; 0 is none.
fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> std::net::Ipv6Addr {
        text.parse().unwrap()
    }

    fn answer(kind: RouteType, attributes: Vec<RouteAttribute>) -> Route {
        let mut message = RouteMessage::default();
        message.header.kind = kind;
        message.attributes = attributes;
        parse_route(&message)
    }

    #[test]
    fn a_route_has_its_gateway_source_and_mtu() {
        let route = answer(
            RouteType::Unicast,
            vec![
                RouteAttribute::Oif(3),
                RouteAttribute::Gateway(RouteAddress::Inet6(v6("fe80::1"))),
                RouteAttribute::PrefSource(RouteAddress::Inet6(v6("2001:db8::2"))),
                RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(64), RouteMetric::Mtu(1400)]),
            ],
        );
        let expected = Unicast {
            interface: 3,
            gateway: Some(v6("fe80::1").into()),
            mtu: Some(1400),
            source: Some(v6("2001:db8::2").into()),
        };
        assert_eq!(route, Route::Unicast(expected));
    }

    #[test]
    fn an_ipv4_route_may_lead_over_an_ipv6_router() {
        let via = RouteAttribute::Via(RouteVia::Inet6(v6("fe80::1")));
        let route = answer(RouteType::Unicast, vec![RouteAttribute::Oif(3), via]);
        let expected = Unicast {
            interface: 3,
            gateway: Some(v6("fe80::1").into()),
            ..Unicast::default()
        };
        assert_eq!(route, Route::Unicast(expected));
    }

    #[test]
    fn an_mtu_of_zero_is_none() {
        let metrics = RouteAttribute::Metrics(vec![RouteMetric::Mtu(0)]);
        let route = answer(RouteType::Unicast, vec![RouteAttribute::Oif(3), metrics]);
        assert!(
            matches!(route, Route::Unicast(Unicast { mtu: None, .. })),
            "{route:?}"
        );
    }

    #[test]
    fn routes_that_lead_nowhere_for_xdp_say_why() {
        let reason = |route| match route {
            Route::None(reason) => reason,
            other => panic!("{other:?}"),
        };
        let encapsulates = vec![
            RouteAttribute::Oif(3),
            RouteAttribute::EncapType(RouteLwEnCapType::Mpls),
        ];
        assert!(reason(answer(RouteType::Unicast, encapsulates)).contains("encapsulates (mpls)"));
        assert!(reason(answer(RouteType::BlackHole, vec![])).contains("blackhole"));
        assert!(reason(answer(RouteType::Unicast, vec![])).contains("no interface"));
        assert_eq!(answer(RouteType::Local, vec![]), Route::Local);
    }

    fn entry(state: NeighbourState, flags: NeighbourFlags, mac: Option<[u8; 6]>) -> Option<Neighbour> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 3;
        message.header.state = state;
        message.header.flags = flags;
        let address = NeighbourAddress::Inet6(v6("2001:db8::7"));
        message.attributes.push(NeighbourAttribute::Destination(address));
        if let Some(mac) = mac {
            message
                .attributes
                .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        }
        let (key, neighbour) = neighbour(&message)?;
        assert_eq!(key, (3, IpAddr::V6(v6("2001:db8::7"))));
        Some(neighbour)
    }

    #[test]
    fn a_neighbour_is_what_the_kernel_is_sure_of() {
        let none = NeighbourFlags::empty();
        let mac = [2, 0, 0, 0, 0, 9];
        let known = |fresh, fixed| Some(Neighbour::Known { mac, fresh, fixed });
        for (state, flags, expected) in [
            (NeighbourState::Reachable, none, known(true, false)),
            (NeighbourState::Probe, none, known(true, false)),
            (NeighbourState::Stale, none, known(false, false)),
            (
                NeighbourState::Stale,
                NeighbourFlags::ExtLearned,
                known(true, true),
            ),
            (NeighbourState::Permanent, none, known(true, true)),
            (NeighbourState::Failed, none, Some(Neighbour::Failed)),
            (NeighbourState::Incomplete, none, Some(Neighbour::Asked)),
        ] {
            assert_eq!(entry(state, flags, Some(mac)), expected, "{state:?}");
        }
        assert_eq!(entry(NeighbourState::Reachable, none, None), None);
    }
}
