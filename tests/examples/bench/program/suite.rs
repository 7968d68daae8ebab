//! How a row is measured: with a balancer for its case, beside its base.

use anyhow::{Context as _, Result, ensure};
use lb_common::limits;
use xlb::datapath::load::Capacity;

use super::case::{self, Case, FRESH, Subject};
use crate::{
    alone::Alone,
    balancer::{Balancer, Features},
    bases::Base,
    frame,
    report::Row,
    rounds::{Lane, Pair, Rounds},
    sys::{Linkage, action},
    wrapper::{Flows, Target, Wrapper},
};

pub struct Suite<'a> {
    rounds: &'a Rounds,
    on: &'a Alone,
    /// Somebody else's program.
    pinned: Option<Target>,
    /// The one of the last case, with what it was loaded for.
    balancer: Option<(Loaded, Balancer)>,
}

/// What a balancer is loaded for. One that remembers many flows is loaded for these alone.
#[derive(PartialEq, Eq)]
struct Loaded {
    features: Features,
    remembered: Option<(Case, u32)>,
}

/// Packets of each flow in one measurement, where flows are remembered: what was looked up for one serves those that come soon after, as they do at
/// full load, and not in the pauses between measurements.
const PER_FLOW: u32 = 4;
/// Packets of such a measurement, at most, unless more are asked for.
const MOST: u32 = 400_000;
/// Flows that the tables of default limits hold for all cases at once.
const FEW: u32 = 1_000;

impl<'a> Suite<'a> {
    pub const fn new(rounds: &'a Rounds, on: &'a Alone, pinned: Option<Target>) -> Self {
        Self {
            rounds,
            on,
            pinned,
            balancer: None,
        }
    }

    /// The programs that others are compared with, beside the least of them.
    pub fn bases(&self, is_v4: bool, flows: u32) -> Result<Vec<Row>> {
        let frame = frame::tcp((case::stranger(is_v4), 80), frame::ACK, 0);
        let lane = |base: Base| -> Result<Lane> {
            let mut lane = Lane::of_base(base, &frame, flows, Linkage::default())?;
            lane.name = format!("base/{}/tcp{}", base.name(), if is_v4 { 4 } else { 6 });
            Ok(lane)
        };
        let pair = Pair {
            base: lane(Base::Drop)?,
            others: Base::ALL.into_iter().map(lane).collect::<Result<_>>()?,
        };
        Ok(pair.measure(self.rounds, self.on)?.rows(flows, Base::Drop.name()))
    }

    /// A case, beside its base.
    pub fn case(&mut self, case: Case, flows: u32) -> Result<Vec<Row>> {
        self.ready(case, flows)?;
        let (_, balancer) = self.balancer.as_mut().context("no balancer is loaded")?;
        if let Subject::Pass { translates } = case.subject {
            balancer.translate(translates);
        }
        let frame = case.frame();
        let linkage = balancer.linkage();
        let wrapper = |target: &Target| Wrapper::new(&frame, Flows::random(flows), target);
        let target = balancer.target()?;
        open_flows(case, flows, &target)?;
        let is_known = case.remembers() && flows < FRESH;
        if is_known {
            balancer.establish()?;
            // One more of each, now that it has been answered.
            Wrapper::new(&frame, Flows::InTurn(flows), &target)?.run(flows)?;
        }
        let own = Lane::new(case.to_string(), wrapper(&target)?);
        check(case, &own.wrapper, balancer, self.rounds.packets)?;
        let mut others = vec![own];
        if let Some(target) = self.pinned.as_ref().filter(|_| frame.answered_behind.is_none()) {
            open_flows(case, flows, target)?;
            let wrapper = wrapper(target)?;
            let done = wrapper.run(self.rounds.packets)?.action;
            others.push(Lane::new(pinned_name(case, done), wrapper));
        }
        let pair = Pair {
            base: Lane::of_base(case.base(), &frame, flows, linkage)?,
            others,
        };
        let rounds = Rounds {
            rounds: self.rounds.rounds,
            packets: if is_known {
                self.rounds.packets.max((PER_FLOW * flows).min(MOST))
            } else {
                self.rounds.packets
            },
        };
        Ok(pair.measure(&rounds, self.on)?.rows(flows, case.base().name()))
    }

    /// Loads a balancer for a case, unless one is there that serves.
    fn ready(&mut self, case: Case, flows: u32) -> Result<()> {
        let wanted = Loaded {
            features: case.features(),
            remembered: (case.remembers() && flows > FEW).then_some((case, flows)),
        };
        if self
            .balancer
            .as_ref()
            .is_some_and(|(loaded, _)| *loaded == wanted)
        {
            return Ok(());
        }
        // The memory of the last one first.
        self.balancer = None;
        let mut balancer = Balancer::load(capacity(case, flows), wanted.features)?;
        for (id, served) in (1..).zip(Case::services()) {
            balancer.serve(id, &served)?;
        }
        self.balancer = Some((wanted, balancer));
        Ok(())
    }
}

/// Room for the flows, and as much again: an LRU table takes old entries before it is full, from one CPU for another. For flows that
/// come once the tables are those of a balancer with default limits, and full.
fn capacity(case: Case, flows: u32) -> Capacity {
    let of_defaults = limits::FLOWS;
    let flows = if case.remembers() && flows < FRESH {
        flows
    } else {
        0
    };
    Capacity {
        flows: (flows * 2).max(of_defaults),
        backends: 8192,
        services: 128,
        written: (flows * 4).next_power_of_two().max(limits::WRITTEN),
    }
}

/// Sends a packet of each flow; of those that come once, as many as fill the tables.
fn open_flows(case: Case, flows: u32, target: &Target) -> Result<()> {
    let wrapper = Wrapper::new(&case.opener(), Flows::InTurn(flows), target)?;
    // Twice: what a flow's first packet opens, its second confirms.
    let packets = if flows == FRESH { flows / 8 } else { flows * 2 };
    wrapper.run(packets.max(1000))?;
    Ok(())
}

/// Makes sure that packets end as they should: a program that drops is fast.
fn check(case: Case, wrapper: &Wrapper, balancer: &Balancer, packets: u32) -> Result<()> {
    let before = balancer.count_of(case.outcome())?;
    let run = wrapper.run(packets)?;
    let counted = balancer.count_of(case.outcome())? - before;
    ensure!(
        counted == u64::from(packets) && run.action == case.action(),
        "{counted} of {packets} packets were counted as {}, the action was {}",
        case.outcome().name(),
        action::name(run.action)
    );
    Ok(())
}

/// Says what becomes of the packets where it is not what xlb does with them.
fn pinned_name(case: Case, done: u32) -> String {
    if done == case.action() {
        format!("pinned/{case}")
    } else {
        format!("pinned/{case} ({})", action::name(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_room_for_all_flows_but_those_that_come_once() {
        for case in Case::all() {
            for &flows in case.flows() {
                let capacity = capacity(case, flows);
                let fits = capacity.flows >= flows && capacity.written >= flows;
                assert_eq!(
                    fits || !case.remembers(),
                    flows < FRESH || !case.remembers(),
                    "{case} {flows}"
                );
                assert!(capacity.written.is_power_of_two());
            }
        }
    }

    #[test]
    fn a_pinned_program_that_does_something_else_says_so() {
        let case = Case::all()[0];
        assert_eq!(pinned_name(case, action::TX), "pinned/nat/tcp4/settled");
        assert_eq!(
            pinned_name(case, action::DROP),
            "pinned/nat/tcp4/settled (XDP_DROP)"
        );
    }
}
