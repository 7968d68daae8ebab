//! Neighbours that answers to clients go to, routers above all: which of them the kernel is asked to be sure of again. Pure.
//!
//! Answers find their way by `bpf_fib_lookup`, which takes an address that the kernel is not sure of (STALE) as it takes any other, and
//! makes nobody look whether it is still right. Where the kernel itself sends nothing, a router whose Ethernet address has changed in
//! silence would never be found out.
//!
//! Which neighbours are routers only the whole routing table says, a million routes on some hosts. So whatever neighbour the kernel is
//! not sure of has its turn, some at a time. One that answers no more is asked for by broadcast once, for it may have another
//! address by now, and is then the kernel's to forget. It may have forgotten it before we look: with `gc_thresh1` neighbours and more, in
//! all network namespaces together, it does so every quarter of a minute with all that have failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::netlink::{
    decide::{Neighbour, NeighbourKey},
    links::{Link, XdpMode},
    vlans,
};

/// How often some have their turn.
const PERIOD: Duration = Duration::from_secs(5);
/// For how long the kernel counts one as good that it has to ask, as it may answer still (DELAY, PROBE): `delay_first_probe_time` and
/// `ucast_solicit` times `retrans_time` are eight seconds.
const UNDECIDED: Duration = Duration::from_millis(8500);
/// How many of them. So 128, of whom the kernel forgets none (`gc_thresh1`), all have it within 20 seconds. Of more it forgets those
/// that nobody has used for a minute (`gc_stale_time`): some 400 at most stay for being asked for, and new ones have room
/// (`gc_thresh2`).
const AT_ONCE: usize = 32;

/// Who has been seen, and who is next.
#[derive(Debug, Default)]
pub struct Doubts {
    due: Option<Instant>,
    /// The last that had its turn.
    last: Option<NeighbourKey>,
    /// Those that the kernel knew an address of, until they have been asked for by broadcast.
    seen: BTreeSet<NeighbourKey>,
    /// Those of them that have been asked for at that address, and when, until they have answered.
    tried: BTreeMap<NeighbourKey, Instant>,
}

impl Doubts {
    /// Those that have their turn now; nobody else has asked for them just before.
    pub fn turn(
        &mut self,
        now: Instant,
        links: &BTreeMap<u32, Link>,
        neighbours: &BTreeMap<NeighbourKey, Neighbour>,
        just_asked: &BTreeSet<NeighbourKey>,
    ) -> Vec<NeighbourKey> {
        if self.due.is_some_and(|due| now < due) {
            return Vec::new();
        }
        self.due = Some(now + PERIOD);
        self.see(now, links, neighbours);
        let turn = in_turn(self.doubted(links, neighbours, just_asked), self.last);
        self.last = turn.last().copied().or(self.last);
        for key in &turn {
            if matches!(neighbours.get(key), Some(Neighbour::Known { .. })) {
                self.tried.insert(*key, now);
            } else {
                self.tried.remove(key);
                self.seen.remove(key);
            }
        }
        turn
    }

    fn see(
        &mut self,
        now: Instant,
        links: &BTreeMap<u32, Link>,
        neighbours: &BTreeMap<NeighbourKey, Neighbour>,
    ) {
        let has_answered =
            |key: &NeighbourKey| matches!(neighbours.get(key), Some(Neighbour::Known { fresh: true, .. }));
        self.tried.retain(|key, asked| {
            links.contains_key(&key.0) && !(has_answered(key) && now >= *asked + UNDECIDED)
        });
        self.seen
            .retain(|key| neighbours.contains_key(key) || self.tried.contains_key(key));
        let known = neighbours
            .iter()
            .filter(|(_, neighbour)| matches!(neighbour, Neighbour::Known { .. }));
        self.seen.extend(known.map(|(key, _)| *key));
    }

    fn doubted(
        &self,
        links: &BTreeMap<u32, Link>,
        neighbours: &BTreeMap<NeighbourKey, Neighbour>,
        just_asked: &BTreeSet<NeighbourKey>,
    ) -> Vec<NeighbourKey> {
        let is_doubted = |key: &NeighbourKey, neighbour: &Neighbour| match neighbour {
            Neighbour::Known { fresh, fixed, .. } => !fresh && !fixed,
            Neighbour::Failed => self.seen.contains(key),
            Neighbour::Asked => false,
        };
        let doubted = neighbours
            .iter()
            .filter(|(key, neighbour)| is_doubted(key, neighbour))
            .map(|(key, _)| *key);
        let forgotten = self.tried.keys().filter(|key| !neighbours.contains_key(key));
        let doubted: BTreeSet<_> = doubted
            .chain(forgotten.copied())
            .filter(|key| {
                !just_asked.contains(key) && links.get(&key.0).is_some_and(|link| takes_answers(link, links))
            })
            .collect();
        doubted.into_iter().collect()
    }
}

/// The first ones after `last`, and from the beginning where those are too few.
fn in_turn(mut doubted: Vec<NeighbourKey>, last: Option<NeighbourKey>) -> Vec<NeighbourKey> {
    let next = doubted.partition_point(|key| Some(*key) <= last);
    doubted.rotate_left(next);
    doubted.truncate(AT_ONCE);
    doubted
}

