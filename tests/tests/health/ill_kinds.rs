//! Types of checks that talk to a server or run a command, against one that is ill in every way that there is for it. [`illnesses`](crate::illnesses) has
//! a backend's agent, and [`kinds`](crate::kinds) those who are gone, and who give a wrong answer.

use std::{fs, net::UdpSocket, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};
use xlb_tests::{Host, Lab, preflight, server::Manner};

use crate::stage::{TIMEOUT, check, service, wait_for};

/// What a connection is for, and what is said of a server that closes it, or that talks of something else.
const TALKS: [(&str, &str, &str, &str); 6] = [
    ("http1", "type = \"http\"", CLOSED, "response: "),
    (
        "http2",
        "type = \"http\"\nversion = \"2\"",
        STREAM_CLOSED,
        "response: ",
    ),
    ("https1", "type = \"https\"\nverify = false", TLS_CLOSED, NOT_TLS),
    (
        "https2",
        "type = \"https\"\nverify = false\nversion = \"2\"",
        TLS_CLOSED,
        NOT_TLS,
    ),
    ("grpc", "type = \"grpc\"", STREAM_CLOSED, "response: "),
    (
        "talk",
        "type = \"tcp\"\nsend = \"PING\"\nexpect = \"PONG\"",
        "closed after 0 bytes without \"PONG\"",
        "bytes without \"PONG\"",
    ),
];
const CLOSED: &str = "response: connection closed";
const STREAM_CLOSED: &str = "response: stream closed";
const TLS_CLOSED: &str = "TLS: the server closed the connection in the handshake";
const NOT_TLS: &str = "not TLS: the server has answered something else";

#[test]
fn of_connections() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let (mut servers, mut services, mut cases) = (Vec::new(), String::new(), Vec::new());
    let mut ports = 7000..;
    for (kind, fields, closed, babbled) in TALKS {
        let illnesses = [
            ("hangs", Manner::Hangs, TIMEOUT),
            ("drips", Manner::Drips(String::new()), TIMEOUT),
            ("closes", Manner::Closes, closed),
            ("resets", Manner::Resets, "connection reset"),
            (
                "babbles",
                Manner::Answers("\0\u{1}nonsense\r\n\r\n".into()),
                babbled,
            ),
        ];
        for ((how, manner, words), port) in illnesses.into_iter().zip(&mut ports) {
            servers.push(b1.scripted(port, [manner])?);
            let name = format!("{kind}-{how}");
            let check = check(&format!("{fields}\nport = {port}"));
            services += &service(&lab, &name, &format!("{port}/tcp"), &check, &b1.as_backend());
            cases.push((name, words));
        }
    }
    let agent = lab.agent(&services).start()?;
    for (name, words) in &cases {
        wait_for(&agent, &format!("{name}/b1"), "down", words)?;
    }
    Ok(())
}

/// Takes what comes, and says nothing.
fn silent(host: &Host, port: u16) -> Result<UdpSocket> {
    let socket = host.ns.run(|| UdpSocket::bind(("0.0.0.0", port)))?;
    socket.with_context(|| format!("UDP port {port}"))
}

#[test]
fn of_datagrams() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let _silent = silent(b1, 7100)?;
    // A question is no answer.
    let _echo = b1.udp_echo(7101)?;
    let (udp, dns) = (
        "type = \"udp\"\nsend = \"?\"",
        "type = \"dns\"\nquery = \"example.com\"",
    );
    let cases = [
        ("udp-hangs", udp, 7100, TIMEOUT),
        ("dns-hangs", dns, 7100, TIMEOUT),
        (
            "dns-babbles",
            dns,
            7101,
            "what came was no answer to the question",
        ),
    ];
    let services = cases.iter().zip(1..).map(|((name, fields, port, _), vip)| {
        let check = check(&format!("{fields}\nport = {port}"));
        service(&lab, name, &format!("{vip}/udp"), &check, &b1.as_backend())
    });
    let agent = lab.agent(&services.collect::<String>()).start()?;
    for (name, _, _, words) in cases {
        wait_for(&agent, &format!("{name}/b1"), "down", words)?;
    }
    Ok(())
}

#[test]
fn of_commands() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let cases = [
        ("hangs", "sleep 100", TIMEOUT),
        ("wrong", "echo no room >&2; exit 3", "exit code 3: no room"),
        ("killed", "kill -9 $$", "ended by SIGKILL"),
    ];
    let mut services = String::new();
    for ((name, act, _), port) in cases.iter().zip(7200..) {
        let script = lab.dir().join(name);
        fs::write(&script, format!("#!/bin/sh\n{act}\n"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let check = check(&format!("type = \"exec\"\ncommand = [\"{}\"]", script.display()));
        services += &service(&lab, name, &format!("{port}/tcp"), &check, &b1.as_backend());
    }
    let agent = lab.agent(&services).start()?;
    for (name, _, words) in cases {
        wait_for(&agent, &format!("{name}/b1"), "down", words)?;
    }
    Ok(())
}
