//! One task per backend that probes at its interval.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{ProbeError, probe};
use crate::config::CheckSpec;

/// Over how long the first probes of many backends are spread.
const SPREAD: Duration = Duration::from_millis(100);

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation<K> {
    pub key: K,
    pub result: Result<(), ProbeError>,
    pub took: Duration,
    /// When the result was there.
    pub at: Instant,
}

/// A running check; ends when dropped.
#[derive(Debug)]
pub struct Handle(JoinHandle<()>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Probes `target` for as long as the handle is held and somebody receives. Must be called inside a tokio runtime.
///
/// The first probe starts within 100 ms (or the interval, if that is shorter), at a moment that depends on the key, so
/// that a thousand backends do not all fire at once; further ones follow at the interval from start to start.
pub fn spawn<K>(key: K, spec: CheckSpec, target: SocketAddr, tx: mpsc::Sender<Observation<K>>) -> Handle
where
    K: Clone + Hash + Send + 'static,
{
    let offset = offset(&key, spec.interval.min(SPREAD));
    Handle(tokio::spawn(async move {
        sleep(offset).await;
        let mut ticks = interval(spec.interval.max(Duration::from_millis(1)));
        // The tick after a probe that took the whole interval is late by a little: probe at once and go on from there. To
        // skip to the next multiple would halve the rate for exactly those backends that hang.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let start = Instant::now();
            let result = probe(&spec.kind, target, spec.timeout).await;
            let at = Instant::now();
            if let Err(error) = &result
                && error.is_ours()
            {
                log::warn!("{target} could not be probed, which does not count: {error}");
                continue;
            }
            let observation = Observation {
                key: key.clone(),
                result,
                took: at - start,
                at,
            };
            if tx.send(observation).await.is_err() {
                return;
            }
        }
    }))
}

fn offset(key: &impl Hash, spread: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    // DefaultHasher's keys are fixed: the same backend has the same moment each time.
    spread.mul_f64((hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::timeout};

    use super::*;
    use crate::config::CheckKind;

    fn every(interval_ms: u64) -> CheckSpec {
        let interval = Duration::from_millis(interval_ms);
        CheckSpec {
            interval,
            timeout: interval,
            ..CheckSpec::new(CheckKind::Tcp)
        }
    }

    async fn next(rx: &mut mpsc::Receiver<Observation<&'static str>>) -> Observation<&'static str> {
        timeout(Duration::from_secs(2), rx.recv()).await.unwrap().unwrap()
    }

    #[test]
    fn first_probes_are_spread_and_repeat() {
        let offsets: Vec<_> = (0..1000).map(|key| offset(&key, SPREAD)).collect();
        assert!(offsets.iter().all(|&offset| offset < SPREAD));
        for tenth in 0..10 {
            let (from, to) = (SPREAD / 10 * tenth, SPREAD / 10 * (tenth + 1));
            let inside = offsets
                .iter()
                .filter(|&&offset| from <= offset && offset < to)
                .count();
            assert!((50..200).contains(&inside), "{inside} of 1000 in tenth {tenth}");
        }
        assert_eq!(offset(&"b1", SPREAD), offset(&"b1", SPREAD));
    }

    #[tokio::test]
    async fn results_come_at_the_interval_and_follow_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let (tx, mut rx) = mpsc::channel(8);
        let start = Instant::now();
        let _handle = spawn("b1", every(50), target, tx);
        let first = next(&mut rx).await;
        assert_eq!((first.key, &first.result), ("b1", &Ok(())));
        assert!(
            first.at - start < Duration::from_secs(1),
            "{:?}",
            first.at - start
        );
        for _ in 0..4 {
            assert_eq!(next(&mut rx).await.result, Ok(()));
        }
        // Four intervals; tasks may run late, never early.
        assert!(
            start.elapsed() >= Duration::from_millis(195),
            "{:?}",
            start.elapsed()
        );

        drop(listener);
        let mut results = Vec::new();
        while results.last().is_none_or(Result::is_ok) && results.len() < 5 {
            results.push(next(&mut rx).await.result);
        }
        assert!(results.last().is_some_and(Result::is_err), "{results:?}");
    }

    #[tokio::test]
    async fn a_dropped_handle_ends_the_probes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tx, mut rx) = mpsc::channel(8);
        let handle = spawn("b1", every(20), listener.local_addr().unwrap(), tx);
        next(&mut rx).await;
        drop(handle);
        let rest = async { while rx.recv().await.is_some() {} };
        timeout(Duration::from_secs(2), rest).await.unwrap();
    }

    #[tokio::test]
    async fn the_task_ends_when_nobody_receives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tx, rx) = mpsc::channel(1);
        let mut handle = spawn("b1", every(20), listener.local_addr().unwrap(), tx);
        drop(rx);
        timeout(Duration::from_secs(2), &mut handle.0)
            .await
            .unwrap()
            .unwrap();
    }
}
