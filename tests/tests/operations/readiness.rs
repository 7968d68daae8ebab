//! What scripts see: exit codes, JSON, the socket's mode; and what clients see of a service without a usable backend.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent, preflight};

use crate::{
    stage::{self, Echoes, PATIENCE, find, open_flows, outcome, vip, wait_for_state, wait_until_ready},
    talk::{Talk, all_say},
};

fn code(agent: &Agent, args: &[&str]) -> Result<i32> {
    agent
        .cli(args)?
        .status
        .code()
        .with_context(|| format!("xlb {} ended by a signal", args.join(" ")))
}

#[test]
fn every_command_that_prints_prints_json_when_asked_to() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let mut agent = lab.agent(&stage::checked_echo(&lab, &lab.backends)).start()?;
    let (config, pins) = (
        agent.config().display().to_string(),
        agent.pin_dir().display().to_string(),
    );
    let commands = [
        ("status", "services"),
        ("service list", ""),
        ("service show echo", "backends"),
        (
            "service add new --vip 192.0.2.30:53/udp --backend 10.20.0.11,name=b1",
            "backends",
        ),
        ("service rm new", "removed"),
        ("backend list", ""),
        ("backend list echo", ""),
        ("backend add echo/b9 --address 10.20.0.99", "counters"),
        ("backend drain echo/b1", "admin"),
        ("backend ready echo/b1", "admin"),
        ("backend weight echo/b1 7", "weight"),
        ("backend rm echo/b9", "removed"),
        (&format!("config check {config}"), "ok"),
    ];
    let check = |agent: &Agent, command: &str, field: &str| -> Result<()> {
        for args in [format!("-o json {command}"), format!("{command} -o json")] {
            let args: Vec<_> = args.split(' ').collect();
            // Said twice, a change is refused the second time: then there is an error line and no JSON.
            let output = agent.cli(&args)?;
            if output.status.code() == Some(1) {
                ensure!(
                    output.stdout.is_empty() && output.stderr.starts_with(b"xlb: "),
                    "{args:?}: {output:?}"
                );
                continue;
            }
            let value: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{args:?}"))?;
            ensure!(
                if field.is_empty() {
                    value.is_array()
                } else {
                    !value[field].is_null()
                },
                "{args:?}: {value}"
            );
            ensure!(output.stderr.is_empty(), "{args:?}: {output:?}");
        }
        Ok(())
    };
    for (command, field) in commands {
        check(&agent, command, field)?;
    }
    agent.stop()?;
    check(&agent, &format!("detach --pin-dir {pins}"), "detached")
}

#[test]
fn exit_codes_tell_ready_from_wrong_and_not_ready() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let mut echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::checked_echo(&lab, &lab.backends)).prepare()?;
    let config = agent.config().display().to_string();
    ensure!(code(&agent, &["config", "check", &config])? == 0);
    for args in [
        &["status"][..],
        &["service", "list"],
        &["backend", "drain", "echo/b1"],
    ] {
        ensure!(code(&agent, args)? == 2, "{args:?} without an agent");
    }
    agent.start()?;
    let socket = fs::metadata(agent.socket())?;
    ensure!(
        socket.file_type().is_socket() && socket.permissions().mode() & 0o777 == 0o660,
        "{socket:?}"
    );

    wait_until_ready(&agent)?;
    ensure!(code(&agent, &["status"])? == 0);
    for args in [
        &["nonsense"][..],
        &["backend", "drain", "echo/b9"],
        &["service", "show", "nothing"],
    ] {
        ensure!(code(&agent, args)? == 1, "{args:?}");
    }
    ensure!(code(&agent, &["--help"])? == 0 && code(&agent, &["--version"])? == 0);
    // One of two is enough; none is not, however it came about.
    agent.ok(&["backend", "drain", "echo/b1"])?;
    ensure!(code(&agent, &["status"])? == 0);
    agent.ok(&["backend", "weight", "echo/b2", "0"])?;
    ensure!(code(&agent, &["status"])? == 2);
    let screen = String::from_utf8_lossy(&agent.cli(&["status"])?.stdout).into_owned();
    ensure!(
        screen.contains("not ready: service echo has no usable backend"),
        "{screen}"
    );
    agent.ok(&["backend", "ready", "echo/b1"])?;
    ensure!(code(&agent, &["status"])? == 0);
    echoes.stop(lab.backend(0));
    wait_for_state(&agent, "b1", "down")?;
    ensure!(code(&agent, &["status"])? == 2);
    agent.ok(&["service", "rm", "echo"])?;
    ensure!(
        code(&agent, &["status"])? == 0,
        "an agent without services has nothing to wait for"
    );
    agent.ok(&["service", "add", "empty", "--vip", "192.0.2.30:53/udp"])?;
    ensure!(
        code(&agent, &["status"])? == 2,
        "a service without backends is not ready"
    );
    agent.kill9();
    ensure!(code(&agent, &["status"])? == 2, "the socket of a killed agent");
    Ok(())
}

#[test]
fn without_a_usable_backend_new_flows_are_dropped_and_counted_until_one_is_back() -> Result<()> {
    const FLOWS: usize = 30;
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let mut echoes = Echoes::start(&lab.backends)?;
    let agent = lab.agent(&stage::checked_echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    for host in &lab.backends {
        echoes.stop(host);
    }
    wait_for_state(&agent, "b1", "down")?;
    let before = wait_for_state(&agent, "b2", "down")?;
    let answered = open_flows(&lab.client, vip(&lab), FLOWS, Duration::from_millis(200))?;
    ensure!(answered == 0, "{answered} flows were answered by nobody");
    let after = agent.status()?;
    let more = |field: fn(&Value) -> u64| field(&after) - field(&before);
    let dropped = |status: &Value| {
        status["services"][0]["counters"]["packets_dropped"]
            .as_u64()
            .unwrap_or(0)
    };
    ensure!(
        more(|status| outcome(status, "no_backend")) == FLOWS as u64,
        "{after}"
    );
    ensure!(more(dropped) == FLOWS as u64, "{after}");
    ensure!(more(|status| outcome(status, "forwarded")) == 0, "{after}");
    // A client that tries again gets through once there is somebody: its SYN is repeated after a second.
    let connecting = std::thread::scope(|scope| -> Result<Talk> {
        let talk = scope.spawn(|| Talk::open(&lab.client, vip(&lab)));
        let attempt = |status: &Value| outcome(status, "no_backend") > outcome(&after, "no_backend");
        agent.wait_until("the SYN is dropped", PATIENCE, attempt)?;
        echoes.start_one(lab.backend(1))?;
        talk.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    })?;
    ensure!(connecting.backend == "b2");
    let back = wait_for_state(&agent, "b2", "up")?;
    ensure!(find(&back, "b1")?["state"] == "down", "{back}");
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 8)?;
    all_say(&mut talks, "on the backend that is back")?;
    ensure!(code(&agent, &["status"])? == 0);
    Ok(())
}
