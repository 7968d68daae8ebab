//! Probes through the data path find what a probe of the backend's own address would not; and what is told of checks agrees.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{
    Host, Lab,
    agent::Agent,
    lab::Mode,
    preflight,
    server::{Decap, Nginx},
};

use crate::stage::{PATIENCE, check, service, wait_for};

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
    let Served { lab, agent, .. } = &Served::start(mode)?;
    agent.ok(&["check", "run", "web/b1"])?;
    let vip = format!("{}/32", lab.vip());
    let first = &lab.backend(0).ns;
    first.ip(&["addr", "del", &vip, "dev", "lo"])?;
    wait_for(agent, "web/b1", "down", MISSING)?;
    let run = agent.cli(&["check", "run", "web/b1"])?;
    ensure!(run.status.code() == Some(2), "{run:?}");
    the_other_serves(lab)?;
    first.ip(&["addr", "add", &vip, "dev", "lo"])?;
    wait_for(agent, "web/b1", "up", "status 200")?;
    told(agent)
}

#[test]
fn a_port_that_is_given_to_another_service_takes_nobody_down() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    // One probe that asks too early, or too late, is enough.
    let check = "[service.check]\ntype = \"http\"\ninterval = \"2s\"\ntimeout = \"2s\"\nrise = 1\nfall = 1\n";
    let Served { lab, agent, .. } = &Served::at("80-82/tcp", Mode::Dsr, check)?;
    let asks = |port: u16| -> Result<bool> {
        let list = agent.json(&["check", "list", "web/b1"])?;
        Ok(list[0]["checks"][0]["target"] == format!("{}:{port}", lab.vip()))
    };
    ensure!(asks(80)?);
    for (name, port, then) in [("one", 80, 81), ("two", 81, 82)] {
        let vip = format!("{}:{port}/tcp", lab.vip());
        agent.ok(&["service", "add", name, "--vip", &vip, "--mode", "dsr"])?;
        agent.wait_until("another port is asked", PATIENCE, |_| asks(then).unwrap_or(false))?;
        agent.ok(&["check", "run", "web/b1"])?;
    }
    let vip = format!("{}:82/tcp", lab.vip());
    agent.ok(&["service", "add", "three", "--vip", &vip, "--mode", "dsr"])?;
    let told = |status: &Value| status.to_string().contains("are service \\\"one\\\"'s");
    agent.wait_until("nothing is left to ask", PATIENCE, told)?;
    agent.ok(&["service", "rm", "two"])?;
    agent.wait_until("a port is asked again", PATIENCE, |_| asks(81).unwrap_or(false))?;
    agent.wait_until("and it answers", PATIENCE, |status| !told(status))?;
    // Until that one would have been given up.
    thread::sleep(Duration::from_millis(2500));
    let events = agent.ok(&["events", "web"])?;
    ensure!(!events.contains("\"down\""), "{events}");
    Ok(())
}

#[test]
fn a_backend_whose_rp_filter_drops_what_comes_out_of_the_tunnel_is_found_down_and_told_so() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in [Mode::Ipip, Mode::Gue] {
        filtered(mode).with_context(|| mode.name())?;
    }
    Ok(())
}

fn filtered(mode: Mode) -> Result<()> {
    let Served { lab, agent, .. } = &Served::start(mode)?;
    let backend = lab.backend(0);
    leave_elsewhere(lab, backend)?;
    agent.ok(&["check", "run", "web/b1"])?;
    let before = reverse_path_drops(backend)?;
    backend.ns.sysctl(&[(FILTER, "1")])?;
    wait_for(agent, "web/b1", "down", MISSING)?;
    let down = wait_for(agent, "web/b1", "down", "and no rp_filter?")?;
    // It was that, and nothing else.
    let drops = reverse_path_drops(backend)?;
    ensure!(drops > before, "the kernel's filter has dropped nothing: {down}");
    the_other_serves(lab)?;
    backend.ns.sysctl(&[(FILTER, "0")])?;
    wait_for(agent, "web/b1", "up", "status 200")?;
    told(agent)
}

/// For the device that packets of the balancer come in by, out of tunnels too.
const FILTER: &str = "net.ipv4.conf.eth0.rp_filter";

