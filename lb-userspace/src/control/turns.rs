//! The turns of the control loop. Whatever one is for, first of all the results of probes that wait are heard, and words written.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Ask, Controller, Node, Request, handle,
    lookout::{Lookout, Sight},
    precedence::{Precedence, give_way, give_way_for},
};
use crate::{
    datapath::{Datapath, sweep::Census},
    netlink::News,
};

/// Everything that the loop hears, besides the results of probes.
#[derive(Debug)]
pub struct Inlets {
    pub requests: mpsc::Receiver<Request>,
    pub news: mpsc::Receiver<News>,
    pub census: mpsc::Receiver<Census>,
    /// Addresses that ICMP errors say are not reached.
    pub unreachables: mpsc::Receiver<IpAddr>,
    /// Whether results of probes go before other programs on this host.
    pub realtime: bool,
}

/// How long it takes to take in a way, where ten thousand others are known.
const WAY: Duration = Duration::from_millis(1);

/// What a turn is for, besides results of probes that may change something.
enum Turn {
    /// Time has passed.
    Due,
    Unreachable(IpAddr),
    News(News),
    Census(Box<Census>),
    Sight(Sight),
    Request(Request),
}

/// Runs until `end` is ready.
pub async fn run<D: Datapath>(
    controller: &mut Controller<D>,
    node: &mut Node,
    mut inlets: Inlets,
    end: impl Future<Output = ()>,
) {
    tokio::pin!(end);
    let (lookout, mut sights) = Lookout::new();
    let _watching = Ended(controller.watch_time());
    let _before_others = inlets.realtime.then(Precedence::take);
    lookout.look(None);
    loop {
        let due = controller.due();
        let turn = tokio::select! {
            () = &mut end => return,
            () = controller.news() => {
                controller.hear();
                continue;
            }
            () = until(due) => Turn::Due,
            Some(address) = inlets.unreachables.recv() => Turn::Unreachable(address),
            Some(news) = inlets.news.recv() => Turn::News(news),
            Some(census) = inlets.census.recv() => Turn::Census(Box::new(census)),
            Some(sight) = sights.recv() => Turn::Sight(sight),
            Some(request) = inlets.requests.recv() => Turn::Request(request),
        };
        controller.hear();
        let done = take(turn, controller, node, &lookout, &mut inlets.news);
        if let Err(error) = done {
            log::error!("the data plane could not be changed: {error:#}");
        }
    }
}

/// Does what a turn is for. Nothing is waited for.
fn take<D: Datapath>(
    turn: Turn,
    controller: &mut Controller<D>,
    node: &mut Node,
    lookout: &Lookout,
    more: &mut mpsc::Receiver<News>,
) -> Result<()> {
    match turn {
        Turn::Due => return controller.catch_up(),
        Turn::Unreachable(address) => controller.unreachable(address),
        Turn::News(news) => return take_news(controller, node, news, more),
        Turn::Census(census) => {
            lookout.look(None);
            let _others_first = give_way();
            let counted = controller.counted(*census);
            return counted.and(controller.settle());
        }
        Turn::Sight(sight) => return take_sight(controller, node, sight),
        Turn::Request(request) if matches!(request.ask, Ask::Status) => lookout.look(Some(request)),
        Turn::Request(request) => handle(controller, node, request),
    }
    Ok(())
}

/// Takes in what there is of this host's, and answers who has asked for it.
fn take_sight<D: Datapath>(controller: &mut Controller<D>, node: &mut Node, sight: Sight) -> Result<()> {
    let Sight {
        links,
        addresses,
        request,
    } = sight;
    if let Some(links) = links {
        node.see(&links);
    }
    let mut settled = Ok(());
    if let Some(addresses) = addresses
        && controller.learn_addresses(addresses)
    {
        let _others_first = give_way();
        settled = controller.settle();
    }
    if let Some(request) = request {
        handle(controller, node, request);
    }
    settled
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// A task that ends when this is dropped.
struct Ended(JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes in what the kernel's tables say now, and all that has come meanwhile.
fn take_news<D: Datapath>(
    controller: &mut Controller<D>,
    node: &mut Node,
    first: News,
    more: &mut mpsc::Receiver<News>,
) -> Result<()> {
    let _others_first = give_way_for(1 + more.len(), WAY);
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
