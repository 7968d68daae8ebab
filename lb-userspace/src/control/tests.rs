//! The controller on a data plane in memory: what a restart, a failure and a change do to it.

mod asked;
mod changes;
mod checks;
mod flows;
mod holds;
mod keeping;
mod leaving;
mod lookups;
mod panics;
mod program;
mod restarts;
mod stories;
mod turns;
mod vips;
mod ways;
mod wishes;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_common::{
    backend::{BackendState, BackendWord},
    maps::switches,
    next_hop::{Egress, NextHop, VlanDevice, Vlans},
    settings::Own,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::{
    change::{
        Change,
        tests::{backend, service},
    },
    clock,
    controller::{CheckKey, Controller, Outlets},
    events::{Filter, What},
};
use crate::{
    config::{
        Admin, BackendChange, CheckKind, CheckSpec, Checking, Config, FlapsChange, HealthChange, Limits,
        Require, ServiceChange, ServiceSpec,
    },
    datapath::{Datapath as _, memory::MemoryDatapath},
    health::{Answer, Observation, ProbeError, Stand, Wish, results},
};

fn way() -> Egress {
    let hop = NextHop {
        ifindex: 3,
        destination_mac: [2; 6],
        source_mac: [4; 6],
        ..NextHop::default()
    };
    Egress {
        hop,
        ..Egress::default()
    }
}

struct Rig {
    state: TempDir,
    outlets: Outlets,
    suspects: mpsc::Receiver<IpAddr>,
    limits: Limits,
}

impl Rig {
    fn new() -> Self {
        let (observations, _) = results::channel(1);
        let (targets, _) = watch::channel(BTreeSet::new());
        let (suspected, suspects) = mpsc::channel(8);
        let (lifetimes, _) = watch::channel(BTreeMap::new());
        Self {
            state: tempfile::tempdir().unwrap(),
            outlets: Outlets {
                observations,
                targets,
                suspects: suspected,
                lifetimes,
                path: None,
                own: Own::default(),
                journal: super::events::Journal::default(),
            },
            suspects,
            limits: Limits::default(),
        }
    }

    fn start(&self, datapath: MemoryDatapath, file: &[ServiceSpec]) -> Controller<MemoryDatapath> {
        self.start_hearing(datapath, file).0
    }

    /// A controller, and where results that wait for it are put.
    fn start_hearing(
        &self,
        datapath: MemoryDatapath,
        file: &[ServiceSpec],
    ) -> (Controller<MemoryDatapath>, results::Sender<CheckKey>) {
        let (waiting, observations) = results::channel(8);
        let mut config = Config {
            limits: self.limits.clone(),
            services: file.to_vec(),
            ..Config::default()
        };
        config.node.state_dir = self.state.path().to_owned();
        let controller = Controller::adopt(datapath, &config, self.outlets.clone(), observations);
        (controller.unwrap(), waiting)
    }
}

fn word(controller: &Controller<MemoryDatapath>, id: u32) -> BackendWord {
    controller.datapath.words.get(&id).copied().unwrap_or_default()
}

fn owners(controller: &Controller<MemoryDatapath>, service: u32) -> Vec<u32> {
    let slots = controller.datapath.tables[&service].slots().iter();
    slots.map(|slot| slot.owner()).collect()
}

fn states(controller: &Controller<MemoryDatapath>) -> Vec<BackendState> {
    controller
        .datapath
        .words
        .values()
        .map(|word| word.state())
        .collect()
}

fn checked(mut service: ServiceSpec) -> ServiceSpec {
    let mut check = CheckSpec::new(CheckKind::TCP);
    // No probe of these tests ever runs.
    check.interval = Duration::from_secs(3600);
    (check.rise, check.fall) = (2, 3);
    service.checks = vec![check];
    service
}

fn seen(key: CheckKey, passed: bool) -> Observation<CheckKey> {
    let result = if passed {
        Ok(Answer::default())
    } else {
        Err(ProbeError::answer("closed"))
    };
    Observation {
        key,
        check: 0,
        run: 0,
        result,
        took: Duration::ZERO,
        at: Instant::now(),
    }
}

fn drain(name: &str) -> Change {
    Change::SetBackend {
        service: "web".into(),
        backend: name.into(),
        set: BackendChange {
            admin: Some(Admin::Drain),
            ..BackendChange::default()
        },
    }
}

fn silent(key: CheckKey) -> Observation<CheckKey> {
    Observation {
        result: Err(ProbeError::timeout(Duration::from_secs(1))),
        ..seen(key, false)
    }
}

fn refused(key: CheckKey) -> Observation<CheckKey> {
    Observation {
        result: Err(ProbeError::refusal("connect: connection refused")),
        ..seen(key, false)
    }
}

fn ups(controller: &Controller<MemoryDatapath>) -> usize {
    let up = |state: &&BackendState| **state == BackendState::Up;
    states(controller).iter().filter(up).count()
}

/// Another interval for its only check.
fn every(file: &ServiceSpec, seconds: u64) -> Change {
    let mut checks = file.checks.clone();
    checks[0].interval = Duration::from_secs(seconds);
    set(ServiceChange {
        checks: Some(checks),
        ..ServiceChange::default()
    })
}

fn set(set: ServiceChange) -> Change {
    Change::SetService {
        service: "web".into(),
        set,
    }
}
