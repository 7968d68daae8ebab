//! Connections, requests and how long they take, with a real client and real servers.
//!
//! Reading order: [`contender`] (what is between them, each in a lab of its own), [`wrk`] (the client).

mod contender;
mod wrk;

use anyhow::{Context as _, Result, bail};
use xlb_tests::{interrupt, preflight};

use self::{
    contender::{Contender, Kind},
    wrk::{Load, Measured, Use},
};
use crate::{
    nftables,
    report::{Output, Report, Row, Samples},
};

/// Connections and requests per second and their latency, from wrk to nginx, through nat and dsr, as shares of what there is without a
/// balancer; beside them nftables and HAProxy
///
/// Each contender has a network of namespaces of its own, all alike: a client with wrk, a switch, the balancer's host, and servers with
/// nginx. "direct" is without a balancer: the switch is a router that spreads connections over its routes to the servers (ECMP); for
/// "routed" the balancer's host does, so that packets take the same way as with dsr. wrk measures three things, each with a request under way on every connection at any time: connections (one request each), requests (on connections
/// kept alive), and latency (the same on a single one, so that no request waits for another). Client, servers and balancer share the
/// machine's CPUs: what a balancer takes is missing to the others. So there is the CPU time of all of them as well, which does not depend on
/// what else the machine does. xlb is the real agent, with health checks. All that is made is gone at
/// the end, after Ctrl-C too.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds: in each, all contenders take turns
    #[arg(long, default_value_t = 13, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Connections that are open at once where throughput is measured
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Servers of each contender
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    servers: u8,
    /// Only this contender, beside "direct": routed, nat, dsr, nftables or haproxy
    #[arg(long)]
    only: Option<String>,
}

/// What wrk is to do, and what of its answer is of interest.
struct Question {
    load: Load,
    figures: &'static [Figure],
}

struct Figure {
    name: &'static str,
    unit: &'static str,
    of: fn(&Measured) -> f64,
}

const CONNECTIONS: [Figure; 2] = [
    Figure {
        name: "connections",
        unit: "conn/s",
        of: Measured::per_second,
    },
    Figure {
        name: "cpu/connection",
        unit: "us",
        of: Measured::cpu_for_each,
    },
];
const REQUESTS: [Figure; 2] = [
    Figure {
        name: "requests",
        unit: "req/s",
        of: Measured::per_second,
    },
    Figure {
        name: "cpu/request",
        unit: "us",
        of: Measured::cpu_for_each,
    },
];
const LATENCY: [Figure; 2] = [
    Figure {
        name: "p50",
        unit: "us",
        of: |measured| measured.p50,
    },
    Figure {
        name: "p99",
        unit: "us",
        of: |measured| measured.p99,
    },
];

pub fn run(args: &Args, output: &Output) -> Result<()> {
    if let Some(reason) = preflight::preflight() {
        bail!("the lab cannot run here: {reason}");
    }
    nftables::ready()?;
    preflight::tools(&[("wrk", "wrk"), ("haproxy", "haproxy")])?;
    interrupt::flag().context("handle Ctrl-C")?;
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| *kind == Kind::Direct || args.only.as_ref().is_none_or(|only| only == kind.name()));
    let contenders = kinds
        .map(|kind| Contender::start(kind, args.servers))
        .collect::<Result<Vec<_>>>()?;
    let mut report = Report::new("tcp")?;
    for question in questions(args) {
        ask(&contenders, &question, args.rounds, &mut report)?;
    }
    report.finish(output)
}

fn questions(args: &Args) -> [Question; 3] {
    let load = |each, connections| Load {
        each,
        connections,
        seconds: args.seconds,
    };
    [
        Question {
            load: load(Use::Once, args.connections),
            figures: &CONNECTIONS,
        },
        Question {
            load: load(Use::KeptAlive, args.connections),
            figures: &REQUESTS,
        },
        Question {
            load: load(Use::KeptAlive, 1),
            figures: &LATENCY,
        },
    ]
}

/// Asks it of all contenders by turns; the first is what the others are compared with.
fn ask(contenders: &[Contender], question: &Question, rounds: u32, report: &mut Report) -> Result<()> {
    let mut answers: Vec<Vec<Measured>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contender, answers) in contenders.iter().zip(&mut answers) {
            answers.push(wrk::run(&contender.lab, contender.vip, question.load)?);
        }
    }
    let connections = question.load.connections.into();
    let all = |of: fn(&Measured) -> f64| answers.iter().map(move |all| all.iter().map(of).collect());
    let base_name = contenders.first().map_or("", Contender::name);
    for figure in question.figures {
        let samples: Vec<Samples> = all(figure.of).collect();
        for (contender, own) in contenders.iter().zip(&samples) {
            let name = format!("{}/{}", contender.name(), figure.name);
            report.add(Row::new(
                name,
                connections,
                figure.unit,
                own,
                base_name,
                &samples[0],
            ));
        }
    }
    let failed: Vec<Samples> = all(Measured::failed).collect();
    for (contender, failed) in contenders
        .iter()
        .zip(&failed)
        .filter(|(_, failed)| failed.max() > 0.0)
    {
        let name = format!("{}/{}/failed", contender.name(), question.figures[0].name);
        let tried: Samples = (0..rounds).map(|_| 100.0).collect();
        report.add(Row::new(name, connections, "%", failed, "tried", &tried));
    }
    Ok(())
}
