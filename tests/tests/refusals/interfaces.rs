//! Interfaces that cannot be had.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lb_common::LAYOUT_VERSION;
use xlb_tests::{Lab, preflight};

use crate::{
    refused::{SMALL, Starts, bounded, ensure_says},
    traces::{Traces, xdp},
};

const NO_NATIVE: &str = "its driver cannot run XDP programs in native mode: choose another interface, or set mode = \
    \"generic\" for it, which is several times slower";
const TAKEN: &str = "another XDP program is on it already ('ip link' shows its id): take that one off first";

/// `[[interface]]` of each name.
fn named(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("[[interface]]\nname = \"{name}\"\n"))
        .collect()
}

/// A bridge, whose driver has no XDP, and a veth pair with an MTU that is too large for it.
fn devices(lab: &Lab) -> Result<()> {
    let lines = [
        "link add bridge0 type bridge",
        "link add jumbo0 type veth peer name jumbo1 mtu 9000",
        "link property add dev eth0 altname uplink",
    ];
    lab.lb.ns.ip_batch(&lines.map(str::to_owned))
}

#[test]
fn an_interface_that_is_not_there_or_cannot_is_named() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    devices(&lab)?;
    let starts = Starts::new(&lab)?;
    for (names, words) in [
        (
            &["eth9"][..],
            [
                "interface eth9: there is none of that name",
                "'ip link' shows them",
            ],
        ),
        (
            &["eth0", "eth9"],
            ["interface eth9: there is none of that name", "'ip link'"],
        ),
        (
            &["uplink"],
            ["interface uplink: an alternative name of eth0", "call it eth0"],
        ),
        (&["lo"], ["interface lo: ", NO_NATIVE]),
        // The ones before it are let go.
        (&["eth0", "eth1", "bridge0"], ["interface bridge0: ", NO_NATIVE]),
        (
            &["jumbo0"],
            [
                "interface jumbo0: the driver refuses XDP in native mode",
                "lower its MTU (it is 1500; of a veth, its far end's counts)",
            ],
        ),
    ] {
        starts.refused(&named(names), &words)?;
    }
    lab.lb.ns.ip(&["link", "del", "jumbo0"])?;
    starts.refused(
        &named(&["jumbo0"]),
        &["interface jumbo0: there is none of that name"],
    )
}

#[test]
fn the_remedies_that_are_named_help() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    devices(&lab)?;
    let wanted = [("bridge0", "generic"), ("jumbo0", "auto"), ("lo", "generic")];
    let interfaces: String = wanted
        .map(|(name, mode)| format!("[[interface]]\nname = \"{name}\"\nmode = \"{mode}\"\n"))
        .concat();
    let agent = lab.agent("").config(&(interfaces + SMALL)).start()?;
    let status = agent.status()?;
    let shown = status["interfaces"].as_array().context("no interfaces")?;
    let generic = shown
        .iter()
        .filter(|shown| shown["mode"] == "generic" && shown["attached"] == true);
    ensure!(generic.count() == wanted.len(), "{status}");
    ensure!(
        agent
            .log()
            .contains("interface jumbo0: the driver refuses XDP in native mode"),
        "{}",
        agent.log()
    );
    Ok(())
}

#[test]
fn somebody_elses_program_stays() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let donor = lab.agent("").config(&(named(&["eth1"]) + SMALL)).start()?;
    let program = donor
        .pin_dir()
        .join(format!("v{LAYOUT_VERSION}/program"))
        .display()
        .to_string();
    let starts = Starts::new(&lab)?;
    // Without a link, as `ip` attaches programs; what has a link is another agent's in `second`.
    for (how, modes) in [("xdpdrv", &["native", "auto"][..]), ("xdpgeneric", &["generic"])] {
        // Not by `ip -n`, which mounts a /sys without bpffs.
        lab.lb
            .ns
            .exec(&["ip", "link", "set", "dev", "eth0", how, "pinned", &program])?;
        let theirs = xdp(&lab.lb.ns)?;
        ensure!(theirs.len() == 2, "{theirs:?}");
        for mode in modes {
            let config = format!("[[interface]]\nname = \"eth0\"\nmode = \"{mode}\"\n");
            starts.refused(&config, &["interface eth0: ", TAKEN])?;
        }
        ensure!(xdp(&lab.lb.ns)? == theirs);
        lab.lb.ns.ip(&["link", "set", "dev", "eth0", how, "off"])?;
    }
    starts.serves(&starts.places, &named(&["eth0"]))
}

#[test]
fn a_mode_that_cannot_be_had_leaves_the_one_of_before() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    devices(&lab)?;
    let generic = "[[interface]]\nname = \"bridge0\"\nmode = \"generic\"\n";
    let mut agent = lab.agent("").config(&(generic.to_owned() + SMALL)).start()?;
    agent.stop()?;
    let before = Traces::of(&lab)?;
    let config = fs::read_to_string(agent.config())?;
    fs::write(agent.config(), config.replace("generic", "native"))?;
    let mut run = bounded(&lab.lb.ns, &[], agent.binary());
    let output = run.arg("run").arg("--config").arg(agent.config()).output()?;
    ensure_says(&output, &["interface bridge0: ", NO_NATIVE])?;
    before.ensure_stand_as(&lab, Traces::without_ids)?;
    fs::write(agent.config(), config)?;
    agent.start()
}
