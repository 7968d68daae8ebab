//! SYNs from random sources, ten times as many as the flow table has entries: downloads go on.

use std::{net::SocketAddrV4, time::Duration};

use anyhow::{Result, bail, ensure};
use xlb_tests::{Host, Lab, lab::Mode, preflight, server::files};

use crate::stage::{PATIENCE, all_up, outcome};

const PORT: u16 = 80;
/// Entries of either table.
const ENTRIES: u32 = 4096;
const CONNECTIONS: usize = 8;
const SIZE: u64 = 40_000_000;
const FLOODS: u32 = 4;

fn service(lab: &Lab, mode: Mode) -> String {
    let backends: String = lab.backends.iter().map(Host::as_backend).collect();
    // With least-conn each flow has its place in the table, and none in a slot.
    format!(
        "[limits]\nflows = {ENTRIES}\nwritten = {ENTRIES}\n[[service]]\nname = \"web\"\nvip = \"{}:{PORT}/tcp\"\nmode = \"{}\"\nalgorithm = \"least-conn\"\n{backends}",
        lab.vip(),
        mode.name()
    )
}

fn downloads_go_on(mode: Mode) -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(3).mode(mode).build()?;
    let wanted = files::random(&lab.dir().join("blob"), SIZE, 5)?;
    let servers = lab
        .backends
        .iter()
        .map(|backend| backend.nginx_with().files(lab.dir()).start());
    let _servers = servers.collect::<Result<Vec<_>>>()?;
    let agent = lab.agent(&service(&lab, mode)).start()?;
    agent.wait_until("all backends are up", PATIENCE, all_up)?;
    let url = format!("http://{}/files/blob", lab.vip());
    let limit = ["--limit-rate", "4M", "--connect-timeout", "3", "--max-time", "40"];
    let mut downloads = lab.client.download(&vec![url; CONNECTIONS], &limit)?;
    agent.wait_until("the flows are there", PATIENCE, |status| {
        status["flows"].as_u64() >= Some(CONNECTIONS as u64)
    })?;
    let before = outcome(&agent, "forwarded")?;
    for _ in 0..FLOODS {
        lab.flood(SocketAddrV4::new(lab.vip(), PORT), 10 * ENTRIES)?;
        std::thread::sleep(Duration::from_millis(300));
    }
    if downloads.running() < CONNECTIONS {
        downloads.wait()?;
        bail!("they were over before the flood");
    }
    let flooded = outcome(&agent, "forwarded")? - before;
    // Some are lost in queues; every one that came was forwarded.
    ensure!(
        flooded > u64::from(FLOODS * 5 * ENTRIES),
        "{flooded} packets of {} came through: {}",
        FLOODS * 10 * ENTRIES,
        agent.status()?["outcomes"]
    );
    let (downloads, _) = downloads.wait()?;
    for download in downloads {
        assert_eq!((download.bytes, &download.sha256), (SIZE, &wanted));
    }
    Ok(())
}

#[test]
fn downloads_go_on_in_dsr_while_syns_flood_the_table() -> Result<()> {
    downloads_go_on(Mode::Dsr)
}

#[test]
fn downloads_go_on_in_nat_while_syns_flood_the_table() -> Result<()> {
    downloads_go_on(Mode::Nat)
}
