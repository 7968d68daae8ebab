//! The controller's hand: carries the steps of a plan out.

use anyhow::Result;
use lb_common::limits::SLOTS;

use super::{Controller, Step};
use crate::{
    datapath::Datapath,
    schedule::{self, Member},
};

impl<D: Datapath> Controller<D> {
    /// Carries one step out.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub(super) fn execute(&mut self, step: &Step) -> Result<()> {
        let datapath = &mut self.datapath;
        match *step {
            Step::NewBackend { id, ref backend } => {
                datapath.put_backend(id, backend)?;
                datapath.reset_backend_traffic(id)
            }
            Step::SetWord { id, word } => {
                datapath.set_word(id, word);
                Ok(())
            }
            Step::NewService { id } => datapath.reset_service_traffic(id),
            Step::PutTable { service, ref table } => {
                let members: Vec<_> = table
                    .members
                    .iter()
                    .map(|(key, id, weight)| Member {
                        key,
                        id: *id,
                        weight: *weight,
                    })
                    .collect();
                let slots = schedule::of(table.algorithm).fill(SLOTS as usize, &members);
                // After a start it usually is: a swap waits until no packet uses the old table.
                if !self.applied.tables.contains_key(&service) && datapath.has_table(service, &slots) {
                    return Ok(());
                }
                datapath.put_table(service, &slots)
            }
            Step::SetSwitches(switches) => {
                datapath.set_switches(switches);
                Ok(())
            }
            Step::Put(ref entry) => entry.write(datapath),
            Step::Remove(key) => key.erase(datapath),
            Step::ClearTable { service } => datapath.clear_table(service),
        }
    }
}
