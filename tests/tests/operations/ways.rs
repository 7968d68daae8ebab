//! The ways to backends change: gateways, links, cables. Traffic follows by itself.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{Host, Lab, preflight};

use crate::{
    neighbours::{ensure_flows_again, no_refusal, other_mac, through, wait_for_hop},
    stage::{self, Echoes, PATIENCE, vip, wait_for_state, wait_until_ready, warnings},
    talk::{Talk, all_say},
};

/// `b1` is reached by 10.30.0.1, behind the gateways `b2` and `b3`.
const BEHIND: &str = "10.30.0.1";

fn forwarded(gateway: &Host) -> Result<u64> {
    let text = gateway.ns.exec(&["cat", "/proc/net/snmp"])?;
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (
        lines.next().context("no names")?,
        lines.next().context("no values")?,
    );
    let at = names
        .split(' ')
        .position(|name| name == "ForwDatagrams")
        .context("no ForwDatagrams")?;
    Ok(values.split(' ').nth(at).context("no value")?.parse()?)
}

#[test]
fn a_backend_behind_a_gateway_is_followed_to_another_gateway() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(3).build()?;
    let [b1, first, second] = [0, 1, 2].map(|i| lab.backend(i));
    let _echoes = Echoes::start(&lab.backends[..1])?;
    b1.ns.ip(&["addr", "add", &format!("{BEHIND}/32"), "dev", "lo"])?;
    // A UDP server that listens on every address answers from the one that its route names.
    b1.ns.ip(&[
        "route",
        "replace",
        "default",
        "via",
        &lab.back.addr.to_string(),
        "src",
        BEHIND,
    ])?;
    for gateway in [first, second] {
        gateway.ns.sysctl(&[("net.ipv4.ip_forward", "1")])?;
        gateway
            .ns
            .ip(&["route", "add", BEHIND, "via", &b1.addr.to_string()])?;
    }
    let by = |gateway: &Host| {
        lab.lb
            .ns
            .ip(&["route", "replace", BEHIND, "via", &gateway.addr.to_string()])
    };
    by(first)?;
    let service = format!(
        "[[service]]\nname = \"far\"\nvip = [\"{0}/tcp\", \"{0}/udp\"]\n\
         [[service.backend]]\nname = \"far\"\naddress = \"{BEHIND}\"\n",
        vip(&lab)
    );
    let agent = lab.agent(&service).env("RUST_LOG", "debug").start()?;
    wait_for_hop(&agent, "far", first.mac)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 3)?;
    let (before, idle) = (forwarded(first)?, forwarded(second)?);

    let (report, _) = through(&lab, "route turned to another gateway", || {
        by(second)?;
        wait_for_hop(&agent, "far", second.mac)
    })?;
    ensure!(forwarded(first)? > before, "nothing went by the first gateway");
    ensure!(
        report.lost() == 0,
        "{} lost: both gateways worked all the time",
        report.lost()
    );
    let quiet = forwarded(first)?;
    all_say(&mut talks, "by the second gateway")?;
    ensure!(
        forwarded(second)? > idle && forwarded(first)? == quiet,
        "the first gateway still gets packets"
    );

    // A gateway that is replaced by another machine at the same address.
    second.ns.sysctl(&[
        ("net.ipv4.conf.all.arp_notify", "1"),
        ("net.ipv4.conf.eth0.arp_notify", "1"),
    ])?;
    let (report, _) = through(&lab, "gateway's MAC address changed and announced", || {
        second.set_mac(other_mac(second))?;
        wait_for_hop(&agent, "far", other_mac(second))
    })?;
    ensure_flows_again(&report)?;

    // Nobody is to ask for the backend itself: it is on no link of ours.
    lab.lb.ns.ip(&["route", "del", BEHIND])?;
    agent.wait_until("there is no way", PATIENCE, |status| {
        warnings(status).contains("no next hop")
    })?;
    by(first)?;
    wait_for_hop(&agent, "far", first.mac)?;
    all_say(&mut talks, "after a time without a route")?;
    no_refusal(&agent)
}

#[test]
fn a_link_that_goes_down_and_comes_up_serves_again() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let agent = lab.agent(&stage::echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 4)?;
    let device = lab.back.device.as_str();
    let mut up = Instant::now();
    let (report, _) = through(&lab, "backend-side link down and up", || {
        lab.lb.ns.ip(&["link", "set", device, "down"])?;
        agent.wait_until("no way is left", PATIENCE, |status| {
            stage::backends(status).all(|backend| backend["next_hop"].is_null())
                && warnings(status).contains("no next hop")
        })?;
        lab.lb.ns.ip(&["link", "set", device, "up"])?;
        up = Instant::now();
        wait_until_ready(&agent).map(drop)
    })?;
    println!("served again {:?} after the link was up", report.outage(up));
    ensure!(
        report.lost() > 0,
        "nothing was lost over a link that was down: this tests nothing"
    );
    ensure_flows_again(&report)?;
    all_say(&mut talks, "after the link was down")?;

    // The same at the other end of the cable, and long enough that the kernel gives the neighbours up, which it does after
    // three seconds.
    lab.lb
        .ns
        .sysctl(&[(&format!("net.ipv4.neigh.{device}.retrans_time_ms"), "50")])?;
    let (report, _) = through(&lab, "cable pulled and plugged", || {
        for host in &lab.backends {
            lab.set_plugged(host, false)?;
        }
        lab.lb.ns.ip(&["neigh", "flush", "dev", device])?;
        agent.wait_until("nobody answers", PATIENCE, |status| {
            warnings(status).contains("nobody answers")
        })?;
        for host in &lab.backends {
            lab.set_plugged(host, true)?;
        }
        up = Instant::now();
        wait_until_ready(&agent).map(drop)
    })?;
    println!(
        "served again {:?} after the cables were plugged",
        report.outage(up)
    );
    ensure_flows_again(&report)?;
    all_say(&mut talks, "after the cables were pulled")
}

#[test]
fn a_backend_that_nobody_answers_for_takes_no_new_flow_and_keeps_those_it_has() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(3).build()?;
    let echoes = Echoes::start(&lab.backends)?;
    let device = &lab.back.device;
    lab.lb
        .ns
        .sysctl(&[(&format!("net.ipv4.neigh.{device}.retrans_time_ms"), "50")])?;
    // No check would see it.
    let agent = lab.agent(&stage::echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 40)?;
    ensure!(
        talks.iter().any(|talk| talk.backend == "b2"),
        "40 connections, none to b2"
    );
    lab.set_plugged(lab.backend(1), false)?;
    lab.lb.ns.ip(&["neigh", "flush", "dev", device])?;
    let status = wait_for_state(&agent, "b2", "drain")?;
    ensure!(
        warnings(&status).contains("backend echo/b2: no next hop: nobody answers"),
        "{status}"
    );
    let share = echoes.share(&lab.client, vip(&lab), 60)?;
    ensure!(share["b2"] == 0, "{share:?}");
    lab.set_plugged(lab.backend(1), true)?;
    wait_until_ready(&agent)?;
    all_say(&mut talks, "after a time without a way")?;
    ensure!(
        echoes.share(&lab.client, vip(&lab), 60)?["b2"] > 0,
        "no new flow on b2"
    );
    Ok(())
}
