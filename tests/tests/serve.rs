//! Real traffic through the balancer: HTTP and UDP, with real servers and clients, while things happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{
    Host,
    agent::Agent,
    client::samples::{Failure, Kind},
    lab::Lab,
    preflight,
    server::{Nginx, files},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Twenty downloads leave two cores little for anything else: packets are lost in the queues between namespaces, and what other
/// tests ask of single requests no longer holds.
static CORES: RwLock<()> = RwLock::new(());
/// Of the heartbeats of [`web`].
const INTERVAL: Duration = Duration::from_millis(200);
const FALL: u32 = 3;

/// A service on the VIP's port 80 over the port 80 of the first `backends`, with heartbeats by HTTP.
fn web(lab: &Lab, backends: usize) -> String {
    let backends: String = lab.backends[..backends].iter().map(Host::as_backend).collect();
    format!(
        "[[service]]\nname = \"web\"\nvip = \"{}:80/tcp\"\n[service.check]\ntype = \"http\"\npath = \"/health\"\n\
         interval = \"200ms\"\ntimeout = \"150ms\"\nrise = 2\nfall = {FALL}\n{backends}",
        lab.vip()
    )
}

fn servers(lab: &Lab) -> Result<Vec<Nginx>> {
    lab.backends.iter().map(|backend| backend.nginx()).collect()
}

fn backends(status: &Value) -> impl Iterator<Item = &Value> {
    status["services"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|service| service["backends"].as_array())
        .flatten()
}

fn wait_for_state(agent: &Agent, name: &str, state: &str) -> Result<Value> {
    agent.wait_until(&format!("{name} is {state}"), PATIENCE, |status| {
        backends(status).any(|backend| backend["name"] == name && backend["state"] == state)
    })
}

fn wait_until_all_up(agent: &Agent) -> Result<Value> {
    agent.wait_until("all backends are up", PATIENCE, |status| {
        backends(status).all(|backend| backend["state"] == "up")
    })
}

#[test]
fn requests_spread_over_the_backends() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let _cores = CORES.read().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().backends(3).build()?;
    let _servers = servers(&lab)?;
    let agent = lab.agent(&web(&lab, 3)).start()?;
    wait_until_all_up(&agent)?;
    let mut served = BTreeMap::<String, u32>::new();
    for _ in 0..60 {
        let reply = lab.client.curl(&format!("http://{}/", lab.vip()))?;
        ensure!(reply.status == 200, "status {}", reply.status);
        *served.entry(reply.text().trim().to_owned()).or_default() += 1;
    }
    // 60 flows over 3 backends: fewer than 5 on one would be a chance of one in ten million.
    ensure!(
        served.len() == 3 && served.values().all(|&count| count >= 5),
        "{served:?}"
    );
    Ok(())
}

#[test]
fn a_download_survives_an_added_a_drained_backend_and_a_killed_agent() -> Result<()> {
    const CONNECTIONS: usize = 20;
    const GIB: u64 = 1 << 30;
    if !preflight::ready() {
        return Ok(());
    }
    let _cores = CORES.write().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().backends(3).build()?;
    let shared = lab.dir().join("files");
    std::fs::create_dir_all(&shared)?;
    // Twenty connections of slightly more than a twentieth.
    let size = GIB.div_ceil(CONNECTIONS as u64);
    let wanted = files::random(&shared.join("part"), size, 7)?;
    let _servers = lab
        .backends
        .iter()
        .map(|backend| backend.nginx_with().files(&shared).start())
        .collect::<Result<Vec<_>>>()?;
    // Twenty downloads and other tests share two cores: servers that answer late are alive, and this test is of what people change.
    let patient = web(&lab, 2).replace(&format!("fall = {FALL}"), "fall = 30");
    let mut agent = lab.agent(&patient).start()?;
    wait_until_all_up(&agent)?;

    let url = format!("http://{}/files/part", lab.vip());
    let mut downloads = lab
        .client
        .download(&vec![url; CONNECTIONS], &["--limit-rate", "4M"])?;
    agent.wait_until("the flows are there", PATIENCE, |status| {
        status["flows"].as_u64() >= Some(CONNECTIONS as u64)
    })?;
    let b3 = lab.backends[2].addr.to_string();
    agent.ok(&["backend", "add", "web/b3", "--address", &b3])?;
    wait_for_state(&agent, "b3", "up")?;
    agent.ok(&["backend", "drain", "web/b1"])?;
    let during = wait_for_state(&agent, "b1", "drain")?;
    let kept = backends(&during)
        .find(|backend| backend["name"] == "b1")
        .and_then(|backend| backend["flows"].as_u64());
    ensure!(kept > Some(0), "b1 has no flow to keep: {during}");
    agent.kill9();
    std::thread::sleep(Duration::from_millis(500));
    ensure!(
        downloads.running() > 0,
        "the downloads ended before the agent was killed"
    );
    agent.start()?;
    ensure!(
        downloads.running() > 0,
        "the downloads ended before the agent was back"
    );
    ensure_served_by(&lab, &["b2", "b3"])?;

    let (parts, took) = downloads
        .wait()
        .with_context(|| format!("the agent's log:\n{}", agent.log()))?;
    println!("{CONNECTIONS} downloads of {size} bytes in {took:?}");
    ensure!(
        parts.len() == CONNECTIONS,
        "{} of {CONNECTIONS} downloads",
        parts.len()
    );
    for part in &parts {
        ensure!(
            part.bytes == size && part.sha256 == wanted,
            "{part:?}, not {size} bytes of {wanted}"
        );
    }
    ensure!(parts.iter().map(|part| part.bytes).sum::<u64>() >= GIB);
    // What was changed at run time still holds after the restart.
    let status = agent.status()?;
    let states: BTreeMap<_, _> = backends(&status)
        .map(|backend| (backend["name"].as_str(), backend["state"].as_str()))
        .collect();
    let expected = [
        (Some("b1"), Some("drain")),
        (Some("b2"), Some("up")),
        (Some("b3"), Some("up")),
    ];
    ensure!(states == BTreeMap::from(expected), "{states:?}");
    Ok(())
}

