//! How unlikely a silence is, by the intervals that there were between heartbeats: phi-accrual detection (Hayashibara, Défago, Yared
//! and Katayama, "The φ Accrual Failure Detector", SRDS 2004).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Intervals that are remembered.
const WINDOW: usize = 100;
/// The least deviation that is believed in, as a share of the mean: a network as even as a clock today may not be so tomorrow.
const LEAST_DEVIATION: f64 = 0.25;
/// What no double could tell from certainty.
const MOST: f64 = 300.0;

/// The heartbeats of one backend.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    /// Seconds between the last ones.
    intervals: VecDeque<f64>,
    /// What is taken for the interval until there is one.
    expected: f64,
    /// Results, of whatever kind, are not further apart while somebody asks.
    longest: Duration,
    /// When the newest result was there, and the silence by then. `None` before the first heartbeat.
    heard: Option<(Instant, f64)>,
}

impl Heartbeats {
    /// Of one that is asked at an interval, and of whom a result is there after `longest` at the latest.
    #[must_use]
    pub fn new(expected: Duration, longest: Duration) -> Self {
        Self {
            intervals: VecDeque::new(),
            expected: expected.as_secs_f64(),
            longest,
            heard: None,
        }
    }

    /// Whether heartbeats are expected at the same intervals.
    #[must_use]
    pub fn has_pace_of(&self, other: &Self) -> bool {
        self.expected.total_cmp(&other.expected).is_eq() && self.longest == other.longest
    }

    /// Takes in a heartbeat.
    pub fn beat(&mut self, now: Instant) {
        if let Some(interval) = self.silence(now) {
            // What came after a failure says how long that was, and nothing of the intervals between heartbeats.
            if interval <= 2.0 * self.mean() + self.expected {
                self.intervals.push_back(interval);
            }
            if self.intervals.len() > WINDOW {
                self.intervals.pop_front();
            }
        }
        self.heard = Some((now, 0.0));
    }

    /// Takes in that it was asked, and there was none.
    pub fn missed(&mut self, now: Instant) {
        self.heard = self.silence(now).map(|silence| (now, silence));
    }

    /// Seconds since the last heartbeat in which one could have been heard. While nobody asks, because this host stands still or cannot
    /// probe, that is one interval, however long it lasts.
    fn silence(&self, now: Instant) -> Option<f64> {
        let (at, before) = self.heard?;
        let gap = now.saturating_duration_since(at);
        let is_ours = gap > self.longest;
        Some(before + if is_ours { self.expected } else { gap.as_secs_f64() })
    }

    fn mean(&self) -> f64 {
        if self.intervals.is_empty() {
            return self.expected;
        }
        // Those of a faster pace, or of the first probe, say nothing of what is usual.
        (self.intervals.iter().sum::<f64>() / self.count()).max(self.expected)
    }

    fn count(&self) -> f64 {
        u32::try_from(self.intervals.len()).map_or(f64::MAX, f64::from)
    }

    /// φ: the negative decimal logarithm of the probability that a heartbeat comes even later than now. `None` before the first one.
    #[must_use]
    pub fn suspicion(&self, now: Instant) -> Option<f64> {
        let silence = self.silence(now)?;
        let mean = self.mean();
        let squares: f64 = self.intervals.iter().map(|one| (one - mean).powi(2)).sum();
        let deviation = (squares / self.count().max(1.0))
            .sqrt()
            .max(LEAST_DEVIATION * mean);
        Some(phi((silence - mean) / deviation))
    }
}

/// −log₁₀ of the upper tail of the normal distribution at `y` deviations from the mean, by the logistic approximation of Bowling and
/// others (2009), which is within 0.02 % of probability and, unlike a difference from one, keeps its digits far out.
fn phi(y: f64) -> f64 {
    let exponent = y * (1.5976 + 0.070566 * y * y);
    // 1 / (1 + e^x), without overflow.
    let phi = if exponent > 0.0 {
        (exponent + (-exponent).exp().ln_1p()) / std::f64::consts::LN_10
    } else {
        exponent.exp().ln_1p() / std::f64::consts::LN_10
    };
    phi.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_millis(260);

    fn even(beats: u32) -> (Heartbeats, Instant) {
        let mut heartbeats = Heartbeats::new(EVERY, LONGEST);
        let start = Instant::now();
        for beat in 0..beats {
            heartbeats.beat(start + EVERY * beat);
        }
        (heartbeats, start + EVERY * (beats - 1))
    }

    #[test]
    fn the_tail_is_that_of_a_normal_distribution() {
        for (y, tail) in [(0.0, 0.5), (1.0, 0.158_655), (2.0, 0.022_750), (3.0, 0.001_350)] {
            let wanted = -f64::log10(tail);
            assert!((phi(y) - wanted).abs() < 0.05, "{y}: {} {wanted}", phi(y));
        }
        assert!(phi(1e9) <= MOST && phi(-1e9) >= 0.0);
    }

    #[test]
    fn it_grows_with_silence() {
        let (heartbeats, last) = even(50);
        let at = |tenths: u32| heartbeats.suspicion(last + EVERY * tenths / 10).unwrap();
        assert!(at(5) < 0.1, "{}", at(5));
        assert!(at(10) < 0.4);
        assert!(at(15) > 1.0 && at(15) < 3.0, "{}", at(15));
        assert!(at(25) > 8.0, "{}", at(25));
    }

    #[test]
    fn who_is_uneven_is_trusted_longer() {
        let (even, last) = even(50);
        let mut uneven = Heartbeats::new(EVERY, LONGEST);
        let mut at = last - EVERY * 100;
        let mut beats = [40, 160].into_iter().cycle();
        while at + Duration::from_millis(160) < last {
            at += Duration::from_millis(beats.next().unwrap());
            uneven.beat(at);
        }
        uneven.beat(last);
        let later = last + EVERY * 2;
        assert!(uneven.suspicion(later) < even.suspicion(later));
    }

    #[test]
    fn an_outage_is_no_interval() {
        let (mut heartbeats, last) = even(50);
        let before = heartbeats.mean();
        heartbeats.beat(last + EVERY * 1000);
        assert!((heartbeats.mean() - before).abs() < 1e-9);
        assert_eq!(Heartbeats::new(EVERY, LONGEST).suspicion(last), None);
    }

    #[test]
    fn what_nobody_has_asked_for_is_no_silence() {
        let (heartbeats, last) = even(50);
        let mut even = heartbeats.clone();
        even.missed(last + EVERY);
        even.missed(last + EVERY * 2);
        let mut stopped = heartbeats;
        stopped.missed(last + EVERY * 50);
        stopped.missed(last + EVERY * 51);
        let phi = |heartbeats: &Heartbeats, every| heartbeats.suspicion(last + EVERY * every).unwrap();
        assert!(
            (phi(&even, 2) - phi(&stopped, 51)).abs() < 1e-6,
            "{even:?}, {stopped:?}"
        );
        // A silence that is heard goes on.
        assert!(phi(&stopped, 52) > phi(&stopped, 51) + 1.0);
    }
}
