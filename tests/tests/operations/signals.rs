//! Signals at inconvenient moments.

use std::{
    os::unix::process::ExitStatusExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use xlb_tests::{Lab, preflight};

use crate::{
    pins::with_xdp,
    stage::{self, Echoes, vip, wait_until_ready},
    talk::Talk,
};

/// Milliseconds from before the agent runs to after it serves.
const DELAYS: [u64; 8] = [0, 20, 60, 110, 170, 240, 330, 500];

#[test]
fn a_signal_at_any_moment_of_the_start_ends_the_agent_cleanly() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab
        .agent(&stage::echo(&lab, &lab.backends))
        .arg("--detach-on-exit")
        .prepare()?;
    let (mut by_signal, mut in_order, mut read, mut longest) = (0, 0, 0, Duration::ZERO);
    for (step, delay) in DELAYS.into_iter().enumerate() {
        let signal = if step % 2 == 0 {
            Signal::SIGINT
        } else {
            Signal::SIGTERM
        };
        agent.launch()?;
        thread::sleep(Duration::from_millis(delay));
        agent.signal(signal)?;
        let sent = Instant::now();
        let ended = agent.wait()?;
        longest = longest.max(sent.elapsed());
        let said = agent.log().split_off(read);
        read += said.len();
        match ended.signal() {
            // Before it listens for signals it has done nothing that would have to be undone, and says nothing.
            Some(number) => {
                ensure!(
                    number == signal as i32 && said.is_empty(),
                    "step {step}: {ended}\n{said}"
                );
                by_signal += 1;
            }
            None => {
                ensure!(
                    ended.code() == Some(0) && said.contains("detached"),
                    "step {step}: {ended}\n{said}"
                );
                ensure!(
                    !agent.pin_dir().exists() && !agent.socket().exists(),
                    "step {step}: something is left"
                );
                in_order += 1;
            }
        }
        ensure!(
            with_xdp(&lab.lb.ns)?.is_empty(),
            "step {step}: XDP on {:?}",
            with_xdp(&lab.lb.ns)?
        );
    }
    println!("{by_signal} starts ended by the signal itself, {in_order} in order, after {longest:?} at most");
    ensure!(in_order > 0, "no start came far enough: this tests nothing");
    agent.start()?;
    wait_until_ready(&agent)?;
    ensure!(Talk::open(&lab.client, vip(&lab))?.backend == "b1");
    Ok(())
}

#[test]
fn signals_that_repeat_change_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::echo(&lab, &lab.backends)).prepare()?;
    for signals in [
        [Signal::SIGTERM; 3],
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGINT],
    ] {
        agent.start()?;
        wait_until_ready(&agent)?;
        for signal in signals {
            agent.signal(signal)?;
        }
        let ended = agent.wait()?;
        ensure!(ended.code() == Some(0), "{ended}\n{}", agent.log_tail());
        ensure!(!agent.socket().exists(), "the socket is left");
        ensure!(
            Talk::open(&lab.client, vip(&lab))?.backend == "b1",
            "packets do not keep flowing"
        );
    }
    Ok(())
}
