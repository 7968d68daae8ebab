//! What most tests set up and ask.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent};

/// Longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Quick to see what is refused, and patient with who is only late: silence takes 2.5 s to believe.
pub const PACE: &str =
    "interval = \"500ms\"\nfast_interval = \"50ms\"\ntimeout = \"500ms\"\nrise = 2\nfall = 5\n";
/// What a timeout at that pace is called.
pub const TIMEOUT: &str = "timeout after 500ms";

/// A service at `port`, such as `80/tcp`, of the VIP. `rest` is its check and what else there is to say.
pub fn service(lab: &Lab, name: &str, port: &str, rest: &str, backends: &str) -> String {
    let vip = lab.vip();
    format!("[[service]]\nname = \"{name}\"\nvip = \"{vip}:{port}\"\n{rest}\n{backends}\n")
}

/// A check at [`PACE`].
pub fn check(fields: &str) -> String {
    format!("[service.check]\n{PACE}{fields}\n")
}

/// A backend by any address.
pub fn backend(name: &str, address: impl Into<IpAddr>) -> String {
    let address = address.into();
    format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n")
}

/// All backends of all services, each with its service's name.
pub fn backends(status: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let services = status["services"].as_array().into_iter().flatten();
    services.flat_map(|service| {
        let name = service["name"].as_str().unwrap_or_default();
        let backends = service["backends"].as_array().into_iter().flatten();
        backends.map(move |backend| (name, backend))
    })
}

/// A backend by its service's name and its own.
pub fn find<'a>(status: &'a Value, who: &str) -> Result<&'a Value> {
    let (service, name) = who.split_once('/').context("not SERVICE/BACKEND")?;
    let found = backends(status).find(|(of, backend)| *of == service && backend["name"] == name);
    let (_, backend) = found.with_context(|| format!("no {who} in {status}"))?;
    Ok(backend)
}

/// Waits until probes see a backend so, and the last one has said these words.
pub fn wait_for(agent: &Agent, who: &str, health: &str, words: &str) -> Result<Value> {
    let status = agent.wait_until(&format!("{who} is {health}: {words}"), PATIENCE, |status| {
        find(status, who).is_ok_and(|backend| {
            let said = backend["last_check"].as_str();
            backend["health"] == health && said.is_some_and(|said| said.contains(words))
        })
    })?;
    find(&status, who).cloned()
}

/// Waits until every backend is up and the way to it is known.
pub fn wait_until_ready(agent: &Agent) -> Result<Value> {
    agent.wait_until("all backends are up, with next hops", PATIENCE, |status| {
        backends(status).all(|(_, backend)| backend["state"] == "up" && !backend["next_hop"].is_null())
    })
}

/// Starts a server, sees it go up, ends it, sees it go down; twice, so that it comes back, too.
pub fn comes_and_goes<S>(
    agent: &Agent,
    who: &str,
    start: impl Fn() -> Result<S>,
    (up, down): (&str, &str),
) -> Result<()> {
    for _ in 0..2 {
        let server = start()?;
        wait_for(agent, who, "up", up)?;
        drop(server);
        wait_for(agent, who, "down", down)?;
    }
    Ok(())
}

/// How often the log has these words.
pub fn logged(agent: &Agent, words: &str) -> usize {
    agent.log().matches(words).count()
}

/// Polls until `done`; an error after [`PATIENCE`]. Gives the time it took.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    while !done()? {
        ensure!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(start.elapsed())
}

/// Tells what was measured.
#[expect(clippy::print_stdout, reason = "for whoever reads a test's output")]
pub fn tell(measured: &str) {
    println!("{measured}");
}
