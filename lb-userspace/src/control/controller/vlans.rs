//! The controller's VLAN devices: what the data path's own lookups of routes may name.

use std::collections::BTreeMap;

use lb_common::{limits, next_hop::VlanDevice};

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
        self.unsettled |= devices != self.vlan_devices;
        self.vlan_devices = devices;
    }
}
