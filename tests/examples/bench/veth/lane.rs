//! One contender with its packets, and what is counted of them.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{interrupt, xdp::live::Stream};

use super::{contender::Contender, stage::Stage, traffic::Traffic};
use crate::{
    alone::stay_on_one_cpu,
    established,
    report::{Report, Row, Samples},
};

/// Frames that open the flows of a lane, at most.
const WARM_UP: u32 = 6_000_000;
/// Frames by which a lane shows that it carries them.
const PROBE: u32 = 10_000;
/// How long the last frames may be under way.
const UNDER_WAY: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(1);

pub struct Lane {
    pub contender: Contender,
    traffic: Traffic,
    stream: Stream,
    /// How long frames are when they arrive.
    arriving: usize,
    /// Millions of frames per second that arrived.
    carried: Samples,
    /// Of those that were sent, per cent.
    lost: Samples,
    /// All of them.
    sent: Samples,
}

/// What became of frames.
struct Run {
    /// For each.
    nanoseconds: u32,
    arrived: u64,
}

impl Lane {
    pub fn new(stage: &Stage, contender: Contender, traffic: Traffic) -> Result<Self> {
        let frames = traffic.frames(contender.port(), Stage::contender_mac());
        let stream = Stream::new(&frames, stage.way_to(contender.host())?)?;
        Ok(Self {
            contender,
            traffic,
            stream,
            arriving: frames.bytes.len() + contender.adds(traffic.family),
            carried: Samples::default(),
            lost: Samples::default(),
            sent: Samples::default(),
        })
    }

    /// `ipip/tcp4/settled`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.contender.name(), self.traffic)
    }

    /// Opens the flows, for xlb in its pinned table of `flows`, and makes sure that frames arrive as they should.
    pub fn warm_up(&self, stage: &Stage, flows: &Path) -> Result<()> {
        if self.contender.remembers() {
            // Of random flows, all but one in 400 have come by then.
            let all = self.traffic.flows().saturating_mul(6).min(WARM_UP);
            self.send(stage, all)?;
            if let Contender::Xlb(_) = self.contender {
                established::all(flows)?;
                self.send(stage, all)?;
            }
        }
        let Run { arrived, .. } = self.send(stage, PROBE)?;
        ensure!(
            // What was lost in queues is for the rows to say.
            arrived > u64::from(PROBE / 2),
            "{}: {arrived} of {PROBE} frames have arrived, of {} bytes each",
            self.name(),
            self.arriving
        );
        Ok(())
    }

    /// Sends so many frames, and takes down how fast how many of them arrived.
    pub fn turn(&mut self, stage: &Stage, frames: u32) -> Result<()> {
        let run = self.send(stage, frames)?;
        let arrived = u32::try_from(run.arrived).context("more than was sent")?;
        self.carried
            .push(1e3 / f64::from(run.nanoseconds) * f64::from(arrived) / f64::from(frames));
        let lost = frames.saturating_sub(arrived);
        self.lost.push(f64::from(lost) / f64::from(frames) * 100.0);
        self.sent.push(100.0);
        Ok(())
    }

    /// The lane's row, and one for what was lost if anything was.
    pub fn report(&self, limit: &Self, report: &mut Report) {
        let flows = self.traffic.flows().into();
        report.add(Row::new(
            self.name(),
            flows,
            "Mpps",
            &self.carried,
            limit.contender.name(),
            &limit.carried,
        ));
        if self.lost.max() > 0.0 {
            let name = format!("{}/lost", self.name());
            report.add(Row::new(name, flows, "%", &self.lost, "sent", &self.sent));
        }
    }

    fn send(&self, stage: &Stage, frames: u32) -> Result<Run> {
        interrupt::check()?;
        let count = || stage.arrivals.of_length(self.arriving);
        let before = count()?;
        let nanoseconds = stage.sender.run(|| {
            stay_on_one_cpu()?;
            self.stream.send(frames)
        })??;
        let deadline = Instant::now() + UNDER_WAY;
        let mut arrived = count()? - before;
        while arrived < u64::from(frames) && Instant::now() < deadline {
            thread::sleep(POLL);
            arrived = count()? - before;
        }
        Ok(Run { nanoseconds, arrived })
    }
}
