//! Which port the next probe gets: the one that has rested longest.
//!
//! A port rests after its probe: the end of a connection takes a few packets more, and a late answer to one probe must not be the next
//! one's.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use lb_common::probe::{FIRST_PORT, LAST_PORT};

/// How long: round trips of any network, and some for a server that is slow to close.
const REST: Duration = Duration::from_secs(2);
/// How long at least, where no other port is free: what is under way on this host has gone by then.
const LEAST_REST: Duration = Duration::from_millis(100);

/// The ports of one protocol and family, each with what keeps it from others on this host.
pub(super) struct Ports<T> {
    next: u16,
    /// Those that are lent or rest.
    taken: BTreeSet<u16>,
    lent: BTreeMap<u16, T>,
    /// In the order in which they came back.
    resting: VecDeque<(Instant, u16, T)>,
}

impl<T> Ports<T> {
    pub fn new() -> Self {
        Self {
            next: FIRST_PORT,
            taken: BTreeSet::new(),
            lent: BTreeMap::new(),
            resting: VecDeque::new(),
        }
    }

    /// The next port in turn that nobody has; `None` when there is none.
    pub fn turn(&mut self) -> Option<u16> {
        for _ in FIRST_PORT..=LAST_PORT {
            let port = self.next;
            self.next = if port == LAST_PORT { FIRST_PORT } else { port + 1 };
            if !self.taken.contains(&port) {
                return Some(port);
            }
        }
        None
    }

    /// Lends it.
    pub fn lend(&mut self, port: u16, held: T) {
        self.taken.insert(port);
        self.lent.insert(port, held);
    }

    /// Takes it back.
    pub fn give_back(&mut self, port: u16, now: Instant) {
        if let Some(held) = self.lent.remove(&port) {
            self.resting.push_back((now + REST, port, held));
        }
    }

    /// One that has rested, with what kept it; where no port is free, also one that has not.
    pub fn rested(&mut self, now: Instant) -> Option<(u16, T)> {
        let room = usize::from(LAST_PORT - FIRST_PORT) + 1;
        let is_full = self.taken.len() >= room;
        let (_, port, held) = self
            .resting
            .pop_front_if(|(until, ..)| *until <= now || is_full && *until <= now + (REST - LEAST_REST))?;
        self.taken.remove(&port);
        Some((port, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_in_turn_and_rest_between() {
        let mut ports = Ports::new();
        let start = Instant::now();
        let first = ports.turn().unwrap();
        ports.lend(first, "first");
        let second = ports.turn().unwrap();
        assert_eq!((first, second), (FIRST_PORT, FIRST_PORT + 1));
        ports.lend(second, "second");
        ports.give_back(first, start);
        assert_eq!(ports.rested(start + REST / 2), None);
        assert_eq!(ports.rested(start + REST), Some((first, "first")));
        assert_eq!(ports.rested(start + REST), None);
        assert_eq!(ports.turn(), Some(second + 1));
    }

    #[test]
    fn with_all_in_use_there_is_none_and_the_first_that_rests_is_next() {
        let mut ports = Ports::new();
        let now = Instant::now();
        while let Some(port) = ports.turn() {
            ports.lend(port, ());
        }
        assert_eq!((ports.turn(), ports.rested(now)), (None, None));
        ports.give_back(62_000, now);
        ports.give_back(61_500, now);
        assert_eq!(ports.turn(), None);
        assert_eq!(ports.rested(now), None);
        let soon = now + LEAST_REST;
        assert_eq!(ports.rested(soon), Some((62_000, ())));
        assert_eq!(ports.rested(soon), None);
        assert_eq!(ports.turn(), Some(62_000));
    }
}
