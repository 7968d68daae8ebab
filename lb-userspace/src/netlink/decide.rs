//! From the kernel's tables to a next hop. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    addr::Addr,
    next_hop::{Egress, NextHop},
};

use crate::netlink::{links::Link, vlans};

/// What the kernel answers to "how do I get there?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Out of an interface: to the address itself, or to a gateway.
    Unicast(Unicast),
    /// It is our own address.
    Local,
    /// There is none, or it forbids; the kernel's word for it.
    None(String),
}

/// A route that leads on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unicast {
    pub interface: u32,
    pub gateway: Option<IpAddr>,
    /// Longest packet, where the route says less than its interface.
    pub mtu: Option<u32>,
    /// The address of ours that packets of our own would have.
    pub source: Option<IpAddr>,
}

/// A neighbour: an address on an interface.
pub type NeighbourKey = (u32, IpAddr);

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It has an Ethernet address; `fresh` if the kernel is sure of it, `fixed` if somebody has set it by hand.
    Known { mac: [u8; 6], fresh: bool, fixed: bool },
    /// The kernel is asking for it.
    Asked,
    /// Nobody answers to it.
    Failed,
}

/// A way, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Found {
        hop: Egress,
        /// The router that it leads over.
        gateway: Option<IpAddr>,
        neighbour: NeighbourKey,
        fresh: bool,
    },
    /// The neighbour has to be asked for first.
    Unknown { neighbour: NeighbourKey },
    /// There is none, for this reason.
    No {
        reason: String,
        neighbour: Option<NeighbourKey>,
    },
}

/// The way to `address`.
#[must_use]
pub fn way(
    address: IpAddr,
    route: &Route,
    links: &BTreeMap<u32, Link>,
    neighbours: &BTreeMap<NeighbourKey, Neighbour>,
) -> Way {
    let no = |reason: String| Way::No {
        reason,
        neighbour: None,
    };
    let route = match route {
        Route::Unicast(route) => route,
        Route::Local => return no("it is an address of this host".to_owned()),
        Route::None(reason) => return no(reason.clone()),
    };
    let interface = route.interface;
    let Some(link) = links.get(&interface) else {
        return no(format!("its route names interface {interface}, which is gone"));
    };
    let Some(source_mac) = link.mac else {
        return no(format!(
            "its route leaves by {}, which is no Ethernet interface",
            link.name
        ));
    };
    let exit = match vlans::exit(link, links) {
        Ok(exit) => exit,
        Err(reason) => return no(reason),
    };
    if let Some(down) = [link, exit.link].into_iter().find(|link| !link.running) {
        return no(format!("interface {} is down", down.name));
    }
    let neighbour = (interface, route.gateway.unwrap_or(address));
    match neighbours.get(&neighbour) {
        Some(Neighbour::Known { mac, fresh, fixed }) => {
            let hop = NextHop {
                ifindex: exit.link.index,
                destination_mac: *mac,
                source_mac,
                vlans: exit.vlans,
                ..NextHop::default()
            };
            let mtu = if address.is_ipv4() { exit.mtu } else { exit.mtu_v6 };
            Way::Found {
                hop: Egress {
                    hop,
                    mtu: route.mtu.map_or(mtu, |lower| lower.min(mtu)),
                    source: route
                        .source
                        .filter(reaches_far)
                        .map_or(Addr::default(), Addr::from),
                    ..Egress::default()
                },
                gateway: route.gateway,
                neighbour,
                fresh: *fresh || *fixed,
            }
        }
        Some(Neighbour::Failed) => {
            let (asked, name) = (neighbour.1, &link.name);
            Way::No {
                reason: format!("nobody answers to {asked} on {name}"),
                neighbour: Some(neighbour),
            }
        }
        Some(Neighbour::Asked) | None => Way::Unknown { neighbour },
    }
}

