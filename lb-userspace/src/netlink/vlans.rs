//! VLAN devices: the interface that their frames really leave by, and the tags. Pure.
//!
//! XDP sends to the interface at the bottom alone, and writes the tags itself.

use std::collections::BTreeMap;

use lb_common::{
    limits,
    next_hop::{TAGS, VlanDevice, Vlans},
};

use crate::netlink::links::Link;

/// A tag on Ethernet.
const TAG_LEN: u32 = 4;

/// Where frames to an interface leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit<'a> {
    /// The interface at the bottom.
    pub link: &'a Link,
    pub vlans: Vlans,
    /// Longest IPv4 and longest IPv6 packet.
    pub mtu: u32,
    pub mtu_v6: u32,
}

/// Where frames to `link` leave: by itself, or by what it is on if it is a VLAN device.
///
/// # Errors
/// Why there is no such place.
pub fn exit<'a>(link: &'a Link, links: &'a BTreeMap<u32, Link>) -> Result<Exit<'a>, String> {
    let mut at = link;
    let mut tags = Vec::new();
    while let Some(tag) = at.vlan {
        if tags.len() == TAGS {
            return Err(format!(
                "{} is a VLAN in a VLAN in a VLAN: xlb sends {TAGS} tags at most",
                link.name
            ));
        }
        let lower = at.lower.and_then(|lower| links.get(&lower));
        let Some(lower) = lower else {
            return Err(format!(
                "the interface below VLAN device {} is in another network namespace",
                at.name
            ));
        };
        tags.push(tag);
        at = lower;
    }
    // The device nearest to the wire has the outermost tag.
    tags.reverse();
    let vlans = if tags.is_empty() && !carries_vlans(at.index, links) {
        Vlans::keep()
    } else {
        Vlans::of(&tags)
    };
    // A redirected frame may be one tag longer than the MTU of the interface (`xdp_ok_fwd_dev`).
    let more_tags = u32::try_from(tags.len()).unwrap_or(0).saturating_sub(1);
    let fits = |mtu: u32| mtu.min(at.mtu.saturating_sub(more_tags * TAG_LEN));
    Ok(Exit {
        link: at,
        vlans,
        mtu: fits(link.mtu),
        mtu_v6: fits(link.mtu_v6),
    })
}

/// The VLAN devices that frames can be sent to, as many as the data path has room for.
#[must_use]
pub fn devices(links: &BTreeMap<u32, Link>) -> BTreeMap<u32, VlanDevice> {
    let vlans = links.values().filter(|link| link.vlan.is_some());
    vlans
        .filter_map(|link| {
            let exit = exit(link, links).ok()?;
            let device = VlanDevice {
                ifindex: exit.link.index,
                vlans: exit.vlans,
                ..VlanDevice::default()
            };
            Some((link.index, device))
        })
        .take(limits::VLAN_DEVICES as usize)
        .collect()
}

/// Whether the host tells VLANs apart on an interface, so that a frame without a tag is one too.
fn carries_vlans(index: u32, links: &BTreeMap<u32, Link>) -> bool {
    links
        .values()
        .any(|link| link.vlan.is_some() && link.lower == Some(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::links::tests::{link, vlan};

    const CUSTOMER: (u16, u16) = (0x8100, 10);
    const SERVICE: (u16, u16) = (0x88a8, 200);

    fn links(all: impl IntoIterator<Item = Link>) -> BTreeMap<u32, Link> {
        all.into_iter().map(|link| (link.index, link)).collect()
    }

    #[test]
    fn a_plain_interface_keeps_the_tags_unless_the_host_has_vlans_on_it() {
        let plain = links([link(2), link(3)]);
        assert_eq!(exit(&plain[&2], &plain).unwrap().vlans, Vlans::keep());
        let with = links([link(2), link(3), vlan(4, 2, CUSTOMER)]);
        assert_eq!(exit(&with[&2], &with).unwrap().vlans, Vlans::default());
        assert_eq!(exit(&with[&3], &with).unwrap().vlans, Vlans::keep());
        assert!(devices(&plain).is_empty());
    }

    #[test]
    fn the_lowest_device_is_the_outermost_tag() {
        let all = links([link(2), vlan(3, 2, SERVICE), vlan(4, 3, CUSTOMER)]);
        let found = exit(&all[&4], &all).unwrap();
        assert_eq!(
            (found.link.index, found.vlans),
            (2, Vlans::of(&[SERVICE, CUSTOMER]))
        );
        let expected = [
            (
                3,
                VlanDevice {
                    ifindex: 2,
                    vlans: Vlans::of(&[SERVICE]),
                    ..VlanDevice::default()
                },
            ),
            (
                4,
                VlanDevice {
                    ifindex: 2,
                    vlans: Vlans::of(&[SERVICE, CUSTOMER]),
                    ..VlanDevice::default()
                },
            ),
        ];
        assert_eq!(devices(&all), expected.into());
    }

    #[test]
    fn the_second_tag_is_within_the_mtu() {
        let all = links([link(2), vlan(3, 2, SERVICE), vlan(4, 3, CUSTOMER)]);
        let mtu = |index: u32| exit(&all[&index], &all).unwrap().mtu;
        assert_eq!((mtu(2), mtu(3), mtu(4)), (1500, 1500, 1496));
    }

    #[test]
    fn what_xdp_cannot_send_says_why() {
        let moved = Link {
            lower: None,
            ..vlan(3, 2, SERVICE)
        };
        let deep = [
            vlan(4, 2, SERVICE),
            vlan(5, 4, CUSTOMER),
            vlan(6, 5, CUSTOMER),
            moved,
            link(2),
        ];
        let all = links(deep);
        assert!(
            exit(&all[&3], &all)
                .unwrap_err()
                .contains("another network namespace")
        );
        assert!(exit(&all[&6], &all).unwrap_err().contains("2 tags at most"));
        assert_eq!(devices(&all).keys().copied().collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn a_ring_of_devices_ends() {
        let all = links([vlan(2, 3, SERVICE), vlan(3, 2, CUSTOMER)]);
        exit(&all[&2], &all).unwrap_err();
    }
}
