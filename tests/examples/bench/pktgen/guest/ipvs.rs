//! IPVS, with the scheduler that is Maglev's.

use anyhow::Result;
use xlb_tests::netns::Netns;

use super::bed::{BACKEND_PORT, Line, VIP};
use crate::pktgen::lane::Mode;

/// Gives the host the VIP: IPVS takes what is for the host itself.
pub fn prepare(space: &Netns) -> Result<()> {
    let vip = format!("{VIP}/32");
    space.ip(&["address", "add", &vip, "dev", "lo"]).map(drop)
}

/// Adds the service of a lane.
pub fn add(space: &Netns, line: &Line, mode: Mode) -> Result<()> {
    let service = format!("{VIP}:{}", mode.port());
    let call = |arguments: &[&str]| space.exec(&[&["ipvsadm"], arguments].concat()).map(drop);
    call(&["--add-service", "--udp-service", &service, "--scheduler", "mh"])?;
    let port = match mode {
        Mode::Nat => BACKEND_PORT,
        Mode::Direct | Mode::Tunnel => mode.port(),
    };
    let (how, _) = mode.of_ipvs();
    for (address, _) in line.backends() {
        let server = format!("{address}:{port}");
        call(&[
            "--add-server",
            "--udp-service",
            &service,
            "--real-server",
            &server,
            how,
        ])?;
    }
    Ok(())
}
