//! From what clients suffer to a suspicion, which is a reason to probe at once and no more: one client's broken network shows the
//! same signs as a broken backend.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use lb_common::sign;

/// Signs are a suspicion only where they are one to so many new flows: some clients always lose packets.
const FLOWS_FOR_EACH: u64 = 20;
/// How long a suspicion is the last one: from the first time on, twice as long each time, and no longer than the last.
const FIRST_PEACE: Duration = Duration::from_secs(1);
const LONGEST_PEACE: Duration = Duration::from_secs(60);
/// After so long without enough signs for one, the next suspicion is a first one.
const CALM: Duration = Duration::from_secs(60);
/// Parts of the window that are told from each other.
const PARTS: u32 = 16;

/// What clients have suffered of a backend since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// SYNs that clients have sent again.
    pub repeated_syns: u64,
    /// Flows that the backend has not answered in time.
    pub unanswered: u64,
    /// SYNs answered with a reset.
    pub resets: u64,
    /// ICMP errors that say that packets do not reach their listener.
    pub unreachables: u64,
}

/// When signs are a suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many of any kind.
    pub threshold: u64,
    /// Within this time.
    pub window: Duration,
}

/// Follows the signs of one backend. Time is an argument.
#[derive(Clone, Debug)]
pub struct Passive {
    limits: Limits,
    /// The totals at the beginning of the window, and what was seen since, from the oldest on.
    seen: VecDeque<Sample>,
    /// When there last were enough signs.
    troubled: Option<Instant>,
    peace: Duration,
    peace_ends: Option<Instant>,
}

/// A reason to probe a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Those that came within `window`.
    pub signs: Signs,
    pub window: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    signs: Signs,
    new_flows: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            threshold: 5,
            window: Duration::from_secs(2),
        }
    }
}

impl Passive {
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            seen: VecDeque::new(),
            troubled: None,
            peace: FIRST_PEACE,
            peace_ends: None,
        }
    }

    /// Takes the totals so far, of signs and of new flows; a suspicion, if there is one. To be called at least once in a window: what came
    /// since the call before counts as if it had come within the window.
    ///
    /// The first call only says from where to count. Totals that are less than before are another backend's.
    pub fn observe(&mut self, signs: Signs, new_flows: u64, now: Instant) -> Option<Suspicion> {
        let sample = Sample {
            at: now,
            signs,
            new_flows,
        };
        if self.seen.back().is_some_and(|last| !sample.continues(last)) {
            self.seen.clear();
        }
        // The last one that is out of the window says how many there were when it began.
        while self
            .seen
            .get(1)
            .is_some_and(|next| now.saturating_duration_since(next.at) >= self.limits.window)
        {
            self.seen.pop_front();
        }
        let before = *self.seen.front().unwrap_or(&sample);
        self.note(sample);
        let came = signs.since(&before.signs);
        let flows = new_flows.saturating_sub(before.new_flows);
        if came.total() < self.limits.threshold.max(flows / FLOWS_FOR_EACH) {
            return None;
        }
        if self.is_calm(now) {
            self.peace = FIRST_PEACE;
        }
        self.troubled = Some(now);
        if self.peace_ends.is_some_and(|end| now < end) {
            return None;
        }
        self.peace_ends = Some(now + self.peace);
        self.peace = (self.peace * 2).min(LONGEST_PEACE);
        // What has led to one suspicion leads to no other.
        self.seen.clear();
        self.seen.push_back(sample);
        Some(Suspicion {
            signs: came,
            window: self.limits.window,
        })
    }

    /// Keeps a sample, in the place of the last one where that is of the same part of the window.
    fn note(&mut self, sample: Sample) {
        let part = self.limits.window / PARTS;
        let len = self.seen.len();
        let is_same_part =
            |last: &Sample, before: &Sample| last.at.saturating_duration_since(before.at) < part;
        if len >= 2
            && let Some(before) = self.seen.get(len - 2)
            && let Some(last) = self.seen.back()
            && is_same_part(last, before)
        {
            self.seen.pop_back();
        }
        self.seen.push_back(sample);
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.troubled
            .is_none_or(|last| now.saturating_duration_since(last) >= CALM)
    }
}

impl Sample {
    /// Whether it may be of the same backend as an earlier one.
    const fn continues(&self, last: &Self) -> bool {
        self.signs.repeated_syns >= last.signs.repeated_syns
            && self.signs.unanswered >= last.signs.unanswered
            && self.signs.resets >= last.signs.resets
            && self.signs.unreachables >= last.signs.unreachables
            && self.new_flows >= last.new_flows
    }
}

impl Signs {
    /// Those of all kinds.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.repeated_syns
            .saturating_add(self.unanswered)
            .saturating_add(self.resets)
            .saturating_add(self.unreachables)
    }

    /// Those that have come since there were `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            repeated_syns: self.repeated_syns.saturating_sub(before.repeated_syns),
            unanswered: self.unanswered.saturating_sub(before.unanswered),
            resets: self.resets.saturating_sub(before.resets),
            unreachables: self.unreachables.saturating_sub(before.unreachables),
        }
    }
}

/// Those that the program counts; the others are found by the agent.
impl From<sign::Signs> for Signs {
    fn from(signs: sign::Signs) -> Self {
        let sign::Signs {
            repeated_syns,
            resets,
            unreachables,
        } = signs;
        Self {
            repeated_syns,
            unanswered: 0,
            resets,
            unreachables,
        }
    }
}

