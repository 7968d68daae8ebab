//! A second agent that shares with a running one what cannot be shared.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use xlb_tests::{Lab, preflight};

use crate::{
    refused::{Places, Starts, bounded, ensure_says},
    running::Running,
};

const PATIENCE: Duration = Duration::from_secs(10);

const OWN: &str = "[[interface]]\nname = \"spare0\"\n";
const TAKEN: &str = "another XDP program is on it already ('ip link' shows its id): take that one off first";

#[test]
fn of_agents_that_start_at_once_one_wins() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    starts.write(&starts.places, "[[interface]]\nname = \"eth0\"\n")?;
    let run = || {
        let mut run = bounded(&lab.lb.ns, &[], starts.binary());
        run.arg("run").arg("--config").arg(starts.config());
        run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let mut racing = (0..5).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    let deadline = Instant::now() + PATIENCE;
    let answers = || Ok::<_, anyhow::Error>(starts.ask(&["status"], &starts.places.socket)?.status.success());
    while racing.len() > 1 || !answers()? {
        ensure!(Instant::now() < deadline, "{} of them run", racing.len());
        for mut one in std::mem::take(&mut racing) {
            match one.try_wait()? {
                Some(_) => ensure_says(&one.wait_with_output()?, &["another xlb agent is running on it"])?,
                None => racing.push(one),
            }
        }
    }
    let mut winner = racing.pop().context("none runs")?;
    killpg(Pid::from_raw(winner.id().try_into()?), Signal::SIGTERM)?;
    winner.wait()?;
    let pins = starts.places.pin_dir.display().to_string();
    let detached = starts.ask(&["detach", "--pin-dir", &pins], &starts.places.socket)?;
    ensure!(detached.status.success(), "{detached:?}");
    Ok(())
}

#[test]
fn a_second_agent_takes_nothing_from_the_first() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut running = Running::start()?;
    running
        .lab
        .lb
        .ns
        .ip(&["link", "add", "spare0", "type", "veth", "peer", "name", "spare1"])?;
    let before = running.standing()?;
    let first = Places::of(&running.agent);
    let starts = Starts::new(&running.lab)?;
    let own = &starts.places;
    let shares = |pin_dir: bool, socket: bool, state_dir: bool| Places {
        pin_dir: if pin_dir { &first } else { own }.pin_dir.clone(),
        socket: if socket { &first } else { own }.socket.clone(),
        state_dir: if state_dir { &first } else { own }.state_dir.clone(),
    };
    let on_pins = "another xlb agent is running on it: stop that one, or give this one its own node.pin_dir";
    for (places, words) in [
        (shares(true, true, true), ["pin_dir ", on_pins]),
        (shares(true, false, false), ["pin_dir ", on_pins]),
        (
            shares(false, true, false),
            [
                "socket ",
                "another agent answers there: stop that one, or set node.socket to another path",
            ],
        ),
        (
            shares(false, false, true),
            [
                "state_dir ",
                "another xlb agent keeps its changes there: set node.state_dir to another",
            ],
        ),
    ] {
        starts.refused_at(&places, OWN, &words)?;
    }
    for mode in ["native", "generic", "auto"] {
        let both = format!("{OWN}[[interface]]\nname = \"eth1\"\nmode = \"{mode}\"\n");
        starts.refused(&both, &["interface eth1: ", TAKEN])?;
    }
    starts.serves(own, OWN)?;
    std::fs::remove_dir_all(&own.state_dir)?;
    drop(starts);
    running.ensure_stands(&before)
}
