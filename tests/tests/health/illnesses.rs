//! What is wrong with a backend is told by its name.

use anyhow::{Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent, preflight, server::Manner};

use crate::{
    authority::{Authority, GOOD},
    stage::{TIMEOUT, check, service, wait_for, wait_until, wait_until_ready},
};

const PORT: u16 = 8000;

/// A service `web` with a backend that is well first and then in each of these ways; the reason is on the screen for people, too.
fn ill(fields: &str, well: &Manner, illnesses: &[(Manner, &str)]) -> Result<()> {
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let server = b1.scripted(PORT, [well.clone()])?;
    // What one illness costs is not the next one's matter.
    let rest = check(&format!("{fields}\nport = {PORT}")) + "[service.health.flaps]\nhold = \"0s\"\n";
    // A failure that is none has time to pass: nothing else depends on it.
    let rest = rest
        .replace("fall = 5", "fall = 2")
        .replace("rise = 2", "rise = 1");
    let agent = lab
        .agent(&service(&lab, "web", "80/tcp", &rest, &b1.as_backend()))
        .start()?;
    wait_until_ready(&agent)?;
    for (manner, words) in illnesses {
        server.set(manner.clone());
        is_down(&agent, words)?;
        server.set(well.clone());
        wait_for(&agent, "web/b1", "up", "passed in")?;
    }
    drop(server);
    is_down(&agent, "connect: connection refused")
}

fn is_down(agent: &Agent, words: &str) -> Result<()> {
    let backend = wait_for(agent, "web/b1", "down", words)?;
    ensure!(backend["state"] == "down", "{backend}");
    wait_until("the screen tells it", || {
        Ok(agent.ok(&["service", "show", "web"])?.contains(words))
    })?;
    Ok(())
}

#[test]
fn of_http() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    let fields = "type = \"http\"\nstatus = \"200\"\nbody = \"well\"";
    ill(
        fields,
        &Manner::http(200, "all is well"),
        &[
            (Manner::Hangs, TIMEOUT),
            (Manner::http(503, "all is well"), "status 503 instead of 200"),
            (Manner::http(200, "all is ill"), "body does not contain \"well\""),
            (Manner::Answers("220 mail.example.com\r\n".into()), "response: "),
            // The head, and one byte a second of the body.
            (Manner::Drips(head.into()), TIMEOUT),
            (Manner::Answers(format!("{head}all is we")), "response: "),
            (Manner::Closes, "response: connection closed"),
            (Manner::Resets, "response: connection reset"),
        ],
    )
}

#[test]
fn of_a_talk_over_tcp() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    ill(
        "type = \"tcp\"\nexpect = \"ready\"",
        &Manner::GreetsOnly("ready\n".into()),
        &[
            (Manner::Hangs, TIMEOUT),
            (
                Manner::Greets("busy\n".into()),
                "closed after 5 bytes without \"ready\"",
            ),
            (
                Manner::GreetsOnly("rea".into()),
                "no more than 3 bytes came in time, without \"ready\"",
            ),
        ],
    )
}

#[test]
fn of_a_backends_agent() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    ill(
        "type = \"agent\"",
        &Manner::Greets("up\n".into()),
        &[
            (Manner::Greets(String::new()), "closed without a word"),
            (Manner::Greets("down#disk full\n".into()), "down#disk full"),
            (Manner::GreetsOnly("u".into()), TIMEOUT),
        ],
    )
}

#[test]
fn of_certificates() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let (ours, other) = (
        Authority::new(lab.dir(), "ours")?,
        Authority::new(lab.dir(), "other")?,
    );
    let name = "www.example.com";
    let mut nginx = b1.nginx_with();
    let mut services = String::new();
    let cases = [
        ("good", ours.issue(name, GOOD)?, "status 200"),
        (
            "expired",
            ours.issue(name, (2001, 2002))?,
            "certificate expired on 2002-01-01T00:00:00Z",
        ),
        (
            "future",
            ours.issue(name, (3000, 3001))?,
            "certificate is not valid before 3000-01-01T00:00:00Z",
        ),
        (
            "renamed",
            ours.issue("ftp.example.com", GOOD)?,
            "certificate is for other names than www.example.com: ftp.example.com",
        ),
        (
            "stranger",
            other.issue(name, GOOD)?,
            "certificate's authority is not trusted",
        ),
    ];
    for ((case, issued, _), port) in cases.iter().zip(8440..) {
        nginx = nginx.tls(port, &issued.certificate, &issued.key);
        let fields = format!(
            "type = \"https\"\nserver_name = \"{name}\"\nca = \"{}\"\nport = {port}",
            ours.file.display()
        );
        services += &service(
            &lab,
            case,
            &format!("{port}/tcp"),
            &check(&fields),
            &b1.as_backend(),
        );
    }
    // In the clear, where TLS is wanted.
    let fields = format!("type = \"https\"\nca = \"{}\"\nport = 80", ours.file.display());
    services += &service(&lab, "plain", "80/tcp", &check(&fields), &b1.as_backend());
    let _nginx = nginx.start()?;
    let agent = lab.agent(&services).start()?;
    for (case, _, words) in &cases {
        let health = if *case == "good" { "up" } else { "down" };
        wait_for(&agent, &format!("{case}/b1"), health, words)?;
    }
    let plain: Value = wait_for(
        &agent,
        "plain/b1",
        "down",
        "not TLS: the server has answered something else",
    )?;
    ensure!(plain["state"] == "down", "{plain}");
    Ok(())
}
