//! Keeps the data plane what the configuration, the changes at run time, the probes and the routes say it should be.

mod checks;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use lb_common::{
    addr::Addr,
    backend::{Backend, BackendState, BackendWord},
    limits::SLOTS,
    next_hop::NextHop,
    service::Service,
};
use tokio::sync::{mpsc, watch};

use crate::{
    config::{BackendSpec, Limits, ServiceSpec, validate_set},
    control::{
        change::Change,
        hops::Hops,
        ids::{Granted, Ids},
        key,
        overrides::Overrides,
        plan::{State, Step, Table, plan},
        pool,
    },
    datapath::{Datapath, flow_table::Census},
    health::Observation,
    schedule::{self, Member},
};

pub use checks::CheckKey;
use checks::Watched;

/// Where the controller sends what others have to do.
#[derive(Clone, Debug)]
pub struct Outlets {
    pub observations: mpsc::Sender<Observation<CheckKey>>,
    /// Addresses whose next hops are wanted.
    pub targets: watch::Sender<BTreeSet<IpAddr>>,
    /// Addresses that did not answer, and whose next hop may be out of date.
    pub suspects: mpsc::Sender<IpAddr>,
}

/// The one writer of the data plane.
pub struct Controller<D> {
    pub(super) datapath: D,
    pub(super) services: Vec<ServiceSpec>,
    /// The configuration file's services.
    file: Vec<ServiceSpec>,
    pub(super) overrides: Overrides,
    pub(super) misfits: Vec<String>,
    pub(super) ids: Ids,
    pub(super) hops: Hops,
    pub(super) census: Census,
    applied: State,
    /// The data plane may not be what it should be.
    unsettled: bool,
    watched: BTreeMap<CheckKey, Watched>,
    limits: Limits,
    state_dir: PathBuf,
    outlets: Outlets,
    observations: mpsc::Receiver<Observation<CheckKey>>,
}

impl<D: Datapath> Controller<D> {
    /// Takes the data plane over as it is and makes it what `file` and the changes in `state_dir` ask for.
    ///
    /// # Errors
    /// When the data plane cannot be read or written.
    pub fn adopt(
        datapath: D,
        file: &[ServiceSpec],
        limits: &Limits,
        state_dir: PathBuf,
        outlets: Outlets,
        observations: mpsc::Receiver<Observation<CheckKey>>,
    ) -> Result<Self> {
        let overrides = Overrides::load(&state_dir)?;
        let (services, misfits) = overrides.over(file, limits);
        let snapshot = datapath.snapshot()?;
        let mut controller = Self {
            datapath,
            file: file.to_vec(),
            overrides,
            misfits,
            ids: Ids::adopt(&snapshot, &services, limits.clone()),
            hops: Hops::adopt(&snapshot, 2 * limits.backends),
            census: Census::default(),
            applied: State::of(&snapshot),
            unsettled: true,
            watched: BTreeMap::new(),
            services,
            limits: limits.clone(),
            state_dir,
            outlets,
            observations,
        };
        controller.make_room()?;
        controller.reconcile()?;
        Ok(controller)
    }

    /// Carries a change out, now and at every later start.
    ///
    /// # Errors
    /// When the change does not fit, cannot be kept or cannot be carried out; everything is then as before.
    pub fn change(&mut self, change: Change) -> Result<()> {
        let mut services = self.services.clone();
        change.apply(&mut services)?;
        validate_set(&services, &self.limits)?;
        self.ids.clone().assign(&services)?;
        let mut overrides = self.overrides.clone();
        overrides.push(change);
        overrides.forget_restored(&self.file);
        overrides.save(&self.state_dir)?;
        let known = addresses(&self.services);
        for address in addresses(&services).difference(&known) {
            self.hops.expect(*address);
        }
        let services = std::mem::replace(&mut self.services, services);
        let overrides = std::mem::replace(&mut self.overrides, overrides);
        let Err(error) = self.reconcile() else {
            return Ok(());
        };
        self.services = services;
        self.overrides = overrides;
        // Both are tried, whatever becomes of the other.
        let done = self.reconcile();
        let saved = self.overrides.save(&self.state_dir);
        saved.and(done).context("take a change back")?;
        Err(error)
    }

