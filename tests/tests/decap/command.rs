//! The command: what it follows, what it refuses, and that it leaves nothing behind.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xlb_tests::{Host, Lab, preflight, server::Decap};

const PATIENCE: Duration = Duration::from_secs(10);

fn wait_for(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn has_program(host: &Host) -> Result<bool> {
    Ok(host.ns.ip(&["link", "show", "eth0"])?.contains("xdp"))
}

fn wait_for_line(decap: &Decap, line: &str) -> Result<()> {
    wait_for(line, || {
        Ok(decap.log().lines().any(|logged| logged.ends_with(line)))
    })
}

#[test]
fn addresses_are_followed_as_they_come_and_go() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().ipv6().build()?;
    let backend = lab.backend(0);
    let decap = backend.decap(&[])?;
    for own in [backend.addr.to_string(), backend.addr6.to_string()] {
        wait_for_line(&decap, &format!("takes packets to {own}"))?;
    }
    assert!(!decap.log().contains("127.0.0"), "{}", decap.log());
    for (add, remove, shown) in [
        (
            "addr add 192.0.2.10/32 dev lo",
            "addr del 192.0.2.10/32 dev lo",
            "192.0.2.10",
        ),
        (
            "addr add 2001:db8::a/128 dev lo nodad",
            "addr del 2001:db8::a/128 dev lo",
            "2001:db8::a",
        ),
        (
            "route add local 198.51.100.0/24 dev lo",
            "route del local 198.51.100.0/24 dev lo",
            "198.51.100.0/24",
        ),
    ] {
        let ip = |line: &str| backend.ns.ip(&line.split(' ').collect::<Vec<_>>());
        ip(add)?;
        wait_for_line(&decap, &format!("takes packets to {shown}"))?;
        ip(remove)?;
        wait_for_line(&decap, &format!("takes no more packets to {shown}"))?;
    }
    // A device that goes down loses its IPv6 addresses, not the others.
    backend.ns.ip(&["link", "set", "eth0", "down"])?;
    wait_for_line(&decap, &format!("takes no more packets to {}", backend.addr6))?;
    assert!(
        !decap
            .log()
            .contains(&format!("no more packets to {}", backend.addr))
    );
    Ok(())
}

#[test]
fn addresses_that_are_named_are_the_only_ones() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let decap = lab
        .backend(0)
        .decap(&["--local", "192.0.2.0/24", "--local", "10.20.0.11"])?;
    let log = decap.log();
    let named: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once("takes packets to "))
        .map(|(_, to)| to)
        .collect();
    assert_eq!(named, ["10.20.0.11", "192.0.2.0/24"]);
    Ok(())
}

#[test]
fn however_it_ends_nothing_is_left() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let backend = lab.backend(0);
    for generic in [&[][..], &["--generic"]] {
        let decap = backend.decap(generic)?;
        assert!(has_program(backend)?);
        assert_eq!(lab.lb.ping(backend.addr.into(), 3)?, 3);
        let report = decap.stop()?;
        assert!(!has_program(backend)?);
        assert_eq!(report["interface"], "eth0");
        assert_eq!(
            report["mode"],
            if generic.is_empty() { "native" } else { "generic" }
        );
        let counters = report["counters"].as_array().into_iter().flatten();
        let other = counters.filter(|counter| counter["name"] == "not_tunnel");
        assert!(
            other
                .filter_map(|counter| counter["packets"].as_u64())
                .sum::<u64>()
                >= 3,
            "{report}"
        );
    }
    let mut killed = backend.decap(&[])?;
    killed.kill();
    wait_for("the program is gone", || Ok(!has_program(backend)?))
}

#[test]
fn what_cannot_be_is_told_in_one_line() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let backend = lab.backend(0);
    let _decap = backend.decap(&[])?;
    let refused = |args: &[&str]| {
        backend
            .decap(args)
            .map_or_else(|error| format!("{error:#}"), |_| String::new())
    };
    let second = refused(&[]);
    assert!(
        second.contains("interface eth0: another XDP program is on it already"),
        "{second}"
    );
    let wrong = refused(&["--from", "10.0.0.1/8"]);
    assert!(wrong.contains("the network is \"10.0.0.0/8\""), "{wrong}");
    Ok(())
}

#[test]
fn an_interrupt_ends_it_as_sigterm_does() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let decap = lab.backend(0).decap(&[])?;
    kill(Pid::from_raw(i32::try_from(decap.pid())?), Signal::SIGINT)?;
    wait_for_line(&decap, "ends on SIGINT")
}
