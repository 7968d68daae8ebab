//! Rounds in which programs take turns, so that what else the machine does meets all of them alike.

use anyhow::{Result, ensure};

use crate::{
    alone::Alone,
    bases::Base,
    frame::Frame,
    report::{Row, Samples},
    sys::{Linkage, Program, action},
    wrapper::{Flows, Target, Wrapper},
};

#[derive(clap::Args)]
pub struct Rounds {
    /// Measurements of each program
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Packets of a measurement, at least
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub packets: u32,
}

/// One program in measurement.
pub struct Lane {
    pub name: String,
    pub wrapper: Wrapper,
    samples: Samples,
}

/// Programs that get the same packets, and what they are compared with.
pub struct Pair {
    pub base: Lane,
    pub others: Vec<Lane>,
}

impl Lane {
    pub fn new(name: String, wrapper: Wrapper) -> Self {
        Self {
            name,
            wrapper,
            samples: Samples::default(),
        }
    }

    /// A base, which does what it should.
    pub fn of_base(base: Base, frame: &Frame, flows: u32, linkage: Linkage) -> Result<Self> {
        let program = Program::load(&base.instructions(), base.name(), linkage)?;
        let target = Target::new(program.fd(), linkage)?;
        let wrapper = Wrapper::new(frame, Flows::random(flows), &target)?;
        let done = wrapper.run(1000)?.action;
        ensure!(
            done == base.action(),
            "the base {} ends in {}",
            base.name(),
            action::name(done)
        );
        Ok(Self::new(base.name().to_owned(), wrapper))
    }
}

impl Pair {
    pub fn measure(mut self, rounds: &Rounds, on: &Alone) -> Result<Self> {
        ensure!(
            self.others.len() < on.interfaces.len(),
            "too many programs at once"
        );
        let lanes = std::iter::once(&self.base).chain(&self.others);
        let attached = lanes.zip(&on.interfaces);
        let _attached: Vec<_> = attached
            .map(|(lane, &interface)| lane.wrapper.attach(interface))
            .collect::<Result<_>>()?;
        for _ in 0..rounds.rounds {
            for lane in std::iter::once(&mut self.base).chain(&mut self.others) {
                lane.samples.push(lane.wrapper.run(rounds.packets)?.nanoseconds);
            }
        }
        Ok(self)
    }

    pub fn rows(&self, flows: u32, base: &str) -> Vec<Row> {
        let row = |lane: &Lane| {
            Row::new(
                &lane.name,
                flows.into(),
                "ns",
                &lane.samples,
                base,
                &self.base.samples,
            )
        };
        self.others.iter().map(row).collect()
    }
}
