//! Which backend a packet would get now, and why: what the program would do, by the decisions that both share
//! ([`lb_common::pick`]), read from its own tables. Nothing is written, and no turn is taken.

mod choose;
mod decide;
mod find;
mod pool;

use anyhow::Result;
use lb_common::{
    conn::tcp,
    outcome::Outcome,
    pick::Pool as _,
    service::{Picker, Service},
    slot::Slot,
    written::WrittenState,
};

use self::{
    decide::{Choice, Not, Packet, View},
    pool::Tables,
};
pub use self::{
    decide::{Loaded, hashes},
    find::service,
};
use crate::{
    api::protocol::{
        By, Lookup, LookupService, LookupSlot, Match, PacketKind, Probe, Remembered, SlotState, Table,
    },
    control::{Controller, Node, controller::backends, desired::policy},
    datapath::Datapath,
};

impl<D: Datapath> Controller<D> {
    /// What would become of a packet.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn lookup(&self, node: &Node, probe: &Probe, packet: PacketKind) -> Result<Lookup> {
        let flow = probe.flow();
        let mut told = Lookup {
            from: probe.from,
            to: probe.to,
            packet,
            outcome: Outcome::Forwarded.name().into(),
            unserved: None,
            service: None,
            slot: None,
            remembered: None,
            by: None,
            tries: 0,
            backend: None,
            candidates: Vec::new(),
        };
        let entries = &self.applied.entries;
        let is_vip = find::vip(entries, flow.destination).is_some();
        if is_vip && (flow.source.is_martian() || flow.source == flow.destination) {
            told.outcome = Outcome::BadSource.name().into();
            return Ok(told);
        }
        let (service, matched) = match find::service(entries, &flow) {
            Ok(found) => found,
            Err(outcome) => {
                told.outcome = outcome.name().into();
                told.unserved = find::vip(entries, flow.destination).and_then(|vip| policy(&vip));
                return Ok(told);
            }
        };
        told.service = self.whose(&service, matched);
        let packet = Packet {
            flow,
            tcp_flags: match packet {
                PacketKind::Syn => tcp::SYN,
                PacketKind::Data => tcp::ACK,
                PacketKind::Datagram => 0,
            },
        };
        self.look_into(node, service, packet, &mut told)?;
        Ok(told)
    }

    fn whose(&self, service: &Service, matched: Match) -> Option<LookupService> {
        let mut services = self.served.services.iter();
        let spec = services.find(|spec| self.ids.service(&spec.name) == Some(service.id))?;
        Some(LookupService {
            name: spec.name.clone(),
            matched,
            mode: spec.mode,
            algorithm: spec.algorithm,
        })
    }

    /// What the service does with the packet.
    fn look_into(&self, node: &Node, service: Service, packet: Packet, told: &mut Lookup) -> Result<()> {
        let Some(picker) = Picker::from_wire(service.picker) else {
            told.outcome = Outcome::BadConfig.name().into();
            return Ok(());
        };
        let table = self.datapath.table(service.id)?;
        let loaded = node.loaded;
        let hashes = decide::hashes(loaded.hash_key, &service, picker, &packet.flow);
        let view = View {
            tables: Tables {
                datapath: &self.datapath,
                applied: &self.applied,
                table: &table,
                service: service.id,
                drawn: 0,
            },
            loaded,
            service,
            picker,
            packet,
            hashes,
            slot: table.slot(hashes.home),
            now: self.datapath.clock()?,
        };
        told.slot = Some(self.slot_of(&view));
        told.remembered = self.remembered(&view)?;
        match view.decide() {
            Ok(Choice::One { id, by, tries }) => {
                (told.by, told.tries) = (Some(by), tries);
                told.backend = self.backend_of(node, id)?;
            }
            Ok(Choice::AnyOf(ids)) => {
                told.by = Some(By::Chance);
                told.candidates = ids.into_iter().filter_map(|id| self.name_of(id)).collect();
                told.candidates.sort();
            }
            Err(Not::Forwarded(outcome)) => told.outcome = view.refused(outcome).name().into(),
            Err(Not::Read(error)) => return Err(error),
        }
        Ok(())
    }

    fn slot_of(&self, view: &View<'_, D>) -> LookupSlot {
        let View { hashes, slot, .. } = view;
        let bits = view.tables.table.bits();
        let hex = |hash: u64| format!("{hash:016x}");
        LookupSlot {
            hash: hex(hashes.home),
            index: bits.slot(hashes.home),
            slots: bits.slots(),
            state: state_of(*slot),
            owner: self.name_of(slot.owner()),
            previous: self.name_of(slot.previous()),
            new_hash: (hashes.new != hashes.home).then(|| hex(hashes.new)),
        }
    }

    fn remembered(&self, view: &View<'_, D>) -> Result<Option<Remembered>> {
        let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
        if let Some(flow) = view.flow_by_line()? {
            let has_id = view.tables.word(flow.backend).generation() == flow.generation;
            return Ok(Some(Remembered {
                table: Table::Flows,
                state: flow.state().name().into(),
                age_seconds: seconds(view.now.saturating_sub(flow.last_seen)),
                backend: self.name_of(flow.backend).filter(|_| has_id),
            }));
        }
        let entry = self.datapath.written(view.hashes.flow);
        let has_id = entry.is_of_generation(view.tables.word(entry.backend()).generation());
        Ok((entry.state() != WrittenState::Empty).then(|| Remembered {
            table: Table::Written,
            state: entry.state().name().into(),
            age_seconds: seconds(entry.silence(view.now)),
            backend: self.name_of(entry.backend()).filter(|_| has_id),
        }))
    }

    /// The name of a backend within its service.
    pub(in crate::control) fn name_of(&self, id: u32) -> Option<String> {
        let mut all = backends(&self.served.services, &self.ids);
        all.find(|(_, _, granted)| granted.id == id)
            .map(|(_, backend, _)| backend.name.clone())
    }

    fn backend_of(&self, node: &Node, id: u32) -> Result<Option<crate::api::protocol::Backend>> {
        let mut all = backends(&self.served.services, &self.ids);
        all.find(|(_, _, granted)| granted.id == id)
            .map(|(service, backend, granted)| self.describe_backend(node, service, backend, granted))
            .transpose()
    }
}

/// The state of a slot, as docs/flows.md names it.
#[must_use]
pub fn state_of(slot: Slot) -> SlotState {
    match (slot.previous() != 0, slot.is_young(), slot.is_written()) {
        (true, true, _) => SlotState::Young,
        (true, false, _) => SlotState::Unsettled,
        (false, _, true) => SlotState::Written,
        (false, _, false) => SlotState::Settled,
    }
}
