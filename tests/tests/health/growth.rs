//! Weights that grow after a recovery.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{
    Host, Lab, preflight,
    server::{Manner, UdpEcho},
};

use crate::stage::{PACE, PATIENCE, service, tell, wait_for, wait_until_ready};

#[test]
fn a_backend_that_is_back_gets_more_step_by_step() -> Result<()> {
    const GROWS: Duration = Duration::from_secs(6);
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let (b1, b2) = (lab.backend(0), lab.backend(1));
    let echoes = [b1.udp_echo(7)?, b2.udp_echo(7)?];
    let answers = || [Manner::Hangs];
    let server = b1.scripted(80, answers())?;
    let _other = b2.scripted(80, answers())?;
    let rest = format!(
        "[service.check]\ntype = \"tcp\"\nport = 80\n{PACE}[service.health]\nslow_start = \"{}s\"\n",
        GROWS.as_secs()
    );
    let pool: String = lab.backends.iter().map(Host::as_backend).collect();
    let agent = lab.agent(&service(&lab, "echo", "7/udp", &rest, &pool)).start()?;
    wait_until_ready(&agent)?;
    let at_first = share(&lab, &echoes)?;
    drop(server);
    wait_for(&agent, "echo/b1", "down", "refused")?;
    ensure!(share(&lab, &echoes)? == 0, "a flow on b1 while it is down");
    let _server = b1.scripted(80, answers())?;
    wait_for(&agent, "echo/b1", "up", "passed in")?;
    let back = Instant::now();
    // The table follows the word within 20 ms.
    thread::sleep(Duration::from_millis(300));
    let early = share(&lab, &echoes)?;
    let measured = back.elapsed();
    thread::sleep((GROWS + Duration::from_secs(1)).saturating_sub(back.elapsed()));
    let late = share(&lab, &echoes)?;
    tell(&format!(
        "of {FLOWS}: {at_first} at first, {early} when back ({measured:?}), {late} after {GROWS:?}"
    ));
    ensure!(
        at_first * 5 > FLOWS * 2,
        "{at_first} of {FLOWS} before anything happened"
    );
    ensure!(early > 0, "nothing at all for who is back");
    ensure!(early * 13 < late * 10, "{early} when back, and {late} in the end");
    ensure!(late * 5 > FLOWS * 2, "{late} of {FLOWS} in the end");
    Ok(())
}

/// Flows that tell two shares apart: a half is 200, ten more or less.
const FLOWS: u64 = 400;

/// Opens that many flows, with one datagram each, all of which have to come back; how many b1 has got.
fn share(lab: &Lab, echoes: &[UdpEcho; 2]) -> Result<u64> {
    // Below the ports that the kernel gives out, and none twice: a port used again would continue an old flow.
    static NEXT: AtomicU16 = AtomicU16::new(2_000);
    // More at once would not fit into the rings that XDP sends into, where a busy machine is late to empty them.
    const AT_ONCE: u64 = 40;
    let before = echoes[0].received();
    for _ in 0..FLOWS / AT_ONCE {
        let open = || -> Result<Vec<UdpSocket>> {
            let sockets = (0..AT_ONCE).map(|_| {
                let socket = UdpSocket::bind(("0.0.0.0", NEXT.fetch_add(1, Ordering::Relaxed)))?;
                socket.connect((lab.vip(), 7))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(socket)
            });
            sockets.collect()
        };
        let sockets = lab.client.ns.run(open)??;
        for socket in &sockets {
            socket.send(b"hello")?;
        }
        for socket in &sockets {
            socket.recv(&mut [0; 16]).context("no echo")?;
        }
    }
    Ok(echoes[0].received() - before)
}
