//! Real traffic through the balancer: HTTP, TCP and UDP, with real servers and clients.

use std::time::Duration;

use anyhow::{Result, ensure};
use xlb_tests::{lab::Lab, preflight};

/// A service on the VIP's port 80 over every backend's port 80, checked by HTTP.
fn web(lab: &Lab) -> String {
    let backends: String = lab
        .backends
        .iter()
        .map(|backend| {
            format!(
                "  [[service.backend]]\n  name = \"{}\"\n  address = \"{}\"\n",
                backend.name, backend.addr
            )
        })
        .collect();
    format!(
        "[[service]]\nname = \"web\"\nvip = \"{}:80/tcp\"\n  [service.check]\n  type = \"http\"\n  path = \"/health\"\n  \
         interval = \"200ms\"\n  timeout = \"150ms\"\n{backends}",
        lab.vip()
    )
}

#[test]
fn requests_spread_over_the_backends() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(3).build()?;
    let _servers = lab
        .backends
        .iter()
        .map(|backend| backend.nginx())
        .collect::<Result<Vec<_>>>()?;
    let agent = lab.agent(&web(&lab)).start()?;
    agent.wait_until("three backends up", Duration::from_secs(5), |status| {
        status["services"][0]["backends"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["state"] == "up"))
    })?;
    let mut served = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..60 {
        let reply = lab.client.curl(&format!("http://{}/", lab.vip()))?;
        ensure!(reply.status == 200, "status {}", reply.status);
        *served.entry(reply.text().trim().to_owned()).or_default() += 1;
    }
    println!("{served:?}");
    println!("{}", agent.ok(&["status"])?);
    println!("{}", agent.ok(&["service", "show", "web"])?);
    ensure!(served.len() == 3, "{served:?}");
    Ok(())
}
