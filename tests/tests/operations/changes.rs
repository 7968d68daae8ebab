//! Changes at run time: they hold from the next packet on, over restarts, until `detach --config` forgets them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, lab::address, preflight};

use crate::{
    stage::{
        self, Echoes, MANY, PORT, backends, end, open_flows, vip, wait_for_ways, wait_until_ready, warnings,
    },
    stream::{Stream, told, unharmed},
};

/// Where a second service listens.
fn other() -> SocketAddr {
    SocketAddr::from((address::vip(20), PORT))
}

/// Names, states and weights of all backends.
fn pool(status: &Value) -> BTreeMap<String, (String, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |backend: &Value| {
        (
            text(&backend["name"]),
            (
                text(&backend["state"]),
                backend["weight"].as_u64().unwrap_or(u64::MAX),
            ),
        )
    };
    backends(status).map(one).collect()
}

fn expected(pool: &[(&str, &str, u64)]) -> BTreeMap<String, (String, u64)> {
    pool.iter()
        .map(|&(name, state, weight)| (name.to_owned(), (state.to_owned(), weight)))
        .collect()
}

#[test]
fn changes_hold_from_the_next_packet_on_and_over_restarts_until_they_are_forgotten() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(4).build()?;
    let echoes = Echoes::start(&lab.backends)?;
    let [b1, b2, b3, b4] = [0, 1, 2, 3].map(|i| lab.backend(i));
    let mut agent = lab.agent(&stage::echo(&lab, [b1, b2, b3])).start()?;
    wait_until_ready(&agent)?;
    let takers = || -> Result<Vec<&str>> {
        let share = echoes.share(&lab.client, vip(&lab), MANY)?;
        Ok(share
            .into_iter()
            .filter_map(|(name, count)| (count > 0).then_some(name))
            .collect())
    };
    ensure!(takers()? == ["b1", "b2", "b3"]);

    agent.ok(&["backend", "drain", "echo/b1"])?;
    ensure!(takers()? == ["b2", "b3"], "after drain");
    agent.ok(&["backend", "rm", "echo/b2"])?;
    ensure!(takers()? == ["b3"], "after rm");
    agent.ok(&["backend", "ready", "echo/b1"])?;
    ensure!(takers()? == ["b1", "b3"], "after ready");
    agent.ok(&["backend", "weight", "echo/b3", "0"])?;
    ensure!(takers()? == ["b1"], "after weight 0");
    agent.ok(&[
        "backend",
        "add",
        "echo/b4",
        "--address",
        &b4.addr.to_string(),
        "--weight",
        "70",
    ])?;
    // Nobody has spoken to it before: see the last test.
    wait_for_ways(&agent)?;
    ensure!(takers()? == ["b1", "b4"], "after add");
    agent.ok(&["backend", "drain", "echo/b1"])?;
    let (new, listens) = (other(), format!("{}/udp", other()));
    agent.ok(&[
        "service",
        "add",
        "new",
        "--vip",
        &listens,
        "--backend",
        &format!("{},name=b2", b2.addr),
    ])?;
    wait_for_ways(&agent)?;
    ensure!(
        echoes.share(&lab.client, new, 10)?["b2"] == 10,
        "after service add"
    );

    let changed = expected(&[
        ("b1", "drain", 100),
        ("b2", "up", 100),
        ("b3", "drain", 0),
        ("b4", "up", 70),
    ]);
    for killed in [false, true] {
        ensure!(pool(&agent.status()?) == changed, "{:?}", pool(&agent.status()?));
        end(&mut agent, killed)?;
        agent.start()?;
    }
    let status = agent.status()?;
    ensure!(pool(&status) == changed, "{:?}", pool(&status));
    ensure!(
        warnings(&status).contains("made at run time apply over the configuration file"),
        "{status}"
    );
    ensure!(takers()? == ["b4"], "after the restarts");
    agent.ok(&["service", "rm", "new"])?;
    ensure!(
        open_flows(&lab.client, new, 1, Duration::from_millis(300))? == 0,
        "after service rm"
    );
    agent.restart()?;
    ensure!(
        !pool(&agent.status()?).contains_key("b2"),
        "the removed service is back"
    );

    agent.stop()?;
    let config = agent.config().display().to_string();
    agent.ok(&["detach", "--config", &config])?;
    agent.start()?;
    let status = wait_until_ready(&agent)?;
    ensure!(
        pool(&status) == expected(&[("b1", "up", 100), ("b2", "up", 100), ("b3", "up", 100)]),
        "{status}"
    );
    ensure!(!warnings(&status).contains("made at run time"), "{status}");
    ensure!(
        takers()? == ["b1", "b2", "b3"],
        "after the changes were forgotten"
    );
    Ok(())
}

#[test]
fn a_service_of_the_file_that_was_removed_stays_away_and_may_come_back_otherwise() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::echo(&lab, [lab.backend(0)])).start()?;
    wait_until_ready(&agent)?;
    agent.ok(&["service", "rm", "echo"])?;
    agent.restart()?;
    ensure!(pool(&agent.status()?).is_empty(), "{}", agent.status()?);
    let (vip, b2) = (vip(&lab), lab.backend(1).addr);
    agent.ok(&[
        "service",
        "add",
        "echo",
        "--vip",
        &format!("{vip}/udp"),
        "--backend",
        &format!("{b2},name=x"),
    ])?;
    agent.restart()?;
    ensure!(
        pool(&agent.status()?) == expected(&[("x", "up", 100)]),
        "{}",
        agent.status()?
    );
    wait_for_ways(&agent)?;
    ensure!(echoes.share(&lab.client, vip, 10)?["b2"] == 10);
    Ok(())
}

#[test]
fn changes_cost_no_packet() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(3).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let agent = lab
        .agent(&stage::checked_echo(&lab, &lab.backends[..2]))
        .start()?;
    wait_until_ready(&agent)?;
    let b3 = lab.backend(2).addr.to_string();
    unharmed(&lab.client, vip(&lab), || {
        for change in [
            &["add", "echo/b3", "--address", &b3][..],
            &["weight", "echo/b1", "500"],
            &["drain", "echo/b2"],
            &["ready", "echo/b2"],
            &["weight", "echo/b3", "0"],
            &["weight", "echo/b3", "50"],
            &["rm", "echo/b3"],
        ] {
            agent.ok(&[&["backend"], change].concat())?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    })
}

/// Without checks the agent takes a newcomer in before it knows the way to it, for nobody has had a reason to ask for its
/// Ethernet address. What that costs ends with the answer.
#[test]
fn a_backend_that_was_never_spoken_to_serves_as_soon_as_the_way_is_known() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(6).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let agent = lab.agent(&stage::echo(&lab, [lab.backend(0)])).start()?;
    wait_until_ready(&agent)?;
    let stream = Stream::start(&lab.client, vip(&lab), 300)?;
    let start = Instant::now();
    for host in &lab.backends[1..] {
        agent.ok(&[
            "backend",
            "add",
            &format!("echo/{}", host.name),
            "--address",
            &host.addr.to_string(),
        ])?;
    }
    wait_until_ready(&agent)?;
    let known = Instant::now();
    stream.wait_for_echoes(100)?;
    let report = stream.stop()?;
    println!("{}", told("five backends without checks added", &report, start));
    ensure!(
        report.lost_between(known, Instant::now()) == 0,
        "lost after the ways were known"
    );
    Ok(())
}
