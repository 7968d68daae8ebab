//! The benchmark suites: what `cargo xtask bench` runs.
//!
//! Reading order: [`report`] (what is printed), then the suite of interest. What suites share: [`wrapper`] (how a program is given the
//! same packet again and again), [`rounds`] (how programs take turns), [`frame`] (the packets), [`bases`] (what they are compared with), [`haproxy`] and [`nftables`] (other balancers), [`balancer`] (the program under test), [`sys`] (bpf(2)).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod alone;
mod balancer;
mod bases;
mod counts;
mod established;
mod failover;
mod frame;
mod haproxy;
#[path = "../verify/host.rs"]
mod host;
mod nftables;
mod pktgen;
mod program;
mod report;
mod rounds;
mod scale;
mod sys;
#[path = "../verify/syscall.rs"]
mod syscall;
mod tcp;
mod veth;
mod wrapper;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::report::Output;

#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    about = "What xlb costs and carries, beside the limits of the machine that it is measured on"
)]
struct Cli {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    Program(Run<program::Args>),
    Veth(Run<veth::Args>),
    Tcp(Run<tcp::Args>),
    Scale(Run<scale::Args>),
    Counts(Run<counts::Args>),
    Failover(Run<failover::Args>),
    /// The kernel's packet generator: on a network card, or in a virtual machine beside IPVS
    #[command(long_about = pktgen::HELP)]
    Pktgen(Run<pktgen::Args>),
    /// The server that dies in failover
    #[command(hide = true)]
    Served,
    /// The first process of pktgen's virtual machine
    #[command(hide = true)]
    Guest,
}

// A suite's own arguments, and where its results go. No documentation: the suite's is what `--help` shows.
#[derive(Args)]
struct Run<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    env_logger::init();
    match run(Cli::parse().suite) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(suite: Suite) -> Result<()> {
    match suite {
        Suite::Program(Run { args, output }) => program::run(&args, &output),
        Suite::Veth(Run { args, output }) => veth::run(&args, &output),
        Suite::Tcp(Run { args, output }) => tcp::run(&args, &output),
        Suite::Counts(Run { args, output }) => counts::run(&args, &output),
        Suite::Scale(Run { args, output }) => scale::run(&args, &output),
        Suite::Pktgen(Run { args, output }) => pktgen::run(&args, &output),
        Suite::Failover(Run { args, output }) => failover::run(&args, &output),
        Suite::Served => failover::served::run(),
        Suite::Guest => pktgen::guest::run(),
    }
}
