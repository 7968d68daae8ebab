//! Millions of packets per second through veth pairs, each contender beside the limit of the machine.
//!
//! Reading order: [`stage`] (the network), [`contender`] (who carries the packets), [`traffic`] (the packets), [`lane`] (one contender with
//! its packets, and what is counted).

mod contender;
mod lane;
mod stage;
mod traffic;

use anyhow::{Context as _, Result, bail};
use xlb_tests::{interrupt, preflight};

use self::{
    contender::{Contender, Contenders},
    lane::Lane,
    stage::Stage,
    traffic::{Family, Kind, Traffic},
};
use crate::{
    nftables,
    report::{Output, Report},
};

/// Millions of packets per second through veth pairs, in each forwarding mode, as shares of what a program gets through that only moves the
/// head and sends; beside them the kernel's routing and an nftables balancer
///
/// A program writes the frames (BPF_F_TEST_XDP_LIVE_FRAMES) and sends them into the balancer's interface; by its other one they arrive at a
/// program that counts and drops them. All of it happens on one CPU: a figure is what sender, balancer and receiver take together, and a
/// share of the limit is one of that. Only frames that have arrived count; a share that was lost has a row of its own. The time is that of
/// the CPU, without what other processes have had of it. xlb is the real agent with its configuration. All that is made is gone at the end,
/// after Ctrl-C too.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds: in each, all contenders take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Frames of each turn; the kernel's own contenders, which are slower, get a fourth
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..))]
    frames: u32,
    /// How many random flows the packets are of
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100_000, 1_000_000],
          value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    flows: Vec<u32>,
    /// Only cases whose name has this in it, such as "ipip" or "tcp6/new"
    #[arg(long)]
    only: Option<String>,
}

pub fn run(args: &Args, output: &Output) -> Result<()> {
    if let Some(reason) = preflight::preflight() {
        bail!("the lab cannot run here: {reason}");
    }
    nftables::ready()?;
    interrupt::flag().context("handle Ctrl-C")?;
    let stage = Stage::build(&Contender::HOSTS)?;
    let contenders = Contenders::start(&stage, args.flows.iter().copied().max().unwrap_or(1))?;
    let mut report = Report::new("veth")?;
    for family in Family::BOTH {
        let settled = args.flows.iter().map(|&flows| Kind::Settled(flows));
        for kind in settled.chain([Kind::New]) {
            let traffic = Traffic { family, kind };
            measure(args, &stage, &contenders, traffic, &mut report)?;
        }
    }
    report.finish(output)
}

/// All contenders with the same packets, by turns.
fn measure(
    args: &Args,
    stage: &Stage,
    contenders: &Contenders,
    traffic: Traffic,
    report: &mut Report,
) -> Result<()> {
    let mut lanes = lanes(args, stage, contenders, traffic)?;
    if lanes.is_empty() {
        return Ok(());
    }
    let mut limit = Lane::new(stage, Contender::Limit, traffic)?;
    let _limit = contender::limit(stage, traffic)?;
    for lane in [&limit].into_iter().chain(&lanes) {
        lane.warm_up(stage, &contenders.flows())?;
    }
    for _ in 0..args.rounds {
        limit.turn(stage, args.frames)?;
        for lane in &mut lanes {
            let less = if lane.contender.is_kernels() { 4 } else { 1 };
            lane.turn(stage, args.frames / less)?;
        }
    }
    for lane in [&limit].into_iter().chain(&lanes) {
        lane.report(&limit, report);
    }
    Ok(())
}

/// Those that were asked for and have room for the flows.
fn lanes(args: &Args, stage: &Stage, contenders: &Contenders, traffic: Traffic) -> Result<Vec<Lane>> {
    let mut lanes = Vec::new();
    for contender in Contender::ALL
        .into_iter()
        .filter(|contender| contender.takes(traffic.kind))
    {
        let lane = Lane::new(stage, contender, traffic)?;
        let name = lane.name();
        if args.only.as_ref().is_some_and(|part| !name.contains(part)) {
            continue;
        }
        let flows = traffic.flows();
        if contenders.have_room(contender, flows, &args.flows) {
            lanes.push(lane);
        } else {
            let most = nftables::CONNECTIONS;
            eprintln!("bench: {name} is left out of {flows} flows: {most} is too low for them");
        }
    }
    Ok(lanes)
}