/// Whether routers forward packets from this address (RFC 4291 §2.5.6): a tunnel from a link-local one ends on the link.
fn reaches_far(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use lb_common::next_hop::Vlans;

    use super::*;
    use crate::netlink::links::tests::{link, vlan};

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn links() -> BTreeMap<u32, Link> {
        let no_ethernet = Link { mac: None, ..link(1) };
        let down = Link {
            running: false,
            ..link(3)
        };
        [no_ethernet, link(2), down, vlan(4, 2, (0x8100, 10)), link(5)]
            .into_iter()
            .map(|link| (link.index, link))
            .collect()
    }

    fn known(fresh: bool) -> Neighbour {
        Neighbour::Known {
            mac: [9; 6],
            fresh,
            fixed: false,
        }
    }

    fn by(interface: u32, gateway: Option<IpAddr>) -> Route {
        Route::Unicast(Unicast {
            interface,
            gateway,
            ..Unicast::default()
        })
    }

    fn reason(way: Way) -> String {
        match way {
            Way::No { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn egress(way: Way) -> Egress {
        match way {
            Way::Found { hop, .. } => hop,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_neighbour_is_the_gateway_or_the_address_itself() {
        let stale = Neighbour::Known {
            mac: [8; 6],
            fresh: false,
            fixed: false,
        };
        let neighbours = [((5, GATEWAY), known(true)), ((5, FAR), stale)].into();
        let hop = |mac| Egress {
            hop: NextHop {
                ifindex: 5,
                destination_mac: mac,
                source_mac: [5; 6],
                vlans: Vlans::keep(),
                ..NextHop::default()
            },
            mtu: 1500,
            source: Addr::default(),
            ..Egress::default()
        };
        let found = way(FAR, &by(5, Some(GATEWAY)), &links(), &neighbours);
        assert_eq!(
            found,
            Way::Found {
                hop: hop([9; 6]),
                gateway: Some(GATEWAY),
                neighbour: (5, GATEWAY),
                fresh: true
            }
        );
        let found = way(FAR, &by(5, None), &links(), &neighbours);
        assert_eq!(
            found,
            Way::Found {
                hop: hop([8; 6]),
                gateway: None,
                neighbour: (5, FAR),
                fresh: false
            }
        );
    }

    #[test]
    fn a_vlan_device_has_the_neighbours_and_what_is_below_sends() {
        let neighbours = [((4, GATEWAY), known(true))].into();
        let found = egress(way(FAR, &by(4, Some(GATEWAY)), &links(), &neighbours));
        let expected = NextHop {
            ifindex: 2,
            destination_mac: [9; 6],
            source_mac: [4; 6],
            vlans: Vlans::of(&[(0x8100, 10)]),
            ..NextHop::default()
        };
        assert_eq!(found.hop, expected);
        let mut below_is_down = links();
        below_is_down.get_mut(&2).unwrap().running = false;
        let lost = way(FAR, &by(4, Some(GATEWAY)), &below_is_down, &neighbours);
        assert!(reason(lost).contains("eth2 is down"));
    }

    #[test]
    fn the_way_takes_what_interface_and_route_take() {
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        let neighbours = [((5, FAR), known(true)), ((5, v6), known(true))].into();
        let mut links = links();
        links.get_mut(&5).unwrap().mtu_v6 = 1400;
        let mtu = |address, mtu| {
            let route = Route::Unicast(Unicast {
                interface: 5,
                mtu,
                ..Unicast::default()
            });
            egress(way(address, &route, &links, &neighbours)).mtu
        };
        assert_eq!(
            (mtu(FAR, None), mtu(FAR, Some(1300)), mtu(FAR, Some(9000))),
            (1500, 1300, 1500)
        );
        assert_eq!((mtu(v6, None), mtu(v6, Some(1300))), (1400, 1300));
    }

    #[test]
    fn our_address_on_the_way_is_one_that_routers_forward() {
        let neighbours = [((5, FAR), known(true))].into();
        let source = |text: &str| {
            let route = Route::Unicast(Unicast {
                interface: 5,
                source: Some(text.parse().unwrap()),
                ..Unicast::default()
            });
            egress(way(FAR, &route, &links(), &neighbours)).source
        };
        let near: IpAddr = "10.0.0.9".parse().unwrap();
        assert_eq!(source("10.0.0.9"), near.into());
        assert!(!source("2001:db8::1").is_none());
        assert!(source("fe80::1").is_none());
        assert!(source("0.0.0.0").is_none());
    }

    #[test]
    fn a_neighbour_on_another_interface_is_another_neighbour() {
        let neighbours = [((3, FAR), known(true))].into();
        assert_eq!(
            way(FAR, &by(2, None), &links(), &neighbours),
            Way::Unknown { neighbour: (2, FAR) }
        );
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        let none = BTreeMap::new();
        assert!(reason(way(FAR, &Route::Local, &links(), &none)).contains("this host"));
        assert!(reason(way(FAR, &by(1, None), &links(), &none)).contains("no Ethernet"));
        assert!(reason(way(FAR, &by(3, None), &links(), &none)).contains("eth3 is down"));
        assert!(reason(way(FAR, &by(7, None), &links(), &none)).contains("gone"));
        assert_eq!(
            reason(way(FAR, &Route::None("unreachable".into()), &links(), &none)),
            "unreachable"
        );
        let failed = [((2, FAR), Neighbour::Failed)].into();
        assert!(reason(way(FAR, &by(2, None), &links(), &failed)).contains("nobody answers"));
    }
}
