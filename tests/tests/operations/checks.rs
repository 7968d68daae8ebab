//! Health checks against servers that are ill in different ways.

use anyhow::{Result, ensure};
use serde_json::Value;
use xlb_tests::{Lab, agent::Agent, preflight, server::Manner};

use crate::{
    stage::{self, Echoes, PATIENCE, find, outcome, vip, wait_for_state, wait_until, wait_until_ready},
    talk::{Talk, all_say},
};

const WEB: u16 = 80;

fn well() -> Manner {
    Manner::http(200, "all is well")
}

/// A service on the VIP's port 80 with a check of this kind, and the first host behind it.
fn service(lab: &Lab, check: &str) -> String {
    format!(
        "[[service]]\nname = \"web\"\nvip = \"{}:{WEB}/tcp\"\n[service.check]\ninterval = \"60ms\"\ntimeout = \"60ms\"\n{check}\n{}",
        lab.vip(),
        lab.backend(0).as_backend()
    )
}

fn http(lab: &Lab, check: &str) -> String {
    service(lab, &format!("type = \"http\"\nrise = 2\nfall = 3\n{check}"))
}

/// Waits for a state that comes with these words of the last probe, in JSON and on the screens for people.
fn wait_for(agent: &Agent, state: &str, words: &str) -> Result<Value> {
    let told = |backend: &Value| {
        backend["last_check"]
            .as_str()
            .is_some_and(|said| said.contains(words))
    };
    let status = agent.wait_until(&format!("{state}: {words}"), PATIENCE, |status| {
        find(status, "b1").is_ok_and(|backend| backend["state"] == state && told(backend))
    })?;
    // Another probe may have said something else by now: it will say this again.
    wait_until("the screen tells it", || {
        Ok(agent.ok(&["service", "show", "web"])?.contains(words))
    })?;
    Ok(status)
}

/// What the log tells of the backend: each change, with the probe that made it.
fn turns(agent: &Agent) -> Vec<String> {
    let log = agent.log();
    let turns = log
        .lines()
        .filter_map(|line| Some(line.split_once("backend web/b1 is ")?.1.to_owned()));
    turns.collect()
}

#[test]
fn an_http_check_tells_each_illness_by_its_name() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let web = lab.backend(0).scripted(WEB, [well()])?;
    let check =
        "path = \"/healthz\"\nstatus = \"200-299,304\"\nbody = \"all is well\"\nhost = \"www.example.com\"";
    let agent = lab.agent(&http(&lab, check)).start()?;
    wait_for(&agent, "up", "passed in")?;
    for (answer, words) in [
        (
            Manner::http(500, "all is well"),
            "status 500 instead of 200-299,304",
        ),
        (
            Manner::http(302, "all is well"),
            "status 302 instead of 200-299,304",
        ),
        (
            Manner::http(200, "not so well"),
            "body does not contain \"all is well\"",
        ),
        (Manner::Hangs, "timeout after 60ms"),
        (
            Manner::Drips("HTTP/1.1 200 OK\r\n\r\n".into()),
            "timeout after 60ms",
        ),
    ] {
        println!("{answer:?}");
        web.set(answer);
        let status = wait_for(&agent, "down", words)?;
        ensure!(find(&status, "b1")?["health"] == "down", "{status}");
        ensure!(agent.cli(&["status"])?.status.code() == Some(2));
        web.set(Manner::http(204, "all is well"));
        // 204 has no body, whatever is sent after it.
        wait_for(&agent, "down", "body does not contain")?;
        web.set(well());
        wait_for(&agent, "up", "passed in")?;
    }
    drop(web);
    wait_for(&agent, "down", "connect: connection refused")?;
    Ok(())
}

#[test]
fn an_http_check_asks_for_the_site_that_it_is_told() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let _web = lab
        .backend(0)
        .scripted(WEB, [Manner::OnlyFor("www.example.com".into())])?;
    let named = lab.agent(&http(&lab, "host = \"www.example.com\"")).start()?;
    wait_for(&named, "up", "passed in")?;
    drop(named);
    // Without a name, the address is asked for.
    let unnamed = lab.agent(&http(&lab, "status = \"200\"")).start()?;
    wait_for(&unnamed, "down", "status 404 instead of 200")?;
    Ok(())
}

