//! Pools of which much fails at once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;
use xlb_tests::{Host, Lab, preflight, server::Nginx};

use crate::{
    crowd::{EACH, count, crowd},
    download::{self, Download},
    stage::{PATIENCE, check, find, logged, service, tell, wait_for, wait_until, wait_until_ready},
};

const HOSTS: u8 = 4;

#[test]
fn half_of_two_hundred_backends_die_and_nobody_else_notices() -> Result<()> {
    const DEAD: usize = 2 * EACH as usize;
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(HOSTS).build()?;
    let mut pool = String::new();
    let mut servers = Vec::new();
    for (at, host) in (0..).zip(&lab.backends) {
        pool += &crowd(host, at)?;
        let dir = host.dir.join("files");
        download::offer(&dir, host)?;
        servers.push(host.nginx_with().files(dir).start()?);
    }
    let agent = lab
        .agent(&service(&lab, "web", "80/tcp", &check("type = \"tcp\""), &pool))
        .start()?;
    wait_until_ready(&agent)?;
    let vip = SocketAddr::from((lab.vip(), 80));
    let load = lab
        .client
        .steady(vip, 25)
        .timeout(Duration::from_secs(4))
        .start()?;
    let mut downloads = Vec::new();
    for _ in 0..16 {
        let download = Download::start(&lab.client, vip)?;
        if ["b3", "b4"].contains(&download.host.as_str()) {
            downloads.push(download);
        }
    }
    ensure!(!downloads.is_empty(), "16 downloads, none from b3 or b4");
    wait_until("requests are served", || Ok(load.count() > 25))?;

    let killed = Instant::now();
    // One host says that nobody listens any more, the other one says nothing.
    servers[0].stop();
    lab.set_plugged(lab.backend(1), false)?;
    let all_down = |status: &Value| count(status, "down", &["b1", "b2"]) == DEAD;
    agent.wait_until("a hundred backends are down", PATIENCE, all_down)?;
    let noticed = Instant::now();
    tell(&format!(
        "{DEAD} backends down {:?} after their end",
        noticed - killed
    ));
    let served = || load.so_far().between(noticed, noticed + PATIENCE).all().len();
    wait_until("requests are served after that", || Ok(served() > 50))?;
    ensure!(
        downloads.iter().all(Download::is_running),
        "a download ended before all was over"
    );
    downloads.into_iter().try_for_each(Download::finish)?;
    let samples = load.stop();
    let before: Vec<_> = samples
        .failed()
        .filter(|(sample, _)| sample.ended() < killed)
        .collect();
    ensure!(before.is_empty(), "failures before anybody died: {before:?}");
    let after = samples.between(noticed, noticed + PATIENCE);
    tell(&format!(
        "meanwhile failed {:?}, served after {:?}",
        samples.failures(),
        after.served()
    ));
    ensure!(
        after.failures().is_empty(),
        "failures after all were down: {:?}",
        after.failures()
    );
    ensure!(
        after.served().keys().all(|host| ["b3", "b4"].contains(host)),
        "{:?}",
        after.served()
    );
    let log = agent.log();
    let others = |line: &&str| line.contains("backend web/b3-") || line.contains("backend web/b4-");
    let wrong: Vec<_> = log
        .lines()
        .filter(others)
        .filter(|line| line.contains(" is down: "))
        .collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    lab.set_plugged(lab.backend(1), true)?;
    servers[0].start()?;
    wait_until_ready(&agent).map(drop)
}

#[test]
fn a_pool_that_is_cut_off_by_more_than_half_is_kept_in_panic() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(5).build()?;
    let mut servers = lab
        .backends
        .iter()
        .map(Host::nginx)
        .collect::<Result<Vec<Nginx>>>()?;
    let pool: String = lab.backends.iter().map(Host::as_backend).collect();
    let rest = check("type = \"tcp\"") + "[service.health]\npanic = 50\n";
    let agent = lab.agent(&service(&lab, "web", "80/tcp", &rest, &pool)).start()?;
    wait_until_ready(&agent)?;
    let cut = &lab.backends[..3];
    for host in cut {
        lab.set_plugged(host, false)?;
    }
    let are = |who: &[Host], health: &str, state: &str| {
        agent.wait_until(&format!("{health}, and yet {state}"), PATIENCE, |status| {
            who.iter().all(|host| {
                find(status, &format!("web/{}", host.name))
                    .is_ok_and(|backend| backend["health"] == health && backend["state"] == state)
            })
        })
    };
    // All look down, and all are kept.
    are(cut, "down", "up")?;
    ensure!(
        logged(&agent, "service web is in PANIC: ") == 1,
        "{}",
        agent.log_tail()
    );
    // Who refuses is believed, and the others are kept all the same.
    servers[4].stop();
    are(&lab.backends[4..], "down", "down")?;
    are(cut, "down", "up")?;
    are(&lab.backends[3..4], "up", "up")?;
    ensure!(logged(&agent, "is out of panic") == 0, "{}", agent.log_tail());
    servers[4].start()?;
    for host in cut {
        lab.set_plugged(host, true)?;
    }
    wait_until_ready(&agent)?;
    wait_until("the log tells of the calm", || {
        Ok(logged(&agent, "service web is out of panic: ") == 1)
    })?;
    Ok(())
}

#[test]
fn without_panic_a_pool_that_is_cut_off_is_down() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _servers = lab
        .backends
        .iter()
        .map(Host::nginx)
        .collect::<Result<Vec<Nginx>>>()?;
    let pool: String = lab.backends.iter().map(Host::as_backend).collect();
    let agent = lab
        .agent(&service(&lab, "web", "80/tcp", &check("type = \"tcp\""), &pool))
        .start()?;
    wait_until_ready(&agent)?;
    for host in &lab.backends {
        lab.set_plugged(host, false)?;
    }
    for host in ["b1", "b2"] {
        let backend = wait_for(&agent, &format!("web/{host}"), "down", "")?;
        ensure!(backend["state"] == "down", "{backend}");
    }
    ensure!(logged(&agent, "PANIC") == 0, "{}", agent.log_tail());
    Ok(())
}
