//! The controller's roads: ways to backends that are found and lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::Result;
use lb_common::{backend::BackendWord, next_hop::Egress};
use log::Level;

use super::{CheckKey, Controller, backends};
use crate::{
    control::{events::What, mac},
    datapath::Datapath,
    health::Who,
};

/// To whom there is no way, as far as that has been told.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    told: BTreeMap<CheckKey, String>,
    /// Others may be, or for another reason.
    pub(super) is_stale: bool,
}

impl<D: Datapath> Controller<D> {
    /// Takes in the way to an address. The words of its backends follow at the next [`settle`](Self::settle), so that many ways
    /// can be taken in at once.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub fn resolved(
        &mut self,
        address: IpAddr,
        hop: Result<Egress, String>,
        gateway: Option<IpAddr>,
    ) -> Result<()> {
        match &hop {
            Ok(Egress { hop, .. }) => log::info!(
                "next hop to {address}: interface {}, {}",
                hop.ifindex,
                mac(hop.destination_mac)
            ),
            Err(reason) => log::warn!("no next hop to {address}: {reason}"),
        }
        self.unsettled = true;
        self.unwatched = true;
        self.unreachable.is_stale = true;
        self.hops.leads_over(address, gateway);
        let words = self.applied.backends.values().map(|&(_, word)| BackendWord(word));
        let named = words.map(BackendWord::next_hop);
        if let Some((index, entry)) = self.hops.resolve(address, hop, named) {
            self.datapath.put_next_hop(index, &entry)?;
        }
        Ok(())
    }

    /// Tells which backends there is no way to any more, and to which there is again. That is in the log by their addresses already.
    pub(super) fn tell_ways(&mut self) {
        if !std::mem::take(&mut self.unreachable.is_stale) {
            return;
        }
        let mut served = BTreeSet::new();
        for (service, backend, granted) in backends(&self.served.services, &self.ids) {
            let key = (granted.id, granted.generation);
            served.insert(key);
            let why_not = self.hops.why_not(backend.address, service.mode.forward());
            // Of one that nobody has looked for so far nothing is known.
            let lost = why_not.filter(|_| !self.hops.is_awaited(backend.address));
            let told = self.unreachable.told.get(&key);
            if told == lost.as_ref() {
                continue;
            }
            let who = Who {
                service: service.name.clone(),
                backend: backend.name.clone(),
            };
            let (news, reason) = match &lost {
                Some(reason) => ((What::Unreachable, "is unreachable:"), reason.clone()),
                None => (
                    (What::Reachable, "is reachable:"),
                    "there is a way to it again".to_owned(),
                ),
            };
            self.untold.of_backend(Level::Debug, &who, news, None, reason);
            match lost {
                Some(reason) => self.unreachable.told.insert(key, reason),
                None => self.unreachable.told.remove(&key),
            };
        }
        self.unreachable.told.retain(|key, _| served.contains(key));
    }
}
