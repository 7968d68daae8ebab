//! A lab for a mode, with xlb in it and what backends need.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use xlb_tests::{
    Lab,
    agent::Agent,
    lab::{LabBuilder, Mode},
    server::Decap,
};

use crate::lanes::Lane;

/// Longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A lab in which a mode's lanes are served.
pub struct Stage {
    pub mode: Mode,
    pub agent: Agent,
    _decaps: Vec<Decap>,
    pub lab: Lab,
}

impl Stage {
    /// Builds the lab for a mode, and starts xlb with the services that `services` makes of each lane.
    pub fn new(mode: Mode, lab: LabBuilder, services: impl Fn(&Lab, &Lane) -> String) -> Result<Self> {
        let lab = lab.mode(mode).ipv6().build()?;
        let decaps = lab.backends.iter().filter(|_| mode.encapsulates());
        let decaps = decaps.map(|backend| {
            let balancer = [lab.back.addr.to_string(), lab.back.addr6.to_string()];
            backend.decap(&["--from", &balancer[0], "--from", &balancer[1]])
        });
        let decaps = decaps.collect::<Result<_>>()?;
        let services: String = Lane::all(mode).iter().map(|lane| services(&lab, lane)).collect();
        let agent = lab.agent(&services).start()?;
        agent.wait_until("all backends are up", PATIENCE, all_up)?;
        Ok(Self {
            mode,
            agent,
            _decaps: decaps,
            lab,
        })
    }

    /// How many packets have had an outcome.
    pub fn outcome(&self, name: &str) -> Result<u64> {
        outcome(&self.agent, name)
    }
}

/// How many packets have had an outcome.
pub fn outcome(agent: &Agent, name: &str) -> Result<u64> {
    let status = agent.status()?;
    let outcomes = status["outcomes"].as_array().into_iter().flatten();
    let found = outcomes.filter(|outcome| outcome["name"] == name);
    Ok(found.filter_map(|outcome| outcome["packets"].as_u64()).sum())
}

pub fn all_up(status: &Value) -> bool {
    let services = status["services"].as_array().into_iter().flatten();
    let mut backends = services
        .flat_map(|service| service["backends"].as_array())
        .flatten();
    backends.all(|backend| backend["state"] == "up")
}
