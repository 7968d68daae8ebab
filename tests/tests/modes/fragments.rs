//! Datagrams longer than the links: DNS answers as long as EDNS lets them be, and questions in fragments.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{Host, Lab, lab::Mode, preflight, server::Dns};

use crate::{lanes::Lane, stage::Stage};

const DNS: u16 = 53;
const ECHO: u16 = 7;

fn services(lab: &Lab, lane: &Lane) -> String {
    // Of a VIP's services with that protocol, one alone may do without first fragments.
    lane.service(lab, ("dns", DNS, &["udp"]), "", &lab.backends)
        + &lane.service(lab, ("echo", ECHO, &["udp"]), "", &lab.backends)
}

/// Sends a datagram of so many bytes, and gets it back; in tunnels at the second time, for the first tells the client how long
/// its fragments may be.
fn echoes(client: &Host, lane: &Lane, lab: &Lab, bytes: usize) -> Result<()> {
    let to = lane.at(lab, ECHO);
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = client.ns.run(|| UdpSocket::bind(any))??;
    let sent: Vec<u8> = (0..bytes)
        .map(|at| u8::try_from(at % 251).unwrap_or_default())
        .collect();
    let mut got = vec![0; bytes + 1];
    if lane.mode.encapsulates() {
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send_to(&sent, to)?;
        // Lost, or not if the client has known before.
        let _ = socket.recv_from(&mut got);
    }
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to(&sent, to)?;
    let (length, from) = socket
        .recv_from(&mut got)
        .with_context(|| format!("{bytes} bytes to {to}"))?;
    ensure!(
        from == to && got[..length] == sent,
        "{length} other bytes from {from}"
    );
    Ok(())
}

#[test]
fn long_answers_and_long_questions_get_through_in_every_mode() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in Mode::ALL {
        let stage = Stage::new(mode, Lab::new().backends(2), services)?;
        let lab = &stage.lab;
        let servers = lab.backends.iter().map(|backend| backend.dns(4_000));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        for lane in Lane::all(mode).iter().filter(|lane| lane.port(DNS) == DNS) {
            let answer = lab.client.dig(lane.vip(lab), Dns::NAME, &[]);
            let answer = answer.with_context(|| format!("{lane:?}"))?;
            assert_eq!(answer, servers[0].text(), "{lane:?}");
        }
        for lane in &Lane::all(mode) {
            let echoes_on = lab
                .backends
                .iter()
                .map(|backend| backend.udp_echo_on(lane.server(lab, backend, ECHO)));
            let _servers = echoes_on.collect::<Result<Vec<_>>>()?;
            for bytes in [1_000, 4_000, 20_000] {
                echoes(&lab.client, lane, lab, bytes).with_context(|| format!("{lane:?}"))?;
            }
        }
        // Those of a first one that did not fit into its tunnel are known by nothing.
        if !mode.encapsulates() {
            let unknown = stage.outcome("fragment")?;
            assert_eq!(unknown, 0, "{mode:?}: fragments that nothing was known of");
        }
    }
    Ok(())
}

/// A later fragment may overtake the first: such a service needs none.
#[test]
fn a_service_that_hashes_fragments_serves_them_too() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let services = |lab: &Lab, lane: &Lane| {
        lane.service(
            lab,
            ("echo", ECHO, &["udp"]),
            "fragments = \"hash\"\n",
            &lab.backends,
        )
    };
    for mode in [Mode::Nat, Mode::Dsr] {
        let stage = Stage::new(mode, Lab::new().backends(2), services)?;
        let lab = &stage.lab;
        for lane in &Lane::all(mode) {
            let servers = lab
                .backends
                .iter()
                .map(|backend| backend.udp_echo_on(lane.server(lab, backend, ECHO)));
            let _servers = servers.collect::<Result<Vec<_>>>()?;
            echoes(&lab.client, lane, lab, 4_000).with_context(|| format!("{lane:?}"))?;
        }
    }
    Ok(())
}
