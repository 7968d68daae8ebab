//! Whose packet it is: what the program looks up in its tables of services and VIPs.

use lb_common::{
    addr::Addr,
    flow::FlowKey,
    outcome::Outcome,
    service::{PortKey, Service, ServiceKey, Vip, vip_flags},
};

use crate::{
    api::protocol::Match,
    control::entries::{Entries, Entry, Key},
};

/// The service that a flow is for, and how its VIP says so.
///
/// # Errors
/// [`Outcome::Unserved`] for a VIP without such a service, [`Outcome::NotOurs`] for what is no VIP.
pub fn service(entries: &Entries, flow: &FlowKey) -> Result<(Service, Match), Outcome> {
    if let Some(service) = exact(entries, flow) {
        return Ok((service, Match::Exact));
    }
    let vip = vip(entries, flow.destination).ok_or(Outcome::NotOurs)?;
    if vip.flags & vip_flags::PORTS == 0 {
        return Err(Outcome::Unserved);
    }
    let service = ports(entries, &vip, flow).ok_or(Outcome::Unserved)?;
    let is_host = u32::from(vip.prefix_len) == WHOLE;
    Ok((service, if is_host { Match::Range } else { Match::Network }))
}

/// Bits of an address in the maps, and of them those before an IPv4 address.
const WHOLE: u32 = 128;
const BEFORE_V4: u32 = 96;

/// The VIP that an address is, or is part of.
#[must_use]
pub fn vip(entries: &Entries, address: Addr) -> Option<Vip> {
    if let Some(Entry::Vip(_, vip)) = entries.get(Key::Vip(address)) {
        return Some(*vip);
    }
    let least = if address.is_v4() { BEFORE_V4 } else { 0 };
    (least..=WHOLE).rev().find_map(|bits| {
        let of_v4 = bits.saturating_sub(BEFORE_V4);
        let base = address.prefix(u8::try_from(of_v4).ok()?, u8::try_from(bits).ok()?);
        match entries.get(Key::Network(bits, base)) {
            Some(Entry::Network(_, _, vip)) => Some(*vip),
            _ => None,
        }
    })
}

/// Whether an address is a VIP, or one of the balancer itself.
#[must_use]
pub fn is_no_client(entries: &Entries, address: Addr) -> bool {
    vip(entries, address).is_some() || entries.get(Key::Local(address)).is_some()
}

fn exact(entries: &Entries, flow: &FlowKey) -> Option<Service> {
    let key = ServiceKey {
        vip: flow.destination,
        port: flow.destination_port,
        protocol: u16::try_from(flow.protocol).ok()?,
        ..ServiceKey::default()
    };
    match entries.get(Key::Service(key)) {
        Some(Entry::Service(_, service)) => Some(*service),
        _ => None,
    }
}

/// By the longest prefix of the port that is one of the VIP's.
fn ports(entries: &Entries, vip: &Vip, flow: &FlowKey) -> Option<Service> {
    let port = u16::from_be(flow.destination_port);
    (PortKey::BITS_BEFORE_PORT..=PortKey::BITS)
        .rev()
        .find_map(|bits| {
            let free = PortKey::BITS - bits;
            let first = u32::from(port) >> free << free;
            let key = PortKey {
                base: vip.base,
                prefix_len: vip.prefix_len,
                protocol: u16::try_from(flow.protocol).ok()?,
                port: u16::try_from(first).ok()?.to_be(),
                ..PortKey::default()
            };
            match entries.get(Key::Ports(bits, key)) {
                Some(Entry::Ports(_, _, service)) => Some(*service),
                _ => None,
            }
        })
}
