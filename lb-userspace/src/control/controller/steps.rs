//! The controller's hand: carries the steps of a plan out.

use anyhow::Result;
use lb_common::service::service_flags;

use super::{Controller, Step};
use crate::{
    control::{
        clock,
        plan::{Sharer, Table},
        settle::{self, Settling, Turn},
    },
    datapath::{Datapath, SlotTable},
    schedule::{self, Member},
};

impl<D: Datapath> Controller<D> {
    /// Carries one step out; whether that makes a difference to what is to be.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub(super) fn execute(&mut self, step: &Step) -> Result<bool> {
        let datapath = &mut self.datapath;
        match *step {
            Step::NewBackend { id, ref backend } => {
                datapath.put_backend(id, backend)?;
                datapath.reset_backend(id)?;
            }
            Step::SetLimits { id, limits } => datapath.set_limits(id, limits),
            Step::SetWord { id, word } => {
                self.turns(id, word);
                self.datapath.set_word(id, word);
            }
            Step::NewService { id } => datapath.reset_service(id)?,
            Step::PutTable { service, ref table } => return self.put_table(service, table),
            Step::SetSwitches(switches) => datapath.set_switches(switches),
            Step::Put(ref entry) => entry.write(datapath)?,
            Step::Remove(key) => key.erase(datapath)?,
            Step::ClearTable { service } => {
                datapath.clear_table(service)?;
                self.settling.remove(&service);
                self.homes.remove(&service);
            }
            Step::Forget { service, backend } => self.forget(service, backend)?,
            Step::Purge(ref backends) => datapath.purge_written(backends),
        }
        Ok(false)
    }

    /// Gives the slots of a service to those who share them now; whether its table has grown unexpectedly.
    fn put_table(&mut self, service: u32, table: &Table) -> Result<bool> {
        let owners = owners(table);
        let now = clock::now();
        let Some(before) = self.applied.service(service) else {
            // What an id of before has left is nothing to a new service.
            let new = SlotTable::settled(&owners, table.members.clone());
            self.datapath.put_table(service, &new)?;
            self.settling.insert(service, Settling::adopt(&new, now));
            return Ok(false);
        };
        let found = table.found;
        let other_home = before.home != found.home.wire();
        let had = |flag| before.flags & flag != 0;
        let turn = Turn {
            reopened: before.picker != table.algorithm.picker().wire()
                || !had(service_flags::TRACKED) && found.is_tracked
                || !had(service_flags::UNSETTLED) && found.is_unsettled
                || found.home != table.algorithm.picker().home(),
            unsettled: found.is_unsettled,
            all_written: had(service_flags::TRACKED) && found.is_tracked,
            scattered: other_home
                || had(service_flags::TRACKED) && !found.is_tracked
                || had(service_flags::UNSETTLED) && !found.is_unsettled,
        };
        let expected = self.bits(service, table.size);
        let old = self.datapath.table(service)?;
        let new = settle::passed(&old, &owners, table.members.clone(), turn);
        // After a start it usually is the same: a swap waits until no packet uses the old table.
        if new != old {
            self.datapath.put_table(service, &new)?;
        }
        let settling = self.settling.entry(service);
        let settling = settling.or_insert_with(|| Settling::adopt(&new, now));
        settling.passed(&old, &new, other_home, now);
        Ok(new.bits() != expected)
    }
}

/// Who should have the slots, of as many as the pool needs.
fn owners(table: &Table) -> Vec<u32> {
    let member = |one| {
        let &Sharer {
            ref key,
            id,
            weight,
            priority,
        } = one;
        Member {
            key,
            id,
            weight: weight.into(),
            priority,
        }
    };
    let members: Vec<_> = table.sharers.iter().map(member).collect();
    schedule::of(table.algorithm).fill(table.size.slots() as usize, &members)
}
