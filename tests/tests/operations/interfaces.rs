//! An interface goes away under a running balancer.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent, preflight};

use crate::{
    pins::{self, with_xdp},
    stage::{self, Echoes, PATIENCE, extra_interface, vip, wait_until_ready, warnings},
    stream::unharmed,
    talk::{Talk, all_say},
};

const EXTRA: &str = "eth2";

/// A balancer on the lab's interfaces and one more.
fn start(lab: &Lab) -> Result<Agent> {
    extra_interface(lab, EXTRA, "br-front")?;
    let extra = format!("[[interface]]\nname = \"{EXTRA}\"\n");
    let agent = lab
        .agent(&(extra + &stage::checked_echo(lab, &lab.backends)))
        .start()?;
    wait_until_ready(&agent)?;
    ensure!(attached(&agent.status()?, EXTRA) == Some(true));
    Ok(agent)
}

fn attached(status: &Value, name: &str) -> Option<bool> {
    let mut interfaces = status["interfaces"].as_array().into_iter().flatten();
    interfaces.find(|interface| interface["name"] == name)?["attached"].as_bool()
}

fn wait_until_lost(agent: &Agent) -> Result<()> {
    let status = agent.wait_until("the interface is missing", PATIENCE, |status| {
        attached(status, EXTRA) == Some(false)
    })?;
    let told = format!("interface {EXTRA}: the program is not on it any more");
    ensure!(warnings(&status).contains(&told), "{status}");
    ensure!(
        attached(&status, "eth0") == Some(true) && attached(&status, "eth1") == Some(true),
        "{status}"
    );
    Ok(())
}

#[test]
fn the_others_go_on_when_an_interface_is_deleted() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let mut agent = start(&lab)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 4)?;
    unharmed(&lab.client, vip(&lab), || {
        lab.lb.ns.ip(&["link", "del", EXTRA])?;
        wait_until_lost(&agent)?;
        agent
            .ok(&["backend", "weight", "echo/b1", "90"])
            .context("a change without the interface")?;
        // An interface of the same name is another interface.
        extra_interface(&lab, EXTRA, "br-front")?;
        wait_until_lost(&agent)?;
        lab.lb.ns.ip(&["link", "del", EXTRA])?;
        agent.stop().context("SIGTERM without the interface")?;
        let refused = agent.start().err().context("started without the interface")?;
        ensure!(
            format!("{refused:#}").contains(&format!("interface {EXTRA}: there is none of that name")),
            "{refused:#}"
        );
        extra_interface(&lab, EXTRA, "br-front")?;
        agent.start()
    })?;
    let status = wait_until_ready(&agent)?;
    ensure!(
        attached(&status, EXTRA) == Some(true) && !warnings(&status).contains(EXTRA),
        "{status}"
    );
    ensure!(with_xdp(&lab.lb.ns)? == ["eth0", "eth1", EXTRA]);
    all_say(&mut talks, "after all that")
}

#[test]
fn a_program_that_somebody_took_off_an_interface_is_told() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let mut agent = start(&lab)?;
    std::fs::remove_file(pins::path(&agent, &format!("link-{EXTRA}")))?;
    ensure!(with_xdp(&lab.lb.ns)? == ["eth0", "eth1"]);
    wait_until_lost(&agent)?;
    agent.restart()?;
    ensure!(
        attached(&agent.status()?, EXTRA) == Some(true),
        "{}",
        agent.status()?
    );
    ensure!(with_xdp(&lab.lb.ns)? == ["eth0", "eth1", EXTRA]);
    Ok(())
}

#[test]
fn the_backend_side_may_go_and_come_back_by_a_restart() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::checked_echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    let device = lab.back.device.as_str();
    lab.lb.ns.ip(&["link", "del", device])?;
    let status = agent.wait_until("the backend is lost", PATIENCE, |status| {
        stage::backends(status).all(|backend| backend["state"] == "down" && backend["next_hop"].is_null())
    })?;
    ensure!(attached(&status, device) == Some(false), "{status}");
    ensure!(agent.cli(&["status"])?.status.code() == Some(2));
    extra_interface(&lab, device, "br-back")?;
    lab.lb
        .ns
        .ip(&["addr", "add", &format!("{}/24", lab.back.addr), "dev", device])?;
    agent.restart()?;
    wait_until_ready(&agent)?;
    ensure!(Talk::open(&lab.client, vip(&lab))?.backend == "b1");
    Ok(())
}
