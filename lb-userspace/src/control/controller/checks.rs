//! The controller's ear: what the probes say of each backend.

use std::net::SocketAddr;

use anyhow::Result;
use lb_common::backend::{BackendState, BackendWord};

use super::{Controller, Step, backends};
use crate::{
    config::CheckSpec,
    control::ids::Granted,
    datapath::Datapath,
    health::{self, Health, Monitor, Observation, ProbeError},
};

/// A check belongs to one backend under one generation of its id, so that a late result is never another backend's.
pub type CheckKey = (u32, u32);

/// A backend under observation.
pub(super) struct Watched {
    monitor: Monitor,
    spec: CheckSpec,
    target: SocketAddr,
    /// Its last probe got no answer at all, and the way there has been looked at since.
    silent: bool,
    _running: health::Handle,
}

impl<D: Datapath> Controller<D> {
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
    pub(super) fn note_waiting(&mut self) -> bool {
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
        let word = self.word(service, backend, granted);
        self.turns(granted.id, word);
        self.datapath.set_word(granted.id, word);
        self.applied.took(Step::SetWord { id: granted.id, word });
        match health {
            Health::Down => log::warn!("backend {name} is down: {said}"),
            _ => log::info!("backend {name} is {}: {said}", health.name()),
        }
        true
    }

    /// What the probes see of a backend, and the newest probe's words; `None` if it is not probed.
    pub(in crate::control) fn health(&self, granted: Granted) -> Option<(Health, Option<&str>)> {
        let watched = self.watched.get(&(granted.id, granted.generation))?;
        Some((watched.monitor.health(), watched.monitor.last_result()))
    }

    /// Starts and ends checks, so that each backend of a checked service has one.
    pub(super) fn watch(&mut self) {
        let mut before = std::mem::take(&mut self.watched);
        for (service, backend, granted) in backends(&self.served.services, &self.ids) {
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
}
