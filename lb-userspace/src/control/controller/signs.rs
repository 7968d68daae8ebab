//! What clients suffer, in slices: ten thousand backends are not looked at in one go while a failure waits to be heard.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{CheckKey, Controller};
use crate::{
    datapath::{Datapath, sweep::Census},
    health::passive::{Limits, Passive, Signs},
};

/// Between two slices of few backends, and of many.
const PAUSE: Duration = Duration::from_millis(100);
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// A slice is a fifth of all, but not more than this: it takes a tenth of a millisecond, in which nobody who fails is heard.
const SLICE: usize = 32;

/// The signs of all backends that are probed.
#[derive(Default)]
pub(super) struct Suffering {
    followed: BTreeMap<CheckKey, Followed>,
    addressed: BTreeMap<IpAddr, Vec<CheckKey>>,
    /// Who was looked at last.
    last: Option<CheckKey>,
    due: Option<Instant>,
}

struct Followed {
    passive: Passive,
    limits: Limits,
    /// What the program does not count.
    unanswered: u64,
    unreachables: u64,
}

impl Suffering {
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Follows those of `watched` who are to be followed.
    /// Those with an address are reached by a tunnel to it.
    pub(super) fn follow(
        &mut self,
        watched: impl Iterator<Item = (CheckKey, Option<IpAddr>, Limits)>,
        now: Instant,
    ) {
        let mut before = std::mem::take(&mut self.followed);
        self.addressed.clear();
        let addressed = &mut self.addressed;
        self.followed = watched
            .filter(|(_, _, limits)| limits.threshold > 0)
            .map(|(key, tunnel, limits)| {
                if let Some(address) = tunnel {
                    addressed.entry(address).or_default().push(key);
                }
                let known = before.remove(&key).filter(|one| one.limits == limits);
                (key, known.unwrap_or_else(|| Followed::new(limits)))
            })
            .collect();
        let begins = (!self.followed.is_empty()).then(|| now + self.pause());
        self.due = self.due.filter(|_| begins.is_some()).or(begins);
    }

    /// How many there are in a slice.
    fn size(&self) -> usize {
        self.followed.len().div_ceil(5).min(SLICE)
    }

    /// From one slice to the next.
    fn pause(&self) -> Duration {
        if self.size() < SLICE { PAUSE } else { SHORT_PAUSE }
    }

    /// The next slice.
    fn slice(&mut self) -> Vec<CheckKey> {
        let size = self.size();
        let behind = self.followed.range((
            self.last
                .map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
            std::ops::Bound::Unbounded,
        ));
        let mut slice: Vec<_> = behind.map(|(key, _)| *key).take(size).collect();
        let more = size - slice.len();
        slice.extend(self.followed.keys().take(more));
        self.last = slice.last().copied();
        slice
    }
}

impl Followed {
    const fn new(limits: Limits) -> Self {
        Self {
            passive: Passive::new(limits),
            limits,
            unanswered: 0,
            unreachables: 0,
        }
    }
}

impl<D: Datapath> Controller<D> {
    /// Looks at the signs of some backends, if that is due, and has those probed at once against whom they speak.
    pub(super) fn look_at_signs(&mut self, now: Instant) -> Result<()> {
        if self.suffering.due.is_none_or(|due| due > now) {
            return Ok(());
        }
        self.suffering.due = Some(now + self.suffering.pause());
        let mut suspects = Vec::new();
        for key in self.suffering.slice() {
            let (id, _) = key;
            let counted = self.datapath.backend_signs(id)?;
            let Some(one) = self.suffering.followed.get_mut(&key) else {
                continue;
            };
            let mut signs = Signs::from(counted);
            signs.unanswered += one.unanswered;
            signs.unreachables += one.unreachables;
            let flows = self.datapath.backend_traffic(id)?.flows_opened;
            if let Some(suspicion) = one.passive.observe(signs, flows, now) {
                suspects.push((key, suspicion.to_string()));
            }
        }
        for (key, reason) in suspects {
            self.suspect(key, &reason);
        }
        Ok(())
    }

    /// Takes in the flows that were not answered.
    pub(super) fn count_unanswered(&mut self, census: &Census) {
        if census.unanswered().is_empty() {
            return;
        }
        for ((id, _), one) in &mut self.suffering.followed {
            one.unanswered += census.unanswered_of_backend(*id);
        }
    }

    /// An ICMP error has said that an address is not reached by a tunnel. It may be anybody's.
    pub fn unreachable(&mut self, address: IpAddr) {
        for key in self.suffering.addressed.get(&address).into_iter().flatten() {
            if let Some(one) = self.suffering.followed.get_mut(key) {
                one.unreachables += 1;
            }
        }
    }
}
