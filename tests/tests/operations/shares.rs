//! Who takes new flows, and how many: drain, ready, weights. Flows that are there stay where they are.

use anyhow::{Result, ensure};
use xlb_tests::{Lab, preflight};

use crate::{
    stage::{self, Echoes, MANY, find, vip, wait_until_ready},
    talk::{Talk, all_say},
};

#[test]
fn a_drained_backend_keeps_its_connections_and_takes_no_new_one() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::checked_echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    for (stop, go) in [
        (["drain", "echo/b1"].as_slice(), ["ready", "echo/b1"].as_slice()),
        (
            ["weight", "echo/b1", "0"].as_slice(),
            ["weight", "echo/b1", "100"].as_slice(),
        ),
    ] {
        let mut talks = Talk::open_many(&lab.client, vip(&lab), 24)?;
        ensure!(
            talks.iter().any(|talk| talk.backend == "b1"),
            "24 connections, none to b1"
        );
        agent.ok(&[["backend"].as_slice(), stop].concat())?;
        all_say(&mut talks, "after the drain")?;
        ensure!(
            echoes.share(&lab.client, vip(&lab), MANY)?["b1"] == 0,
            "a new UDP flow on b1 after {stop:?}"
        );
        let new = Talk::open_many(&lab.client, vip(&lab), 24)?;
        ensure!(
            new.iter().all(|talk| talk.backend == "b2"),
            "a new connection on b1 after {stop:?}"
        );
        agent.restart()?;
        all_say(&mut talks, "after the drain and a restart")?;
        ensure!(
            find(&agent.status()?, "b1")?["state"] == "drain",
            "{}",
            agent.status()?
        );
        agent.ok(&[["backend"].as_slice(), go].concat())?;
        all_say(&mut talks, "after the drain's end")?;
        ensure!(
            echoes.share(&lab.client, vip(&lab), MANY)?["b1"] > 0,
            "no new flow on b1 after {go:?}"
        );
    }
    Ok(())
}

#[test]
fn weights_give_shares_and_move_no_flow_that_is_there() -> Result<()> {
    const FLOWS: usize = 800;
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let echoes = Echoes::start(&lab.backends)?;
    let agent = lab.agent(&stage::echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 12)?;
    for (first, second) in [(100, 100), (300, 100), (100, 900)] {
        agent.ok(&["backend", "weight", "echo/b1", &first.to_string()])?;
        agent.ok(&["backend", "weight", "echo/b2", &second.to_string()])?;
        let share = echoes.share(&lab.client, vip(&lab), FLOWS)?["b1"] as f64;
        let p = f64::from(first) / f64::from(first + second);
        let (mean, deviation) = (FLOWS as f64 * p, (FLOWS as f64 * p * (1.0 - p)).sqrt());
        println!("weights {first} and {second}: {share} of {FLOWS} flows on b1, {mean} expected");
        // Six deviations: once in 500 million runs by chance.
        ensure!(
            (share - mean).abs() < 6.0 * deviation,
            "{share} of {FLOWS} flows, not {mean} ± {deviation:.1}"
        );
    }
    all_say(&mut talks, "after all the weights")
}
