//! The addresses of this host.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use lb_common::{addr::Addr, settings::Own};
use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
};

use crate::netlink::links::{Link, Links};

/// One of our own addresses, that everybody may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    interface: u32,
    /// The kernel prefers another one of the same network, or for IPv6 a temporary one.
    secondary: bool,
}

impl Links {
    /// Our addresses to answer with as a router: those of the first of `interfaces` that has one of the family, on itself or on a
    /// VLAN device, else any other interface's. A VIP is none: other hosts have it too.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn own(&self, interfaces: &[&str], is_vip: impl Fn(IpAddr) -> bool) -> Result<Own> {
        let links = self.all().await?;
        let addresses = read(self.handle()).await?;
        Ok(own(&links, &addresses, interfaces, is_vip))
    }

    /// All addresses of this host that a client could claim: also those that are not in use yet, or not any longer. No client has one of a
    /// link, and one that is another host's, too, is that one's.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn addresses(&self) -> Result<BTreeSet<IpAddr>> {
        let messages = ask(self.handle()).await?;
        Ok(messages.iter().filter_map(local).collect())
    }
}

async fn read(handle: &Handle) -> Result<Vec<Address>> {
    Ok(ask(handle).await?.iter().filter_map(parse).collect())
}

async fn ask(handle: &Handle) -> Result<Vec<AddressMessage>> {
    let messages = handle.address().get().execute().try_collect().await;
    messages.context("read this host's addresses")
}

/// A message's address and its flags.
fn fields(message: &AddressMessage) -> Option<(IpAddr, AddressFlags)> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // Ours on a point-to-point link; IFA_ADDRESS is the far end's then.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some((local.or(address)?, flags))
}

fn local(message: &AddressMessage) -> Option<IpAddr> {
    let (ip, flags) = fields(message)?;
    let is_ours = !flags.contains(AddressFlags::Dadfailed) && !Addr::from(ip).is_martian();
    is_ours.then_some(ip)
}

/// An address that is in use and of global scope.
fn parse(message: &AddressMessage) -> Option<Address> {
    let (ip, flags) = fields(message)?;
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    let usable = message.header.scope == AddressScope::Universe && !flags.intersects(unusable);
    usable.then_some(Address {
        ip,
        interface: message.header.index,
        secondary: flags.contains(AddressFlags::Secondary),
    })
}

fn own(links: &[Link], addresses: &[Address], interfaces: &[&str], is_vip: impl Fn(IpAddr) -> bool) -> Own {
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    // The interface's place in the configuration; for a VLAN device that of what it is on.
    let place = |address: &Address| {
        let mut link = by_index.get(&address.interface).copied();
        // As deep as VLAN devices are stacked, and no ring of names is followed for ever.
        for _ in 0..=links.len() {
            let at = link?;
            if let Some(place) = interfaces.iter().position(|name| *name == at.name) {
                return Some(place);
            }
            link = at
                .vlan
                .and(at.lower)
                .and_then(|lower| by_index.get(&lower).copied());
        }
        None
    };
    let first = |of_family: fn(&IpAddr) -> bool| {
        let usable = addresses
            .iter()
            .filter(|address| of_family(&address.ip) && !address.ip.is_loopback() && !is_vip(address.ip));
        let best = usable.min_by_key(|address| (place(address).unwrap_or(usize::MAX), address.secondary));
        best.map_or(Addr::default(), |address| address.ip.into())
    };
    Own {
        v4: first(IpAddr::is_ipv4),
        v6: first(IpAddr::is_ipv6),
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::address::AddressHeaderFlags;

    use super::*;
    use crate::netlink::links::tests::{link, vlan};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn on(interface: u32, text: &str) -> Address {
        Address {
            ip: ip(text),
            interface,
            secondary: false,
        }
    }

    fn found(addresses: &[Address]) -> (Addr, Addr) {
        let links = [link(1), link(2), link(3), vlan(4, 2, (0x8100, 10))];
        let vip = ip("192.0.2.10");
        let own = own(&links, addresses, &["eth3", "eth2"], |ip| ip == vip);
        (own.v4, own.v6)
    }

    #[test]
    fn the_first_interface_with_an_address_of_the_family_wins() {
        let found = found(&[
            on(1, "203.0.113.1"),
            on(2, "10.0.2.1"),
            on(2, "2001:db8:2::1"),
            on(3, "10.0.3.1"),
        ]);
        assert_eq!(found, (ip("10.0.3.1").into(), ip("2001:db8:2::1").into()));
    }

    #[test]
    fn an_address_may_be_on_a_vlan_device_or_elsewhere() {
        let on_vlan = found(&[on(1, "203.0.113.1"), on(4, "10.0.4.1")]);
        assert_eq!(on_vlan.0, ip("10.0.4.1").into());
        let elsewhere = found(&[on(1, "203.0.113.1")]);
        assert_eq!(elsewhere, (ip("203.0.113.1").into(), Addr::default()));
    }

    #[test]
    fn neither_a_vip_nor_a_secondary_address_is_ours_first() {
        let secondary = Address {
            secondary: true,
            ..on(3, "10.0.3.1")
        };
        let found = found(&[on(3, "192.0.2.10"), secondary, on(3, "10.0.3.2")]);
        assert_eq!(found.0, ip("10.0.3.2").into());
    }

    fn message(scope: AddressScope, attributes: Vec<AddressAttribute>) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = 3;
        message.header.scope = scope;
        message.header.flags = AddressHeaderFlags::Permanent;
        message.attributes = attributes;
        message
    }

    #[test]
    fn only_addresses_in_use_count() {
        let address = || AddressAttribute::Address(ip("2001:db8::1"));
        let global = |attributes| parse(&message(AddressScope::Universe, attributes));
        assert_eq!(global(vec![address()]), Some(on(3, "2001:db8::1")));
        assert_eq!(parse(&message(AddressScope::Link, vec![address()])), None);
        for flags in [
            AddressFlags::Tentative,
            AddressFlags::Deprecated,
            AddressFlags::Dadfailed,
        ] {
            assert_eq!(global(vec![address(), AddressAttribute::Flags(flags)]), None);
        }
        let known = |flags, text| {
            let attributes = vec![
                AddressAttribute::Address(ip(text)),
                AddressAttribute::Flags(flags),
            ];
            local(&message(AddressScope::Universe, attributes)).is_some()
        };
        assert!(known(AddressFlags::Tentative, "2001:db8::1") && known(AddressFlags::Deprecated, "10.0.0.1"));
        assert!(!known(AddressFlags::Dadfailed, "2001:db8::1"), "another host's");
        assert!(!known(AddressFlags::Permanent, "fe80::1") && !known(AddressFlags::Permanent, "127.0.0.1"));
        // A point-to-point link has the far end's address too.
        let pair = vec![
            AddressAttribute::Address(ip("10.9.9.2")),
            AddressAttribute::Local(ip("10.9.9.1")),
        ];
        assert_eq!(global(pair), Some(on(3, "10.9.9.1")));
    }
}
