//! VLAN tags: what comes in with tags goes on with them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use xlb_tests::{Lab, lab::Mode, preflight};

use crate::{lanes::Lane, stage::Stage};

const WEB: u16 = 80;
const ECHO: u16 = 7;

fn services(lab: &Lab, lane: &Lane) -> String {
    lane.service(lab, ("web", WEB, &["tcp"]), "", &lab.backends)
        + &lane.service(lab, ("echo", ECHO, &["udp"]), "", &lab.backends)
}

/// The trunk drops what comes back with other tags than it sends.
#[test]
fn tagged_frames_stay_in_their_vlan_in_every_mode() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let dot1q = &[(0x8100, 0x600a)][..];
    let qinq = &[(0x88a8, 0x0064), (0x8100, 0x000a)][..];
    for (mode, tags) in Mode::ALL.into_iter().zip([dot1q, qinq].into_iter().cycle()) {
        let stage = Stage::new(mode, Lab::new().backends(2).one_arm().tagged(tags), services)?;
        let lab = &stage.lab;
        let ports = [WEB, WEB + 1];
        let servers = lab
            .backends
            .iter()
            .map(|backend| backend.nginx_with().ports(&ports).start());
        let _servers = servers.collect::<Result<Vec<_>>>()?;
        for lane in &Lane::all(mode) {
            let what = || format!("{lane:?}, {} tags", tags.len());
            let reply = lab.client.curl(&format!("http://{}/", lane.at(lab, WEB)));
            assert_eq!(reply.with_context(what)?.status, 200);
            let echoes = lab
                .backends
                .iter()
                .map(|backend| backend.udp_echo_on(lane.server(lab, backend, ECHO)));
            let _echoes = echoes.collect::<Result<Vec<_>>>()?;
            let report = lab
                .client
                .udp_echo_test(lane.at(lab, ECHO), 50, 10, Duration::from_secs(2))?;
            assert_eq!((report.echoed, report.wrong), (50, 0), "{}", what());
            assert_eq!(lab.client.ping(lane.vip(lab), 2)?, 2, "{}", what());
        }
    }
    Ok(())
}
