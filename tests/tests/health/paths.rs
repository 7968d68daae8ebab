//! Probes through the data path find what a probe of the backend's own address would not; and what is told of checks agrees.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{Host, Lab, lab::Mode, preflight};

use crate::stage::{check, service, wait_for};

const MISSING: &str = "no answer from the VIP: does the backend have";

#[test]
fn a_backend_without_the_vip_is_found_down_and_told_what_to_look_at() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in [Mode::Dsr, Mode::Ipip, Mode::Gue] {
        story(mode).with_context(|| mode.name())?;
    }
    Ok(())
}

fn story(mode: Mode) -> Result<()> {
    let lab = Lab::new().mode(mode).backends(2).build()?;
    let balancer = lab.back.addr.to_string();
    let decaps = lab.backends.iter().filter(|_| mode.encapsulates());
    let decaps: Result<Vec<_>> = decaps
        .map(|backend| backend.decap(&["--from", &balancer]))
        .collect();
    let _decaps = decaps?;
    let servers = lab
        .backends
        .iter()
        .map(|backend| backend.nginx_with().ports(&[80]).start());
    let _servers: Vec<_> = servers.collect::<Result<_>>()?;
    let rest = format!("mode = \"{}\"\n{}", mode.name(), check("type = \"http\""));
    let pool: String = lab.backends.iter().map(Host::as_backend).collect();
    let agent = lab.agent(&service(&lab, "web", "80/tcp", &rest, &pool)).start()?;
    for who in ["web/b1", "web/b2"] {
        wait_for(&agent, who, "up", "status 200")?;
    }
    agent.ok(&["check", "run", "web/b1"])?;
    let vip = format!("{}/32", lab.vip());
    let first = &lab.backend(0).ns;
    first.ip(&["addr", "del", &vip, "dev", "lo"])?;
    wait_for(&agent, "web/b1", "down", MISSING)?;
    let run = agent.cli(&["check", "run", "web/b1"])?;
    ensure!(run.status.code() == Some(2), "{run:?}");
    // All clients are served by the other one meanwhile.
    for _ in 0..20 {
        let reply = lab.client.curl(&format!("http://{}/", lab.vip()))?;
        ensure!(reply.text().contains("b2"), "{}", reply.text());
    }
    first.ip(&["addr", "add", &vip, "dev", "lo"])?;
    wait_for(&agent, "web/b1", "up", "status 200")?;
    told(&agent)
}

/// The list, the history and the stream tell the same.
fn told(agent: &xlb_tests::agent::Agent) -> Result<()> {
    let list = agent.json(&["check", "list", "web/b1"])?;
    let one = &list[0];
    ensure!(
        one["health"] == "up" && one["checks"][0]["type"] == "http",
        "{list}"
    );
    let history = agent.ok(&["check", "history", "web/b1"])?;
    ensure!(history.contains(MISSING), "{history}");
    let events = agent.ok(&["events", "web/b1"])?;
    let events: Result<Vec<Value>, _> = events.lines().map(serde_json::from_str).collect();
    let names: Vec<_> = events?.iter().map(|event| event["event"].clone()).collect();
    ensure!(names == ["up", "down", "up"], "{names:?}");
    Ok(())
}
