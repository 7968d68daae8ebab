//! The shapes that a lab can have, without xlb: who reaches whom, and by which way.

use std::net::IpAddr;

use anyhow::Result;
use xlb_tests::lab::Mode;
use xlb_tests::server::{Dns, files};
use xlb_tests::{Host, Lab, preflight};

/// The gateway that a host has for an address, as `ip route get` shows it; none where there is no route.
fn gateway(host: &Host, to: IpAddr) -> Option<String> {
    let route = host.ns.ip(&["route", "get", &to.to_string()]).ok()?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "via");
    words.nth(1).map(str::to_owned)
}

#[test]
fn backends_have_the_way_that_their_mode_asks_for() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for mode in Mode::ALL {
        let lab = Lab::new().mode(mode).ipv6().build()?;
        let backend = lab.backend(0);
        let client = [IpAddr::V4(lab.client.addr), IpAddr::V6(lab.client.addr6)];
        let expected = match mode {
            Mode::Nat => Some(["10.20.0.1", "fd00:20::1"]),
            Mode::FullNat => None,
            Mode::Dsr | Mode::Ipip | Mode::Gue => Some(["10.20.0.250", "fd00:20::fa"]),
        };
        let found = client.map(|client| gateway(backend, client));
        match expected {
            Some(expected) => assert_eq!(found, expected.map(|way| Some(way.to_owned())), "{mode:?}"),
            None => assert_eq!(found, [None, None], "{mode:?}"),
        }
        let addresses = backend.ns.ip(&["address", "show", "lo"])?;
        let has_vip = addresses.contains(&format!("{}/32", lab.vip()))
            && addresses.contains(&format!("{}/128", lab.vip6()));
        assert_eq!(has_vip, mode.answers_directly(), "{mode:?}: {addresses}");
        // Whatever the mode, the balancer reaches its backends.
        for address in [IpAddr::V4(backend.addr), IpAddr::V6(backend.addr6)] {
            assert_eq!(lab.lb.ping(address, 1)?, 1, "{mode:?}: {address}");
        }
    }
    Ok(())
}

#[test]
fn a_backend_with_the_vip_does_not_tell_its_neighbours() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().mode(Mode::Dsr).one_arm().build()?;
    lab.lb
        .ns
        .ip(&["route", "add", &lab.vip().to_string(), "dev", "eth0"])?;
    assert_eq!(lab.lb.ping(lab.vip().into(), 1)?, 0);
    Ok(())
}

#[test]
fn a_router_before_the_balancer_takes_short_packets_only() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    const SIZE: u64 = 3_000_000;
    let lab = Lab::new().ipv6().path_mtu(1280).build()?;
    let (client, backend) = (&lab.client, lab.backend(0));
    assert_eq!(client.addr.to_string(), "10.30.0.11");
    // Nobody has told the server yet.
    let long = |to: IpAddr, bytes: &str| {
        let ping = [
            "ping",
            "-n",
            "-M",
            "do",
            "-c",
            "1",
            "-W",
            "1",
            "-s",
            bytes,
            &to.to_string(),
        ];
        backend.ns.exec(&ping).is_ok()
    };
    assert!(long(client.addr.into(), "1252") && !long(client.addr.into(), "1253"));
    assert!(long(client.addr6.into(), "1232") && !long(client.addr6.into(), "1233"));
    let sha256 = files::random(&lab.dir().join("blob"), SIZE, 1)?;
    let _nginx = backend.nginx_with().files(lab.dir()).start()?;
    let urls = [format!("{}", backend.addr), format!("[{}]", backend.addr6)];
    let urls = urls.map(|host| format!("http://{host}/files/blob"));
    let (downloads, _) = client.download(&urls, &[])?.wait()?;
    for download in downloads {
        assert_eq!((download.bytes, &download.sha256), (SIZE, &sha256));
    }
    Ok(())
}

#[test]
fn a_lab_can_do_without_ipv4() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().ipv6_only().build()?;
    let nginx = lab.backend(0).nginx()?;
    assert!(lab.client.curl(&nginx.url("/")).is_err(), "there is IPv4");
    let url = format!("http://[{}]/", lab.backend(0).addr6);
    assert_eq!(lab.client.curl(&url)?.text(), "b1");
    Ok(())
}

#[test]
fn backends_beside_clients_are_their_neighbours() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().mode(Mode::FullNat).backends_beside_clients().build()?;
    assert_eq!(lab.backend(0).addr.to_string(), "10.10.0.111");
    assert_eq!(lab.client.ping(lab.backend(0).addr.into(), 1)?, 1);
    assert_eq!(gateway(&lab.client, lab.backend(0).addr.into()), None);
    Ok(())
}

#[test]
fn a_trunk_lets_no_untagged_frame_through() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().tagged(&[(0x8100, 10)]).build()?;
    // Its MAC address is known, so that a request is sent at all.
    assert_eq!(lab.lb.ping(lab.client.addr.into(), 1)?, 0);
    let neighbours = lab.client.ns.ip(&["neighbour"])?;
    assert!(
        neighbours.contains("10.10.0.1") && neighbours.contains("PERMANENT"),
        "{neighbours}"
    );
    Ok(())
}

#[test]
fn iperf_and_long_dns_answers_get_through() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().build()?;
    let backend = lab.backend(0);
    let at = (backend.addr, 5201).into();
    let _iperf = backend.iperf_server(at)?;
    // A sender is done when the kernel has taken everything, and what the receiver has not read by then is not counted: up to the
    // buffers of both ends, which are small here.
    for args in [
        &["-n", "8M", "-w", "128K"][..],
        &["-n", "8M", "-w", "128K", "-R"],
        &["-u", "-b", "50M", "-n", "8M"],
    ] {
        let moved = lab.client.iperf(at, args)?;
        assert!(
            moved.bytes >= 7_000_000 && moved.lost_percent < 5.0,
            "{args:?}: {moved:?}"
        );
    }
    let dns = backend.dns(3_000)?;
    let answer = lab.client.dig(backend.addr.into(), Dns::NAME, &[])?;
    assert_eq!(answer, dns.text());
    Ok(())
}
