//! How long packets go to a backend that has died.
//!
//! Reading order: [`contender`] (a balancer with two backends, in a lab of its own), [`fault`] (what happens to one of them), [`arrivals`]
//! (when the last packet for it came), [`stream`] (the client), [`served`] (what dies), [`many`] (an agent with ten thousand backends).

mod arrivals;
mod contender;
mod fault;
mod many;
mod priority;
pub mod served;
mod stream;

use anyhow::{Context as _, Result, bail};
use xlb_tests::{interrupt, preflight};

use self::{
    contender::{Contender, Kind},
    fault::Fault,
};
use crate::{
    haproxy,
    report::{Output, Report, Row, Samples},
};

/// How long packets go to a backend that has died, beside HAProxy; how long the agent takes for its part of that; and what ten thousand
/// probes a second cost it
///
/// Each contender has a network of namespaces of its own with two backends, and a client that opens 2,000 connections a second. In each
/// round, and for each contender in turn, one backend has its process killed (SIGKILL), its cable pulled, or drops all that it gets. The
/// figure is the time from just before that to the last packet for it: any packet with xlb, the last attempt of a new
/// connection with HAProxy. Checks are on another port, every 100 ms, and two failures count; tcp-hold keeps a connection. Then one agent
/// probes ten thousand backends a second: its CPU time and memory, and how long it takes from a failed probe's result to the word in the data
/// plane, as it says itself (`xlb status -v`). HAProxy takes part where it is installed. Everything runs at a
/// raised priority (nice -10), so that other work on the machine is less in the way. All that is made is gone at the end, after Ctrl-C too.
#[derive(clap::Args)]
pub struct Args {
    /// Failures of each kind; 0 leaves that part out
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(..=10_000))]
    failures: u32,
    /// Backends that one agent probes each second; 0 leaves that part out
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(..=many::MOST))]
    backends: u32,
    /// Install what is missing: HAProxy
    #[arg(long)]
    install: bool,
}

/// Who has what happen to a backend; HAProxy's come first, as the others are compared with them.
const CASES: [(Kind, Fault); 7] = [
    (Kind::Haproxy, Fault::Kill),
    (Kind::Hold, Fault::Kill),
    (Kind::Tcp, Fault::Kill),
    (Kind::Haproxy, Fault::Unplug),
    (Kind::Tcp, Fault::Unplug),
    (Kind::Haproxy, Fault::Silence),
    (Kind::Tcp, Fault::Silence),
];
/// What two probes that fail take at least, milliseconds: the base where there is no HAProxy.
const TWO_INTERVALS: f64 = 200.0;

struct Case {
    kind: Kind,
    fault: Fault,
    samples: Samples,
}

impl Case {
    fn name(&self) -> String {
        format!("{}/{}", self.kind.name(), self.fault.name())
    }
}

pub fn run(args: &Args, output: &Output) -> Result<()> {
    if let Some(reason) = preflight::preflight() {
        bail!("the lab cannot run here: {reason}");
    }
    if let Err(missing) = haproxy::ready() {
        if args.install {
            return Err(missing);
        }
        println!("without HAProxy, which is not installed (--install)");
    }
    interrupt::flag().context("handle Ctrl-C")?;
    priority::raise();
    let mut report = Report::new("failover")?;
    if args.failures > 0 {
        fail(args.failures, &mut report)?;
    }
    if args.backends > 0 {
        many::run(args.backends, &mut report)?;
    }
    report.finish(output)
}

fn fail(failures: u32, report: &mut Report) -> Result<()> {
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_there());
    let mut contenders = kinds.map(Contender::start).collect::<Result<Vec<_>>>()?;
    let mut cases: Vec<Case> = CASES
        .into_iter()
        .filter(|(kind, _)| kind.is_there())
        .map(|(kind, fault)| Case {
            kind,
            fault,
            samples: Samples::default(),
        })
        .collect();
    for _ in 0..failures {
        for case in &mut cases {
            interrupt::check()?;
            let contender = contenders.iter_mut().find(|one| one.kind == case.kind);
            let contender = contender.context("a case without a contender")?;
            let took = contender
                .fail(case.fault)
                .with_context(|| format!("{}, {}", case.kind.name(), case.fault.name()))?;
            case.samples.push(took.as_secs_f64() * 1000.0);
        }
    }
    for case in &cases {
        let base = cases
            .iter()
            .find(|base| base.kind == Kind::Haproxy && base.fault == case.fault);
        let (name, samples) = base.map_or_else(
            || {
                (
                    "2 intervals".to_owned(),
                    (0..failures).map(|_| TWO_INTERVALS).collect(),
                )
            },
            |base| (base.name(), base.samples.clone()),
        );
        let row = Row::new(case.name(), failures.into(), "ms", &case.samples, &name, &samples);
        report.add(row.with_tail(&case.samples));
    }
    Ok(())
}
