//! Keeps the data plane what the configuration, the changes at run time, the probes and the routes say it should be.

mod aim;
mod asked;
mod checks;
mod doubt;
mod holds;
mod host;
mod keeping;
mod pools;
mod settling;
mod signs;
mod steps;
mod telling;
mod watching;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context as _, Result};
use lb_common::{addr::Addr, settings::Own};
use tokio::sync::{mpsc, watch};

use crate::{
    config::{BackendSpec, Config, Limits, ServiceSpec, Setup, validate_set, validate_sources},
    control::{
        change::{Change, Refusal},
        clock,
        desired::Host,
        drain::Drains,
        events::Journal,
        footing::Footing,
        hops::Hops,
        ids::{Granted, Ids},
        leaving::{self, Leaving},
        overrides::Overrides,
        panic,
        plan::{State, Step, plan},
        precedence::give_way,
        reaction::Reaction,
        settle::{Settling, Times},
        timers::Timers,
    },
    datapath::{Datapath, sweep::Census, written_table::Lifetime},
    health::{Stalls, results, through::Path},
};

pub use asked::{via, where_to};
pub use checks::{CheckKey, Question};
use watching::Watched;

/// Where the controller sends what others have to do.
#[derive(Clone)]
pub struct Outlets {
    pub observations: results::Sender<CheckKey>,
    /// Addresses whose next hops are wanted.
    pub targets: watch::Sender<BTreeSet<IpAddr>>,
    /// Addresses that did not answer, and whose next hop may be out of date.
    pub suspects: mpsc::Sender<IpAddr>,
    /// How long entries of written flows last, by service.
    pub lifetimes: watch::Sender<BTreeMap<u32, Lifetime>>,
    /// The data path, for probes that go by it; without one, all go straight to their backends.
    pub path: Option<Path>,
    /// Addresses of this host, for probes where the way has none of the VIP's family.
    pub own: Own,
    /// Where events are kept and told.
    pub journal: Journal,
}

