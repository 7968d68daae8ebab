//! What a packet and the maps cost, against services, backends and flows.
//!
//! Reading order: [`curve`] (what grows), then how a point of it is measured.

mod curve;
mod memory;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::outcome::Outcome;

use self::curve::{Curve, Point, Shape};
use crate::{
    alone::Alone,
    balancer::{Balancer, Features},
    bases::Base,
    report::{Output, Report, Row, Samples},
    rounds::{Lane, Pair, Rounds},
    sys::{Linkage, action},
    wrapper::{Flows, Wrapper},
};

/// What a packet and the maps cost, against services, backends and flows
///
/// ipip/services, nat/services: packets for random ones of so many services, each of four backends, one client to each. ipip/backends,
/// nat/backends: 100,000 random flows to a service of so many backends. ipip/flows, nat/flows, written/flows: so many random flows
/// to a service of 64 backends; written are those of a service that writes each flow down. Nanoseconds per packet, beside a base that
/// moves the head and sends the same frames (see `program --help`), in rounds that take turns. memory/…: the kernel's memory of
/// all maps, made for so many, beside the first of the curve. A point that needs more memory than is free is left out, and that is said.
#[derive(clap::Args)]
pub struct Args {
    /// Only curves with this in their names; several times for several
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// No point with more than so many
    #[arg(long, value_name = "COUNT")]
    most: Option<u32>,
    #[command(flatten)]
    rounds: Rounds,
}

pub fn run(args: &Args, output: &Output) -> Result<()> {
    let curves: Vec<Curve> = Curve::all()
        .into_iter()
        .filter(|curve| args.wants(*curve))
        .collect();
    ensure!(!curves.is_empty(), "no curve has such a name");
    let mut suite = Suite {
        rounds: &args.rounds,
        on: Alone::enter()?,
        report: Report::new("scale")?,
        first: BTreeMap::new(),
        balancer: None,
    };
    for point in Point::of(&curves).filter(|point| args.most.is_none_or(|most| point.count <= most)) {
        let name = format!("{} of {}", point.curve, point.count);
        match memory::lack(&point)? {
            Some(lack) => eprintln!("bench: {name} is left out: {lack}"),
            None => suite.measure(&point).context(name)?,
        }
    }
    suite.report.finish_with_curves(output)
}

impl Args {
    fn wants(&self, curve: Curve) -> bool {
        let name = curve.to_string();
        self.only.is_empty() || self.only.iter().any(|pattern| name.contains(pattern))
    }
}

struct Suite<'a> {
    rounds: &'a Rounds,
    on: Alone,
    report: Report,
    /// The memory of the first point of each curve.
    first: BTreeMap<String, f64>,
    /// The one of the last point, which serves for another mode, too, where no flows are kept for it.
    balancer: Option<(Shape, Balancer)>,
}

impl Suite<'_> {
    /// What a packet costs at a point, and the maps.
    fn measure(&mut self, point: &Point) -> Result<()> {
        let rounds = self.rounds;
        let balancer = self.ready(point)?;
        let target = balancer.target()?;
        let (frame, count) = (point.frame(), point.flows());
        // What a flow's first packet opens, its second confirms.
        Wrapper::new(&frame, Flows::InTurn(count), &target)?.run(count.saturating_mul(2))?;
        balancer.establish()?;
        let under_test = Wrapper::new(&frame, Flows::random(count), &target)?;
        let taken = memory::of(balancer, point.services())?;
        check(balancer, &under_test, rounds.packets)?;
        let pair = Pair {
            base: Lane::of_base(Base::HeadMoveSend, &frame, count, Linkage::default())?,
            others: vec![Lane::new(point.curve.to_string(), under_test)],
        };
        let measured = pair.measure(rounds, &self.on)?;
        for row in measured.rows(point.count, Base::HeadMoveSend.name()) {
            self.report.add(row);
        }
        if point.curve.shows_memory() {
            self.add_memory(point, taken);
        }
        Ok(())
    }

    fn add_memory(&mut self, point: &Point, taken: f64) {
        let name = format!("memory/{}", point.curve);
        let first = *self.first.entry(name.clone()).or_insert(taken);
        let one = |figure| -> Samples { std::iter::once(figure).collect() };
        let row = Row::new(name, point.count.into(), "MiB", &one(taken), "first", &one(first));
        self.report.add(row);
    }

    /// A balancer with the services of a point. The kernel waits for all CPUs with each slot table that is put in place, so those of
    /// another mode are kept.
    fn ready(&mut self, point: &Point) -> Result<&mut Balancer> {
        let shape = point.shape();
        let kept = self.balancer.take().filter(|(of, _)| *of == shape);
        let balancer = if let Some((_, mut balancer)) = kept {
            for id in 0..point.services() {
                balancer.enter(id, &point.served(id))?;
            }
            balancer
        } else {
            let mut balancer = Balancer::load(shape.capacity(), Features::Plain)?;
            for id in 0..point.services() {
                balancer.serve(id, &point.served(id))?;
            }
            balancer
        };
        Ok(&mut self.balancer.insert((shape, balancer)).1)
    }
}

/// Makes sure that packets are sent on.
fn check(balancer: &Balancer, wrapper: &Wrapper, packets: u32) -> Result<()> {
    let before = balancer.count_of(Outcome::Forwarded)?;
    let done = wrapper.run(packets)?.action;
    let forwarded = balancer.count_of(Outcome::Forwarded)? - before;
    ensure!(
        forwarded == u64::from(packets) && done == action::TX,
        "{forwarded} of {packets} packets were forwarded, the action was {}",
        action::name(done)
    );
    Ok(())
}
