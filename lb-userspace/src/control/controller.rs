//! Keeps the data plane what the configuration, the changes at run time, the probes and the routes say it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
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
    config::{BackendSpec, CheckSpec, Limits, ServiceSpec, validate_set},
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
    health::{self, Health, Monitor, Observation, ProbeError},
    schedule::{self, Member},
};

/// A check belongs to one backend under one generation of its id, so that a late result is never another backend's.
pub type CheckKey = (u32, u32);

/// A backend under observation.
struct Watched {
    monitor: Monitor,
    spec: CheckSpec,
    target: SocketAddr,
    /// Its last probe got no answer at all, and the way there has been looked at since.
    silent: bool,
    _running: health::Handle,
}

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

    /// Waits for the next probe's result.
    pub async fn next_observation(&mut self) -> Option<Observation<CheckKey>> {
        self.observations.recv().await
    }

    /// Takes in a probe's result, and all that have come meanwhile.
    ///
    /// # Errors
    /// When the data plane cannot be written.
    pub fn observe(&mut self, observation: &Observation<CheckKey>) -> Result<()> {
        let turned = self.note(observation);
        if self.note_waiting() || turned {
            return self.reconcile();
        }
        Ok(())
    }

    /// Takes in the results that are waiting; whether any turned a backend.
    fn note_waiting(&mut self) -> bool {
        let mut turned = false;
        while let Ok(observation) = self.observations.try_recv() {
            turned |= self.note(&observation);
        }
        turned
    }

    /// Takes in one result; whether it turned its backend. The one store that takes a backend out or in is done here, before
    /// anything else; tables, if they change at all, have time.
    fn note(&mut self, observation: &Observation<CheckKey>) -> bool {
        let Some(watched) = self.watched.get_mut(&observation.key) else {
            return false;
        };
        let silent = observation.result.as_ref().is_err_and(ProbeError::is_silence);
        // Where too many are suspected already, this one's next failure comes soon enough.
        let looked_at =
            silent && (watched.silent || self.outlets.suspects.try_send(watched.target.ip()).is_ok());
        watched.silent = looked_at;
        let turned = watched
            .monitor
            .record(&observation.result, observation.took, observation.at);
        let Some(health) = turned else { return false };
        let said = watched.monitor.last_result().unwrap_or_default().to_owned();
        let Some((service, backend, granted)) = self.find(observation.key) else {
            return false;
        };
        let name = format!("{}/{}", service.name, backend.name);
        let word = self.word(backend, granted);
        self.datapath.set_word(granted.id, word);
        self.applied.took(Step::SetWord { id: granted.id, word });
        match health {
            Health::Down => log::warn!("backend {name} is down: {said}"),
            _ => log::info!("backend {name} is {}: {said}", health.name()),
        }
        true
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

    /// What the probes see of a backend, and the newest probe's words; `None` if it is not probed.
    pub(super) fn health(&self, granted: Granted) -> Option<(Health, Option<&str>)> {
        let watched = self.watched.get(&(granted.id, granted.generation))?;
        Some((watched.monitor.health(), watched.monitor.last_result()))
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

    /// Starts and ends checks, so that each backend of a checked service has one.
    fn watch(&mut self) {
        let mut before = std::mem::take(&mut self.watched);
        for (service, backend, granted) in backends(&self.services, &self.ids) {
            let (Some(spec), Some(target)) = (&service.check, service.check_target(backend)) else {
                continue;
            };
            let key = (granted.id, granted.generation);
            let running = before
                .remove(&key)
                .filter(|watched| watched.spec == *spec && watched.target == target);
            let watched = running.unwrap_or_else(|| {
                let known = self
                    .applied
                    .backends
                    .get(&granted.id)
                    .map(|&(_, word)| BackendWord(word));
                let health = match known
                    .filter(|word| word.generation() == granted.generation)
                    .map(BackendWord::state)
                {
                    Some(BackendState::Up | BackendState::Drain) => Health::Up,
                    Some(BackendState::Down) => Health::Down,
                    Some(BackendState::Free) | None => Health::Checking,
                };
                Watched {
                    monitor: Monitor::new(health, spec.rise, spec.fall),
                    spec: spec.clone(),
                    target,
                    silent: false,
                    _running: health::spawn(key, spec.clone(), target, self.outlets.observations.clone()),
                }
            });
            self.watched.insert(key, watched);
        }
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
