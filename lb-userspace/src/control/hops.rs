//! Next hops: from the addresses that the agent resolves to the indexes that backends' words carry.
//!
//! An entry is never changed while a word names it: a new way is written to a free entry first, then the words turn to it, so
//! that no packet leaves with half of one MAC address and half of another.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{backend::BackendWord, next_hop::Egress, service::ForwardMode};

use crate::datapath::Snapshot;

/// Of an address that nobody has looked up so far.
const NOT_YET: &str = "not looked up yet";

/// Which entries hold what, and which address uses which.
#[derive(Clone, Debug)]
pub struct Hops {
    entries: BTreeMap<u32, Egress>,
    by_address: BTreeMap<IpAddr, u32>,
    /// Why an address has no next hop.
    unresolved: BTreeMap<IpAddr, String>,
    /// The routers that ways lead over.
    gateways: BTreeMap<IpAddr, IpAddr>,
    /// Free entries are searched for from here on, so that one that was left rests as long as possible.
    next: u32,
    capacity: u32,
}

impl Hops {
    /// The next hops that an earlier agent has left, with room for `capacity`.
    #[must_use]
    pub fn adopt(snapshot: &Snapshot, capacity: u32) -> Self {
        let by_address = snapshot.backends.values().filter_map(|(backend, word)| {
            let index = word.next_hop();
            snapshot
                .next_hops
                .contains_key(&index)
                .then_some((backend.addr.into(), index))
        });
        Self {
            entries: snapshot.next_hops.clone(),
            by_address: by_address.collect(),
            unresolved: BTreeMap::new(),
            gateways: BTreeMap::new(),
            next: 1,
            capacity: capacity.min(BackendWord::MAX_NEXT_HOP),
        }
    }

    /// The index for a backend at `address`, 0 while there is none.
    #[must_use]
    pub fn index(&self, address: IpAddr) -> u32 {
        self.by_address.get(&address).copied().unwrap_or(0)
    }

    /// The way to `address`.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<Egress> {
        self.entries.get(self.by_address.get(&address)?).copied()
    }

    /// Why packets cannot be sent to `address` in a mode.
    #[must_use]
    pub fn why_not(&self, address: IpAddr, mode: ForwardMode) -> Option<String> {
        if let Some(reason) = self.unresolved.get(&address) {
            return Some(reason.clone());
        }
        // The packet is still addressed to the VIP, and the router would send it where it sends all that are.
        let gateway = self.gateways.get(&address)?;
        (mode == ForwardMode::Dsr).then(|| {
            format!(
                "it is behind router {gateway}, and mode dsr reaches only hosts on the balancer's own networks: choose ipip or gue"
            )
        })
    }

    /// Why a look for a way to `address` has found none.
    #[must_use]
    pub fn lost(&self, address: IpAddr) -> Option<&str> {
        let reason = self.unresolved.get(&address)?;
        (reason != NOT_YET).then_some(reason)
    }

    /// Whether nobody has looked for a way to `address` so far.
    #[must_use]
    pub fn is_awaited(&self, address: IpAddr) -> bool {
        self.unresolved
            .get(&address)
            .is_some_and(|reason| reason == NOT_YET)
    }

    /// Takes in the router that the way to `address` leads over.
    pub fn leads_over(&mut self, address: IpAddr, gateway: Option<IpAddr>) {
        match gateway {
            Some(gateway) => self.gateways.insert(address, gateway),
            None => self.gateways.remove(&address),
        };
    }

    /// Holds new flows back from a backend that is new at `address` until it is known whether there is a way.
    pub fn expect(&mut self, address: IpAddr) {
        if !self.by_address.contains_key(&address) {
            self.unresolved
                .entry(address)
                .or_insert_with(|| NOT_YET.to_owned());
        }
    }

    /// Takes in what was resolved; gives an entry to write, if one is needed, which is none that a word `named`. After it is
    /// written, the words of the backends at `address` follow [`index`](Self::index).
    pub fn resolve(
        &mut self,
        address: IpAddr,
        hop: Result<Egress, String>,
        named: impl Iterator<Item = u32>,
    ) -> Option<(u32, Egress)> {
        let hop = match hop {
            Ok(hop) => hop,
            Err(reason) => {
                self.by_address.remove(&address);
                self.unresolved.insert(address, reason);
                return None;
            }
        };
        self.unresolved.remove(&address);
        if self.get(address) == Some(hop) {
            return None;
        }
        if let Some((&index, _)) = self.entries.iter().find(|(_, entry)| **entry == hop) {
            self.by_address.insert(address, index);
            return None;
        }
        let used: BTreeSet<u32> = self.by_address.values().copied().chain(named).collect();
        let index = (self.next..=self.capacity)
            .chain(1..self.next)
            .find(|index| !used.contains(index))?;
        self.next = index + 1;
        self.entries.insert(index, hop);
        self.by_address.insert(address, index);
        Some((index, hop))
    }

    /// Forgets the addresses that no backend has any more.
    pub fn retain(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.by_address.retain(|address, _| addresses.contains(address));
        self.unresolved.retain(|address, _| addresses.contains(address));
        self.gateways.retain(|address, _| addresses.contains(address));
    }
}

