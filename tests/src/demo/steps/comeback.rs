//! nginx is started again on the backend that died.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::death::VICTIM;
use crate::demo::screen::{Screen, ms};
use crate::demo::stage::{INTERVAL, RISE, Stage};

/// A backend that is back gets at least this part of an even share.
const LEAST: usize = 2;

pub(in crate::demo) fn comeback(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    let victim = stage.lab.backend(VICTIM).name.clone();
    screen.text(&format!(
        "nginx on {victim} is started again, under the same load. {RISE} heartbeats in a row that pass bring \
         it back."
    ))?;
    let load = stage.load()?;
    stage.watch(Duration::from_secs(1))?;
    let started = Instant::now();
    stage.servers[VICTIM].start()?;
    let listening = started.elapsed();
    stage.wait_for(&victim, "up")?;
    let up = Instant::now();
    stage.watch(Duration::from_secs(2))?;
    let samples = load.stop();

    let failed = samples.failures();
    ensure!(
        failed.is_empty(),
        "requests failed while {victim} came back: {failed:?}"
    );
    let first = samples
        .first_served_after(started, &victim)
        .context("it serves nothing")?;
    let since = samples.between(up, Instant::now());
    screen.fact(
        "nginx listened",
        format_args!("{} after its start", ms(listening)),
    )?;
    screen.fact(
        "xlb had it back",
        format_args!("{} after its start", ms(up - started)),
    )?;
    screen.fact(
        "heartbeats",
        format_args!("{RISE} that pass, {} apart", ms(INTERVAL)),
    )?;
    screen.fact(
        "its first new request",
        format_args!("{} after its start", ms(first)),
    )?;
    screen.fact(
        "requests in this step",
        format_args!("{}, none failed", samples.all().len()),
    )?;
    screen.fact("requests since it is back", since.all().len())?;
    let served = since.served();
    screen.bars(stage.names(), &served)?;
    let even = since.all().len() / stage.lab.backends.len();
    let share = served.get(victim.as_str()).copied().unwrap_or(0);
    ensure!(
        share >= even / LEAST,
        "{victim} takes only {share} of {} requests",
        since.all().len()
    );
    Ok(())
}