/// New requests are answered by exactly these backends.
fn ensure_served_by(lab: &Lab, names: &[&str]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let reply = lab.client.curl(&format!("http://{}/", lab.vip()))?;
        seen.insert(reply.text().trim().to_owned());
    }
    ensure!(
        seen.iter().eq(names.iter()),
        "served by {seen:?}, not by {names:?}"
    );
    Ok(())
}

#[test]
fn a_dead_backend_costs_only_its_own_requests_and_only_until_its_heartbeats_fail() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let _cores = CORES.read().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().backends(3).build()?;
    let mut servers = servers(&lab)?;
    let agent = lab.agent(&web(&lab, 3)).start()?;
    let before = wait_until_all_up(&agent)?;
    let opened = |status: &Value, name: &str| -> u64 {
        let backend = backends(status).find(|backend| backend["name"] == name);
        backend
            .and_then(|backend| backend["counters"]["flows_opened"].as_u64())
            .unwrap_or(0)
    };
    let load = lab
        .client
        .steady(SocketAddr::from((lab.vip(), 80)), 200)
        .start()?;
    let running = std::time::Instant::now();
    while load.count() < 100 && running.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = std::time::Instant::now();
    servers[1].stop();
    let down = wait_for_state(&agent, "b2", "down")?;
    let noticed = std::time::Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    servers[1].start()?;
    wait_for_state(&agent, "b2", "up")?;
    let back = std::time::Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    let samples = load.stop();
    let after = agent.status()?;

    println!("served {:?}, failed {:?}", samples.served(), samples.failures());
    println!(
        "last failure {:?} after the kill",
        samples.last_failure_after(killed)
    );
    let early: Vec<_> = samples
        .all()
        .iter()
        .filter(|sample| sample.ended() < killed && sample.outcome.is_err())
        .collect();
    ensure!(early.is_empty(), "failures before anything was killed: {early:?}");
    // A request that was on its way when the heartbeats were counted may still fail.
    let late = samples.between(noticed + Duration::from_millis(100), back + PATIENCE);
    ensure!(
        late.failures().is_empty(),
        "failures after b2 was down: {:?}",
        late.failures()
    );
    // Nobody listens at b2: whatever failed was refused there, or was in the middle of an answer when b2 died.
    let of_dead = |failure: &&Failure| {
        matches!(
            failure,
            Failure::Connect(Kind::Refused | Kind::Reset) | Failure::Exchange(_) | Failure::Reply(_)
        )
    };
    ensure!(samples.failures().keys().all(of_dead), "{:?}", samples.failures());
    // b1 and b3 answered every flow that was sent to them.
    for name in ["b1", "b3"] {
        let flows = opened(&after, name) - opened(&before, name);
        let served = samples.served().get(name).copied().unwrap_or(0) as u64;
        ensure!(
            flows == served,
            "{name} got {flows} flows and served {served} requests"
        );
    }
    let again = samples.between(back, back + PATIENCE);
    ensure!(
        again.served().contains_key("b2"),
        "b2 serves nothing after it is back: {:?}",
        again.served()
    );
    let reason = backends(&down)
        .find(|backend| backend["name"] == "b2")
        .context("no b2")?;
    ensure!(
        reason["last_check"]
            .as_str()
            .is_some_and(|said| said.contains("refused")),
        "{reason}"
    );
    println!("heartbeats every {INTERVAL:?}, {FALL} to fall");
    Ok(())
}

