//! What a steady stream of requests met, and questions to it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// One request on a connection of its own.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it began to connect.
    pub at: Instant,
    /// Until the reply was complete or the failure known.
    pub took: Duration,
    /// The backend that served it, or how it failed.
    pub outcome: Result<String, Failure>,
}

impl Sample {
    /// When it was over.
    pub fn ended(&self) -> Instant {
        self.at + self.took
    }
}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The connection did not come about.
    Connect(Kind),
    /// It came about, and ended before the whole reply had come.
    Exchange(Kind),
    /// A reply that is not `200 OK` with a name.
    Reply(String),
}

/// The kinds of I/O errors that a test tells apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No answer in time.
    Timeout,
    /// Refused by a reset of the first packet.
    Refused,
    /// Reset, or closed too early.
    Reset,
    /// Anything else, as the system says it.
    Other(String),
}

impl From<io::Error> for Kind {
    fn from(e: io::Error) -> Self {
        use io::ErrorKind as E;
        match e.kind() {
            E::TimedOut | E::WouldBlock => Self::Timeout,
            E::ConnectionRefused => Self::Refused,
            E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::UnexpectedEof => Self::Reset,
            _ => Self::Other(e.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(kind) => write!(f, "connect: {kind}"),
            Self::Exchange(kind) => write!(f, "connected, then {kind}"),
            Self::Reply(reply) => write!(f, "unexpected reply {reply:?}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timed out"),
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Other(message) => f.write_str(message),
        }
    }
}

/// Samples in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn new(mut samples: Vec<Sample>) -> Self {
        samples.sort_by_key(|sample| sample.at);
        Self(samples)
    }

    /// All of them.
    pub fn all(&self) -> &[Sample] {
        &self.0
    }

    /// Those that began at or after `from` and before `to`.
    pub fn between(&self, from: Instant, to: Instant) -> Self {
        Self(
            self.0
                .iter()
                .filter(|sample| (from..to).contains(&sample.at))
                .cloned()
                .collect(),
        )
    }

    /// Requests served, by backend.
    pub fn served(&self) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for backend in self.0.iter().filter_map(|sample| sample.outcome.as_deref().ok()) {
            *count.entry(backend).or_default() += 1;
        }
        count
    }

    /// Those that failed.
    pub fn failed(&self) -> impl Iterator<Item = (&Sample, &Failure)> {
        self.0
            .iter()
            .filter_map(|sample| Some((sample, sample.outcome.as_ref().err()?)))
    }

    /// Failed requests, by kind.
    pub fn failures(&self) -> BTreeMap<&Failure, usize> {
        let mut count = BTreeMap::new();
        for (_, failure) in self.failed() {
            *count.entry(failure).or_default() += 1;
        }
        count
    }

    /// From `event` to the beginning of the last request that failed: how long new connections were at risk. Zero
    /// when none failed that began after it.
    pub fn last_failure_after(&self, event: Instant) -> Duration {
        let begun = self
            .failed()
            .filter_map(|(sample, _)| sample.at.checked_duration_since(event));
        begun.max().unwrap_or_default()
    }

    /// The first request after `event` that `backend` served, counted from the event.
    pub fn first_served_after(&self, event: Instant, backend: &str) -> Option<Duration> {
        let served = self
            .0
            .iter()
            .filter(|sample| sample.outcome.as_deref() == Ok(backend));
        served
            .filter_map(|sample| sample.at.checked_duration_since(event))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_measured_from_the_event() {
        let event = Instant::now();
        let sample = |ms, outcome| Sample {
            at: event + Duration::from_millis(ms),
            took: Duration::from_millis(1),
            outcome,
        };
        let refused = || Err(Failure::Connect(Kind::Refused));
        let samples = Samples::new(vec![
            sample(30, refused()),
            sample(10, refused()),
            sample(40, Ok("b2".into())),
            sample(50, Ok("b1".into())),
        ]);
        assert_eq!(samples.last_failure_after(event), Duration::from_millis(30));
        assert_eq!(
            samples.first_served_after(event, "b1"),
            Some(Duration::from_millis(50))
        );
        assert_eq!(samples.served(), BTreeMap::from([("b1", 1), ("b2", 1)]));
        assert_eq!(
            samples.failures(),
            BTreeMap::from([(&Failure::Connect(Kind::Refused), 2)])
        );
        let late = samples.between(event + Duration::from_millis(40), event + Duration::from_secs(1));
        assert_eq!(late.all().len(), 2);
        assert_eq!(late.last_failure_after(event), Duration::ZERO);
    }
}
