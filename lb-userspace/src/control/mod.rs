//! The control loop: one task that owns the data plane, and hears everybody else.
//!
//! [`mod@change`] and [`overrides`] are what people ask for at run time. Pure decisions are [`pool`] (who serves, with [`footing`]), [`leaving`] and [`drain`]
//! (who goes, and when), [`settle`] (slots from one change to the next), [`loads`], [`ids`], [`hops`], [`reaction`] (how fast it went), [`timers`], [`desired`] (with [`key`],
//! [`service_entry`] and [`entries`]) and [`plan`]. [`turns`] is the loop, with [`lookout`] beside it and [`precedence`] over other programs. [`controller`] holds the state and carries them out, [`report`] describes it, [`lookup`] says what the
//! program would do with a packet, and [`events`] what has happened.

pub mod change;
mod clock;
mod controller;
mod desired;
mod drain;
mod entries;
pub mod events;
pub mod flows;
mod footing;
mod hops;
mod ids;
mod key;
mod leaving;
mod loads;
mod lookout;
pub mod lookup;
pub mod overrides;
mod panic;
mod plan;
mod pool;
mod precedence;
mod reaction;
mod report;
mod service_entry;
mod settle;
mod slots;
#[cfg(test)]
mod tests;
mod timers;
mod turns;
mod warnings;

use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    api::protocol,
    control::change::{Change, Refusal, Subject},
    datapath::Datapath,
};

pub use controller::{CheckKey, Controller, Outlets, Question, via, where_to};
pub use report::Node;
pub use turns::{Inlets, run};

/// What people want from the loop.
#[derive(Clone, Debug)]
pub enum Ask {
    Status,
    Services,
    Service(String),
    Vips,
    Lookup(protocol::Probe),
    Flows(flows::Wish),
    /// The checks of all backends.
    Checks,
    /// Whether there is such a service, and such a backend of it.
    Known(String, Option<String>),
    /// What to probe of a backend of a service, because somebody asks.
    Questions(String, String),
    Slots(String),
    SlotsAfter(String, protocol::PoolChange),
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
    Lookup(Box<protocol::Lookup>),
    Flows(protocol::Flows),
    Checks(Vec<protocol::BackendChecks>),
    #[serde(skip)]
    Known,
    #[serde(skip)]
    Questions(Vec<Question>),
    Run(protocol::CheckRun),
    Purged(protocol::Purged),
    Slots(protocol::Slots),
    Moves(protocol::Moves),
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

/// Answers a request, or has it answered.
fn handle<D: Datapath>(controller: &mut Controller<D>, node: &Node, Request { ask, answer }: Request) {
    let _others_first = precedence::give_way();
    // A change fills them itself.
    if !matches!(ask, Ask::Change(_))
        && let Err(error) = controller.fill_tables()
    {
        log::error!("the data plane could not be changed: {error:#}");
    }
    let told = match ask {
        Ask::Status => controller
            .status(node)
            .map(|status| Answer::Status(Box::new(status)))
            .map_err(|error| failed(&error)),
        Ask::Services => controller
            .services(node)
            .map(Answer::Services)
            .map_err(|error| failed(&error)),
        Ask::Service(name) => show(controller, node, name),
        Ask::Vips => Ok(Answer::Vips(controller.vips())),
        Ask::Lookup(probe) => look_up(controller, node, &probe),
        Ask::Flows(wish) => return flows::carry_out(controller, node, wish, answer),
        Ask::Checks => Ok(Answer::Checks(controller.checks(clock::now()))),
        Ask::Known(service, backend) => {
            let known = controller.known(&service, backend.as_deref());
            known
                .map(|_| Answer::Known)
                .map_err(|refusal| problem(&refusal.into()))
        }
        Ask::Questions(service, backend) => {
            let questions = controller.questions(&service, &backend);
            questions
                .map(Answer::Questions)
                .map_err(|refusal| problem(&refusal.into()))
        }
        Ask::Slots(name) => {
            let slots = controller.slots(&name);
            slots.map(Answer::Slots).map_err(|error| problem(&error))
        }
        Ask::SlotsAfter(name, change) => {
            let moves = controller.slots_after(&name, &change);
            moves.map(Answer::Moves).map_err(|error| problem(&error))
        }
        Ask::Change(wish) => change(controller, node, &wish),
    };
    // Whoever asked may have gone away.
    let _gone = answer.send(told);
}

fn show<D: Datapath>(controller: &Controller<D>, node: &Node, name: String) -> Result<Answer, Problem> {
    let found = controller.service(node, &name).map_err(|error| failed(&error))?;
    let found = found.ok_or_else(|| Problem::NotFound(Refusal::NoService(name).to_string()))?;
    Ok(Answer::Service(Box::new(found)))
}

fn look_up<D: Datapath>(
    controller: &Controller<D>,
    node: &Node,
    probe: &protocol::Probe,
) -> Result<Answer, Problem> {
    let packet = probe.kind().map_err(Problem::Refused)?;
    let told = controller
        .lookup(node, probe, packet)
        .map_err(|error| failed(&error))?;
    Ok(Answer::Lookup(Box::new(told)))
}

fn change<D: Datapath>(
    controller: &mut Controller<D>,
    node: &Node,
    change: &Change,
) -> Result<Answer, Problem> {
    controller
        .change(change.clone())
        .map_err(|error| problem(&error))?;
    log::info!("changed at run time: {}", change.subject());
    changed(controller, node, change)
}

fn failed(error: &anyhow::Error) -> Problem {
    Problem::Failed(format!("{error:#}"))
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
        Some(Refusal::NoService(_) | Refusal::NoBackend(..) | Refusal::NoVip(_) | Refusal::NoCheck(..)) => {
            Problem::NotFound(text)
        }
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
