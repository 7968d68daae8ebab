//! Flows one by one: listed and forgotten beside the control loop, which only says who has which id.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use lb_common::{
    addr::Addr,
    flow::{FlowKey, Protocol},
    service::{ForwardMode, Picker},
    slot::SlotBits,
};
use tokio::sync::oneshot;

use crate::{
    api::protocol::{FlowQuery, Flows, Probe, Purged, TranslatedFlow, WrittenFlow},
    config::Mode,
    control::{Answer, Controller, Node, Problem, change::Refusal, controller::backends, lookup},
    datapath::{
        Datapath,
        records::{Found, Noted, Records, Select, Translated},
    },
};

/// What people want of flows.
#[derive(Clone, Debug)]
pub enum Wish {
    List(FlowQuery),
    Purge(FlowQuery),
}

/// Who has which id.
#[derive(Clone, Debug, Default)]
struct Names {
    services: BTreeMap<u32, (String, SlotBits)>,
    /// With the generation of the id.
    backends: BTreeMap<u32, (String, u32)>,
}

/// Carries a wish out, and sends the answer when that is done.
pub fn carry_out<D: Datapath>(
    controller: &Controller<D>,
    node: &Node,
    wish: Wish,
    answer: oneshot::Sender<Result<Answer, Problem>>,
) {
    let (Wish::List(query) | Wish::Purge(query)) = &wish;
    let (select, records) = match (controller.select(node, query), &node.records) {
        (Ok(select), Some(records)) => (select, records.clone()),
        (Err(problem), _) => return drop(answer.send(Err(problem))),
        (Ok(_), None) => {
            let problem = Problem::Failed("no table of flows is open".into());
            return drop(answer.send(Err(problem)));
        }
    };
    let names = controller.names();
    tokio::task::spawn_blocking(move || {
        let told = carry_out_on(&records, &wish, &select, &names);
        // Whoever asked may have gone away.
        let _gone = answer.send(told.map_err(|error| Problem::Failed(format!("{error:#}"))));
    });
}

fn carry_out_on(records: &Mutex<Records>, wish: &Wish, select: &Select, names: &Names) -> Result<Answer> {
    // What an earlier wish has broken off in is read anew by each.
    let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
    match wish {
        Wish::List(query) => Ok(Answer::Flows(names.tell(&records.find(select, query.limit())?))),
        Wish::Purge(_) => {
            let gone = records.forget(select)?;
            log::info!(
                "purged at run time: {} translated flows, {} written ones, {} clients",
                gone.translated,
                gone.written,
                gone.clients
            );
            Ok(Answer::Purged(Purged {
                translated: gone.translated,
                written: gone.written,
                clients: gone.clients,
            }))
        }
    }
}

impl<D: Datapath> Controller<D> {
    /// Which flows are meant.
    fn select(&self, node: &Node, query: &FlowQuery) -> Result<Select, Problem> {
        let ends = query.ends().map_err(Problem::Refused)?;
        let mut select = Select::default();
        if let Some((from, to)) = ends {
            let probe = Probe {
                from,
                to,
                packet: None,
            };
            probe.kind().map_err(Problem::Refused)?;
            select.flow = Some(self.flow_of(node, &probe.flow()));
        }
        let Some(name) = &query.service else {
            return Ok(select);
        };
        let no_service = || Problem::NotFound(Refusal::NoService(name.clone()).to_string());
        let id = self.ids.service(name).ok_or_else(no_service)?;
        select.service = Some(id);
        if let Some(backend) = &query.backend {
            let mut all = backends(&self.served.services, &self.ids);
            let found = all.find(|(service, one, _)| service.name == *name && one.name == *backend);
            let (.., granted) = found.ok_or_else(|| {
                Problem::NotFound(Refusal::NoBackend(name.clone(), backend.clone()).to_string())
            })?;
            select.backend = Some((granted.id, granted.generation));
        }
        Ok(select)
    }

    /// A flow, and the hash that it is written down by.
    fn flow_of(&self, node: &Node, flow: &FlowKey) -> (FlowKey, u64) {
        let key = node.loaded.hash_key;
        let service = lookup::service(&self.applied.entries, flow).ok();
        let picker = service.and_then(|(service, _)| Picker::from_wire(service.picker));
        let hash = match (service, picker) {
            (Some((service, _)), Some(picker)) => lookup::hashes(key, &service, picker, flow).flow,
            _ => flow.hash(key),
        };
        (*flow, hash)
    }

    fn names(&self) -> Names {
        let services = self.served.services.iter().filter_map(|service| {
            let id = self.ids.service(&service.name)?;
            let bits = self.applied.service(id)?.slot_bits;
            Some((id, (service.name.clone(), SlotBits::new(bits.into()))))
        });
        let all = backends(&self.served.services, &self.ids);
        let backends =
            all.map(|(_, backend, granted)| (granted.id, (backend.name.clone(), granted.generation)));
        Names {
            services: services.collect(),
            backends: backends.collect(),
        }
    }
}

impl Names {
    fn tell(&self, found: &Found) -> Flows {
        let Found {
            translated,
            written,
            translated_total,
            written_total,
            now,
        } = found;
        Flows {
            translated: translated.iter().map(|one| self.translated(one, *now)).collect(),
            written: written.iter().map(|one| self.written(one, *now)).collect(),
            translated_total: *translated_total,
            written_total: *written_total,
        }
    }

    fn translated(&self, one: &Translated, now: u64) -> TranslatedFlow {
        let Translated {
            client,
            backend,
            flow,
        } = one;
        let forward = ForwardMode::from_wire(flow.mode);
        let protocol = Protocol::ALL
            .iter()
            .find(|known| known.number() == client.protocol);
        let named = self.backends.get(&flow.backend);
        TranslatedFlow {
            service: self.services.get(&flow.service).map(|(name, _)| name.clone()),
            backend: named
                .filter(|(_, generation)| *generation == flow.generation)
                .map(|(name, _)| name.clone()),
            mode: Mode::ALL
                .iter()
                .copied()
                .find(|mode| Some(mode.forward()) == forward),
            protocol: protocol.map_or_else(|| client.protocol.to_string(), |protocol| protocol.name().into()),
            client: socket(client.source, client.source_port),
            vip: socket(client.destination, client.destination_port),
            source: backend.map(|answer| socket(answer.destination, answer.destination_port)),
            destination: backend.map(|answer| socket(answer.source, answer.source_port)),
            state: flow.state().name().into(),
            age_seconds: now.saturating_sub(flow.last_seen) / 1_000_000_000,
        }
    }

    fn written(&self, Noted { entry, beside }: &Noted, now: u64) -> WrittenFlow {
        let service = self.services.get(&beside.service());
        let named = self.backends.get(&entry.backend());
        WrittenFlow {
            service: service.map(|(name, _)| name.clone()),
            backend: named
                .filter(|(_, generation)| entry.is_of_generation(*generation))
                .map(|(name, _)| name.clone()),
            slot: service.map(|(_, bits)| bits.slot(beside.home_hash())),
            state: entry.state().name().into(),
            age_seconds: entry.silence(now) / 1_000_000_000,
        }
    }
}

fn socket(address: Addr, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), u16::from_be(port))
}
