//! Bulk data both ways, with a router before the balancer that takes short packets only: its ICMP errors have to reach the
//! backends, and in tunnels the balancer's own have to reach the clients.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use xlb_tests::{Lab, lab::Mode, preflight, server::files};

use crate::{lanes::Lane, stage::Stage};

const WEB: u16 = 80;
const IPERF: u16 = 5201;
const ECHO: u16 = 7;
const SIZE: u64 = 3_000_003;

fn services(lab: &Lab, lane: &Lane) -> String {
    let web = lane.service(lab, ("web", WEB, &["tcp"]), "", &lab.backends);
    // A test of iperf3's is more than one flow, which must find one server.
    let iperf = lane.service(lab, ("iperf", IPERF, &["tcp", "udp"]), "", &lab.backends[..1]);
    let echo = lane.service(lab, ("echo", ECHO, &["udp"]), "", &lab.backends);
    web + &iperf + &echo
}

/// Downloads over every lane at once, byte for byte.
fn download(stage: &Stage, lanes: &[Lane]) -> Result<()> {
    let lab = &stage.lab;
    let wanted = files::random(&lab.dir().join("blob"), SIZE, 3)?;
    let ports = [WEB, WEB + 1];
    let servers = lab
        .backends
        .iter()
        .map(|backend| backend.nginx_with().ports(&ports).files(lab.dir()).start());
    let _servers = servers.collect::<Result<Vec<_>>>()?;
    let urls: Vec<String> = lanes
        .iter()
        .map(|lane| format!("http://{}/files/blob", lane.at(lab, WEB)))
        .collect();
    let limit = ["--max-time", "20", "--connect-timeout", "3"];
    let (downloads, _) = lab.client.download(&urls, &limit)?.wait()?;
    for (download, lane) in downloads.iter().zip(lanes) {
        assert_eq!((download.bytes, &download.sha256), (SIZE, &wanted), "{lane:?}");
    }
    Ok(())
}

/// What iperf3 may have handed to the kernel and not got through: without a limit it is done before a lost first packet has been
/// sent again.
const SENT_AHEAD: &str = "128K";

/// Runs iperf3 over a lane, once with each of these arguments.
fn measure(stage: &Stage, lane: &Lane, all: &[&[&str]]) -> Result<()> {
    let lab = &stage.lab;
    let _server = lab
        .backend(0)
        .iperf_server(lane.server(lab, lab.backend(0), IPERF))?;
    for args in all {
        let moved = lab.client.iperf(lane.at(lab, IPERF), args);
        let moved = moved.with_context(|| format!("{lane:?} {args:?}"))?;
        assert!(
            moved.bytes >= 300_000 && moved.lost_percent < 20.0,
            "{lane:?} {args:?}: {moved:?}"
        );
    }
    Ok(())
}

/// Datagrams of many flows come back to the socket that sent them.
fn echo(stage: &Stage, lane: &Lane) -> Result<()> {
    let lab = &stage.lab;
    let servers = lab
        .backends
        .iter()
        .map(|backend| backend.udp_echo_on(lane.server(lab, backend, ECHO)));
    let _servers = servers.collect::<Result<Vec<_>>>()?;
    let report = lab
        .client
        .udp_echo_test(lane.at(lab, ECHO), 200, 40, Duration::from_secs(2))?;
    assert_eq!(
        (report.sent, report.echoed, report.wrong),
        (200, 200, 0),
        "{lane:?}"
    );
    Ok(())
}

