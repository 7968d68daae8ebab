//! Taking the balancer away: nothing of it is left, and packets to the VIP are the kernel's again.

use std::{fs, path::Path, process::Output};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent, preflight, server::Scripted};

use crate::{
    pins::with_xdp,
    stage::{self, Echoes, PORT, vip, wait_until_ready},
    stream::unharmed,
    talk::{Talk, all_say},
};

/// The balancer's own host serves the VIP as well: its kernel answers where xlb does not.
fn answer_behind_xlb(lab: &Lab) -> Result<Scripted> {
    lab.lb
        .ns
        .ip(&["addr", "add", &format!("{}/32", lab.vip()), "dev", "lo"])?;
    lab.lb.tcp_echo(PORT)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ensure_nothing_left(lab: &Lab, agent: &Agent) -> Result<()> {
    ensure!(!agent.pin_dir().exists(), "pins in {}", agent.pin_dir().display());
    ensure!(
        !agent.socket().exists(),
        "a socket at {}",
        agent.socket().display()
    );
    ensure!(
        with_xdp(&lab.lb.ns)?.is_empty(),
        "XDP on {:?}",
        with_xdp(&lab.lb.ns)?
    );
    let greeted = Talk::open(&lab.client, vip(lab))?.backend;
    ensure!(
        greeted == "lb",
        "packets to the VIP reach {greeted}, not the stack"
    );
    Ok(())
}

fn ensure_refused(output: &Output, said: &str) -> Result<()> {
    let error = text(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}: {error}", output.status);
    ensure!(error.contains(said) && error.lines().count() == 1, "{error}");
    ensure!(output.stdout.is_empty(), "{}", text(&output.stdout));
    Ok(())
}

#[test]
fn detach_is_for_when_no_agent_runs_and_leaves_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let _behind = answer_behind_xlb(&lab)?;
    let mut agent = lab.agent(&stage::echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    ensure!(with_xdp(&lab.lb.ns)? == [lab.front.device.as_str(), lab.back.device.as_str()]);
    let config = agent.config().display().to_string();
    let pin_dir = agent.pin_dir().display().to_string();
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 4)?;
    ensure!(
        talks.iter().all(|talk| talk.backend != "lb"),
        "the balancer's own host answers"
    );
    unharmed(&lab.client, vip(&lab), || {
        for args in [["detach", "--config", &config], ["detach", "--pin-dir", &pin_dir]] {
            ensure_refused(&agent.cli(&args)?, "an xlb agent is running on it")?;
        }
        agent.stop()
    })?;
    all_say(&mut talks, "with no agent")?;

    ensure!(
        agent
            .ok(&["detach", "--pin-dir", &pin_dir])?
            .contains("detached; packets pass xlb by")
    );
    ensure_nothing_left(&lab, &agent)?;
    for args in [["detach", "--config", &config], ["detach", "--pin-dir", &pin_dir]] {
        ensure!(agent.ok(&args)?.contains("nothing was attached"));
        ensure!(agent.json(&args)? == serde_json::json!({"pin_dir": pin_dir, "detached": false}));
    }
    let nowhere = agent.cli(&["detach", "--config", "/nonexistent.toml"])?;
    ensure_refused(&nowhere, "/nonexistent.toml")?;

    // From nothing, and away again with the file and after a crash.
    agent.start()?;
    wait_until_ready(&agent)?;
    ensure!(Talk::open(&lab.client, vip(&lab))?.backend != "lb");
    agent.kill9();
    ensure!(agent.json(&["detach", "--config", &config])?["detached"] == Value::Bool(true));
    // A killed agent cannot remove its socket; the next start does.
    fs::remove_file(agent.socket()).context("a killed agent left no socket")?;
    ensure_nothing_left(&lab, &agent)
}

/// The default pin directory is that of a balancer which this host may have: not to be touched then.
#[test]
fn detach_without_arguments_finds_nothing_where_nothing_is() -> Result<()> {
    if !preflight::ready() || Path::new("/sys/fs/bpf/xlb").exists() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let agent = lab.agent("").prepare()?;
    ensure!(agent.ok(&["detach"])? == "/sys/fs/bpf/xlb: nothing was attached\n");
    Ok(())
}

#[test]
fn an_agent_that_detaches_on_exit_leaves_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let _behind = answer_behind_xlb(&lab)?;
    let mut agent = lab
        .agent(&stage::echo(&lab, &lab.backends))
        .arg("--detach-on-exit")
        .start()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        wait_until_ready(&agent)?;
        ensure!(Talk::open(&lab.client, vip(&lab))?.backend != "lb");
        agent.signal(signal)?;
        let ended = agent.wait()?;
        ensure!(ended.code() == Some(0), "{ended} after {signal}");
        ensure_nothing_left(&lab, &agent)?;
        agent.start()?;
    }
    // A crash is no exit: packets keep flowing.
    agent.kill9();
    ensure!(Talk::open(&lab.client, vip(&lab))?.backend != "lb");
    ensure!(with_xdp(&lab.lb.ns)?.len() == 2);
    Ok(())
}
