//! The control loop: one task that owns the data plane, and hears everybody else.
//!
//! [`change`] and [`overrides`] are what people ask for at run time, [`pool`], [`ids`], [`hops`] and [`plan`] pure decisions,
//! [`controller`] holds the state and carries them out, [`report`] describes it.

pub mod change;
mod controller;
mod hops;
mod ids;
mod key;
pub mod overrides;
mod plan;
mod pool;
mod report;
#[cfg(test)]
mod tests;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    api::protocol,
    control::change::{Change, Refusal},
    datapath::{Datapath, flow_table::Census},
    netlink::{Links, Resolution},
};

pub use controller::{CheckKey, Controller, Outlets};
pub use report::Node;

/// What people want from the loop.
#[derive(Clone, Debug)]
pub enum Ask {
    Status,
    Services,
    Service(String),
    Change(Change),
}

/// What they get, as the API sends it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Status(Box<protocol::Status>),
    Services(Vec<protocol::Service>),
    Service(Box<protocol::Service>),
    Backend(Box<protocol::Backend>),
    Removed(protocol::Removed),
}

/// Why they do not get it.
#[derive(Clone, Debug)]
pub enum Problem {
    NotFound(String),
    /// The wish does not fit what there is, or is no valid one.
    Refused(String),
    /// Our fault or the kernel's.
    Failed(String),
}

/// A wish and where its answer goes.
#[derive(Debug)]
pub struct Request {
    pub ask: Ask,
    pub answer: oneshot::Sender<Result<Answer, Problem>>,
}

/// Everything that the loop hears.
#[derive(Debug)]
pub struct Inlets {
    pub requests: mpsc::Receiver<Request>,
    pub resolutions: mpsc::Receiver<Resolution>,
    pub census: mpsc::Receiver<Census>,
}

/// Runs until `end` is ready.
pub async fn run<D: Datapath>(
    controller: &mut Controller<D>,
    node: &mut Node,
    mut inlets: Inlets,
    end: impl Future<Output = ()>,
) {
    tokio::pin!(end);
    let links = Links::connect()
        .inspect_err(|error| log::warn!("interfaces are not looked at: {error:#}"))
        .ok();
    loop {
        let done = tokio::select! {
            () = &mut end => return,
            Some(observation) = controller.next_observation() => controller.observe(&observation),
            Some(resolution) = inlets.resolutions.recv() => {
                take_ways(controller, node, resolution, &mut inlets.resolutions)
            }
            Some(census) = inlets.census.recv() => {
                controller.counted(census);
                if let Some(links) = &links {
                    node.look(links).await;
                }
                controller.settle()
            }
            Some(Request { ask, answer }) = inlets.requests.recv() => {
                if let (Ask::Status, Some(links)) = (&ask, &links) {
                    node.look(links).await;
                }
                // Whoever asked may have gone away.
                let _gone = answer.send(handle(controller, node, ask));
                Ok(())
            }
        };
        if let Err(error) = done {
            log::error!("the data plane could not be changed: {error:#}");
        }
    }
}

/// Takes in a way and all that have come meanwhile.
fn take_ways<D: Datapath>(
    controller: &mut Controller<D>,
    node: &mut Node,
    first: Resolution,
    more: &mut mpsc::Receiver<Resolution>,
) -> anyhow::Result<()> {
    let mut next = Some(first);
    while let Some(resolution) = next {
        node.learn_interface(&resolution);
        controller.resolved(resolution.address, resolution.hop)?;
        next = more.try_recv().ok();
    }
    controller.settle()
}

fn handle<D: Datapath>(controller: &mut Controller<D>, node: &Node, ask: Ask) -> Result<Answer, Problem> {
    let failed = |error: anyhow::Error| Problem::Failed(format!("{error:#}"));
    match ask {
        Ask::Status => controller
            .status(node)
            .map(|status| Answer::Status(Box::new(status)))
            .map_err(failed),
        Ask::Services => controller.services(node).map(Answer::Services).map_err(failed),
        Ask::Service(name) => {
            let found = controller.service(node, &name).map_err(failed)?;
            let found = found.ok_or_else(|| Problem::NotFound(Refusal::NoService(name).to_string()))?;
            Ok(Answer::Service(Box::new(found)))
        }
        Ask::Change(change) => {
            let (service, backend) = change.subject();
            let (service, backend) = (service.to_owned(), backend.map(str::to_owned));
            let removes = matches!(
                change,
                Change::RemoveService { .. } | Change::RemoveBackend { .. }
            );
            controller.change(change).map_err(|error| problem(&error))?;
            let name = backend
                .as_ref()
                .map_or_else(|| service.clone(), |backend| format!("{service}/{backend}"));
            log::info!("changed at run time: {name}");
            if removes {
                return Ok(Answer::Removed(protocol::Removed { removed: name }));
            }
            let found = controller.service(node, &service).map_err(failed)?;
            let mut found = found.ok_or_else(|| Problem::Failed(format!("{service:?} is gone")))?;
            match backend {
                None => Ok(Answer::Service(Box::new(found))),
                Some(backend) => {
                    let at = found.backends.iter().position(|one| one.name == backend);
                    let at = at.ok_or_else(|| Problem::Failed(format!("{name:?} is gone")))?;
                    Ok(Answer::Backend(Box::new(found.backends.swap_remove(at))))
                }
            }
        }
    }
}

fn problem(error: &anyhow::Error) -> Problem {
    let text = format!("{error:#}");
    match error.downcast_ref::<Refusal>() {
        Some(Refusal::NoService(_) | Refusal::NoBackend(..)) => Problem::NotFound(text),
        Some(_) => Problem::Refused(text),
        None if error.is::<crate::config::Invalid>() => Problem::Refused(text),
        None => Problem::Failed(text),
    }
}

/// A MAC address as people write it.
#[must_use]
pub fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
