//! Ethernet addresses of backends change, or are forgotten. Traffic follows by itself.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{
    Host, Lab,
    agent::Agent,
    lab::address::{Mac, Net, ROUTER},
    preflight,
};

use crate::{
    stage::{self, Echoes, PATIENCE, PORT, find, open_flows, tell, vip, wait_until, wait_until_ready},
    stream::{Report, Stream, told, unharmed},
    talk::{Talk, all_say},
};

/// What the agent says where the kernel did not take its request for a neighbour.
const REFUSED: [&str; 2] = ["ask for neighbour", "forget neighbour"];

pub fn other_mac(host: &Host) -> Mac {
    let mut mac = host.mac;
    mac.0[1] = 0x77;
    mac
}

fn next_hop(status: &Value, backend: &str) -> Result<String> {
    Ok(find(status, backend)?["next_hop"]["mac"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

pub fn wait_for_hop(agent: &Agent, backend: &str, mac: Mac) -> Result<()> {
    let wanted = mac.to_string();
    let turned = |status: &Value| next_hop(status, backend).is_ok_and(|hop| hop == wanted);
    agent
        .wait_until(
            &format!("the next hop to {backend} is {wanted}"),
            PATIENCE,
            turned,
        )
        .map(drop)
}

/// A stream through a change, until it flows again: what was lost, and how long.
pub fn through(lab: &Lab, what: &str, change: impl FnOnce() -> Result<()>) -> Result<(Report, Instant)> {
    let stream = Stream::start(&lab.client, vip(lab), 300)?;
    let start = Instant::now();
    change()?;
    stream.wait_for_echoes(100)?;
    let report = stream.stop()?;
    tell(&told(what, &report, start));
    Ok((report, start))
}

/// The last quarter second of a stream: over by then.
pub fn ensure_flows_again(report: &Report) -> Result<()> {
    let now = Instant::now();
    let settled = report.last_sent().context("nothing was sent")? - Duration::from_millis(100);
    ensure!(
        report.lost_between(settled, now) == 0,
        "{} of {} lost, and no end",
        report.lost(),
        report.sent()
    );
    Ok(())
}

#[test]
fn a_new_ethernet_address_that_is_announced_costs_next_to_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let _echoes = Echoes::start(&lab.backends)?;
    // Says the new address in a gratuitous ARP, as a fail-over daemon would.
    b1.ns.sysctl(&[
        ("net.ipv4.conf.all.arp_notify", "1"),
        ("net.ipv4.conf.eth0.arp_notify", "1"),
    ])?;
    let agent = lab
        .agent(&stage::echo(&lab, [b1]))
        .env("RUST_LOG", "debug")
        .start()?;
    wait_until_ready(&agent)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 3)?;
    let (report, _) = through(&lab, "MAC address changed and announced", || {
        b1.set_mac(other_mac(b1))?;
        wait_for_hop(&agent, "b1", other_mac(b1))
    })?;
    ensure_flows_again(&report)?;
    all_say(&mut talks, "to the new Ethernet address")?;
    no_refusal(&agent)
}

#[test]
fn a_new_ethernet_address_that_nobody_announces_is_found_by_a_failed_probe() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let _echoes = Echoes::start(&lab.backends)?;
    let agent = lab
        .agent(&stage::checked_echo(&lab, [b1]))
        .env("RUST_LOG", "debug")
        .start()?;
    wait_until_ready(&agent)?;
    let (report, start) = through(&lab, "MAC address changed in silence, with a check", || {
        b1.set_mac(other_mac(b1))?;
        wait_for_hop(&agent, "b1", other_mac(b1))
    })?;
    ensure_flows_again(&report)?;
    ensure!(
        report.outage(start) > Duration::ZERO,
        "the old address still took packets: this tests nothing"
    );
    no_refusal(&agent)
}