#[cfg(test)]
mod tests {
    use std::iter::empty;

    use lb_common::next_hop::NextHop;

    use super::*;

    fn hop(last: u8) -> Egress {
        let hop = NextHop {
            ifindex: 2,
            destination_mac: [2, 0, 0, 0, 0, last],
            source_mac: [2, 0, 0, 0, 1, 0],
            ..NextHop::default()
        };
        Egress {
            hop,
            ..Egress::default()
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_gateway_is_one_entry() {
        let mut hops = Hops::adopt(&Snapshot::default(), 8);
        assert_eq!(hops.resolve(address(1), Ok(hop(9)), empty()), Some((1, hop(9))));
        assert_eq!(hops.resolve(address(2), Ok(hop(9)), empty()), None);
        assert_eq!(
            (
                hops.index(address(1)),
                hops.index(address(2)),
                hops.index(address(3))
            ),
            (1, 1, 0)
        );
    }

    #[test]
    fn a_new_way_never_overwrites_one_in_use() {
        let mut hops = Hops::adopt(&Snapshot::default(), 3);
        hops.resolve(address(1), Ok(hop(1)), empty());
        hops.resolve(address(2), Ok(hop(2)), empty());
        assert_eq!(hops.resolve(address(1), Ok(hop(3)), empty()), Some((3, hop(3))));
        // Entry 1 is free now, entries 2 and 3 are not.
        assert_eq!(hops.resolve(address(2), Ok(hop(4)), empty()), Some((1, hop(4))));
        assert_eq!(hops.get(address(1)), Some(hop(3)));
    }

    #[test]
    fn an_entry_that_a_word_still_names_is_not_written() {
        let mut hops = Hops::adopt(&Snapshot::default(), 3);
        hops.resolve(address(1), Ok(hop(1)), empty());
        hops.retain(&BTreeSet::new());
        hops.next = 1;
        assert_eq!(
            hops.resolve(address(2), Ok(hop(2)), [1].into_iter()),
            Some((2, hop(2)))
        );
    }

    #[test]
    fn losing_the_way_says_why() {
        let mut hops = Hops::adopt(&Snapshot::default(), 3);
        hops.resolve(address(1), Ok(hop(1)), empty());
        assert_eq!(hops.resolve(address(1), Err("no route".into()), empty()), None);
        assert_eq!(
            (
                hops.index(address(1)),
                hops.why_not(address(1), ForwardMode::Nat).as_deref()
            ),
            (0, Some("no route"))
        );
        assert_eq!(hops.lost(address(1)), Some("no route"));
        hops.expect(address(2));
        assert!(hops.why_not(address(2), ForwardMode::Nat).is_some());
        assert_eq!((hops.lost(address(2)), hops.lost(address(3))), (None, None));
        hops.retain(&BTreeSet::new());
        assert_eq!(hops.why_not(address(1), ForwardMode::Nat), None);
    }

    #[test]
    fn a_router_is_in_the_way_of_dsr_alone() {
        let mut hops = Hops::adopt(&Snapshot::default(), 3);
        hops.resolve(address(1), Ok(hop(1)), empty());
        hops.leads_over(address(1), Some(address(254)));
        let reason = hops.why_not(address(1), ForwardMode::Dsr).unwrap();
        assert!(reason.contains("router 10.0.0.254"), "{reason}");
        for &mode in ForwardMode::ALL.iter().filter(|mode| **mode != ForwardMode::Dsr) {
            assert_eq!(hops.why_not(address(1), mode), None);
        }
        hops.leads_over(address(1), None);
        assert_eq!(hops.why_not(address(1), ForwardMode::Dsr), None);
    }
}
