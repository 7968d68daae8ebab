//! What the guest's figures say: each lane beside its base, and what balancers take themselves.

use std::fmt;

use anyhow::{Context as _, Result, ensure};

use super::{
    FLOWS,
    console::Measured,
    lane::{Lane, Mode},
};
use crate::report::{Row, Samples};

const UNIT: &str = "instr";
/// The most that xlb's own part of a packet may be of that of IPVS, both without translation or tunnel.
const GOAL: f64 = 1.0 / 3.0;

/// Instructions per packet of every lane, by round.
#[derive(Debug)]
pub struct Comparison(Vec<(Lane, Vec<f64>)>);

/// How xlb's dsr and IPVS DR compare, each by the instructions of its own.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    xlb: f64,
    ipvs: f64,
    ratio: f64,
}

impl Comparison {
    /// All lanes must be there, each with as many rounds.
    pub fn of(measured: &[Measured]) -> Result<Self> {
        let find = |lane: Lane| {
            let name = lane.to_string();
            let found = measured.iter().find(|measured| measured.lane == name);
            let found = found.with_context(|| format!("the guest has no figures for {name}"))?;
            Ok((lane, found.rounds.clone()))
        };
        let lanes = Lane::ALL.into_iter().map(find).collect::<Result<Vec<_>>>()?;
        let rounds = lanes[0].1.len();
        ensure!(
            rounds > 0 && lanes.iter().all(|(_, all)| all.len() == rounds),
            "the guest has lanes with fewer rounds than others"
        );
        Ok(Self(lanes))
    }

    /// First all that a packet takes, then what of it is a balancer's own.
    pub fn rows(&self) -> Vec<Row> {
        let row = |name: String, samples: &Samples, base_name: String, base: &Samples| {
            Row::new(name, FLOWS.into(), UNIT, samples, &base_name, base)
        };
        let all = Lane::ALL.into_iter().map(|lane| {
            let base = lane.base();
            row(
                lane.to_string(),
                &self.all(lane),
                base.to_string(),
                &self.all(base),
            )
        });
        let own = Lane::ALL.into_iter().filter_map(|lane| {
            let base = lane.base();
            let (samples, base_samples) = (self.own(lane)?, self.own(base)?);
            Some(row(
                format!("own/{lane}"),
                &samples,
                format!("own/{base}"),
                &base_samples,
            ))
        });
        all.chain(own).collect()
    }

    pub fn verdict(&self) -> Verdict {
        let own = |lane| self.own(lane).unwrap_or_default();
        let (xlb, ipvs) = (own(Lane::Xlb(Mode::Direct)), own(Lane::Ipvs(Mode::Direct)));
        Verdict {
            xlb: xlb.median(),
            ipvs: ipvs.median(),
            ratio: xlb.ratio(&ipvs),
        }
    }

    fn rounds(&self, lane: Lane) -> impl Iterator<Item = f64> {
        let found = self.0.iter().filter(move |(other, _)| *other == lane);
        found.flat_map(|(_, rounds)| rounds.iter().copied())
    }

    fn all(&self, lane: Lane) -> Samples {
        self.rounds(lane).collect()
    }

    /// Less what carrying the packet takes, round by round.
    fn own(&self, lane: Lane) -> Option<Samples> {
        let carrier = lane.carrier()?;
        let pairs = self.rounds(lane).zip(self.rounds(carrier));
        Some(pairs.map(|(all, carried)| all - carried).collect())
    }
}

impl Verdict {
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.ratio <= GOAL,
            "xlb's dsr takes more than a third of the instructions of its own that IPVS DR takes"
        );
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "per packet xlb's dsr takes {:.0} instructions of its own, IPVS DR {:.0}: {:.3} of them (goal: at most {GOAL:.3})",
            self.xlb, self.ipvs, self.ratio
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Hook;

    /// Every lane takes 5000, but those that are named.
    fn measured(named: &[(Lane, f64)]) -> Vec<Measured> {
        let of = |lane: Lane| {
            let found = named.iter().find(|(other, _)| *other == lane);
            let figure = found.map_or(5000.0, |(_, figure)| *figure);
            Measured {
                lane: lane.to_string(),
                rounds: vec![figure, figure + 1.0, figure + 2.0],
            }
        };
        Lane::ALL.into_iter().map(of).collect()
    }

    #[test]
    fn what_carries_a_packet_is_nobody_s_own() {
        let figures = [
            (Lane::Redirect(Hook::Xdp), 4000.0),
            (Lane::Redirect(Hook::Tc), 3000.0),
            (Lane::Xlb(Mode::Direct), 4500.0),
            (Lane::Ipvs(Mode::Direct), 5000.0),
        ];
        let comparison = Comparison::of(&measured(&figures)).unwrap();
        let expected = Verdict {
            xlb: 500.0,
            ipvs: 2000.0,
            ratio: 0.25,
        };
        assert_eq!(comparison.verdict(), expected);
        comparison.verdict().check().unwrap();
        let rows = comparison.rows();
        let find = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
        let (all, own) = (find("xlb/dsr"), find("own/xlb/dsr"));
        assert_eq!((all.median, all.base.as_str()), (4501.0, "ipvs/dr"));
        assert_eq!((own.median, own.base.as_str()), (500.0, "own/ipvs/dr"));
    }

    #[test]
    fn more_than_a_third_misses_the_goal() {
        let figures = [
            (Lane::Redirect(Hook::Xdp), 4000.0),
            (Lane::Redirect(Hook::Tc), 3000.0),
            (Lane::Xlb(Mode::Direct), 4700.0),
            (Lane::Ipvs(Mode::Direct), 5000.0),
        ];
        let comparison = Comparison::of(&measured(&figures)).unwrap();
        assert!(comparison.verdict().check().is_err());
    }

    #[test]
    fn a_lane_that_is_missing_or_was_cut_short_is_an_error() {
        let mut figures = measured(&[]);
        figures[3].rounds.pop();
        assert!(Comparison::of(&figures).is_err());
        figures.remove(3);
        let error = Comparison::of(&figures).unwrap_err().to_string();
        assert!(error.contains("xdp/redirect"), "{error}");
    }
}
