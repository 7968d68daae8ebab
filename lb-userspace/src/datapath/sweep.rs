//! A sweep through all that is remembered: what is over goes, and what lives is counted.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::{conn::Timeouts, written::WrittenTimeouts};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

use crate::datapath::{
    flow_table::{FlowCensus, FlowTable},
    mapped::MappedArray,
    pins::Pins,
    usage::{Meter, Usage},
    written_table::{Lifetime, Lifetimes, WrittenCensus, WrittenTable},
};

/// The tables, opened a second time: sweeping takes long and runs beside the control loop.
#[derive(Debug)]
pub struct Sweep {
    flows: FlowTable,
    written: WrittenTable,
    lifetimes: Lifetimes,
    /// Those of services, as the control loop knows them.
    services: watch::Receiver<BTreeMap<u32, Lifetime>>,
    meter: Meter,
}

/// What is remembered, and what the counters say of it.
#[derive(Clone, Debug)]
pub struct Census {
    /// When the sweep began.
    pub began: Instant,
    pub flows: FlowCensus,
    pub written: WrittenCensus,
    /// Active flows, by backend.
    pub backend_loads: Loads,
    /// Active flows, by service.
    pub service_loads: Loads,
    /// What the maps cost.
    pub memory: Vec<Usage>,
}

/// Counters before and after the sweep, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    pub before: Vec<i64>,
    pub after: Vec<i64>,
}

impl Sweep {
    /// Opens the pinned tables.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(
        pins: &Pins,
        timeouts: Timeouts,
        services: watch::Receiver<BTreeMap<u32, Lifetime>>,
    ) -> Result<Self> {
        Ok(Self {
            flows: FlowTable::open(pins, timeouts)?,
            written: WrittenTable::open(pins)?,
            lifetimes: Lifetimes {
                tcp: WrittenTimeouts::new(&timeouts),
                udp: timeouts.udp,
                services: BTreeMap::new(),
            },
            services,
            meter: Meter::open(pins)?,
        })
    }

    /// Counts what lives and removes the rest.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn run(&mut self) -> Result<Census> {
        let began = Instant::now();
        let now = now()?;
        self.lifetimes
            .services
            .clone_from(&self.services.borrow_and_update());
        let (backends, services) = self.written.loads();
        let before = [signed(backends), signed(services)];
        let written = self.written.sweep(&self.lifetimes, now);
        let flows = self.flows.sweep(now, &self.written)?;
        let (backends, services) = self.written.loads();
        let [backends_before, services_before] = before;
        Ok(Census {
            began,
            flows,
            written,
            backend_loads: Loads {
                before: backends_before,
                after: signed(backends),
            },
            service_loads: Loads {
                before: services_before,
                after: signed(services),
            },
            memory: self.meter.read()?,
        })
    }
}

impl Census {
    /// That of nothing.
    #[must_use]
    pub fn empty(began: Instant) -> Self {
        Self {
            began,
            flows: FlowCensus::default(),
            written: WrittenCensus::default(),
            backend_loads: Loads::default(),
            service_loads: Loads::default(),
            memory: Vec::new(),
        }
    }

    /// All flows.
    #[must_use]
    pub fn total(&self) -> u64 {
        let flows = [&self.flows.by_backend, &self.written.flows];
        flows.into_iter().flat_map(BTreeMap::values).sum()
    }

    /// Flows of a backend.
    #[must_use]
    pub fn of_backend(&self, id: u32) -> u64 {
        of(&self.flows.by_backend, id) + of(&self.written.flows, id)
    }

    /// Those of a backend that are not over.
    #[must_use]
    pub fn active_of_backend(&self, id: u32) -> u64 {
        of(&self.flows.active, id) + of(&self.written.active, id)
    }

    /// Flows that backends had not answered in time, since the sweep before.
    #[must_use]
    pub const fn unanswered(&self) -> &BTreeMap<u32, u64> {
        &self.flows.unanswered
    }

    /// Those of one backend.
    #[must_use]
    pub fn unanswered_of_backend(&self, id: u32) -> u64 {
        of(&self.flows.unanswered, id)
    }

    /// Those of a service.
    #[must_use]
    pub fn active_of_service(&self, id: u32) -> u64 {
        of(&self.flows.active_of_services, id) + of(&self.written.active_of_services, id)
    }
}

impl Loads {
    /// A counter before and after.
    #[must_use]
    pub fn of(&self, id: u32) -> (i64, i64) {
        let at = |counters: &[i64]| counters.get(id as usize).copied().unwrap_or(0);
        (at(&self.before), at(&self.after))
    }
}

fn of(counts: &BTreeMap<u32, u64>, id: u32) -> u64 {
    counts.get(&id).copied().unwrap_or(0)
}

/// Counters that may have been taken off more often than put on.
fn signed(counters: &MappedArray) -> Vec<i64> {
    counters.all().map(u64::cast_signed).collect()
}

/// The clock that the program stamps flows with.
///
/// # Errors
/// When the kernel has no such clock.
pub fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("read the monotonic clock")?;
    Ok(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}