#[test]
fn without_a_check_the_kernel_finds_it_when_it_doubts_its_neighbour() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let _echoes = Echoes::start(&lab.backends)?;
    // The kernel doubts after 15 to 45 seconds, asks the old address after 5 more, three times in three seconds.
    let device = &lab.back.device;
    lab.lb.ns.sysctl(&[
        (&format!("net.ipv4.neigh.{device}.base_reachable_time_ms"), "500"),
        (&format!("net.ipv4.neigh.{device}.delay_first_probe_time"), "1"),
        (&format!("net.ipv4.neigh.{device}.retrans_time_ms"), "50"),
    ])?;
    let agent = lab
        .agent(&stage::echo(&lab, [b1]))
        .env("RUST_LOG", "debug")
        .start()?;
    wait_until_ready(&agent)?;
    let (report, _) = through(&lab, "MAC address changed in silence, without a check", || {
        b1.set_mac(other_mac(b1))?;
        wait_for_hop(&agent, "b1", other_mac(b1))
    })?;
    ensure_flows_again(&report)?;
    no_refusal(&agent)
}

#[test]
fn a_flushed_neighbour_table_costs_no_packet() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(3).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let agent = lab
        .agent(&stage::echo(&lab, &lab.backends))
        .env("RUST_LOG", "debug")
        .start()?;
    wait_until_ready(&agent)?;
    let known = |lab: &Lab| -> Result<usize> {
        let text = lab.lb.ns.ip(&["neigh", "show", "dev", &lab.back.device])?;
        Ok(text.lines().filter(|line| line.contains("lladdr")).count())
    };
    unharmed(&lab.client, vip(&lab), || {
        for _ in 0..3 {
            lab.lb.ns.ip(&["neigh", "flush", "all"])?;
            let took = wait_until("the kernel knows all backends again", || Ok(known(&lab)? == 3))?;
            println!("neighbours flushed: all three known again after {took:?}");
        }
        Ok(())
    })?;
    no_refusal(&agent)
}

#[test]
fn the_balancers_own_ethernet_address_may_change() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let device = lab.back.device.as_str();
    let announces = format!("net.ipv4.conf.{device}.arp_notify");
    lab.lb.ns.sysctl(&[(&announces, "1")])?;
    let agent = lab.agent(&stage::echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    let mut talk = Talk::open(&lab.client, vip(&lab))?;
    let (old, new) = (lab.back.mac.to_string(), "02:77:0a:14:00:01");
    let (report, _) = through(&lab, "the balancer's own MAC address changed", || {
        lab.lb.ns.ip(&["link", "set", device, "address", new])?;
        let heard = || {
            lab.backend(0)
                .ns
                .ip(&["neigh", "show", &lab.back.addr.to_string()])
        };
        wait_until("the backend hears the new address", || Ok(heard()?.contains(new))).map(drop)
    })?;
    ensure_flows_again(&report)?;
    // The bridge learns who sends: nobody from the old address any more.
    lab.switch
        .exec(&["bridge", "fdb", "del", &old, "dev", "back", "master"])?;
    (0..5).try_for_each(|_| talk.say())?;
    let learnt = lab.switch.exec(&["bridge", "fdb", "show", "dev", "back"])?;
    ensure!(learnt.contains(new) && !learnt.contains(&old), "{learnt}");
    Ok(())
}

