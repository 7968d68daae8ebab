//! Two balancers on one host.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{Lab, agent::Agent, lab::address, preflight};

use crate::{
    pins::with_xdp,
    stage::{self, Echoes, PORT, extra_interface, vip, wait_until_ready},
    stream::unharmed,
    talk::{Talk, all_say},
};

/// The second balancer's interfaces and service; client `c2` and backend `b2` are its own.
struct Second {
    service: String,
    interfaces: String,
    vip: SocketAddr,
}

/// Wires the second half: `eth2` and `eth3`, with the routes that keep the halves apart.
fn second(lab: &Lab) -> Result<Second> {
    let (client, backend) = (&lab.more_clients[0], lab.backend(1));
    for (device, bridge, net, host) in [
        ("eth2", "br-front", "10.10.0", client),
        ("eth3", "br-back", "10.20.0", backend),
    ] {
        extra_interface(lab, device, bridge)?;
        lab.lb
            .ns
            .ip(&["addr", "add", &format!("{net}.2/32"), "dev", device])?;
        lab.lb
            .ns
            .ip(&["route", "add", &host.addr.to_string(), "dev", device])?;
        host.ns
            .ip(&["route", "replace", "default", "via", &format!("{net}.2")])?;
    }
    let vip = SocketAddr::from((address::vip(20), PORT));
    Ok(Second {
        service: stage::service("second", vip, stage::CHECK, [backend]),
        interfaces: "[[interface]]\nname = \"eth2\"\n[[interface]]\nname = \"eth3\"\n".to_owned(),
        vip,
    })
}

fn refusal(agent: &mut Agent) -> Result<String> {
    Ok(format!(
        "{:#}",
        agent.start().err().context("started all the same")?
    ))
}

#[test]
fn two_balancers_on_one_host_do_not_touch_each_other() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().clients(2).backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let Second {
        service,
        interfaces,
        vip: vip2,
    } = second(&lab)?;
    let mut first = lab.agent(&stage::checked_echo(&lab, [lab.backend(0)])).start()?;
    let mut second = lab.agent("").config(&(interfaces + &service)).start()?;
    wait_until_ready(&first)?;
    wait_until_ready(&second)?;
    let client = &lab.more_clients[0];
    let mut talks = vec![Talk::open(&lab.client, vip(&lab))?, Talk::open(client, vip2)?];
    ensure!(talks[0].backend == "b1" && talks[1].backend == "b2");
    ensure!(with_xdp(&lab.lb.ns)? == ["eth0", "eth1", "eth2", "eth3"]);
    let of = |agent: &Agent| -> Result<_> { Ok(agent.status()?["services"][0]["name"].clone()) };
    ensure!(of(&first)? == "echo" && of(&second)? == "second");

    let config = first.config().display().to_string();
    unharmed(client, vip2, || {
        first.kill9();
        all_say(&mut talks, "with one of two agents")?;
        first.ok(&["detach", "--config", &config])?;
        ensure!(with_xdp(&lab.lb.ns)? == ["eth2", "eth3"]);
        ensure!(!first.pin_dir().exists() && second.pin_dir().exists());
        talks[1].say()?;
        first.start()?;
        wait_until_ready(&first).map(drop)
    })?;
    ensure!(Talk::open(&lab.client, vip(&lab))?.backend == "b1");
    unharmed(&lab.client, vip(&lab), || second.restart())?;
    all_say(&mut talks[1..], "after a restart of its own agent")
}

#[test]
fn a_second_agent_that_shares_anything_with_the_first_is_refused() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let service = stage::echo(&lab, &lab.backends);
    let first = lab.agent(&service).start()?;
    wait_until_ready(&first)?;
    extra_interface(&lab, "eth2", "br-front")?;
    let own = "[[interface]]\nname = \"eth2\"\n";
    let sharing = |from: &str, to: &str| -> Result<Agent> {
        let agent = lab.agent("").config(&format!("{own}{service}")).prepare()?;
        let text = std::fs::read_to_string(agent.config())?;
        ensure!(text.contains(from), "no {from:?} in {text}");
        std::fs::write(agent.config(), text.replacen(from, to, 1))?;
        Ok(agent)
    };
    let mut talk = Talk::open(&lab.client, vip(&lab))?;
    unharmed(&lab.client, vip(&lab), || {
        let mut same_interface = sharing("name = \"eth2\"", "name = \"eth1\"")?;
        let said = refusal(&mut same_interface)?;
        ensure!(
            said.contains("interface eth1: another XDP program is on it already"),
            "{said}"
        );
        ensure!(
            !same_interface.pin_dir().exists(),
            "a failed first start leaves pins"
        );
        ensure!(
            !same_interface.socket().exists(),
            "a failed first start leaves a socket"
        );
        for (what, path, said) in [
            ("pin_dir", first.pin_dir(), "another xlb agent is running on it"),
            ("socket", first.socket(), "another agent answers there"),
        ] {
            let mut other = lab.agent("").config(&format!("{own}{service}")).prepare()?;
            let text = std::fs::read_to_string(other.config())?;
            let line = text
                .lines()
                .find(|line| line.starts_with(what))
                .context("no such line")?
                .to_owned();
            std::fs::write(
                other.config(),
                text.replace(&line, &format!("{what} = \"{}\"", path.display())),
            )?;
            let refused = refusal(&mut other)?;
            ensure!(refused.contains(said), "{what}: {refused}");
        }
        talk.say()
    })?;
    ensure!(
        with_xdp(&lab.lb.ns)? == ["eth0", "eth1"],
        "{:?}",
        with_xdp(&lab.lb.ns)?
    );
    first.status().map(drop)
}