#[test]
fn ten_thousand_datagrams_come_back() -> Result<()> {
    const DATAGRAMS: u64 = 10_000;
    if !preflight::ready() {
        return Ok(());
    }
    let _cores = CORES.read().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().backends(3).build()?;
    let echoes = lab
        .backends
        .iter()
        .map(|backend| backend.udp_echo(7))
        .collect::<Result<Vec<_>>>()?;
    let pool: String = lab.backends.iter().map(Host::as_backend).collect();
    let service = format!(
        "[[service]]\nname = \"echo\"\nvip = \"{}:7/udp\"\n{pool}",
        lab.vip()
    );
    let agent = lab.agent(&service).start()?;
    wait_until_all_up(&agent)?;
    agent.wait_until("all next hops are known", PATIENCE, |status| {
        backends(status).all(|backend| !backend["next_hop"].is_null())
    })?;
    let report = lab
        .client
        .udp_echo_test(SocketAddr::from((lab.vip(), 7)), DATAGRAMS, 50, PATIENCE)?;
    println!("{report:?}");
    ensure!(report.echoed == DATAGRAMS && report.wrong == 0, "{report:?}");
    ensure!(
        echoes.iter().all(|echo| echo.received() > 0),
        "one of the backends got nothing"
    );
    let status = agent.status()?;
    let packets = |name: &str| {
        let outcomes = status["outcomes"].as_array().into_iter().flatten();
        outcomes
            .filter(|outcome| outcome["name"] == name)
            .filter_map(|outcome| outcome["packets"].as_u64())
            .sum::<u64>()
    };
    ensure!(
        packets("forwarded") == report.sent && packets("returned") == DATAGRAMS,
        "{status}"
    );
    Ok(())
}

#[test]
fn outcomes_add_up_to_the_packets_that_the_interfaces_received() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let _cores = CORES.read().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new().backends(2).build()?;
    let _servers = servers(&lab)?;
    // Only what arrives while the program is there counts.
    let received = || -> Result<u64> {
        let mut sum = 0;
        for device in ["eth0", "eth1"] {
            let text = lab
                .lb
                .ns
                .exec(&["ip", "-s", "-j", "link", "show", "dev", device])?;
            let links: Value = serde_json::from_str(&text)?;
            sum += links[0]["stats64"]["rx"]["packets"]
                .as_u64()
                .with_context(|| format!("{device}: {text}"))?;
        }
        Ok(sum)
    };
    let agent = lab.agent(&web(&lab, 2)).start()?;
    wait_until_all_up(&agent)?;
    let seen = || -> Result<(u64, u64)> {
        let status = agent.status()?;
        let outcomes = status["outcomes"].as_array().into_iter().flatten();
        let sum = outcomes.filter_map(|outcome| outcome["packets"].as_u64()).sum();
        Ok((sum, status["packets_seen"].as_u64().context("no packets_seen")?))
    };
    // Packets do not stop while we count (heartbeats), so the interfaces are read before and after.
    let mut attempts = 0;
    let (start, offset) = loop {
        let (before, (sum, _), after) = (received()?, seen()?, received()?);
        if before == after {
            break (sum, before);
        }
        attempts += 1;
        ensure!(attempts < 100, "never quiet");
    };
    for _ in 0..50 {
        lab.client.curl(&format!("http://{}/", lab.vip()))?;
        lab.client.ping(lab.backends[0].addr.into(), 1)?;
    }
    loop {
        let (before, (sum, total), after) = (received()?, seen()?, received()?);
        if before == after {
            ensure!(sum == total, "outcomes add up to {sum}, packets seen {total}");
            ensure!(
                sum - start == before - offset,
                "{} outcomes, {} packets received",
                sum - start,
                before - offset
            );
            return Ok(());
        }
        attempts += 1;
        ensure!(attempts < 200, "never quiet");
    }
}
