//! Inside the virtual machine: the first and only process, which sets lanes up and measures them by turns.
//!
//! One instruction is one nanosecond of the guest's time, so that what a packet takes is counted in instructions, and the same
//! each time.

mod bed;
mod ipvs;
mod programs;
mod system;
mod xlb;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use self::{
    bed::{Bed, Line, VIP},
    xlb::Xlb,
};
use super::{
    FLOWS,
    console::{DONE, FIRST, LAST, Measured},
    generator::{self, Pktgen, Sent, Stream},
    lane::Lane,
};
use crate::host;

/// Packets of one measurement.
const PACKETS: u64 = 20_000;
/// Packets before the first one: by then every flow has come, dozens of times.
const WARM_UP: u64 = 8_000;
/// Measurements of each lane.
const ROUNDS: usize = 5;
/// Bytes of a frame: the shortest there are.
const FRAME: u16 = 60;
/// The longest that the last packet of a run takes, in the guest's time.
const ARRIVES: Duration = Duration::from_millis(500);

/// As the first process. The console is all that is seen of it, and the machine ends with it.
pub fn run() -> Result<()> {
    system::expect_machine()?;
    match system::prepare().and_then(|()| measure()) {
        Ok(()) => println!("{DONE}"),
        Err(error) => println!("{LAST}{error:#}"),
    }
    system::end()
}

fn measure() -> Result<()> {
    println!("{FIRST}{}", host::kernel()?);
    let bed = Bed::make()?;
    ipvs::prepare(&bed.ipvs)?;
    let mut xlb = Xlb::load()?;
    let mut lines = Vec::new();
    for (number, lane) in (0..).zip(Lane::ALL) {
        let line = bed.lay(number, lane)?;
        prepare(&bed, &line, &mut xlb).with_context(|| format!("prepare {lane}"))?;
        lines.push(line);
    }
    let forwarded_before = xlb.forwarded()?;
    // pktgen's files are those of the thread's namespace.
    let rounds = bed.client.run(|| take_turns(&lines))??;
    let (sent, forwarded) = (by_xlb(), xlb.forwarded()? - forwarded_before);
    ensure!(
        forwarded == sent,
        "xlb forwarded {forwarded} of {sent} packets that were for its services"
    );
    for (line, rounds) in lines.iter().zip(rounds) {
        let measured = Measured {
            lane: line.lane.to_string(),
            rounds,
        };
        println!("{}", serde_json::to_string(&measured)?);
    }
    Ok(())
}

/// Sets up what decides in a lane.
fn prepare(bed: &Bed, line: &Line, xlb: &mut Xlb) -> Result<()> {
    let space = bed.between(line.lane);
    match line.lane {
        // Laid with the lane.
        Lane::Drop(_) | Lane::Redirect(_) | Lane::HeadMove => Ok(()),
        Lane::Routing => line.route(space),
        Lane::Xlb(mode) => xlb.add(space, line, mode),
        Lane::Ipvs(mode) => ipvs::add(space, line, mode),
    }
}

/// Packets that xlb is given in all rounds.
fn by_xlb() -> u64 {
    let lanes = Lane::ALL.iter().filter(|lane| matches!(lane, Lane::Xlb(_)));
    lanes.map(|_| WARM_UP + ROUNDS as u64 * PACKETS).sum()
}

/// Instructions per packet, by lane and round.
fn take_turns(lines: &[Line]) -> Result<Vec<Vec<f64>>> {
    for line in lines {
        send(line, WARM_UP)?;
    }
    let mut rounds = vec![Vec::new(); lines.len()];
    for number in 1..=ROUNDS {
        println!("guest: round {number} of {ROUNDS}");
        for (line, rounds) in lines.iter().zip(&mut rounds) {
            rounds.push(send(line, PACKETS)?);
        }
    }
    Ok(rounds)
}

/// Sends packets down a lane, all of which must arrive; the instructions that each took.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a second")]
fn send(line: &Line, packets: u64) -> Result<f64> {
    let before = line.received()?;
    let sent = run_pktgen(line, packets).with_context(|| format!("send to {}", line.lane))?;
    let deadline = Instant::now() + ARRIVES;
    let received = loop {
        let received = line.received()? - before;
        if received >= packets || Instant::now() > deadline {
            break received;
        }
        thread::sleep(Duration::from_millis(1));
    };
    ensure!(
        received == packets && sent.packets == packets && sent.errors == 0,
        "{}: {received} of {packets} packets arrived; pktgen sent {} and had {} errors",
        line.lane,
        sent.packets,
        sent.errors
    );
    Ok(sent.microseconds as f64 * 1000.0 / packets as f64)
}

fn run_pktgen(line: &Line, packets: u64) -> Result<Sent> {
    let mut pktgen = Pktgen::take()?;
    let stream = Stream {
        size: FRAME,
        destination_mac: line.front_mac(),
        source: line.client_address().into(),
        destination: VIP.into(),
        port: line.lane.port(),
        flows: FLOWS,
        count: packets,
        rate: 0,
    };
    let device = line.sender();
    pktgen.add(0, &device, &stream)?;
    generator::start()?;
    let sent = Pktgen::sent(&device)?;
    pktgen.clear()?;
    Ok(sent)
}
