//! The control loop: one task that owns the data plane, and hears everybody else.
//!
//! [`change`] and [`overrides`] are what people ask for at run time, [`pool`], [`ids`], [`hops`], [`desired`] (with [`key`] and
//! [`entries`]) and [`plan`] pure decisions,
//! [`controller`] holds the state and carries them out, [`report`] describes it.

pub mod change;
mod controller;
mod desired;
mod entries;
mod hops;
mod ids;
mod key;
pub mod overrides;
mod plan;
mod pool;
mod report;
#[cfg(test)]
mod tests;
mod warnings;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    api::protocol,
    control::change::{Change, Refusal, Subject},
    datapath::{Datapath, flow_table::Census},
    netlink::{Links, News},
};

pub use controller::{CheckKey, Controller, Outlets};
pub use report::Node;

/// What people want from the loop.
#[derive(Clone, Debug)]
pub enum Ask {
    Status,
    Services,
    Service(String),
    Vips,
    Change(Box<Change>),
}

/// What they get, as the API sends it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Status(Box<protocol::Status>),
    Services(Vec<protocol::Service>),
    Service(Box<protocol::Service>),
    Backend(Box<protocol::Backend>),
    Vips(Vec<protocol::Vip>),
    Vip(Box<protocol::Vip>),
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
    pub news: mpsc::Receiver<News>,
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
            Some(news) = inlets.news.recv() => take_news(controller, node, news, &mut inlets.news),
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

/// Takes in what the kernel's tables say now, and all that has come meanwhile.
fn take_news<D: Datapath>(
    controller: &mut Controller<D>,
    node: &mut Node,
    first: News,
    more: &mut mpsc::Receiver<News>,
) -> anyhow::Result<()> {
    let mut next = Some(first);
    while let Some(news) = next {
        match news {
            News::Way(resolution) => {
                node.learn_interface(&resolution);
                controller.resolved(resolution.address, resolution.hop, resolution.gateway)?;
            }
            News::VlanDevices(devices) => controller.learn_vlan_devices(devices),
        }
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
        Ask::Vips => Ok(Answer::Vips(controller.vips())),
        Ask::Change(change) => {
            controller
                .change(Change::clone(&change))
                .map_err(|error| problem(&error))?;
            log::info!("changed at run time: {}", change.subject());
            changed(controller, node, &change)
        }
    }
}

/// What has come of a change.
fn changed<D: Datapath>(controller: &Controller<D>, node: &Node, change: &Change) -> Result<Answer, Problem> {
    let subject = change.subject();
    let gone = || Problem::Failed(format!("{subject} is gone"));
    if matches!(
        change,
        Change::RemoveService { .. } | Change::RemoveBackend { .. }
    ) {
        let removed = subject.to_string();
        return Ok(Answer::Removed(protocol::Removed { removed }));
    }
    let service = |name| {
        let found = controller.service(node, name);
        let found = found.map_err(|error| Problem::Failed(format!("{error:#}")))?;
        found.ok_or_else(gone)
    };
    match subject {
        Subject::Service(name) => Ok(Answer::Service(Box::new(service(name)?))),
        Subject::Backend(name, backend) => {
            let mut backends = service(name)?.backends.into_iter();
            let found = backends.find(|one| one.name == backend);
            Ok(Answer::Backend(Box::new(found.ok_or_else(gone)?)))
        }
        Subject::Vip(address) => {
            let mut vips = controller.vips().into_iter();
            let found = vips.find(|vip| vip.address == address);
            Ok(Answer::Vip(Box::new(found.ok_or_else(gone)?)))
        }
    }
}

fn problem(error: &anyhow::Error) -> Problem {
    let text = format!("{error:#}");
    match error.downcast_ref::<Refusal>() {
        Some(Refusal::NoService(_) | Refusal::NoBackend(..) | Refusal::NoVip(_)) => Problem::NotFound(text),
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