/// Answers to the balancer leave by another device than that which its packets come in by, as with a tunnel device. They reach it all the
/// same: the device is a second one on the same cable.
fn leave_elsewhere(lab: &Lab, backend: &Host) -> Result<()> {
    let balancer = format!("{}/32", lab.back.addr);
    let lines = [
        "link add other link eth0 type macvlan mode bridge".to_owned(),
        "link set other up".to_owned(),
        format!("route add {balancer} dev other"),
    ];
    backend.ns.ip_batch(&lines)?;
    // The filter takes the balancer's questions of who has the backend's address, too.
    let (address, mac) = (backend.addr.to_string(), backend.mac.to_string());
    let neighbour = ["neigh", "replace", &address, "lladdr", &mac, "nud", "permanent"];
    lab.lb
        .ns
        .ip(&[&neighbour[..], &["dev", &lab.back.device]].concat())
        .map(drop)
}

/// How many packets a host has dropped since the way back to their source is another device.
fn reverse_path_drops(host: &Host) -> Result<u64> {
    let told = host
        .ns
        .run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
    // Two lines a group: names, and their numbers.
    let mut rows = told.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, numbers) = rows.next().zip(rows.next()).context("no TcpExt in netstat")?;
    let mut pairs = names.split(' ').zip(numbers.split(' '));
    let (_, drops) = pairs
        .find(|(name, _)| *name == "IPReversePathFilter")
        .context("no IPReversePathFilter in netstat")?;
    Ok(drops.parse()?)
}

/// A service whose two backends are up.
struct Served {
    agent: Agent,
    _nginxes: Vec<Nginx>,
    _decaps: Vec<Decap>,
    // Last: all the others are in it.
    lab: Lab,
}

impl Served {
    fn start(mode: Mode) -> Result<Self> {
        Self::at("80/tcp", mode, &check("type = \"http\""))
    }

    /// At these ports of 80, 81 and 82.
    fn at(ports: &str, mode: Mode, check: &str) -> Result<Self> {
        let lab = Lab::new().mode(mode).backends(2).build()?;
        let balancer = lab.back.addr.to_string();
        let decaps = lab.backends.iter().filter(|_| mode.encapsulates());
        let decaps = decaps.map(|backend| backend.decap(&["--from", &balancer]));
        let nginxes = lab
            .backends
            .iter()
            .map(|backend| backend.nginx_with().ports(&[80, 81, 82]).start());
        let (decaps, nginxes) = (decaps.collect::<Result<_>>()?, nginxes.collect::<Result<_>>()?);
        let rest = format!("mode = \"{}\"\n{}", mode.name(), check);
        let pool: String = lab.backends.iter().map(Host::as_backend).collect();
        let agent = lab.agent(&service(&lab, "web", ports, &rest, &pool)).start()?;
        for who in ["web/b1", "web/b2"] {
            wait_for(&agent, who, "up", "status 200")?;
        }
        Ok(Self {
            agent,
            _nginxes: nginxes,
            _decaps: decaps,
            lab,
        })
    }
}

/// All clients are served by the second backend.
fn the_other_serves(lab: &Lab) -> Result<()> {
    for _ in 0..20 {
        let reply = lab.client.curl(&format!("http://{}/", lab.vip()))?;
        ensure!(reply.text().contains("b2"), "{}", reply.text());
    }
    Ok(())
}

/// The list, the history and the stream tell the same.
fn told(agent: &Agent) -> Result<()> {
    let list = agent.json(&["check", "list", "web/b1"])?;
    let one = &list[0];
    ensure!(
        one["health"] == "up" && one["checks"][0]["type"] == "http",
        "{list}"
    );
    let history = agent.ok(&["check", "history", "web/b1"])?;
    ensure!(history.contains(MISSING), "{history}");
    let events = agent.ok(&["events", "web/b1"])?;
    let told: Result<Vec<Value>, _> = events.lines().map(serde_json::from_str).collect();
    let told = told?.into_iter().map(|event| event["event"].clone());
    // What its kernel says of what it does not take may be enough for a suspicion before its check has failed.
    let names: Vec<_> = told.filter(|name| name != "suspect").collect();
    ensure!(names == ["up", "down", "up"], "{events}");
    Ok(())
}
