//! A backend that is a client of its own service.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use xlb_tests::{Lab, lab::Mode, preflight};

use crate::{lanes::Lane, stage::Stage};

const WEB: u16 = 80;

/// Whoever is picked, another backend on the same wire or the one that asks, answers by the balancer.
#[test]
fn backends_reach_their_own_vip() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let services = |lab: &Lab, lane: &Lane| lane.service(lab, ("web", WEB, &["tcp"]), "", &lab.backends);
    for lab in [Lab::new().backends(2), Lab::new().backends(2).one_arm()] {
        let stage = Stage::new(Mode::Nat, lab, services)?;
        let lab = &stage.lab;
        let servers = lab.backends.iter().map(|backend| backend.nginx());
        let _servers = servers.collect::<Result<Vec<_>>>()?;
        for lane in &Lane::all(Mode::Nat) {
            let url = format!("http://{}/", lane.at(lab, WEB));
            let mut answered = BTreeSet::new();
            // That one of two is never picked in so many flows is a chance of one in 10^7.
            for _ in 0..24 {
                let reply = lab.backend(0).curl(&url).with_context(|| format!("{lane:?}"))?;
                answered.insert(reply.text());
            }
            assert!(answered.iter().eq(["b1", "b2"]), "{lane:?}: {answered:?}");
            assert_eq!(lab.client.curl(&url)?.status, 200);
        }
    }
    Ok(())
}
