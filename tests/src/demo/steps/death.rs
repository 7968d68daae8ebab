//! nginx on one backend is killed while requests come in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::client::Samples;
use crate::client::samples::{Failure, Kind};
use crate::demo::screen::{Screen, counted, ms};
use crate::demo::stage::{FALL, INTERVAL, RATE, Stage};
use crate::demo::status;

/// Whose nginx is killed here and started again in the next step.
pub(super) const VICTIM: usize = 1;

/// More than this over the time that the heartbeats need would be a fault.
const SLACK: Duration = Duration::from_millis(500);

pub(in crate::demo) fn death(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    let victim = stage.lab.backend(VICTIM).name.clone();
    screen.text(&format!(
        "The client opens {RATE} new connections a second, with one request on each. Then nginx on {victim} \
         is killed. Until xlb knows, connections that are given to {victim} fail; xlb asks each backend for \
         /health every {} ms (a heartbeat) and takes out one that fails {FALL} times in a row.",
        INTERVAL.as_millis()
    ))?;
    let before = stage.agent.status()?;
    let load = stage.load()?;
    stage.watch(Duration::from_secs(2))?;
    let killed = Instant::now();
    stage.servers[VICTIM].stop();
    let down = stage.wait_for(&victim, "down")?;
    let noticed = Instant::now();
    stage.watch(Duration::from_secs(2))?;
    let samples = load.stop();
    let after = stage.agent.status()?;

    unharmed_before(screen, &samples, killed)?;
    failures(screen, &samples, killed)?;
    heartbeats(screen, noticed - killed, status::last_check(&down, &victim))?;
    let later = samples.between(noticed, Instant::now());
    ensure!(
        later.failures().is_empty(),
        "failed after {victim} was out: {:?}",
        later.failures()
    );
    ensure!(
        !later.served().contains_key(victim.as_str()),
        "{victim} is dead and serves"
    );
    screen.fact(
        "requests since then",
        format_args!("{}, none failed", later.all().len()),
    )?;
    screen.bars(stage.names(), &later.served())?;

    let served = samples.served();
    for name in stage.names() {
        let answered_all = given(screen, &before, &after, name, &served)?;
        ensure!(
            answered_all || name == victim,
            "{name} did not answer all that it was given"
        );
    }
    screen.text(&format!(
        "The others answered every connection that they were given: only {victim}'s failed."
    ))
}

fn unharmed_before(screen: &mut Screen, samples: &Samples, killed: Instant) -> Result<()> {
    let early: Vec<_> = samples
        .all()
        .iter()
        .filter(|sample| sample.ended() < killed)
        .collect();
    let failed: Vec<_> = early
        .iter()
        .filter_map(|sample| sample.outcome.as_ref().err())
        .collect();
    ensure!(failed.is_empty(), "failed before anything was killed: {failed:?}");
    screen.fact(
        "requests before the kill",
        format_args!("{}, none failed", early.len()),
    )
}

/// Nobody listens on the victim: what failed was refused there, or cut off when it died.
fn failures(screen: &mut Screen, samples: &Samples, killed: Instant) -> Result<()> {
    let failures = samples.failures();
    let of_dead = |failure: &&Failure| match failure {
        Failure::Connect(kind) => matches!(kind, Kind::Refused | Kind::Reset),
        Failure::Exchange(kind) => *kind == Kind::Reset,
        Failure::Reply(reply) => reply.is_empty(),
    };
    ensure!(
        failures.keys().all(of_dead),
        "failed in a way that a dead server does not explain: {failures:?}"
    );
    let count: usize = failures.values().sum();
    if count == 0 {
        return screen.fact(
            "requests that failed",
            "none: no new request met the dead backend",
        );
    }
    let kinds: Vec<String> = failures
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    screen.fact(
        "requests that failed",
        format_args!("{count} of {} ({})", samples.all().len(), kinds.join("; ")),
    )?;
    let last = samples.last_failure_after(killed);
    screen.fact(
        "no new request failed from",
        format_args!("{} after the kill on", ms(last)),
    )
}

fn heartbeats(screen: &mut Screen, took: Duration, said: &str) -> Result<()> {
    let due = INTERVAL * FALL;
    ensure!(
        took <= due + SLACK,
        "noticed after {took:?}, which is more than heartbeats explain"
    );
    screen.fact("xlb took it out", format_args!("{} after the kill", ms(took)))?;
    screen.fact(
        "heartbeats",
        format_args!("{FALL} x {} = {}; the last: {said}", ms(INTERVAL), ms(due)),
    )
}

/// Whether the backend answered every connection that xlb gave it: then no failure was of this backend.
fn given(
    screen: &mut Screen,
    before: &Value,
    after: &Value,
    name: &str,
    served: &BTreeMap<&str, usize>,
) -> Result<bool> {
    let flows = status::grown(before, after, name, "flows_opened");
    let served = served.get(name).copied().unwrap_or(0);
    screen.fact(
        name,
        format_args!("given {}, answered {served}", counted(flows, "connection")),
    )?;
    Ok(flows == served as u64)
}
