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
/// After which nobody has to know which port was the last one: no host keeps a connection that is over for so long.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// How long a port has to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Whole,
    /// Where there is no room for others.
    Least,
}

/// The ports for what is asked, each with what keeps it from others.
pub(super) struct Ports<T> {
    next: u16,
    /// Those that are lent or rest.
    taken: BTreeSet<u16>,
    lent: BTreeMap<u16, T>,
    /// In the order in which they came back.
    resting: VecDeque<(Instant, u16, T)>,
    /// When the last one came back.
    last: Option<Instant>,
}

impl<T> Ports<T> {
    /// With `first` as the first one in turn.
    pub const fn starting_at(first: u16) -> Self {
        Self {
            next: first,
            taken: BTreeSet::new(),
            lent: BTreeMap::new(),
            resting: VecDeque::new(),
            last: None,
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
            self.resting.push_back((now, port, held));
            self.last = Some(now);
        }
    }

    /// One that has rested, with what kept it; where no port is free, the least will do.
    pub fn rested(&mut self, now: Instant, rest: Rest) -> Option<(u16, T)> {
        let room = usize::from(LAST_PORT - FIRST_PORT) + 1;
        let enough = match rest {
            Rest::Whole if self.taken.len() < room => REST,
            Rest::Whole | Rest::Least => LEAST_REST,
        };
        let (_, port, held) = self.resting.pop_front_if(|(since, ..)| *since + enough <= now)?;
        self.taken.remove(&port);
        Some((port, held))
    }

    /// Whether nothing of it needs to be known any more.
    pub fn is_forgotten(&self, now: Instant) -> bool {
        self.taken.is_empty() && self.last.is_none_or(|last| last + FORGOTTEN <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_in_turn_and_rest_between() {
        let mut ports = Ports::starting_at(FIRST_PORT);
        let start = Instant::now();
        let first = ports.turn().unwrap();
        ports.lend(first, "first");
        let second = ports.turn().unwrap();
        assert_eq!((first, second), (FIRST_PORT, FIRST_PORT + 1));
        ports.lend(second, "second");
        ports.give_back(first, start);
        assert_eq!(ports.rested(start + REST / 2, Rest::Whole), None);
        assert_eq!(ports.rested(start + REST, Rest::Whole), Some((first, "first")));
        assert_eq!(ports.rested(start + REST, Rest::Whole), None);
        assert_eq!(ports.turn(), Some(second + 1));
    }

    #[test]
    fn in_a_hurry_the_least_rest_is_enough() {
        let (mut ports, now) = (Ports::starting_at(FIRST_PORT), Instant::now());
        ports.lend(62_000, ());
        ports.give_back(62_000, now);
        assert_eq!(ports.rested(now, Rest::Least), None);
        assert_eq!(ports.rested(now + LEAST_REST, Rest::Whole), None);
        assert_eq!(ports.rested(now + LEAST_REST, Rest::Least), Some((62_000, ())));
    }

    #[test]
    fn what_has_long_not_been_asked_is_forgotten() {
        let (mut ports, now) = (Ports::starting_at(LAST_PORT), Instant::now());
        assert_eq!((ports.turn(), ports.is_forgotten(now)), (Some(LAST_PORT), true));
        ports.lend(LAST_PORT, ());
        assert!(!ports.is_forgotten(now + FORGOTTEN), "it is lent");
        ports.give_back(LAST_PORT, now);
        assert!(!ports.is_forgotten(now + FORGOTTEN), "it rests");
        ports.rested(now + REST, Rest::Whole).unwrap();
        assert!(!ports.is_forgotten(now + REST) && ports.is_forgotten(now + FORGOTTEN));
    }

    #[test]
    fn with_all_in_use_there_is_none_and_the_first_that_rests_is_next() {
        let mut ports = Ports::starting_at(FIRST_PORT);
        let now = Instant::now();
        while let Some(port) = ports.turn() {
            ports.lend(port, ());
        }
        assert_eq!((ports.turn(), ports.rested(now, Rest::Whole)), (None, None));
        ports.give_back(62_000, now);
        ports.give_back(61_500, now);
        assert_eq!(ports.turn(), None);
        assert_eq!(ports.rested(now, Rest::Whole), None);
        let soon = now + LEAST_REST;
        assert_eq!(ports.rested(soon, Rest::Whole), Some((62_000, ())));
        assert_eq!(ports.rested(soon, Rest::Whole), None);
        assert_eq!(ports.turn(), Some(62_000));
    }
}
