//! The order of things.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::screen::{Screen, ms};
use super::signals;
use super::stage::{Pace, Stage};
use super::steps;
use super::traces::{Found, Traces};
use crate::scope;

type Step = fn(&mut Stage, &mut Screen) -> Result<()>;

/// All but the last, in which the stage itself goes.
const STEPS: &[(&str, Step)] = &[
    ("One address, three servers", steps::network),
    ("Requests spread over the backends", steps::spread),
    ("A backend dies under load", steps::death),
    ("The backend comes back", steps::comeback),
    ("A backend is drained for maintenance", steps::drain),
    ("The agent is killed, and packets keep flowing", steps::crash),
    ("What the operator sees", steps::operator),
];

const INTRODUCTION: &str = "\
xlb is a load balancer: clients talk to one address, and it spreads their
connections over several servers. Its packet path is an XDP program in the
kernel; an agent, 'xlb', tells that program which servers are alive. All of this
happens in network namespaces that are removed in the end: the network of this
host is not touched. Ctrl-C ends the demo, and removes everything too.";

pub(super) fn tell(screen: &mut Screen, pace: Pace) -> Result<()> {
    let start = Instant::now();
    screen.plain(INTRODUCTION)?;
    let swept = scope::sweep().context("remove what killed runs left")?;
    if !swept.is_empty() {
        screen.plain(&format!(
            "Removed what killed runs had left: {}",
            swept.join(", ")
        ))?;
    }

    let mut stage = Stage::build(pace)?;
    let traces = Traces::of(&stage.lab)?;
    let told = perform(&mut stage, screen).and_then(|()| {
        screen.title(STEPS.len() + 1, "Everything is removed")?;
        let there = traces.look()?;
        steps::removal(&mut stage, screen).context("remove the balancer")?;
        Ok(there)
    });
    let removal = Instant::now();
    drop(stage);
    let removal = removal.elapsed();
    let left = traces.look()?;
    ensure!(left.is_empty(), "not removed: {left:?}{}", because(&told));
    nothing_left(screen, &told?, &left)?;
    screen.fact("lab removed in", ms(removal))?;
    screen.fact(
        "the demo took",
        format_args!("{:.1} s", start.elapsed().as_secs_f64()),
    )
}

fn perform(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    for (number, (title, step)) in (1..).zip(STEPS) {
        screen.title(number, title)?;
        step(stage, screen).with_context(|| format!("step {number} ({title})"))?;
        signals::sleep(stage.pace.read())?;
    }
    Ok(())
}

/// What went wrong before something was left.
fn because<T>(told: &Result<T>) -> String {
    let error = told.as_ref().err();
    error
        .map(|error| format!("; before that: {error:#}"))
        .unwrap_or_default()
}

fn nothing_left(screen: &mut Screen, there: &Found, left: &Found) -> Result<()> {
    screen.text("The lab is removed too. What carried its name on this host, before and after:")?;
    for ((what, there), (_, left)) in there.counts().into_iter().zip(left.counts()) {
        let left = Some(left).filter(|left| *left > 0);
        let left = left.map_or("none".to_owned(), |left| left.to_string());
        screen.fact(what, format_args!("{there} -> {left}"))?;
    }
    screen.text("")
}