/// Whether answers leave by an interface: it is one that an XDP program is on, or a VLAN device above such a one.
fn takes_answers(link: &Link, links: &BTreeMap<u32, Link>) -> bool {
    let exit = vlans::exit(link, links).map(|exit| exit.link);
    link.mac.is_some()
        && link.running
        && exit.is_ok_and(|exit| exit.running && exit.xdp.mode != XdpMode::None)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::netlink::links::{
        XdpState,
        tests::{link, vlan},
    };

    const STALE: Neighbour = Neighbour::Known {
        mac: [9; 6],
        fresh: false,
        fixed: false,
    };
    const FRESH: Neighbour = Neighbour::Known {
        mac: [9; 6],
        fresh: true,
        fixed: false,
    };

    /// Interface 2 has a program, and a VLAN device with it; 3 has none.
    fn links() -> BTreeMap<u32, Link> {
        let attached = Link {
            xdp: XdpState {
                mode: XdpMode::Native,
                program_id: Some(7),
            },
            ..link(2)
        };
        [
            attached,
            link(3),
            vlan(4, 2, (0x8100, 10)),
            vlan(5, 3, (0x8100, 10)),
        ]
        .into_iter()
        .map(|link| (link.index, link))
        .collect()
    }

    fn on(interface: u32, number: usize) -> NeighbourKey {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap());
        (interface, IpAddr::V4(address))
    }

    /// A host's neighbours, and the turns that they have one period after another.
    struct Turns {
        doubts: Doubts,
        now: Instant,
        neighbours: BTreeMap<NeighbourKey, Neighbour>,
    }

    impl Turns {
        fn of(neighbours: impl IntoIterator<Item = (NeighbourKey, Neighbour)>) -> Self {
            Self {
                doubts: Doubts::default(),
                now: Instant::now(),
                neighbours: neighbours.into_iter().collect(),
            }
        }

        fn next(&mut self) -> Vec<NeighbourKey> {
            self.now += PERIOD;
            self.doubts
                .turn(self.now, &links(), &self.neighbours, &BTreeSet::new())
        }
    }

    #[test]
    fn only_what_the_kernel_is_not_sure_of_is_asked_for() {
        let fixed = Neighbour::Known {
            mac: [9; 6],
            fresh: false,
            fixed: true,
        };
        let all = [STALE, FRESH, fixed, Neighbour::Asked, Neighbour::Failed];
        let mut turns = Turns::of(all.into_iter().enumerate().map(|(i, known)| (on(2, i), known)));
        assert_eq!(turns.next(), [on(2, 0)]);
    }

    #[test]
    fn only_interfaces_with_a_program_and_their_vlans_have_answers() {
        let mut turns = Turns::of((1..=6).map(|interface| (on(interface, 1), STALE)));
        assert_eq!(turns.next(), [on(2, 1), on(4, 1)]);
        let down = links().into_values().map(|link| {
            (
                link.index,
                Link {
                    running: false,
                    ..link
                },
            )
        });
        let down = down.collect();
        let later = turns.now + PERIOD;
        assert!(
            turns
                .doubts
                .turn(later, &down, &turns.neighbours, &BTreeSet::new())
                .is_empty()
        );
    }

    #[test]
    fn one_that_is_a_backends_too_is_asked_for_once() {
        let mut turns = Turns::of([(on(2, 1), STALE), (on(2, 2), STALE)]);
        let now = turns.now;
        let turn = turns
            .doubts
            .turn(now, &links(), &turns.neighbours, &[on(2, 1)].into());
        assert_eq!(turn, [on(2, 2)]);
    }

    #[test]
    fn many_have_their_turn_one_after_another() {
        let many = 2 * AT_ONCE + AT_ONCE / 2;
        let mut turns = Turns::of((0..many).map(|i| (on(2, i), STALE)));
        let asked: Vec<_> = (0..5).flat_map(|_| turns.next()).collect();
        let twice: Vec<_> = (0..2).flat_map(|_| (0..many).map(|i| on(2, i))).collect();
        assert_eq!(asked, twice);
    }

    #[test]
    fn few_have_it_once_a_period() {
        let mut turns = Turns::of([(on(2, 1), STALE), (on(2, 2), STALE)]);
        assert_eq!(turns.next().len(), 2);
        let soon = turns.now + PERIOD / 2;
        assert!(
            turns
                .doubts
                .turn(soon, &links(), &turns.neighbours, &BTreeSet::new())
                .is_empty()
        );
        assert_eq!(turns.next().len(), 2);
    }

    #[test]
    fn one_that_answers_no_more_is_asked_for_by_broadcast_once() {
        let router = on(2, 1);
        let mut turns = Turns::of([]);
        let mut asked = |known| {
            turns.neighbours.insert(router, known);
            !turns.next().is_empty()
        };
        let story = [
            STALE,
            FRESH,
            Neighbour::Failed,
            Neighbour::Asked,
            Neighbour::Failed,
            STALE,
            Neighbour::Failed,
        ];
        assert_eq!(
            story.map(&mut asked),
            [true, false, true, false, false, true, true]
        );
        turns.neighbours.clear();
        turns.next();
        assert!(turns.doubts.seen.is_empty(), "one that is gone is forgotten");
    }

    #[test]
    fn one_that_the_kernel_forgets_when_it_does_not_answer_is_asked_for_once() {
        let router = on(2, 1);
        let mut turns = Turns::of([(router, STALE)]);
        assert_eq!(turns.next(), [router]);
        // It has not answered by then: the kernel is about to ask.
        turns.neighbours.insert(router, FRESH);
        assert!(turns.next().is_empty());
        turns.neighbours.clear();
        assert_eq!(turns.next(), [router]);
        assert!(turns.next().is_empty());
        // One that has answered since, and that nobody uses, is the kernel's to forget.
        turns.neighbours.insert(router, STALE);
        assert_eq!(turns.next(), [router]);
        turns.neighbours.insert(router, FRESH);
        assert!(turns.next().is_empty());
        assert!(turns.next().is_empty());
        turns.neighbours.clear();
        assert!(turns.next().is_empty());
        assert!(turns.doubts.seen.is_empty() && turns.doubts.tried.is_empty());
    }
}