fn everything(mode: Mode) -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let stage = Stage::new(mode, Lab::new().backends(2).path_mtu(1280), services)?;
    let lanes = Lane::all(mode);
    // Before anything long comes from the backends: told of the path's MTU, they ask clients for short packets too.
    for lane in &lanes {
        measure(&stage, lane, &[&["-n", "2M", "-w", SENT_AHEAD]])?;
    }
    let told = stage.outcome("too_big_answered")?;
    // A full packet of the client's does not fit into a tunnel.
    assert_eq!(
        told > 0,
        mode.encapsulates(),
        "{told} times a client was told of a tunnel's MTU"
    );
    download(&stage, &lanes)?;
    assert!(
        stage.outcome("error_forwarded")? > 0,
        "no backend was told of the path's MTU"
    );
    for lane in &lanes {
        measure(
            &stage,
            lane,
            &[
                &["-n", "2M", "-w", SENT_AHEAD, "-R"],
                &["-u", "-b", "8M", "-l", "1200", "-n", "400K"],
            ],
        )?;
        echo(&stage, lane)?;
    }
    Ok(())
}

/// The way back is then the one that clients came by, and nobody but the balancer knows how much fits it.
#[test]
fn a_host_that_forwards_nothing_tells_backends_of_its_link_s_mtu() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let stage = Stage::new(Mode::Nat, Lab::new().backends(2).forwarding(false), services)?;
    let front = &stage.lab.front.device;
    stage.lab.lb.ns.ip(&["link", "set", front, "mtu", "1400"])?;
    download(&stage, &Lane::all(Mode::Nat))?;
    assert!(
        stage.outcome("too_big_answered")? > 0,
        "no backend was told of the link's MTU"
    );
    Ok(())
}

#[test]
fn nat_carries_bulk_data_both_ways() -> Result<()> {
    everything(Mode::Nat)
}

#[test]
fn full_nat_carries_bulk_data_both_ways() -> Result<()> {
    everything(Mode::FullNat)
}

#[test]
fn dsr_carries_bulk_data_both_ways() -> Result<()> {
    everything(Mode::Dsr)
}

#[test]
fn ipip_carries_bulk_data_both_ways() -> Result<()> {
    everything(Mode::Ipip)
}

#[test]
fn gue_carries_bulk_data_both_ways() -> Result<()> {
    everything(Mode::Gue)
}

/// Senders on veth leave the checksums to a device that is not there: xlb has to finish them.
#[test]
fn unfinished_checksums_are_finished_in_every_mode() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in Mode::ALL {
        let stage = Stage::new(mode, Lab::new().backends(2).checksum_offload(true), services)?;
        let lanes = Lane::all(mode);
        download(&stage, &lanes)?;
        for lane in &lanes {
            echo(&stage, lane)?;
        }
    }
    Ok(())
}

/// In generic mode the kernel still knows of them, and somebody behind xlb finishes them.
#[test]
fn generic_mode_leaves_checksums_to_who_finishes_them() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in Mode::ALL {
        let lab = Lab::new().backends(2).checksum_offload(true).generic();
        let mut stage = Stage::new(mode, lab, services)?;
        works(&stage)?;
        // What it knows of its interfaces it knows again, and anew where they have another mode.
        stage.agent.restart()?;
        works(&stage)?;
        let config = fs::read_to_string(stage.agent.config())?;
        fs::write(stage.agent.config(), config.replace("generic", "native"))?;
        stage.agent.restart()?;
        works(&stage)?;
    }
    Ok(())
}

/// Long and short packets get through both ways. The clients' own are short in tunnels, as what they are told of those is in a packet that
/// is finished, too, without being one of theirs.
fn works(stage: &Stage) -> Result<()> {
    let mode = stage.mode;
    let lanes = Lane::all(mode);
    download(stage, &lanes)?;
    for lane in &lanes {
        echo(stage, lane)?;
        if !mode.encapsulates() {
            measure(stage, lane, &[&["-n", "2M", "-w", SENT_AHEAD]])?;
        }
    }
    Ok(())
}

/// One interface for both directions, and in `full-nat` backends that are the clients' neighbours.
#[test]
fn one_arm_is_enough_in_every_mode() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in Mode::ALL {
        let lab = Lab::new().backends(2).one_arm();
        let lab = if mode == Mode::FullNat {
            lab.backends_beside_clients()
        } else {
            lab
        };
        let stage = Stage::new(mode, lab, services)?;
        download(&stage, &Lane::all(mode))?;
    }
    Ok(())
}
