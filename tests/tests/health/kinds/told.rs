//! What is told by a command here, or by an agent there.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::Result;
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent, preflight, server::Manner};

use crate::stage::{self, PATIENCE, check, find, service, wait_for, wait_until, wait_until_ready};

const PORT: u16 = 9000;

#[test]
fn exec_believes_a_script() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let script = lab.dir().join("look");
    let mark = lab.dir().join("mark");
    let text = format!(
        "#!/bin/sh\n[ -e {} ] || {{ echo $XLB_BACKEND at $XLB_ADDRESS has no mark >&2; exit 3; }}\necho there it is\n",
        mark.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    // A process each time: not as often as others.
    let check = format!(
        "[service.check]\ntype = \"exec\"\ncommand = [\"{}\"]\ninterval = \"1s\"\nfast_interval = \"100ms\"\ntimeout = \"1s\"\n",
        script.display()
    );
    let b1 = lab.backend(0);
    let agent = lab
        .agent(&service(&lab, "web", "80/tcp", &check, &b1.as_backend()))
        .start()?;
    let gone = format!("exit code 3: b1 at {} has no mark", b1.addr);
    wait_for(&agent, "web/b1", "down", &gone)?;
    fs::write(&mark, "")?;
    wait_for(&agent, "web/b1", "up", "there it is")?;
    fs::remove_file(&mark)?;
    wait_for(&agent, "web/b1", "down", &gone).map(drop)
}

#[test]
fn a_backends_agent_gets_what_it_wishes() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let b1 = lab.backend(0);
    let says = |line: &str| Manner::Greets(format!("{line}\n"));
    let server = b1.scripted(PORT, [says("up")])?;
    let check = check(&format!("type = \"agent\"\nport = {PORT}"));
    let agent = lab
        .agent(&service(&lab, "web", "80/tcp", &check, &b1.as_backend()))
        .start()?;
    wait_until_ready(&agent)?;
    let is = |field: &str, wanted: Value| {
        let what = format!("{field} is {wanted}");
        agent
            .wait_until(&what, PATIENCE, |status| {
                find(status, "web/b1").is_ok_and(|backend| backend[field] == wanted)
            })
            .map(drop)
    };
    server.set(says("drain"));
    is("state", "drain".into())?;
    is("health", "up".into())?;
    server.set(says("ready 50% maxconn:30"));
    is("state", "up".into())?;
    is_logged(&agent, "backend web/b1 wishes up ready 50% maxconn:30")?;
    // What is set is the administrator's.
    is("weight", 100.into())?;
    server.set(says("down#disk full"));
    is("state", "down".into())?;
    is_logged(&agent, "backend web/b1 is down: its agent says down: disk full")?;
    // It gets up again, and what it does not take back stays.
    server.set(says("up"));
    is("state", "up".into())?;
    server.set(says("100%"));
    is_logged(&agent, "backend web/b1 wishes up ready 100% maxconn:30")?;
    drop(server);
    wait_for(&agent, "web/b1", "down", "connect: connection refused").map(drop)
}

fn is_logged(agent: &Agent, words: &str) -> Result<()> {
    wait_until(words, || Ok(stage::logged(agent, words) > 0)).map(drop)
}