/// The one writer of the data plane.
pub struct Controller<D> {
    pub(super) datapath: D,
    pub(super) setup: Setup,
    /// The same with those that are leaving: what the data plane serves.
    pub(super) served: Setup,
    pub(super) leaving: Vec<Leaving>,
    pub(super) drains: Drains,
    /// What the configuration file sets up.
    file: Setup,
    /// Source addresses of translated flows.
    sources: Vec<IpAddr>,
    pub(super) overrides: Overrides,
    pub(super) misfits: Vec<String>,
    pub(super) ids: Ids,
    pub(super) hops: Hops,
    pub(super) census: Census,
    host: Host,
    pub(super) applied: State,
    /// How far slot tables have settled, by service.
    pub(super) settling: BTreeMap<u32, Settling>,
    /// Since when the flows of services have another home than new ones would.
    homes: BTreeMap<u32, Instant>,
    /// Backends whose words are scattered: since when they are in their state, and whether the last census has found nobody elsewhere.
    turned: BTreeMap<u32, (Instant, bool)>,
    /// By how much the counters of active flows were off, by backend.
    pub(super) drift: BTreeMap<u32, i64>,
    times: Times,
    /// When the data plane was last made what it should be: what depends on time was decided then.
    decided: Instant,
    /// The data plane may not be what it should be.
    unsettled: bool,
    watched: BTreeMap<CheckKey, Watched>,
    /// How often a check has been started: the number of the next run.
    runs: u64,
    /// Backends with a check that is to be started.
    aimed: Vec<CheckKey>,
    /// Others may have to be watched, or in another way.
    unwatched: bool,
    /// When something changes by time alone, of those backends of whom anything does.
    timers: Timers<CheckKey>,
    /// Who comes up by time alone, or when nobody else of the pool is up.
    waiting: holds::Waiting,
    /// What tables rest on, by service: as the data plane was last made what it should be, and as words have changed since.
    footings: BTreeMap<u32, Footing>,
    /// Pools that may fail beyond belief, kept in step with what their checks say, by service.
    pools: BTreeMap<u32, panic::Pool>,
    /// Services whose pools do.
    panicking: BTreeSet<u32>,
    /// Backends may have another weight, limit or wish than what is set.
    overlaid: bool,
    /// When tables are made what they should be after words have changed.
    due: Option<Instant>,
    kept: keeping::Kept,
    stalls: Stalls,
    suffering: signs::Suffering,
    unreachable: ways::Unreachable,
    /// From the results of failed probes to words.
    pub(super) reaction: Reaction,
    pub(super) journal: Journal,
    untold: telling::Untold,
    pub(super) limits: Limits,
    state_dir: PathBuf,
    outlets: Outlets,
    observations: results::Receiver<CheckKey>,
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
        observations: results::Receiver<CheckKey>,
    ) -> Result<Self> {
        let (limits, state_dir) = (config.limits.clone(), config.node.state_dir.clone());
        let overrides = Overrides::load(&state_dir)?;
        let file = config.setup();
        let (setup, misfits) = overrides.over(&file, &limits);
        let snapshot = datapath.snapshot()?;
        let now = clock::now();
        let ids = Ids::adopt(&snapshot, &setup.services, limits.clone());
        let leaving = leaving::adopt(&snapshot, &setup, &ids);
        let scattered = snapshot
            .backends
            .iter()
            .filter(|(_, (_, word))| word.is_scattered());
        let mut controller = Self {
            datapath,
            served: leaving::served(&setup, &leaving),
            leaving,
            drains: Drains::default(),
            settling: BTreeMap::new(),
            homes: BTreeMap::new(),
            turned: scattered.map(|(&id, _)| (id, (now, false))).collect(),
            drift: BTreeMap::new(),
            times: Times {
                udp: config.timeouts.udp,
                settle: config.timeouts.settle,
            },
            decided: now,
            file,
            sources: config.node.sources.clone(),
            overrides,
            misfits,
            ids,
            hops: Hops::adopt(&snapshot, 2 * limits.backends),
            census: Census::empty(now),
            applied: State::of(&snapshot),
            host: Host {
                vlan_devices: snapshot.vlan_devices,
                locals: &snapshot.locals | &config.node.sources.iter().copied().map(Addr::from).collect(),
            },
            unsettled: true,
            watched: BTreeMap::new(),
            runs: 0,
            aimed: Vec::new(),
            unwatched: true,
            timers: Timers::default(),
            waiting: holds::Waiting::default(),
            footings: BTreeMap::new(),
            pools: BTreeMap::new(),
            panicking: BTreeSet::new(),
            overlaid: false,
            due: None,
            kept: keeping::Kept::load(&state_dir),
            stalls: Stalls::default(),
            suffering: signs::Suffering::default(),
            unreachable: ways::Unreachable::default(),
            reaction: Reaction::default(),
            journal: outlets.journal.clone(),
            untold: telling::Untold::default(),
            setup,
            limits,
            state_dir,
            outlets,
            observations,
        };
        controller.reconcile()?;
        controller.forget_kept();
        Ok(controller)
    }

    /// Carries a change out, now and at every later start.
    ///
    /// # Errors
    /// When the change does not fit, cannot be kept or cannot be carried out; everything is then as before.
    pub fn change(&mut self, change: Change) -> Result<()> {
        // What has been found by the checks of before is theirs.
        self.hear();
        let mut setup = self.setup.clone();
        change.keeps_flows(&setup)?;
        change.apply(&mut setup)?;
        if let Change::SetVip { address, .. } = change
            && !setup.has_vip(address)
        {
            return Err(Refusal::NoVip(address).into());
        }
        validate_set(&setup.services, &self.limits)?;
        change.validate_files(&setup)?;
        validate_sources(&self.sources, &setup.services)?;
        self.fit(&setup)?;
        let mut overrides = self.overrides.clone();
        overrides.push(change);
        overrides.forget_restored(&self.file);
        overrides.save(&self.state_dir)?;
        let known = addresses(&self.served.services);
        for address in addresses(&setup.services).difference(&known) {
            self.hops.expect(*address);
        }
        let leaving = self.leaving_after(&setup);
        let before = (self.setup.clone(), self.leaving.clone());
        self.serve(setup, leaving);
        let overrides = std::mem::replace(&mut self.overrides, overrides);
        let Err(error) = self.reconcile() else {
            return Ok(());
        };
        self.serve(before.0, before.1);
        self.overrides = overrides;
        // Both are tried, whatever becomes of the other.
        let done = self.reconcile();
        let saved = self.overrides.save(&self.state_dir);
        saved.and(done).context("take a change back")?;
        Err(error)
    }

    fn serve(&mut self, setup: Setup, leaving: Vec<Leaving>) {
        self.served = leaving::served(&setup, &leaving);
        (self.setup, self.leaving) = (setup, leaving);
        self.unwatched = true;
        self.unreachable.is_stale = true;
    }

    /// Who is leaving once this is set up: those that have flows.
    fn leaving_after(&self, setup: &Setup) -> Vec<Leaving> {
        leaving::after(&self.served, setup, &self.leaving, |service, backend| {
            let id = self.ids.service(&service.name);
            let granted = id.and_then(|id| self.ids.backend(id, backend));
            let word = granted.and_then(|one| self.applied.word(one.id, one.generation));
            word.is_some_and(|word| word.keeps_flow_of(word.generation()))
        })
    }

    /// Whether there are ids for all of this, without those that are leaving.
    fn fit(&self, setup: &Setup) -> Result<()> {
        let mut ids = self.ids.clone();
        ids.release_others(&setup.services);
        ids.assign(&setup.services)
    }

    /// Lets go of what is to go anyway, if what is new would not fit beside it: of those that are leaving whoever left first, and of
    /// what an earlier agent has left.
    fn make_room(&mut self) -> Result<()> {
        if self.ids.clone().assign(&self.served.services).is_ok() {
            return Ok(());
        }
        while self.fit(&self.served).is_err() && !self.leaving.is_empty() {
            let Leaving { service, backend } = self.leaving.remove(0);
            log::warn!(
                "backend {service}/{} goes with its flows: its id is needed",
                backend.name
            );
            self.served = leaving::served(&self.setup, &self.leaving);
            self.unwatched = true;
        }
        let known = self.ids.known_of(&self.served.services);
        let services = std::mem::replace(&mut self.served.services, known);
        let done = self.make_so();
        self.served.services = services;
        done
    }

    fn reconcile(&mut self) -> Result<()> {
        // With many backends it takes long, and words are written already.
        let _others_first = give_way();
        self.unsettled = true;
        self.due = None;
        self.make_room()?;
        self.ids.assign(&self.served.services)?;
        self.decided = clock::now();
        self.let_leave();
        let turns = self.watch();
        // What was remembered of wishes is known only now.
        self.overlay(self.decided);
        if !turns.is_empty() {
            // They are counted anew below.
            self.pools.clear();
        }
        turns.iter().for_each(|(key, turn)| self.turned(*key, turn, None));
        let made = self.make_so();
        self.start_checks();
        made
    }

    /// Makes the data plane what is served.
    fn make_so(&mut self) -> Result<()> {
        self.follow(self.decided);
        self.doubt_pools();
        self.tell();
        while self.carry_out()? {}
        self.tell_ways();
        self.stand();
        self.release_all();
        self.tell();
        self.unsettled = false;
        self.ids.release_others(&self.served.services);
        self.publish_lifetimes();
        let addresses = addresses(&self.served.services);
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
            turned |= self.execute(&step)?;
            // Packets wait for no table, and neither does a backend that fails while tables are filled and swapped, which
            // takes long for a thousand of them. Its word is beyond this plan: words come before tables.
            let takes_long = matches!(step, Step::PutTable { .. });
            self.applied.took(step);
            turned |= takes_long && self.hear();
        }
        Ok(turned)
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