#[test]
fn rise_and_fall_count_probes_in_a_row() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let bad = |code: u16| Manner::http(code, "");
    let mut script = vec![well()];
    // Two failures are not three.
    script.extend([bad(500), bad(501), well(), bad(502), bad(503), well()]);
    // The third takes it down.
    script.extend([bad(510), bad(511), bad(512)]);
    // One pass is not two; had it brought the backend up, the failures would take it down again.
    script.extend([well(), bad(520), bad(521), bad(522), bad(523)]);
    // The second brings it up, and the third failure takes it down.
    script.extend([well(), well(), bad(530), bad(531), bad(532)]);
    script.extend([well(), well(), well()]);
    let steps = script.len();
    let lab = Lab::new().backends(1).build()?;
    let web = lab.backend(0).scripted(WEB, script)?;
    // Long enough that no probe of the script is late on a busy machine.
    let slow = http(&lab, "status = \"200\"").replace("60ms", "120ms");
    let agent = lab.agent(&slow).start()?;
    wait_until("the script is over", || Ok(web.answered() > steps))?;
    wait_for(&agent, "up", "passed in")?;
    let turns = turns(&agent);
    let expected = [
        "up: passed",
        "down: status 512",
        "up: passed",
        "down: status 532",
        "up: passed",
    ];
    let as_expected = turns
        .iter()
        .zip(expected)
        .all(|(turn, wanted)| turn.starts_with(wanted));
    ensure!(turns.len() == expected.len() && as_expected, "{turns:#?}");
    Ok(())
}

#[test]
fn a_tcp_check_sees_who_accepts() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(1).build()?;
    let agent = lab.agent(&service(&lab, "type = \"tcp\"")).start()?;
    wait_for(&agent, "down", "connect: connection refused")?;
    // One that accepts and never answers is fit for TCP.
    let web = lab.backend(0).scripted(WEB, [Manner::Hangs])?;
    wait_for(&agent, "up", "passed in")?;
    ensure!(web.heard() == 0, "a TCP check sent something");
    lab.set_plugged(lab.backend(0), false)?;
    wait_for(&agent, "down", "timeout after 60ms")?;
    lab.set_plugged(lab.backend(0), true)?;
    wait_for(&agent, "up", "passed in")?;
    lab.lb
        .ns
        .ip(&["route", "add", "unreachable", &lab.backend(0).addr.to_string()])?;
    wait_for(&agent, "down", "connect: ")?;
    lab.lb
        .ns
        .ip(&["route", "del", "unreachable", &lab.backend(0).addr.to_string()])?;
    wait_for(&agent, "up", "passed in").map(drop)
}

#[test]
fn a_check_may_look_at_another_port() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let watched = |number| lab.backend(number).scripted(8080, [well()]);
    let (first, _second) = (watched(0)?, watched(1)?);
    let check = "[service.check]\ntype = \"http\"\nport = 8080\ninterval = \"150ms\"\ntimeout = \"150ms\"\n";
    let agent = lab
        .agent(&stage::service("echo", vip(&lab), check, &lab.backends))
        .start()?;
    wait_until_ready(&agent)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 24)?;
    ensure!(
        talks.iter().any(|talk| talk.backend == "b1"),
        "24 connections, none to b1"
    );
    first.set(Manner::http(503, ""));
    wait_for_state(&agent, "b1", "down")?;
    // What is down gets nothing: its connections end, the others stay.
    for talk in talks.extract_if(.., |talk| talk.backend == "b1") {
        ensure!(
            { talk }.say().is_err(),
            "a connection to b1 goes on while it is down"
        );
    }
    all_say(&mut talks, "on the other backend")?;
    let new = Talk::open_many(&lab.client, vip(&lab), 8)?;
    ensure!(
        new.iter().all(|talk| talk.backend == "b2"),
        "a new connection on b1 while it is down"
    );
    first.set(well());
    wait_until_ready(&agent)?;
    ensure!(
        outcome(&agent.status()?, "no_backend") == 0,
        "{}",
        agent.status()?
    );
    Ok(())
}
