//! What goes without connections: UDP, DNS, ICMP.

use anyhow::Result;
use xlb_tests::{Host, Lab, preflight, server::Dns};

use crate::stage::{TIMEOUT, backend, check, comes_and_goes, service, wait_for, wait_until_ready};

const REFUSED: &str = "receive: connection refused";

/// Lets a host say of every datagram that nobody takes it: by itself it says so once a second (icmp(7)), and is silent on others.
fn refuse_all(host: &Host) -> Result<()> {
    host.ns.sysctl(&[("net.ipv4.icmp_ratelimit", "0")])
}

#[test]
fn udp_wants_the_answer_of_an_echo() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    refuse_all(b1)?;
    let of = |name: &str, vip: &str, fields: &str| {
        let check = check(&format!("type = \"udp\"\nport = 7\n{fields}"));
        service(&lab, name, vip, &check, &b1.as_backend())
    };
    let services = of("any", "7/udp", "send_hex = \"00ff\"")
        + &of("same", "8/udp", "send = \"marco\"\nexpect = \"marco\"")
        + &of("other", "9/udp", "send = \"marco\"\nexpect = \"polo\"");
    let agent = lab.agent(&services).start()?;
    for who in ["any/b1", "same/b1"] {
        comes_and_goes(&agent, who, || b1.udp_echo(7), ("passed in", REFUSED))?;
    }
    let _echo = b1.udp_echo(7)?;
    wait_for(
        &agent,
        "other/b1",
        "down",
        "answer does not contain \"polo\": \"marco\"",
    )
    .map(drop)
}

#[test]
fn dns_wants_a_code_and_an_address() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    refuse_all(b1)?;
    let of = |name: &str, vip: &str, query: &str, fields: &str| {
        let check = check(&format!(
            "type = \"dns\"\nport = 53\nquery = \"{query}\"\n{fields}"
        ));
        service(&lab, name, vip, &check, &b1.as_backend())
    };
    let right = format!("answer = \"{}\"", Dns::ADDRESS);
    let services = of("site", "53/udp", Dns::SITE, &right)
        + &of("moved", "54/udp", Dns::SITE, "answer = \"192.0.2.81\"")
        // More than a datagram of 512 bytes: over TCP.
        + &of("text", "55/udp", Dns::NAME, "record = \"TXT\"")
        + &of("stranger", "56/udp", "example.com", "");
    let agent = lab.agent(&services).start()?;
    let start = || b1.dns(2000);
    comes_and_goes(&agent, "site/b1", start, ("passed in", REFUSED))?;
    let _dns = start()?;
    wait_for(&agent, "site/b1", "up", "passed in")?;
    wait_for(&agent, "text/b1", "up", "passed in")?;
    wait_for(&agent, "moved/b1", "down", "no answer has 192.0.2.81")?;
    wait_for(&agent, "stranger/b1", "down", "REFUSED, not NOERROR").map(drop)
}

#[test]
fn icmp_wants_an_echo_over_both_families() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).ipv6().build()?;
    let b1 = lab.backend(0);
    let check = check("type = \"icmp\"");
    let (v4, v6) = (lab.vip(), lab.vip6());
    let of = |name: &str, vip: &str, backend: &str| {
        format!("[[service]]\nname = \"{name}\"\nvip = \"{vip}:9/tcp\"\n{check}{backend}\n")
    };
    let services = of("v4", &v4.to_string(), &backend("b1", b1.addr))
        + &of("v6", &format!("[{v6}]"), &backend("b1", b1.addr6));
    let agent = lab.agent(&services).start()?;
    wait_until_ready(&agent)?;
    for (who, setting) in [
        ("v4/b1", "net.ipv4.icmp_echo_ignore_all"),
        ("v6/b1", "net.ipv6.icmp.echo_ignore_all"),
    ] {
        wait_for(&agent, who, "up", "passed in")?;
        let answers =
            |host: &Host, answers: bool| host.ns.sysctl(&[(setting, if answers { "0" } else { "1" })]);
        answers(b1, false)?;
        wait_for(&agent, who, "down", TIMEOUT)?;
        answers(b1, true)?;
        wait_for(&agent, who, "up", "passed in")?;
    }
    // A host that is not there at all.
    lab.set_plugged(b1, false)?;
    wait_for(&agent, "v4/b1", "down", "")?;
    wait_for(&agent, "v6/b1", "down", "")?;
    lab.set_plugged(b1, true)?;
    wait_for(&agent, "v4/b1", "up", "passed in")?;
    wait_for(&agent, "v6/b1", "up", "passed in").map(drop)
}
