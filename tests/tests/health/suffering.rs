//! What clients suffer of a backend has it probed at once, long before its interval is over.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;
use xlb_tests::{Host, Lab, preflight};

use crate::stage::{PATIENCE, find, service, wait_for};

/// By itself it would be noticed after ten minutes.
const PACE: &str = "[service.check]\ntype = \"tcp\"\ninterval = \"10m\"\nfast_interval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\nfall = 3\n";

#[test]
fn refused_clients_have_their_backend_probed() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let servers = lab
        .backends
        .iter()
        .map(|backend| backend.nginx_with().ports(&[80]).start());
    let mut servers: Vec<_> = servers.collect::<Result<_>>()?;
    let pool: String = lab.backends.iter().map(Host::as_backend).collect();
    let agent = lab.agent(&service(&lab, "web", "80/tcp", PACE, &pool)).start()?;
    for who in ["web/b1", "web/b2"] {
        wait_for(&agent, who, "up", "passed in")?;
    }
    let url = format!("http://{}/", lab.vip());
    servers[0].stop();
    let begin = Instant::now();
    let mut refused = 0;
    while find(&agent.status()?, "web/b1")?["health"] == "up" {
        ensure!(begin.elapsed() < PATIENCE, "still up after {refused} refusals");
        for _ in 0..10 {
            refused += u32::from(lab.client.curl(&url).is_err());
        }
    }
    println!("down after {:?} and {refused} refusals", begin.elapsed());
    let events = agent.ok(&["events", "web/b1"])?;
    let events: Vec<Value> = events
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let names: Vec<_> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    ensure!(names == ["up", "suspect", "down"], "{names:?}");
    ensure!(
        events[1]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("reset")),
        "{events:?}"
    );
    for _ in 0..20 {
        lab.client.curl(&url)?;
    }
    Ok(())
}
