//! The agent ends and starts again; packets never notice.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{Lab, agent::Agent, preflight};

use crate::{
    pins,
    stage::{self, Echoes, end, find, outcome, vip, wait_for_state, wait_until_ready},
    stream::unharmed,
    talk::{Talk, all_say},
};

/// By when a removed backend whose connections have closed is gone: the time of closed flows, a sweep and its grace.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Counters that must never go back.
fn counts(agent: &Agent) -> Result<Vec<u64>> {
    let status = agent.status()?;
    let service = &status["services"][0]["counters"];
    let of = |field: &str| {
        service[field]
            .as_u64()
            .with_context(|| format!("no {field} in {service}"))
    };
    Ok(vec![
        outcome(&status, "forwarded"),
        outcome(&status, "returned"),
        of("packets_in")?,
        of("packets_out")?,
        of("flows_opened")?,
    ])
}

fn rewrite(agent: &Agent, change: impl FnOnce(String) -> String) -> Result<()> {
    let text = fs::read_to_string(agent.config())?;
    Ok(fs::write(agent.config(), change(text))?)
}

#[test]
fn nothing_is_lost_while_the_agent_is_killed_ended_and_started() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(3).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::checked_echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 12)?;
    ensure!(
        talks.iter().any(|talk| talk.backend != talks[0].backend),
        "12 connections, all to one backend"
    );
    let ids = pins::backends(&agent)?;
    ensure!(ids.len() == 3, "{ids:?}");
    unharmed(&lab.client, vip(&lab), || {
        for killed in [true, false] {
            all_say(&mut talks, "before")?;
            let before = counts(&agent)?;
            end(&mut agent, killed)?;
            all_say(&mut talks, "while no agent runs")?;
            talks.push(Talk::open(&lab.client, vip(&lab)).context("a new connection while no agent runs")?);
            thread::sleep(Duration::from_millis(300));
            agent.start()?;
            all_say(&mut talks, "with the next agent")?;
            let after = counts(&agent)?;
            ensure!(
                after.iter().zip(&before).all(|(after, before)| after > before),
                "{before:?} became {after:?}"
            );
            ensure!(
                pins::backends(&agent)? == ids,
                "{:?}, not {ids:?}",
                pins::backends(&agent)?
            );
        }
        Ok(())
    })
}

#[test]
fn a_start_with_another_file_changes_only_what_differs() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(4).build()?;
    let echoes = Echoes::start(&lab.backends)?;
    let [b1, b2, b3, b4] = [0, 1, 2, 3].map(|i| lab.backend(i));
    let mut agent = lab.agent(&stage::checked_echo(&lab, [b1, b2])).start()?;
    wait_until_ready(&agent)?;
    let (mut leaving, mut staying): (Vec<_>, Vec<_>) = Talk::open_many(&lab.client, vip(&lab), 24)?
        .into_iter()
        .partition(|talk| talk.backend == "b1");
    ensure!(
        !leaving.is_empty() && !staying.is_empty(),
        "24 connections, all to one backend"
    );
    let of_b2 = |agent: &Agent| -> Result<_> {
        let held = pins::backends(agent)?
            .into_iter()
            .find(|(_, (address, ..))| *address == b2.addr);
        held.context("b2 is not in the data plane")
    };
    let id = of_b2(&agent)?;

    agent.kill9();
    let other = std::net::SocketAddr::from((xlb_tests::lab::address::vip(20), stage::PORT));
    rewrite(&agent, |text| {
        // The new service comes first, so that an id by order would be another one.
        let added = stage::service("added", other, "", [b4]);
        let text = text.replace(&b1.as_backend(), "") + &b3.as_backend();
        text.replacen("[[service]]", &format!("{added}[[service]]"), 1)
    })?;
    agent.start()?;
    wait_until_ready(&agent)?;
    ensure!(of_b2(&agent)? == id, "b2 was {id:?} and is {:?}", of_b2(&agent)?);
    all_say(&mut staying, "on the backend that stayed")?;
    all_say(&mut leaving, "on the backend that was removed, and drains")?;
    let share = echoes.share(&lab.client, vip(&lab), 60)?;
    ensure!(
        share["b1"] == 0 && share["b2"] > 0 && share["b3"] > 0 && share["b4"] == 0,
        "{share:?}"
    );
    ensure!(Talk::open(&lab.client, other)?.backend == "b4");

    agent.stop()?;
    rewrite(&agent, |text| {
        text.replacen(&stage::service("added", other, "", [b4]), "", 1)
    })?;
    agent.start()?;
    ensure!(
        Talk::open(&lab.client, other).is_err(),
        "a service that the file no longer has still answers"
    );
    all_say(&mut staying, "on the backend that stayed all the time")?;
    all_say(&mut leaving, "on the backend that drains, after one more start")?;
    drop(leaving);
    let deadline = Instant::now() + FORGOTTEN;
    while pins::backends(&agent)?.len() != 2 {
        ensure!(Instant::now() < deadline, "{:?}", pins::backends(&agent)?);
        thread::sleep(Duration::from_millis(200));
    }
    all_say(&mut staying, "when the other is gone")
}

#[test]
fn what_died_and_what_came_back_without_an_agent_is_noticed_by_the_next_one() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let mut echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::checked_echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    agent.kill9();
    echoes.stop(lab.backend(1));
    agent.start()?;
    // It was up when the agent ended, and stays so until its probes have failed often enough.
    let down = wait_for_state(&agent, "b2", "down")?;
    ensure!(
        find(&down, "b2")?["last_check"]
            .as_str()
            .is_some_and(|said| said.contains("refused")),
        "{down}"
    );
    ensure!(find(&down, "b1")?["state"] == "up", "{down}");
    agent.stop()?;
    echoes.start_one(lab.backend(1))?;
    agent.start()?;
    let up = wait_until_ready(&agent)?;
    ensure!(find(&up, "b2")?["health"] == "up", "{up}");
    let share = echoes.share(&lab.client, vip(&lab), 40)?;
    ensure!(share.values().all(|&count| count > 0), "{share:?}");
    Ok(())
}

#[test]
fn a_start_that_fails_over_an_earlier_one_leaves_it_serving() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(2).build()?;
    let _echoes = Echoes::start(&lab.backends)?;
    let mut agent = lab.agent(&stage::echo(&lab, &lab.backends)).start()?;
    wait_until_ready(&agent)?;
    let good = fs::read_to_string(agent.config())?;
    let mut talks = Talk::open_many(&lab.client, vip(&lab), 4)?;
    unharmed(&lab.client, vip(&lab), || {
        agent.stop()?;
        for (bad, said) in [
            (
                "[limits]\nflows = 2048\n[[interface]]".to_owned(),
                "run 'xlb detach' first",
            ),
            (
                "[[interface]]\nname = \"eth7\"\n[[interface]]".to_owned(),
                "interface eth7: there is none",
            ),
        ] {
            rewrite(&agent, |_| good.replacen("[[interface]]", &bad, 1))?;
            let refused = agent.start().err().context("started all the same")?;
            ensure!(format!("{refused:#}").contains(said), "{refused:#}");
            all_say(&mut talks, "after a start that failed")?;
        }
        rewrite(&agent, |_| good.clone())?;
        agent.start()
    })?;
    all_say(&mut talks, "with the next agent")
}