/// A router between clients and balancer, whose kernel sends it nothing: only answers go that way.
#[test]
fn answers_find_a_router_whose_new_ethernet_address_nobody_announces() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().path_mtu(1500).backends(1).ipv6().build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    doubts_soon(&lab, &lab.front.device)?;
    let agent = lab
        .agent(&(stage::echo(&lab, &lab.backends) + &echo_v6(&lab)))
        .env("RUST_LOG", "debug")
        .start()?;
    wait_until_ready(&agent)?;
    let vip6 = SocketAddr::new(lab.vip6().into(), PORT);
    let ways: [(SocketAddr, IpAddr); 2] = [
        (vip6, Net::Front.v6(ROUTER).into()),
        (vip(&lab), Net::Front.v4(ROUTER).into()),
    ];
    for (vip, router) in ways {
        ensure!(lab.lb.ping(router, 1)? == 1, "{router} does not answer");
        wait_until(&format!("answers from {vip}"), || answers(&lab, vip))?;
        wait_for_neighbour(&lab, router, "STALE")?;
    }
    let new = "02:77:0a:0a:00:02";
    change_router(&lab, new)?;
    let changed = Instant::now();
    // Over IPv4, which was doubted last: the kernel cannot have found out yet.
    ensure!(
        !answers(&lab, vip(&lab))?,
        "the old address still takes packets: this tests nothing"
    );
    for (vip, _) in ways {
        wait_until(&format!("answers from {vip}"), || answers(&lab, vip))?;
        tell(&format!(
            "router's MAC address changed in silence: answers from {vip} again after {:?}",
            changed.elapsed()
        ));
    }
    ways.into_iter()
        .try_for_each(|(_, router)| wait_for_neighbour(&lab, router, new))?;
    no_refusal(&agent)
}

/// Whether a datagram on a new flow comes back soon.
fn answers(lab: &Lab, vip: SocketAddr) -> Result<bool> {
    Ok(open_flows(&lab.client, vip, 1, Duration::from_millis(200))? == 1)
}

/// Waits until the balancer's kernel says this of a neighbour.
fn wait_for_neighbour(lab: &Lab, neighbour: IpAddr, wanted: &str) -> Result<()> {
    let shown = || lab.lb.ns.ip(&["neigh", "show", &neighbour.to_string()]);
    let waited = wait_until(&format!("neighbour {neighbour} is {wanted}"), || {
        Ok(shown()?.contains(wanted))
    });
    waited.map(drop)
}

/// The echo service over IPv6.
fn echo_v6(lab: &Lab) -> String {
    format!(
        "[[service]]\nname = \"echo6\"\nvip = \"[{}]:{PORT}/udp\"\n\
         [[service.backend]]\nname = \"b1\"\naddress = \"{}\"\n",
        lab.vip6(),
        lab.backend(0).addr6
    )
}

/// Lets the balancer's kernel doubt its neighbours on a device after some seconds, and ask them soon. It doubts nobody whom it has
/// been sure of within the delay, which is a second at least.
fn doubts_soon(lab: &Lab, device: &str) -> Result<()> {
    for family in ["ipv4", "ipv6"] {
        let name = |setting| format!("net.{family}.neigh.{device}.{setting}");
        lab.lb.ns.sysctl(&[
            (&name("base_reachable_time_ms"), "3000"),
            (&name("delay_first_probe_time"), "1"),
            (&name("retrans_time_ms"), "50"),
        ])?;
    }
    Ok(())
}

/// Gives the router another Ethernet address towards the balancer, whom it need not ask for, or the question would tell.
fn change_router(lab: &Lab, mac: &str) -> Result<()> {
    let router = &lab.router.as_ref().context("no router")?.ns;
    router.ip(&["link", "set", "eth1", "address", mac])?;
    for balancer in [IpAddr::from(lab.front.addr), lab.front.addr6.into()] {
        let (balancer, mac) = (balancer.to_string(), lab.front.mac.to_string());
        router.ip(&["neigh", "replace", &balancer, "lladdr", &mac, "dev", "eth1"])?;
    }
    Ok(())
}

/// The agent asks the kernel for neighbours; no request was refused. Its log has to be one of `RUST_LOG=debug`.
pub fn no_refusal(agent: &Agent) -> Result<()> {
    let log = fs::read_to_string(agent.socket().with_file_name("xlb.log"))?;
    ensure!(log.contains("DEBUG"), "not a debug log");
    let refused: Vec<_> = log
        .lines()
        .filter(|line| REFUSED.iter().any(|said| line.contains(said)))
        .collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
}
