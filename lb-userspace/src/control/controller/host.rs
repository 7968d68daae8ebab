//! What the controller knows of this host: VLAN devices, which the data path's own lookups of routes may name, and addresses, which no
//! client has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{addr::Addr, limits, next_hop::VlanDevice};

use super::Controller;
use crate::datapath::Datapath;

impl<D: Datapath> Controller<D> {
    /// Takes in the VLAN devices that there are. The table follows at the next [`settle`](Self::settle).
    pub fn learn_vlan_devices(&mut self, devices: BTreeMap<u32, VlanDevice>) {
        let room = limits::VLAN_DEVICES as usize;
        if devices.len() > room {
            log::warn!(
                "{} VLAN devices: replies find no way by those beyond the first {room}",
                devices.len()
            );
        }
        let devices: BTreeMap<_, _> = devices.into_iter().take(room).collect();
        self.unsettled |= devices != self.host.vlan_devices;
        self.host.vlan_devices = devices;
    }

    /// Takes in the addresses that this host has; whether they are others than before. Those that flows are translated to are ours, too.
    /// The table follows at the next [`settle`](Self::settle).
    pub fn learn_addresses(&mut self, addresses: BTreeSet<IpAddr>) -> bool {
        let room = limits::LOCALS as usize;
        let all = self.sources.iter().copied().chain(addresses);
        let (mut locals, mut more) = (BTreeSet::new(), 0);
        for address in all.map(Addr::from) {
            if locals.len() < room {
                locals.insert(address);
            } else {
                more += usize::from(!locals.contains(&address));
            }
        }
        if locals == self.host.locals {
            return false;
        }
        if more > 0 {
            log::warn!(
                "this host has more than {room} addresses: packets that claim to be from the {more} last ones are taken for clients'"
            );
        }
        self.unsettled = true;
        self.host.locals = locals;
        true
    }
}
