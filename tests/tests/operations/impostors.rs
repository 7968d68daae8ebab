//! Somebody sends in the name of the balancer's own host, whose connections to backends such flows would take the answers of.

use std::net::UdpSocket;

use anyhow::{Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent, preflight};

use crate::{
    stage::{self, Echoes, PORT, outcome, vip, wait_until, wait_until_ready},
    stream::unharmed,
};

/// On the balancer's loopback interface, and on the client's.
const OURS: &str = "10.99.99.1";

fn own_it(host: &xlb_tests::Host, what: &str) -> Result<()> {
    let address = format!("{OURS}/32");
    host.ns.ip(&["addr", what, &address, "dev", "lo"]).map(drop)
}

/// Whether a datagram from that address is refused; else it has gone to a backend.
fn is_refused(lab: &Lab, agent: &Agent) -> Result<bool> {
    let count = |status: &Value| (outcome(status, "bad_source"), outcome(status, "forwarded"));
    let before = count(&agent.status()?);
    lab.client.ns.run(|| -> Result<()> {
        let socket = UdpSocket::bind((OURS, 0))?;
        socket.send_to(b"it is me", (vip(lab).ip(), PORT))?;
        Ok(())
    })??;
    let after = count(&agent.status()?);
    ensure!(after > before, "it has got nowhere");
    Ok(after.0 > before.0)
}

#[test]
fn nobody_else_has_the_addresses_of_this_host() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    own_it(&lab.client, "add")?;
    let mut agent = lab.agent(&stage::echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    ensure!(!is_refused(&lab, &agent)?, "it is not ours yet");
    unharmed(&lab.client, vip(&lab), || {
        own_it(&lab.lb, "add")?;
        wait_until("it is refused", || is_refused(&lab, &agent))?;
        agent.restart()?;
        wait_until_ready(&agent)?;
        ensure!(is_refused(&lab, &agent)?, "after a restart");
        Ok(())
    })?;
    own_it(&lab.lb, "del")?;
    wait_until("it is a client's", || Ok(!is_refused(&lab, &agent)?))?;
    Ok(())
}
