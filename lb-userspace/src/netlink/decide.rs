//! From the kernel's tables to a next hop. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::next_hop::NextHop;

use crate::netlink::links::Link;

/// What the kernel answers to "how do I get there?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Out of an interface: to the address itself, or to a gateway.
    Unicast { interface: u32, gateway: Option<IpAddr> },
    /// It is our own address.
    Local,
    /// There is none, or it forbids; the kernel's word for it.
    None(String),
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
        hop: NextHop,
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
    let (interface, gateway) = match route {
        Route::Unicast { interface, gateway } => (*interface, *gateway),
        Route::Local => return no("it is an address of this host".to_owned()),
        Route::None(reason) => return no(reason.clone()),
    };
    let Some(link) = links.get(&interface) else {
        return no(format!("its route names interface {interface}, which is gone"));
    };
    let Some(source_mac) = link.mac else {
        return no(format!(
            "its route leaves by {}, which is no Ethernet interface",
            link.name
        ));
    };
    if !link.running {
        return no(format!("interface {} is down", link.name));
    }
    let neighbour = (interface, gateway.unwrap_or(address));
    match neighbours.get(&neighbour) {
        Some(Neighbour::Known { mac, fresh, fixed }) => {
            let hop = NextHop {
                ifindex: interface,
                destination_mac: *mac,
                source_mac,
            };
            Way::Found {
                hop,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::links::{XdpMode, XdpState};

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn link(index: u32, mac: Option<[u8; 6]>, running: bool) -> (u32, Link) {
        let xdp = XdpState {
            mode: XdpMode::None,
            program_id: None,
        };
        (
            index,
            Link {
                index,
                name: format!("eth{index}"),
                mac,
                running,
                xdp,
            },
        )
    }

    fn links() -> BTreeMap<u32, Link> {
        [
            link(1, None, true),
            link(2, Some([2; 6]), true),
            link(3, Some([3; 6]), false),
        ]
        .into()
    }

    fn known(fresh: bool) -> Neighbour {
        Neighbour::Known {
            mac: [9; 6],
            fresh,
            fixed: false,
        }
    }

    fn by(interface: u32, gateway: Option<IpAddr>) -> Route {
        Route::Unicast { interface, gateway }
    }

    fn reason(way: Way) -> String {
        match way {
            Way::No { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_neighbour_is_the_gateway_or_the_address_itself() {
        let neighbours = [
            ((2, GATEWAY), known(true)),
            (
                (2, FAR),
                Neighbour::Known {
                    mac: [8; 6],
                    fresh: false,
                    fixed: false,
                },
            ),
        ];
        let hop = |mac| NextHop {
            ifindex: 2,
            destination_mac: mac,
            source_mac: [2; 6],
        };
        let found = way(FAR, &by(2, Some(GATEWAY)), &links(), &neighbours.into());
        assert_eq!(
            found,
            Way::Found {
                hop: hop([9; 6]),
                neighbour: (2, GATEWAY),
                fresh: true
            }
        );
        let found = way(FAR, &by(2, None), &links(), &neighbours.into());
        assert_eq!(
            found,
            Way::Found {
                hop: hop([8; 6]),
                neighbour: (2, FAR),
                fresh: false
            }
        );
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
