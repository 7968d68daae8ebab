//! Connections: made, talked on, and kept.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use xlb_tests::{Lab, preflight, server::Manner};

use crate::stage::{self, check, comes_and_goes, service, tell, wait_for, wait_until_ready};

const REFUSED: &str = "connect: connection refused";

#[test]
fn tcp_sees_who_takes_connections_and_who_answers() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let mut services = service(
        &lab,
        "plain",
        "7001/tcp",
        &check("type = \"tcp\""),
        &b1.as_backend(),
    );
    let asks = check("type = \"tcp\"\nsend = \"PING\\r\\n\"\nexpect = \"+PONG\"");
    services += &service(&lab, "asks", "7002/tcp", &asks, &b1.as_backend());
    let listens = check("type = \"tcp\"\nexpect_regex = \"^SSH-2[.]0-\"");
    services += &service(&lab, "listens", "7003/tcp", &listens, &b1.as_backend());
    let agent = lab.agent(&services).start()?;
    for (name, port, manner) in [
        ("plain/b1", 7001, Manner::Hangs),
        ("asks/b1", 7002, Manner::Answers("+PONG\r\n".into())),
        ("listens/b1", 7003, Manner::Greets("SSH-2.0-test\r\n".into())),
    ] {
        let start = || b1.scripted(port, [manner.clone()]);
        comes_and_goes(&agent, name, start, ("passed in", REFUSED))?;
    }
    Ok(())
}

#[test]
fn a_kept_connection_tells_of_a_death_long_before_its_interval() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let mut nginx = lab.backend(0).nginx()?;
    let check = "[service.check]\ntype = \"tcp-hold\"\ninterval = \"10min\"\ntimeout = \"5s\"\n";
    let agent = lab
        .agent(&service(
            &lab,
            "web",
            "80/tcp",
            check,
            &lab.backend(0).as_backend(),
        ))
        .start()?;
    wait_until_ready(&agent)?;
    // One that ends sooner is not made again at once.
    thread::sleep(Duration::from_millis(300));
    nginx.stop();
    let killed = std::time::Instant::now();
    // Refused, or reset by the one of its processes that dies last.
    wait_for(&agent, "web/b1", "down", "connect")?;
    tell(&format!(
        "down {:?} after its end, with an interval of ten minutes",
        killed.elapsed()
    ));
    ensure!(
        stage::logged(&agent, "backend web/b1 is down") == 1,
        "{}",
        agent.log()
    );
    Ok(())
}