/// One line.
impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signs {
            repeated_syns,
            unanswered,
            resets,
            unreachables,
        } = self.signs;
        let kinds = [
            (repeated_syns, "SYN repeated", "SYNs repeated"),
            (unanswered, "flow unanswered", "flows unanswered"),
            (resets, "reset answer", "reset answers"),
            (unreachables, "ICMP unreachable", "ICMP unreachables"),
        ];
        let some = kinds.iter().filter(|(count, ..)| *count > 0);
        let some: Vec<_> = some
            .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
            .collect();
        let window = humantime::format_duration(self.window);
        write!(f, "{} within {window}", some.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend whose totals are told at times of our choice.
    struct Story {
        passive: Passive,
        start: Instant,
        signs: Signs,
        new_flows: u64,
    }

    impl Story {
        fn new() -> Self {
            let mut story = Self {
                passive: Passive::new(Limits::default()),
                start: Instant::now(),
                signs: Signs::default(),
                new_flows: 0,
            };
            assert_eq!(story.after(0, 0), None);
            story
        }

        /// So many more SYNs have been repeated, at so many milliseconds from the start.
        fn after(&mut self, milliseconds: u64, repeated: u64) -> Option<Suspicion> {
            self.signs.repeated_syns += repeated;
            let now = self.start + Duration::from_millis(milliseconds);
            self.passive.observe(self.signs, self.new_flows, now)
        }

        /// The milliseconds at which there is a suspicion, with a sign at each tenth of a second of some of them.
        fn suspected(&mut self, all: std::ops::Range<u64>, is_broken: impl Fn(u64) -> bool) -> Vec<u64> {
            let tenths = all.map(|tenth| tenth * 100);
            tenths
                .filter(|&at| self.after(at, u64::from(is_broken(at))).is_some())
                .collect()
        }
    }

    #[test]
    fn enough_signs_within_the_window_are_a_suspicion() {
        let mut story = Story::new();
        assert_eq!(story.after(500, 2), None);
        assert_eq!(story.after(1000, 2), None);
        let found = story.after(1500, 1).unwrap();
        assert_eq!(
            (found.signs.repeated_syns, found.window),
            (5, Duration::from_secs(2))
        );
    }

    #[test]
    fn signs_that_are_far_apart_are_none() {
        let mut story = Story::new();
        for second in 1..100 {
            assert_eq!(story.after(second * 1000, 2), None, "second {second}");
        }
        let mut seldom = Story::new();
        // Once in five seconds: what came counts as if it had come at once.
        assert_eq!(seldom.after(5000, 4), None);
        assert!(seldom.after(10_000, 5).is_some());
    }

    #[test]
    fn what_was_before_the_first_look_does_not_count() {
        let mut passive = Passive::new(Limits::default());
        let many = Signs {
            resets: 1000,
            ..Signs::default()
        };
        let now = Instant::now();
        assert_eq!(passive.observe(many, 7, now), None);
        assert_eq!(passive.observe(many, 7, now + Duration::from_secs(1)), None);
        // Another backend, with counters of its own.
        let few = Signs {
            resets: 900,
            ..Signs::default()
        };
        assert_eq!(passive.observe(few, 0, now + Duration::from_secs(2)), None);
        let more = Signs {
            resets: 905,
            ..Signs::default()
        };
        assert!(passive.observe(more, 0, now + Duration::from_secs(3)).is_some());
    }

    #[test]
    fn some_packets_of_many_flows_are_always_lost() {
        let mut story = Story::new();
        story.new_flows = 1000;
        assert_eq!(story.after(1000, 49), None);
        assert!(story.after(1100, 1).is_some());
    }

    #[test]
    fn peace_lasts_longer_each_time() {
        let mut story = Story::new();
        let suspected = story.suspected(1..3000, |_| true);
        let pauses: Vec<u64> = suspected.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(suspected[0], 500);
        assert_eq!(
            pauses,
            [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]
        );
    }

    #[test]
    fn and_is_forgotten_after_a_calm_minute() {
        let mut story = Story::new();
        // Broken for 20 s; then again after 50 s of calm, and after 70 s.
        let before = story.suspected(1..200, |_| true);
        assert_eq!(before, [500, 1500, 3500, 7500, 15_500]);
        let soon = story.suspected(200..900, |at| at >= 70_000);
        assert_eq!(soon.len(), 1, "{soon:?}");
        let later = story.suspected(900..1800, |at| at >= 165_000);
        let pauses: Vec<u64> = later.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(pauses, [1000, 2000, 4000], "{later:?}");
    }

    #[test]
    fn many_looks_need_no_more_room() {
        let mut story = Story::new();
        for at in 0..20_000 {
            story.after(at, 0);
            assert!(story.passive.seen.len() <= PARTS as usize + 4);
        }
        // And what they saw is still told by time.
        assert_eq!(story.after(20_000, 4), None);
        assert_eq!(story.after(22_100, 4), None);
        assert!(story.after(22_200, 1).is_some());
    }

    #[test]
    fn a_suspicion_is_one_line() {
        let text = |signs| {
            let window = Duration::from_secs(2);
            Suspicion { signs, window }.to_string()
        };
        let signs = Signs {
            repeated_syns: 3,
            resets: 2,
            ..Signs::default()
        };
        assert_eq!(text(signs), "3 SYNs repeated, 2 reset answers within 2s");
        let signs = Signs {
            repeated_syns: 1,
            unanswered: 1,
            resets: 1,
            unreachables: 1,
        };
        assert_eq!(
            text(signs),
            "1 SYN repeated, 1 flow unanswered, 1 reset answer, 1 ICMP unreachable within 2s"
        );
    }
}
