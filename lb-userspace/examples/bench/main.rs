//! Nanoseconds per packet of the XDP program, by forwarding mode and family: what `cargo xtask bench` runs.
//!
//! Reading order: [`case`] (what is measured), [`wrapper`] (how a program is given the same packet again and again), [`balancer`]
//! (the program under test), [`sys`] (bpf(2)), [`report`] (what is printed).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod balancer;
mod case;
mod frame;
#[path = "../verify/host.rs"]
mod host;
mod report;
mod sys;
mod wrapper;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

use crate::{
    balancer::Balancer,
    case::Case,
    report::{Report, Row, Samples},
    sys::Program,
    wrapper::Wrapper,
};

/// Packets of one measurement: so short that most of them are over before the scheduler has other plans.
const PACKETS: u32 = 20_000;
/// Measurements of each case. They take turns, so that what else the machine does meets all of them alike.
const ROUNDS: usize = 75;
/// Flows of the cases with many, each packet of a random one.
const MANY: u32 = 100_000;

#[derive(Parser)]
#[command(
    about = "Nanoseconds per packet by BPF_PROG_TEST_RUN, as ratios to a program that only moves the head and sends"
)]
struct Args {
    /// Write the results to a file, too
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    env_logger::init();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    // A host of our own, without routes.
    unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (as root)")?;
    host::prepare()?;
    stay_on_one_cpu()?;
    let mut report = Report::new(&host::kernel()?);
    println!("{}", report.machine);
    println!("{}", Row::HEADINGS);
    let mut add = |rows: Vec<Row>| {
        for row in rows {
            println!("{row}");
            report.rows.push(row);
        }
    };
    add(measure(&Case::ALL, 1)?);
    for case in Case::ALL.into_iter().filter(|case| case.has_flows()) {
        add(measure(&[case], MANY)?);
    }
    match &args.json {
        Some(path) => report.write(path),
        None => Ok(()),
    }
}

/// The last one, where there are several: interrupts tend to the first.
fn stay_on_one_cpu() -> Result<()> {
    let last = std::thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1);
    let mut cpus = CpuSet::new();
    cpus.set(last).context("name a CPU")?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("stay on one CPU")
}

/// One case in measurement, or its base.
struct Lane {
    wrapper: Wrapper,
    samples: Samples,
}

/// Measures cases by turns, each beside a base that gets the same packets.
fn measure(cases: &[Case], flows: u32) -> Result<Vec<Row>> {
    let mut balancer = Balancer::load(flows)?;
    let base = Program::load(&wrapper::head_move_send(), "base")?;
    let mut lanes = Vec::new();
    for case in cases {
        let frame = case.frame();
        let lane = |program| -> Result<Lane> {
            Ok(Lane {
                wrapper: Wrapper::new(&frame, flows, program)?,
                samples: Samples::default(),
            })
        };
        let pair = (lane(base.fd())?, lane(balancer.program()?)?);
        warm_up(*case, &pair.1.wrapper, &balancer, flows)?;
        lanes.push((*case, pair.0, pair.1));
    }
    for _ in 0..ROUNDS {
        for (_, base, under_test) in &mut lanes {
            for lane in [base, under_test] {
                lane.samples.push(lane.wrapper.run(PACKETS)?.nanoseconds);
            }
        }
    }
    let row = |(case, base, under_test): &(Case, Lane, Lane)| {
        Row::new(*case, flows, &under_test.samples, &base.samples)
    };
    Ok(lanes.iter().map(row).collect())
}

/// Opens the flows, and makes sure that packets end as they should: a program that drops is fast.
fn warm_up(case: Case, wrapper: &Wrapper, balancer: &Balancer, flows: u32) -> Result<()> {
    // Of random ones, all but one in 400 have come by then.
    wrapper.run(flows * 6)?;
    let before = balancer.count_of(case.outcome())?;
    let run = wrapper.run(PACKETS)?;
    let counted = balancer.count_of(case.outcome())? - before;
    ensure!(
        counted == u64::from(PACKETS) && run.action == case.action(),
        "{case}: {counted} of {PACKETS} packets were counted as {:?}, the action was {}",
        case.outcome(),
        run.action
    );
    Ok(())
}