    /// Takes in the way to an address. The words of its backends follow at the next [`settle`](Self::settle), so that many ways
    /// can be taken in at once.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub fn resolved(&mut self, address: IpAddr, hop: Result<NextHop, String>) -> Result<()> {
        match &hop {
            Ok(hop) => log::info!(
                "next hop to {address}: interface {}, {}",
                hop.ifindex,
                super::mac(hop.destination_mac)
            ),
            Err(reason) => log::warn!("no next hop to {address}: {reason}"),
        }
        self.unsettled = true;
        let words = self.applied.backends.values().map(|&(_, word)| BackendWord(word));
        let named = words.map(BackendWord::next_hop);
        if let Some((index, entry)) = self.hops.resolve(address, hop, named) {
            self.datapath.put_next_hop(index, &entry)?;
        }
        Ok(())
    }

    /// Makes the data plane what it should be, if it is not: after new ways, or when an earlier attempt has failed.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub fn settle(&mut self) -> Result<()> {
        if self.unsettled { self.reconcile() } else { Ok(()) }
    }

    /// Takes in how many flows there are.
    pub fn counted(&mut self, census: Census) {
        self.census = census;
    }

    /// The state of a backend in the data plane.
    pub(super) fn state(&self, backend: &BackendSpec, granted: Granted) -> BackendState {
        let health = self.health(granted).map(|(health, _)| health);
        pool::state(backend, health, self.hops.why_not(backend.address).is_none())
    }

    /// Lets go of what an earlier agent has left and nobody wants, if what is new would not fit beside it.
    fn make_room(&mut self) -> Result<()> {
        if self.ids.clone().assign(&self.services).is_ok() {
            return Ok(());
        }
        let known = self.ids.known_of(&self.services);
        let services = std::mem::replace(&mut self.services, known);
        let done = self.reconcile();
        self.services = services;
        done
    }

    fn reconcile(&mut self) -> Result<()> {
        self.unsettled = true;
        self.ids.assign(&self.services)?;
        self.watch();
        while self.carry_out()? {}
        self.unsettled = false;
        self.ids.release_others(&self.services);
        let addresses = addresses(&self.services);
        self.hops.retain(&addresses);
        self.outlets.targets.send_if_modified(|targets| {
            let changed = *targets != addresses;
            *targets = addresses;
            changed
        });
        Ok(())
    }

    /// Makes the data plane what it should be; whether that has changed meanwhile.
    fn carry_out(&mut self) -> Result<bool> {
        let mut turned = false;
        for step in plan(&self.desired(), &self.applied) {
            // Each for itself: after a failure the next plan starts from what is really there.
            self.execute(&step)?;
            // Packets wait for no table, and neither does a backend that fails while tables are filled and swapped, which
            // takes long for a thousand of them. Its word is beyond this plan: words come before tables.
            let takes_long = matches!(step, Step::PutTable { .. });
            self.applied.took(step);
            turned |= takes_long && self.note_waiting();
        }
        Ok(turned)
    }

    fn desired(&self) -> State {
        let mut state = State::default();
        for service in &self.services {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            let entry = Service {
                id,
                mode: service.mode.forward().wire(),
                picker: service.algorithm.picker().wire(),
                _pad: [0; 2],
            };
            for vip in &service.vips {
                state.services.insert(key::of(vip).into(), entry);
                state.vips.insert(Addr::from(vip.address).words());
            }
            for backend in &service.backends {
                let Some(granted) = self.ids.backend(id, backend) else {
                    continue;
                };
                let port = backend.port.unwrap_or(0).to_be();
                let fixed = Backend {
                    addr: backend.address.into(),
                    port,
                    _pad: [0; 2],
                    service: id,
                };
                state
                    .backends
                    .insert(granted.id, (fixed, self.word(backend, granted).0));
            }
            state.tables.insert(id, self.table(service, id));
        }
        state
    }

    fn table(&self, service: &ServiceSpec, id: u32) -> Table {
        let pool: Vec<_> = service
            .backends
            .iter()
            .filter_map(|backend| Some((backend, self.ids.backend(id, backend)?)))
            .collect();
        let standing: Vec<_> = pool
            .iter()
            .map(|&(backend, granted)| (backend.weight, self.state(backend, granted)))
            .collect();
        let members = pool
            .iter()
            .zip(pool::sharers(&standing))
            .filter(|(_, shares)| *shares)
            .map(|((backend, granted), _)| {
                let key = format!("{} {}", backend.address, backend.port.unwrap_or(0));
                (key, granted.id, u32::from(backend.weight))
            });
        Table {
            algorithm: service.algorithm,
            members: members.collect(),
        }
    }

    fn word(&self, backend: &BackendSpec, granted: Granted) -> BackendWord {
        BackendWord::new(
            self.state(backend, granted),
            self.hops.index(backend.address),
            granted.generation,
        )
    }

    fn find(&self, key: CheckKey) -> Option<(&ServiceSpec, &BackendSpec, Granted)> {
        backends(&self.services, &self.ids).find(|(_, _, granted)| (granted.id, granted.generation) == key)
    }

    fn execute(&mut self, step: &Step) -> Result<()> {
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
            Step::PutVip { vip } => datapath.put_vip(&Addr::from_words(vip)),
            Step::PutService { key, ref service } => datapath.put_service(&key.into(), service),
            Step::RemoveService { key } => datapath.remove_service(&key.into()),
            Step::RemoveVip { vip } => datapath.remove_vip(&Addr::from_words(vip)),
            Step::ClearTable { service } => datapath.clear_table(service),
        }
    }
}

fn addresses(services: &[ServiceSpec]) -> BTreeSet<IpAddr> {
    let backends = services.iter().flat_map(|service| &service.backends);
    backends.map(|backend| backend.address).collect()
}

/// Every backend with its service and id.
pub(super) fn backends<'a>(
    services: &'a [ServiceSpec],
    ids: &'a Ids,
) -> impl Iterator<Item = (&'a ServiceSpec, &'a BackendSpec, Granted)> {
    services
        .iter()
        .filter_map(|service| Some((service, ids.service(&service.name)?)))
        .flat_map(move |(service, id)| {
            service
                .backends
                .iter()
                .filter_map(move |backend| Some((service, backend, ids.backend(id, backend)?)))
        })
}
