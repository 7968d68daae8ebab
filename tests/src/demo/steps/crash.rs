//! The agent is killed and started again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::demo::screen::{Screen, ms};
use crate::demo::stage::Stage;
use crate::demo::status;

/// Exit code of a command that no agent answers.
const NO_AGENT: i32 = 2;

pub(in crate::demo) fn crash(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.text(
        "The XDP program lives in the kernel, not in the agent: under load, the agent is killed with \
         SIGKILL. Nobody watches the backends then, but packets keep flowing as the agent left things.",
    )?;
    let before = stage.agent.status()?;
    let load = stage.load()?;
    stage.watch(Duration::from_secs(1))?;
    let old = stage.agent.pid().context("the agent does not run")?;
    stage.agent.kill9();
    let killed = Instant::now();
    let refused = stage.agent.cli(&["status"])?;
    ensure!(
        refused.status.code() == Some(NO_AGENT),
        "the agent is dead and answers: {}",
        refused.status
    );
    stage.watch(Duration::from_secs(2))?;
    let logged = stage.agent.log().len();
    let starting = Instant::now();
    stage.agent.start()?;
    let started = starting.elapsed();
    stage.wait_until("all backends are up again", status::all_up)?;
    let new = stage.agent.pid().context("the agent does not run")?;
    stage.watch(Duration::from_secs(1))?;
    let samples = load.stop();
    let after = stage.agent.status()?;

    let failed = samples.failures();
    ensure!(failed.is_empty(), "requests failed without an agent: {failed:?}");
    let (all, without) = (samples.all().len(), samples.between(killed, starting).all().len());
    ensure!(without > 0, "there was no load without an agent");
    let opened: u64 = stage
        .names()
        .map(|name| status::grown(&before, &after, name, "flows_opened"))
        .sum();
    ensure!(
        opened == all as u64,
        "{opened} connections counted of {all}: the counters were not adopted"
    );

    screen.fact("xlb status said", String::from_utf8_lossy(&refused.stderr).trim())?;
    let alone = (starting - killed).as_secs_f64();
    screen.fact(
        "without an agent",
        format_args!("{without} requests in {alone:.1} s, none failed"),
    )?;
    screen.fact(
        "a new agent",
        format_args!("pid {new} instead of {old}, answers after {}", ms(started)),
    )?;
    if let Some(said) = adopted(stage.agent.log().get(logged..).unwrap_or_default()) {
        screen.fact("its log", said)?;
    }
    screen.fact("requests in this step", format_args!("{all}, none failed"))?;
    screen.bars(stage.names(), &samples.served())?;
    screen.text(&format!(
        "The new agent adopted what the old one had left in the kernel: its counters have not missed one of \
         the {opened} connections of this step, not even of those that came without an agent."
    ))
}

/// What the new agent says about it, without time and module. Its counters are the proof, not its words.
fn adopted(log: &str) -> Option<&str> {
    let line = log.lines().find(|line| line.contains("adopted"))?;
    Some(line.split_once("] ").map_or(line, |(_, message)| message))
}
