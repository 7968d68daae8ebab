//! Nanoseconds per packet of the XDP program, by forwarding mode, family and number of flows.
//!
//! Reading order: [`case`] (what is measured), [`select`] (which of it), [`suite`] (how), [`tables`] (what changes of a pool cost).

pub mod case;
mod ops;
mod select;
mod suite;
mod tables;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use self::{select::Selection, suite::Suite};
use crate::{
    alone::Alone,
    report::{Output, Report},
    rounds::Rounds,
    sys,
    wrapper::Target,
};

/// Nanoseconds per packet of the XDP program, by BPF_PROG_TEST_RUN
///
/// Each packet is a frame that a wrapper program writes anew, with the head put back where it was, before a tail call to the program under
/// test; of several flows each packet is a random one. Base programs that do the least of what a balancer does (drop, pass, send,
/// move the head and send) get the same frames from the same wrapper, in rounds that take turns with the program's. A row's ratio is
/// the median of the rounds' ratios. Before a row is measured, the packets' outcome is checked.
///
/// Rows: MODE/PROTOCOL/KIND. settled: the flows are known; new: each packet is the first of its flow; written, new-written: the same where
/// each flow is written down; pass: for no VIP, and maybe-reply where translating services are there; error: ICMP errors about a flow;
/// answer: packets too long for a tunnel; all-features: QUIC routing, rates, affinity, fragments by hash, all ports of a VIP (networks,
/// hairpins and VLAN devices looked up besides), with multi_buffer, partial_checksums, spread tunnels and own addresses. There is no row
/// with an access list: xlb has none.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    rounds: Rounds,
    /// A pinned XDP program that gets the same frames: rows pinned/…, in the same rounds
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Only print the rows, and where their packets go: for the configuration of a program that is pinned
    #[arg(long)]
    list: bool,
    /// Only single operations, each beside the same program without it: rows op/…, where the count is that of a map's entries
    #[arg(long, conflicts_with_all = ["program", "only", "flows"])]
    ops: bool,
}

pub fn run(args: &Args, output: &Output) -> Result<()> {
    // Before other file systems hide it.
    let pinned = args.program.as_deref().map(sys::open_pinned).transpose()?;
    let pinned = pinned.map(Target::foreign).transpose()?;
    let plan = args.selection.plan()?;
    if args.list {
        plan.iter()
            .for_each(|(case, flows)| println!("{}", case.packets(*flows)));
        return Ok(());
    }
    let mut report = Report::new("program")?;
    let on = Alone::enter()?;
    if args.ops {
        ops::measure(&args.rounds, &on, |row| report.add(row))?;
        return report.finish(output);
    }
    let mut suite = Suite::new(&args.rounds, &on, pinned);
    for (is_v4, flows) in args.selection.bases() {
        suite
            .bases(is_v4, flows)?
            .into_iter()
            .for_each(|row| report.add(row));
    }
    for (case, flows) in plan {
        let rows = suite.case(case, flows);
        let rows = rows.with_context(|| format!("{case} with {flows} flows"))?;
        rows.into_iter().for_each(|row| report.add(row));
    }
    // Two balancers would share their pins.
    drop(suite);
    if args.selection.wants(tables::NAME) {
        tables::measure()?.into_iter().for_each(|row| report.add(row));
    }
    report.finish(output)
}
