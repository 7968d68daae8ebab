//! What people look with when something does not work: ping and traceroute.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use xlb_tests::{Lab, lab::Mode, preflight};

use crate::{lanes::Lane, stage::Stage};

const WEB: u16 = 80;
const ECHO: u16 = 7;

fn services(lab: &Lab, lane: &Lane) -> String {
    lane.service(lab, ("web", WEB, &["tcp"]), "", &lab.backends)
        + &lane.service(lab, ("echo", ECHO, &["udp"]), "", &lab.backends)
}

/// The addresses on the way to a VIP, by hops.
fn trace(lab: &Lab, to: IpAddr, how: &[&str]) -> Result<Vec<String>> {
    let to = to.to_string();
    let fixed = ["traceroute", "-n", "-q", "1", "-w", "1", "-m", "4"];
    let printed = lab.client.ns.exec(&[&fixed[..], how, &[&to]].concat())?;
    // The first line is a heading.
    let hops = printed
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1));
    Ok(hops.map(str::to_owned).collect())
}

/// Neither the agent nor the program needs an IPv4 address.
#[test]
fn a_network_without_ipv4_is_served() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let services = |lab: &Lab, lane: &Lane| {
        if lane.vip_is_v4 || lane.backend_is_v4 {
            return String::new();
        }
        services(lab, lane)
    };
    for mode in Mode::ALL {
        let stage = Stage::new(mode, Lab::new().ipv6_only(), services)?;
        let lab = &stage.lab;
        let _nginx = lab.backend(0).nginx()?;
        let reply = lab.client.curl(&format!("http://[{}]/", lab.vip6()));
        assert_eq!(reply.with_context(|| format!("{mode:?}"))?.text(), "b1");
        assert_eq!(lab.client.ping(lab.vip6().into(), 2)?, 2, "{mode:?}");
    }
    Ok(())
}

#[test]
fn the_balancer_answers_pings_and_shows_on_the_way() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in [Mode::Nat, Mode::Gue] {
        let stage = Stage::new(mode, Lab::new(), services)?;
        let lab = &stage.lab;
        let _nginx = lab.backend(0).nginx()?;
        for (lane, balancer) in [
            (Lane::all(mode)[0], lab.front.addr.to_string()),
            (
                Lane::all(mode)[Lane::all(mode).len() - 1],
                lab.front.addr6.to_string(),
            ),
        ] {
            let vip = lane.vip(lab);
            let _echo = lab
                .backend(0)
                .udp_echo_on(lane.server(lab, lab.backend(0), ECHO))?;
            let answered = stage.outcome("echo_answered")?;
            assert_eq!(lab.client.ping(vip, 5)?, 5, "{mode:?} {vip}");
            assert_eq!(stage.outcome("echo_answered")?, answered + 5);
            let through = [balancer, vip.to_string()];
            assert_eq!(trace(lab, vip, &["-T", "-p", "80"])?, through, "{mode:?} TCP");
            assert_eq!(trace(lab, vip, &["-U", "-p", "7"])?, through, "{mode:?} UDP");
            // To ICMP the balancer is the host with the VIP, not a router before it.
            assert_eq!(trace(lab, vip, &["-I"])?, [vip.to_string()], "{mode:?} ICMP");
        }
    }
    Ok(())
}
