//! Looks at interfaces and addresses of this host beside the control loop, which waits for no answer of the kernel's.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    sync::{Mutex, mpsc},
    time::{error::Elapsed, timeout},
};

use super::Request;
use crate::netlink::{Link, Links};

/// How long the kernel has to answer: others wait for their look meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// Looks that may wait for the loop.
const ROOM: usize = 16;

/// Has interfaces looked at.
pub struct Lookout {
    /// On one netlink socket the kernel lists one thing at a time, and refuses a second (`EBUSY`).
    links: Option<Arc<Mutex<Links>>>,
    seen: mpsc::Sender<Sight>,
}

/// What a look has shown: nothing, where the kernel gives no answer.
pub struct Sight {
    pub links: Option<Vec<Link>>,
    pub addresses: Option<BTreeSet<IpAddr>>,
    /// Who has asked for what can be answered now.
    pub request: Option<Request>,
}

impl Lookout {
    /// With where its sights come. Must be called inside a tokio runtime.
    pub fn new() -> (Self, mpsc::Receiver<Sight>) {
        let links = Links::connect()
            .inspect_err(|error| log::warn!("interfaces are not looked at: {error:#}"))
            .ok()
            .map(|links| Arc::new(Mutex::new(links)));
        let (seen, sights) = mpsc::channel(ROOM);
        (Self { links, seen }, sights)
    }

    /// Looks, for a request that is answered after that, or for nobody.
    pub fn look(&self, request: Option<Request>) {
        let (links, seen) = (self.links.clone(), self.seen.clone());
        tokio::spawn(async move {
            let mut sight = Sight {
                links: None,
                addresses: None,
                request,
            };
            if let Some(links) = links {
                let links = links.lock().await;
                sight.links = shown(timeout(PATIENCE, links.all()).await);
                sight.addresses = shown(timeout(PATIENCE, links.addresses()).await);
            }
            // The loop may have ended.
            let _gone = seen.send(sight).await;
        });
    }
}

fn shown<T>(seen: Result<Result<T>, Elapsed>) -> Option<T> {
    let seen = seen.context("the kernel does not answer").flatten();
    seen.inspect_err(|error| log::warn!("interfaces are not looked at: {error:#}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looks_do_not_meet() {
        let (lookout, mut sights) = Lookout::new();
        (0..ROOM).for_each(|_| lookout.look(None));
        for _ in 0..ROOM {
            let sight = sights.recv().await.unwrap();
            assert!(sight.links.is_some() && sight.addresses.is_some());
        }
    }
}
