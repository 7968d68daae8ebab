//! `xlb decap`: a backend's end of the tunnels.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::{decap::Decap, traffic::Count};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::Reply;
use crate::{
    cli::{Output, decap::Arguments},
    config::{AttachMode, Interface},
    datapath::{
        interfaces::{self, Frames},
        preflight,
    },
    decap::{Locals, Program, Tally},
    netlink::Links,
    output::{
        self,
        Column::{Number, Text},
    },
};

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    interface: String,
    mode: AttachMode,
    seconds: u64,
    counters: Vec<Counter>,
}

#[derive(Debug, Serialize)]
struct Counter {
    name: &'static str,
    packets: u64,
    bytes: u64,
}

/// Takes packets out of tunnels until it is told to end.
///
/// # Errors
/// When it cannot start. Nothing is left behind, however it ends.
pub async fn execute(arguments: &Arguments, output: Output) -> Result<Reply> {
    preflight::check()?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
    let frames = frames(arguments).await?;
    frames.log();
    let mut program = Program::load(arguments.port, &arguments.sources, frames.multi_buffer())?;
    let mut locals = match arguments.locals.as_slice() {
        [] => Some(Locals::connect()?),
        fixed => {
            program.set_locals(fixed.iter().copied().collect())?;
            None
        }
    };
    if let Some(locals) = &locals {
        program.set_locals(locals.read().await?)?;
    }
    let interface = &arguments.interface;
    let attached = program.attach(interface, arguments.generic);
    let mode = attached.with_context(|| format!("interface {interface}"))?;
    let started = Instant::now();
    log::info!(
        "interface {interface}: takes packets out of tunnels, in {} mode",
        mode.name()
    );
    loop {
        tokio::select! {
            () = changed(&mut locals) => follow(&mut program, locals.as_ref()).await,
            _ = interrupt.recv() => break log::info!("ends on SIGINT"),
            _ = terminate.recv() => break log::info!("ends on SIGTERM"),
        }
    }
    let report = report(interface, mode, started.elapsed(), &program.tally()?);
    Reply::new(output, &report, || screen(&report))
}

/// Which program the interface needs.
async fn frames(arguments: &Arguments) -> Result<Frames> {
    let interface = Interface {
        name: arguments.interface.clone(),
        mode: if arguments.generic {
            AttachMode::Generic
        } else {
            AttachMode::Auto
        },
    };
    let links = Links::connect()?.all().await?;
    Ok(interfaces::frames(&links, &[interface], preflight::kernel()?))
}

async fn changed(locals: &mut Option<Locals>) {
    match locals {
        Some(locals) => locals.changed().await,
        None => std::future::pending().await,
    }
}

/// Packets go on by what was known last when the kernel cannot be asked.
async fn follow(program: &mut Program, locals: Option<&Locals>) {
    let read = match locals {
        Some(locals) => locals.read().await,
        None => Ok(BTreeSet::new()),
    };
    if let Err(error) = read.and_then(|locals| program.set_locals(locals)) {
        log::warn!("the addresses of this host are not followed for a moment: {error:#}");
    }
}

fn report(interface: &str, mode: AttachMode, ran: Duration, tally: &Tally) -> Report {
    let counter = |(outcome, count): (&Decap, &Count)| Counter {
        name: outcome.name(),
        packets: count.packets,
        bytes: count.bytes,
    };
    Report {
        interface: interface.to_owned(),
        mode,
        seconds: ran.as_secs(),
        counters: Decap::ALL.iter().zip(tally).map(counter).collect(),
    }
}

fn screen(report: &Report) -> String {
    let head = format!(
        "{}: took packets out of tunnels for {}\n",
        report.interface,
        output::duration(report.seconds)
    );
    let columns = [
        Text("OUTCOME"),
        Number("PACKETS"),
        Number("BYTES"),
        Text("WHAT HAPPENED"),
    ];
    let happened = report.counters.iter().zip(Decap::ALL);
    let rows = happened.filter(|(counter, _)| counter.packets > 0);
    let rows = rows.map(|(counter, outcome)| {
        [
            counter.name.to_owned(),
            output::count(counter.packets),
            output::bytes(counter.bytes),
            meaning(*outcome),
        ]
    });
    head + &output::table(&columns, rows)
}

fn meaning(outcome: Decap) -> String {
    let why = match outcome {
        Decap::Taken => "taken out of its tunnel",
        Decap::NotTunnel => "no tunnel to this host",
        Decap::ForeignSource => "tunnel from outside the networks of --from",
        Decap::NotLocal => "what is in the tunnel is for another host",
        Decap::Fragment => "fragment of a tunnel's packet: let the balancer send smaller ones",
        Decap::UnknownGue => "GUE with a header that is not read here",
        Decap::BadOuter => "outer header with a wrong checksum or length",
        Decap::BadInner => "what is in the tunnel is not the IP packet that it should be",
        Decap::Congested => "marked congested, of a sender who would not hear of it",
    };
    let fate = if outcome.passes() { "passes" } else { "dropped" };
    format!("{why} ({fate})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_told_with_its_fate() {
        let mut tally = vec![Count::default(); Decap::ALL.len()];
        tally[usize::from(Decap::Taken.wire())] = Count {
            packets: 12,
            bytes: 1_234,
        };
        tally[usize::from(Decap::BadInner.wire())] = Count {
            packets: 1,
            bytes: 60,
        };
        let report = report("eth0", AttachMode::Native, Duration::from_secs(61), &tally);
        assert_eq!(
            screen(&report),
            "eth0: took packets out of tunnels for 1m 1s\n\
             OUTCOME    PACKETS    BYTES  WHAT HAPPENED\n\
             taken           12  1.2 KiB  taken out of its tunnel (passes)\n\
             bad_inner        1     60 B  what is in the tunnel is not the IP packet that it should be (dropped)\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["mode"], "native");
        assert_eq!(json["counters"][0]["packets"], 12);
    }
}
