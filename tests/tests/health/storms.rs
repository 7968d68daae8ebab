//! Much that changes fast: backends that flap, agents that die in between, states that do not last.

use std::{
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use xlb_tests::{
    Host, Lab,
    agent::Agent,
    client::samples::{Failure, Kind},
    preflight,
    server::{Manner, Scripted},
};

use crate::stage::{logged, service, tell, wait_for, wait_until, wait_until_ready};

const PORT: u16 = 80;

#[test]
fn a_flapping_backend_is_held_down_for_longer_and_longer() -> Result<()> {
    const FLAP: Duration = Duration::from_millis(150);
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let start = |host: &Host| host.scripted(PORT, [Manner::http(200, &host.name)]);
    let steady = start(lab.backend(1))?;
    // Kept connections tell of each end at once, and have nothing to say of who is only slow.
    let check = "[service.check]\ntype = \"tcp-hold\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nrise = 1\nfall = 2\n\
        [service.health.flaps]\nallowed = 3\nhold = \"200ms\"\n";
    let pool: String = lab.backends.iter().map(Host::as_backend).collect();
    let agent = lab.agent(&service(&lab, "web", "80/tcp", check, &pool)).start()?;
    let mut flapping = Some(start(lab.backend(0))?);
    wait_until_ready(&agent)?;
    let vip = SocketAddr::from((lab.vip(), PORT));
    let load = lab
        .client
        .steady(vip, 25)
        .timeout(Duration::from_secs(4))
        .start()?;
    let flaps = Instant::now();
    let mut ends = 0;
    wait_until("it is held for the fourth time", || {
        thread::sleep(FLAP);
        flapping = match flapping.take() {
            Some(_) => None,
            None => Some(start(lab.backend(0))?),
        };
        ends += usize::from(flapping.is_none());
        Ok(logged(&agent, "web/b1 is held down for 1s 600ms at least") > 0)
    })?;
    let took = flaps.elapsed();
    for hold in ["200ms", "400ms", "800ms"] {
        let line = format!("web/b1 is held down for {hold} at least");
        ensure!(logged(&agent, &line) == 1, "{line}: {}", agent.log_tail());
    }
    let downs = logged(&agent, "backend web/b1 is down: ");
    tell(&format!("{ends} ends in {took:?}, believed {downs} times"));
    ensure!(
        downs < ends,
        "{ends} ends, and down {downs} times: nothing was damped"
    );
    let samples = load.stop();
    // The other one has never been down, and has answered all that it was sent.
    ensure!(
        logged(&agent, "backend web/b2 is down") == 0,
        "{}",
        agent.log_tail()
    );
    let served = samples.served().get("b2").copied().unwrap_or(0);
    let answered = steady.answered();
    tell(&format!(
        "b2 answered {answered} and served {served}; failed: {:?}",
        samples.failures()
    ));
    ensure!(
        served > 20 && answered == served,
        "b2 answered {answered} and served {served}"
    );
    let timeouts = samples.failed().filter(|(_, failure)| {
        matches!(
            failure,
            Failure::Connect(Kind::Timeout) | Failure::Exchange(Kind::Timeout)
        )
    });
    // Whoever met b1 was refused or cut off; nobody was left waiting.
    let timeouts: Vec<_> = timeouts.collect();
    ensure!(timeouts.is_empty(), "{timeouts:?}");
    // When it stands still, it comes back.
    if flapping.is_none() {
        flapping = Some(start(lab.backend(0))?);
    }
    wait_for(&agent, "web/b1", "up", "")?;
    drop(flapping);
    Ok(())
}

/// A service whose backend answers well once, then 501, 502 and so on.
fn failing(lab: &Lab) -> Result<(Scripted, Agent)> {
    let script = [200, 501, 502, 503, 504].map(|code| Manner::http(code, ""));
    let server = lab.backend(0).scripted(PORT, script)?;
    let check = "[service.check]\ntype = \"http\"\ninterval = \"2s\"\ntimeout = \"2s\"\nrise = 2\nfall = 3\n";
    let agent = lab
        .agent(&service(
            lab,
            "web",
            "80/tcp",
            check,
            &lab.backend(0).as_backend(),
        ))
        .start()?;
    wait_for(&agent, "web/b1", "up", "status 200")?;
    Ok((server, agent))
}

/// The third failure takes it down, whoever saw the first two.
fn is_taken_down_by_the_third(agent: &Agent) -> Result<()> {
    wait_until("it is down", || Ok(logged(agent, "backend web/b1 is down: ") > 0))?;
    ensure!(
        logged(agent, "backend web/b1 is down: status 503") == 1,
        "{}",
        agent.log_tail()
    );
    Ok(())
}

#[test]
fn failures_count_over_a_restart() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let (_server, mut agent) = failing(&lab)?;
    wait_for(&agent, "web/b1", "up", "status 502")?;
    agent.restart()?;
    is_taken_down_by_the_third(&agent)
}

#[test]
fn failures_count_over_a_crash_a_second_later() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let (_server, mut agent) = failing(&lab)?;
    wait_for(&agent, "web/b1", "up", "status 502")?;
    let kept = agent.config().with_file_name("state").join("health.json");
    wait_until("both failures are on the disk", || {
        Ok(fs::read_to_string(&kept).is_ok_and(|text| text.contains("\"health\":\"up\",\"streak\":2")))
    })?;
    agent.kill9();
    agent.start()?;
    is_taken_down_by_the_third(&agent)
}

#[test]
fn a_check_has_one_connection_at_a_time_whatever_changes() -> Result<()> {
    const STORM: Duration = Duration::from_secs(3);
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let well = Manner::http(200, "");
    let server = lab.backend(0).scripted(PORT, [well.clone()])?;
    let check = "[service.check]\ntype = \"http\"\ninterval = \"50ms\"\nfast_interval = \"10ms\"\ntimeout = \"50ms\"\nrise = 1\nfall = 1\n\
        [service.health.flaps]\nhold = \"0s\"\n";
    let agent = lab
        .agent(&service(
            &lab,
            "web",
            "80/tcp",
            check,
            &lab.backend(0).as_backend(),
        ))
        .start()?;
    wait_until_ready(&agent)?;
    let start = Instant::now();
    let manners = [
        Manner::Hangs,
        well.clone(),
        Manner::Closes,
        Manner::http(500, ""),
        well.clone(),
        Manner::Resets,
    ];
    let changes: [&[&str]; 4] = [
        &["backend", "drain", "web/b1"],
        &["backend", "weight", "web/b1", "7"],
        &["backend", "ready", "web/b1"],
        &["backend", "weight", "web/b1", "100"],
    ];
    for (manner, change) in manners.iter().cycle().zip(changes.iter().cycle()) {
        if start.elapsed() > STORM {
            break;
        }
        server.set(manner.clone());
        agent.ok(change)?;
        thread::sleep(Duration::from_millis(40));
    }
    let turns = logged(&agent, "backend web/b1 is ");
    tell(&format!(
        "{} connections, {} at once, {turns} turns",
        server.accepted(),
        server.most()
    ));
    ensure!(turns > 10, "no storm: {}", agent.log_tail());
    ensure!(server.accepted() > 40, "{} connections", server.accepted());
    ensure!(server.most() == 1, "{} connections at once", server.most());
    server.set(well);
    agent.ok(&["backend", "ready", "web/b1"])?;
    wait_for(&agent, "web/b1", "up", "status 200").map(drop)
}
