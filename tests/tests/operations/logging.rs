//! A line in the agent's log for each packet, for those who ask for it.

use anyhow::{Result, ensure};
use xlb_tests::{Lab, agent::Agent, preflight};

use crate::{
    stage::{self, Echoes, vip, wait_until, wait_until_ready},
    talk::Talk,
};

/// Lines that tell what became of a packet.
fn packets(agent: &Agent) -> Vec<String> {
    let of_packet = |line: &&str| line.contains(" -> ") && line.contains(", protocol ");
    agent.log().lines().filter(of_packet).map(str::to_owned).collect()
}

#[test]
fn each_packet_has_its_line_when_both_sides_ask_for_it() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let (client, b1, vip) = (lab.client.addr, lab.backend(0).addr, vip(&lab));
    let service = stage::echo(&lab, &lab.backends);
    let agent = lab
        .agent(&service)
        .node("log_packets = true")
        .env("RUST_LOG", "debug")
        .start()?;
    wait_until_ready(&agent)?;
    Talk::open(&lab.client, vip)?.say()?;
    // The addresses are those on the wire after the rewrite.
    for line in [
        format!("forwarded: {client} -> {b1}, protocol 6, "),
        format!("returned: {} -> {client}, protocol 6, ", vip.ip()),
    ] {
        wait_until(&line, || {
            Ok(packets(&agent).iter().any(|said| said.contains(&line)))
        })?;
    }
    println!("{}", packets(&agent)[0]);
    ensure!(packets(&agent)[0].contains("DEBUG"), "{}", packets(&agent)[0]);
    Ok(())
}

#[test]
fn nobody_else_has_any() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let service = stage::echo(&lab, &lab.backends);
    for (setting, level) in [("", "debug"), ("log_packets = true", "info")] {
        let mut agent = lab.agent(&service).node(setting).env("RUST_LOG", level).start()?;
        wait_until_ready(&agent)?;
        Talk::open(&lab.client, vip(&lab))?.say()?;
        // Its last words come after everything that it had to say of packets.
        agent.stop()?;
        ensure!(
            packets(&agent).is_empty(),
            "{setting:?} at level {level}: {:?}",
            packets(&agent)
        );
        ensure!(agent.log().contains("ends on SIGTERM"), "{}", agent.log());
    }
    Ok(())
}
