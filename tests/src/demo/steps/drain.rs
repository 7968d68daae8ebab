//! A backend is drained while it is in the middle of a long answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::client::{Downloads, Samples};
use crate::demo::screen::Screen;
use crate::demo::stage::{Pace, SERVICE, Stage};
use crate::demo::{signals, status};
use crate::server::files;

const MIB: u64 = 1 << 20;
const RATE_MIB: u64 = 8;
/// Of the download. What buffers on the way hold is much less: it is still being sent long after the drain.
const NORMAL_SECONDS: u64 = 5;
const FAST_SECONDS: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

pub(in crate::demo) fn drain(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    let seconds = match stage.pace {
        Pace::Normal => NORMAL_SECONDS,
        Pace::Fast => FAST_SECONDS,
    };
    let size = seconds * RATE_MIB * MIB;
    screen.text(&format!(
        "The client downloads {} MiB at {RATE_MIB} MiB/s, and the backend that sends them is to be shut down \
         for maintenance. Drained, it gets no new connections but keeps those it has.",
        size / MIB
    ))?;
    let wanted = files::random(&stage.files.join("big"), size, 1)?;
    let load = stage.load()?;
    let rate = format!("{RATE_MIB}M");
    let mut download = stage
        .lab
        .client
        .download(&[stage.url("/files/big")], &["--limit-rate", &rate])?;
    let drained = sender(stage)?;
    screen.fact("the download comes from", &drained)?;

    let path = format!("{SERVICE}/{drained}");
    stage.agent.ok(&["backend", "drain", &path])?;
    let before = stage.wait_for(&drained, "drain")?;
    let at = Instant::now();
    ensure!(download.running() == 1, "the download was over before the drain");
    screen.fact(&format!("xlb backend drain {path}"), "done, the download goes on")?;
    wait(&mut download)?;
    let kept = at.elapsed();
    let (whole, _) = download.wait()?;
    let samples = load.stop();
    let after = stage.agent.status()?;

    let whole = whole.first().context("no download")?;
    ensure!(
        whole.bytes == size && whole.sha256 == wanted,
        "not the file that was asked for: {whole:?}"
    );
    finished(screen, &before, &after, &drained, kept)?;
    others_served(stage, screen, &samples.between(at, Instant::now()), &drained)?;
    ready(stage, screen, &path, &drained)
}

/// The backend that sends most: beside the download, the answers to the load are next to nothing.
fn sender(stage: &Stage) -> Result<String> {
    let before = stage.agent.status()?;
    signals::sleep(Duration::from_millis(300))?;
    let after = stage.agent.status()?;
    let sent = |name: &&str| status::grown(&before, &after, name, "bytes_out");
    let name = stage.names().max_by_key(sent).context("no backend")?;
    ensure!(sent(&name) > 0, "no backend sends anything");
    Ok(name.to_owned())
}

fn wait(download: &mut Downloads) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while download.running() > 0 {
        ensure!(Instant::now() < deadline, "the download hangs");
        signals::sleep(POLL)?;
    }
    Ok(())
}

fn finished(screen: &mut Screen, before: &Value, after: &Value, drained: &str, kept: Duration) -> Result<()> {
    let sent = status::grown(before, after, drained, "bytes_out") / MIB;
    let opened = status::grown(before, after, drained, "flows_opened");
    ensure!(sent > 0, "the download did not need {drained} any more");
    ensure!(
        opened == 0,
        "{drained} is drained and got {opened} new connections"
    );
    let kept = kept.as_secs_f64();
    screen.fact(
        "the download ended",
        format_args!("{kept:.1} s later, complete by its SHA-256"),
    )?;
    screen.fact(
        &format!("{drained} meanwhile"),
        format_args!("{sent} MiB sent, no new connection"),
    )
}

fn others_served(stage: &Stage, screen: &mut Screen, during: &Samples, drained: &str) -> Result<()> {
    let failed = during.failures();
    ensure!(failed.is_empty(), "requests failed during the drain: {failed:?}");
    let served = during.served();
    let others = stage.names().filter(|name| *name != drained);
    ensure!(
        served.keys().copied().eq(others),
        "{served:?} served while {drained} was drained"
    );
    screen.fact(
        "requests meanwhile",
        format_args!("{}, none failed", during.all().len()),
    )?;
    screen.bars(stage.names(), &served)
}

/// The end of the maintenance.
fn ready(stage: &Stage, screen: &mut Screen, path: &str, drained: &str) -> Result<()> {
    stage.agent.ok(&["backend", "ready", path])?;
    stage.wait_for(drained, "up")?;
    let load = stage.load()?;
    stage.watch(Duration::from_secs(2))?;
    let samples = load.stop();
    let failed = samples.failures();
    ensure!(failed.is_empty(), "requests failed after the drain: {failed:?}");
    let served = samples.served();
    ensure!(
        served.contains_key(drained),
        "{drained} is ready and serves nothing"
    );
    screen.fact(
        &format!("xlb backend ready {path}"),
        "done, it takes its share again",
    )?;
    screen.fact(
        "requests after that",
        format_args!("{}, none failed", samples.all().len()),
    )?;
    screen.bars(stage.names(), &served)
}
