//! Keeps the data plane what the configuration, the changes at run time, the probes and the routes say it should be.

mod checks;
mod steps;
mod vlans;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use lb_common::{
    backend::{Backend, BackendState, BackendWord},
    next_hop::{Egress, VlanDevice},
};
use tokio::sync::{mpsc, watch};

use crate::{
    config::{BackendSpec, Config, Limits, ServiceSpec, Setup, validate_set, validate_sources},
    control::{
        change::{Change, Refusal},
        desired,
        hops::Hops,
        ids::{Granted, Ids},
        overrides::Overrides,
        plan::{State, Step, Table, plan},
        pool,
    },
    datapath::{Datapath, flow_table::Census},
    health::Observation,
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
    pub(super) setup: Setup,
    /// What the configuration file sets up.
    file: Setup,
    /// Source addresses of translated flows.
    sources: Vec<IpAddr>,
    pub(super) overrides: Overrides,
    pub(super) misfits: Vec<String>,
    pub(super) ids: Ids,
    pub(super) hops: Hops,
    pub(super) census: Census,
    vlan_devices: BTreeMap<u32, VlanDevice>,
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
    /// Takes the data plane over as it is and makes it what `config` and the changes in its `state_dir` ask for.
    ///
    /// # Errors
    /// When the data plane cannot be read or written.
    pub fn adopt(
        datapath: D,
        config: &Config,
        outlets: Outlets,
        observations: mpsc::Receiver<Observation<CheckKey>>,
    ) -> Result<Self> {
        let (limits, state_dir) = (config.limits.clone(), config.node.state_dir.clone());
        let overrides = Overrides::load(&state_dir)?;
        let file = config.setup();
        let (setup, misfits) = overrides.over(&file, &limits);
        let snapshot = datapath.snapshot()?;
        let mut controller = Self {
            datapath,
            file,
            sources: config.node.sources.clone(),
            overrides,
            misfits,
            ids: Ids::adopt(&snapshot, &setup.services, limits.clone()),
            hops: Hops::adopt(&snapshot, 2 * limits.backends),
            census: Census::default(),
            applied: State::of(&snapshot),
            vlan_devices: snapshot.vlan_devices,
            unsettled: true,
            watched: BTreeMap::new(),
            setup,
            limits,
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
        let mut setup = self.setup.clone();
        change.apply(&mut setup)?;
        if let Change::SetVip { address, .. } = change
            && !setup.has_vip(address)
        {
            return Err(Refusal::NoVip(address).into());
        }
        validate_set(&setup.services, &self.limits)?;
        validate_sources(&self.sources, &setup.services)?;
        self.ids.clone().assign(&setup.services)?;
        let mut overrides = self.overrides.clone();
        overrides.push(change);
        overrides.forget_restored(&self.file);
        overrides.save(&self.state_dir)?;
        let known = addresses(&self.setup.services);
        for address in addresses(&setup.services).difference(&known) {
            self.hops.expect(*address);
        }
        let setup = std::mem::replace(&mut self.setup, setup);
        let overrides = std::mem::replace(&mut self.overrides, overrides);
        let Err(error) = self.reconcile() else {
            return Ok(());
        };
        self.setup = setup;
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
                super::mac(hop.destination_mac)
            ),
            Err(reason) => log::warn!("no next hop to {address}: {reason}"),
        }
        self.unsettled = true;
        self.hops.leads_over(address, gateway);
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
    pub(super) fn state(
        &self,
        service: &ServiceSpec,
        backend: &BackendSpec,
        granted: Granted,
    ) -> BackendState {
        let health = self.health(granted).map(|(health, _)| health);
        let why_not = self.hops.why_not(backend.address, service.mode.forward());
        pool::state(backend, health, why_not.is_none())
    }

    /// Lets go of what an earlier agent has left and nobody wants, if what is new would not fit beside it.
    fn make_room(&mut self) -> Result<()> {
        if self.ids.clone().assign(&self.setup.services).is_ok() {
            return Ok(());
        }
        let known = self.ids.known_of(&self.setup.services);
        let services = std::mem::replace(&mut self.setup.services, known);
        let done = self.reconcile();
        self.setup.services = services;
        done
    }

    fn reconcile(&mut self) -> Result<()> {
        self.unsettled = true;
        self.ids.assign(&self.setup.services)?;
        self.watch();
        while self.carry_out()? {}
        self.unsettled = false;
        self.ids.release_others(&self.setup.services);
        let addresses = addresses(&self.setup.services);
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
        let entries = desired::entries(&self.setup, &self.ids, &self.vlan_devices);
        let mut state = State {
            switches: self.applied.switches_for(&entries),
            entries,
            ..State::default()
        };
        for service in &self.setup.services {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            for backend in &service.backends {
                let Some(granted) = self.ids.backend(id, backend) else {
                    continue;
                };
                let port = backend.port.unwrap_or(0).to_be();
                let fixed = Backend {
                    addr: backend.address.into(),
                    port,
                    service: id,
                    ..Backend::default()
                };
                state
                    .backends
                    .insert(granted.id, (fixed, self.word(service, backend, granted).0));
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
            .map(|&(backend, granted)| (backend.weight, self.state(service, backend, granted)))
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

    fn word(&self, service: &ServiceSpec, backend: &BackendSpec, granted: Granted) -> BackendWord {
        BackendWord::new(
            self.state(service, backend, granted),
            self.hops.index(backend.address),
            granted.generation,
        )
    }

    fn find(&self, key: CheckKey) -> Option<(&ServiceSpec, &BackendSpec, Granted)> {
        backends(&self.setup.services, &self.ids)
            .find(|(_, _, granted)| (granted.id, granted.generation) == key)
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
