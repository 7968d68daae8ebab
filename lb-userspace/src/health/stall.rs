//! Standstills of this host: suspended, stopped, or without a turn on a CPU. Probes that were under way say nothing then.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use tokio::{task::JoinHandle, time::sleep};

/// How often it is looked whether time passes evenly.
const LOOK: Duration = Duration::from_millis(20);
/// What a busy host may be late by.
const LATE: Duration = Duration::from_millis(50);
/// Standstills that are remembered: longer than any probe lasts.
const MEMORY: usize = 64;

/// The standstills so far; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stalls(Arc<Mutex<VecDeque<Stall>>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    from: Instant,
    to: Instant,
    lasted: Duration,
}

impl Stalls {
    /// For how long this host stood still during a probe that was to take `timeout`, if that may be why nothing was heard.
    #[must_use]
    pub fn within(&self, start: Instant, end: Instant, timeout: Duration) -> Option<Duration> {
        // The probe's own end has come late: nobody may have noted the standstill yet.
        let late = end.saturating_duration_since(start + timeout);
        let stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let during = stalls.iter().filter(|stall| stall.from < end && stall.to > start);
        let lasted: Duration = during.map(|stall| stall.lasted).sum();
        let lasted = lasted.max(if late > LATE { late } else { Duration::ZERO });
        // A moment of a long wait makes no difference to who answers at all.
        (lasted > LATE.max(timeout / 4)).then_some(lasted)
    }

    fn note(&self, stall: Stall) {
        let mut stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stalls.len() == MEMORY {
            stalls.pop_front();
        }
        stalls.push_back(stall);
    }

    /// Watches until the task is ended.
    pub fn watch(&self) -> JoinHandle<()> {
        let stalls = self.clone();
        tokio::spawn(async move {
            let mut last = Reading::now();
            loop {
                sleep(LOOK).await;
                let now = Reading::now();
                if let Some(stall) = now.since(&last) {
                    log::warn!(
                        "this host stood still for {} ms: what probes did not hear meanwhile does not count",
                        stall.lasted.as_millis()
                    );
                    stalls.note(stall);
                }
                last = now;
            }
        })
    }
}

/// The clocks at a moment.
struct Reading {
    at: Instant,
    /// The time that it was suspended, since it was started.
    suspended: Duration,
}

impl Reading {
    fn now() -> Self {
        let read = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        let running = read(ClockId::CLOCK_MONOTONIC);
        Self {
            at: Instant::now(),
            suspended: read(ClockId::CLOCK_BOOTTIME).saturating_sub(running),
        }
    }

    /// What is missing since the last look.
    fn since(&self, last: &Self) -> Option<Stall> {
        let passed = self.at.saturating_duration_since(last.at);
        let late = passed.saturating_sub(LOOK);
        let asleep = self.suspended.saturating_sub(last.suspended);
        (late + asleep > LATE).then_some(Stall {
            from: last.at,
            to: self.at,
            lasted: late + asleep,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_standstill_excuses_what_was_under_way() {
        let stalls = Stalls::default();
        let start = Instant::now();
        stalls.note(Stall {
            from: start + SECOND,
            to: start + SECOND * 2,
            lasted: SECOND,
        });
        let within = |from: u32, to: u32| {
            let timeout = MILLISECOND * (to - from);
            stalls.within(start + MILLISECOND * from, start + MILLISECOND * to, timeout)
        };
        assert_eq!(within(900, 1100), Some(SECOND));
        assert_eq!(within(1500, 2500), Some(SECOND));
        assert_eq!(within(0, 900), None);
        assert_eq!(within(2100, 2500), None);
        // It is not what a wait of a minute came to nothing by.
        assert_eq!(within(0, 60_000), None);
    }

    #[test]
    fn an_end_that_comes_late_is_one() {
        let stalls = Stalls::default();
        let start = Instant::now();
        let at = |end| stalls.within(start, start + MILLISECOND * end, MILLISECOND * 100);
        assert_eq!(at(101), None);
        assert_eq!(at(149), None);
        assert_eq!(at(5100), Some(SECOND * 5));
    }

    #[test]
    fn sleep_and_lateness_are_read_off_the_clocks() {
        let before = Reading::now();
        let at = |late: Duration, suspended: Duration| Reading {
            at: before.at + LOOK + late,
            suspended: before.suspended + suspended,
        };
        assert_eq!(at(MILLISECOND * 10, Duration::ZERO).since(&before), None);
        let stall = at(SECOND, Duration::ZERO).since(&before).unwrap();
        assert_eq!(stall.lasted, SECOND);
        assert_eq!(
            at(Duration::ZERO, SECOND * 3600).since(&before).unwrap().lasted,
            SECOND * 3600
        );
    }
}
