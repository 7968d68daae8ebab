//! Datagrams to an echo at a steady rate, half of them on flows that go on and half on a new flow each: what is lost while
//! something happens to the balancer.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use xlb_tests::Host;

use crate::stage::{fresh, tell, wait_until};

/// Flows that go on.
const LONG_FLOWS: usize = 8;
/// How long an echo may take.
const LATE: Duration = Duration::from_secs(1);

/// A stream under way. Dropping it ends it.
pub struct Stream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Vec<Datagram>>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    echoed: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Datagram {
    at: Instant,
    echoed: bool,
}

/// What became of the datagrams.
pub struct Report(Vec<Datagram>);

impl Stream {
    /// `rate` datagrams a second from `client` to `to`.
    pub fn start(client: &Host, to: SocketAddr, rate: u32) -> Result<Self> {
        let long = client
            .ns
            .run(|| (0..LONG_FLOWS).map(|_| open(to)).collect::<Result<Vec<_>>>())??;
        let shared = Arc::new(Shared::default());
        let (ns, gap) = (client.ns.clone(), Duration::from_secs(1) / rate.max(1));
        let thread = thread::Builder::new().name("stream".into()).spawn({
            let shared = shared.clone();
            move || match ns.enter() {
                Ok(()) => Sender {
                    to,
                    gap,
                    long,
                    short: Vec::new(),
                    sent: Vec::new(),
                    shared,
                }
                .run(),
                // Nothing sent: whoever waits for an echo says so.
                Err(_) => Vec::new(),
            }
        })?;
        let stream = Self {
            shared,
            thread: Some(thread),
        };
        stream.wait_for_echoes(LONG_FLOWS)?;
        Ok(stream)
    }

    /// Waits until `count` more datagrams have come back.
    pub fn wait_for_echoes(&self, count: usize) -> Result<Duration> {
        let goal = self.shared.echoed.load(Ordering::Relaxed) + count;
        wait_until("echoes of the stream", || {
            Ok(self.shared.echoed.load(Ordering::Relaxed) >= goal)
        })
    }

    /// Ends it, after the last echoes have had their time.
    pub fn stop(mut self) -> Result<Report> {
        self.shared.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped before")?;
        let sent = thread
            .join()
            .map_err(|_| anyhow!("the stream's thread panicked"))?;
        ensure!(!sent.is_empty(), "nothing was sent");
        Ok(Report(sent))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Report {
    pub fn sent(&self) -> usize {
        self.0.len()
    }

    pub fn last_sent(&self) -> Option<Instant> {
        self.0.last().map(|datagram| datagram.at)
    }

    pub fn lost(&self) -> usize {
        self.0.iter().filter(|datagram| !datagram.echoed).count()
    }

    /// From `event` to the sending of the last datagram that was lost after it.
    pub fn outage(&self, event: Instant) -> Duration {
        let lost = self.0.iter().filter(|datagram| !datagram.echoed);
        lost.filter_map(|datagram| datagram.at.checked_duration_since(event))
            .max()
            .unwrap_or_default()
    }

    /// How many were lost that were sent from `from` on and before `to`.
    pub fn lost_between(&self, from: Instant, to: Instant) -> usize {
        let lost = self.0.iter().filter(|datagram| !datagram.echoed);
        lost.filter(|datagram| (from..to).contains(&datagram.at)).count()
    }
}

struct Sender {
    to: SocketAddr,
    gap: Duration,
    long: Vec<UdpSocket>,
    /// Flows of one datagram that has not come back.
    short: Vec<(Instant, UdpSocket)>,
    sent: Vec<Datagram>,
    shared: Arc<Shared>,
}

impl Sender {
    fn run(mut self) -> Vec<Datagram> {
        let mut due = Instant::now();
        while !self.shared.ended.load(Ordering::Relaxed) {
            if Instant::now() < due {
                thread::sleep(Duration::from_millis(1));
            } else {
                due += self.gap;
                self.send();
            }
            self.receive();
        }
        let deadline = Instant::now() + LATE;
        while self
            .sent
            .iter()
            .any(|datagram| !datagram.echoed && datagram.at.elapsed() < LATE)
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(1));
            self.receive();
        }
        self.sent
    }

    fn send(&mut self) {
        let number = self.sent.len();
        let bytes = (number as u64).to_be_bytes();
        self.sent.push(Datagram {
            at: Instant::now(),
            echoed: false,
        });
        if number.is_multiple_of(2) {
            // A refusal is what an ICMP error to an earlier one has left: this one counts as lost.
            let _ = self.long[number / 2 % self.long.len()].send(&bytes);
        } else if let Ok(socket) = open(self.to) {
            let _ = socket.send(&bytes);
            self.short.push((Instant::now(), socket));
        }
    }

    fn receive(&mut self) {
        let mut numbers = Vec::new();
        for socket in &self.long {
            while let Some(number) = received(socket) {
                numbers.push(number);
            }
        }
        self.short.retain(|(at, socket)| match received(socket) {
            Some(number) => {
                numbers.push(number);
                false
            }
            None => at.elapsed() < LATE,
        });
        for number in numbers {
            if let Some(datagram) = self.sent.get_mut(number) {
                datagram.echoed = true;
                self.shared.echoed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn open(to: SocketAddr) -> Result<UdpSocket> {
    let socket = fresh(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn received(socket: &UdpSocket) -> Option<usize> {
    let mut bytes = [0; 8];
    match socket.recv(&mut bytes) {
        Ok(8) => usize::try_from(u64::from_be_bytes(bytes)).ok(),
        _ => None,
    }
}

/// The time that a stream shows as an outage, given in a message.
pub fn told(what: &str, report: &Report, event: Instant) -> String {
    let outage = report.outage(event);
    format!(
        "{what}: {} of {} datagrams lost, the last {outage:?} after it",
        report.lost(),
        report.sent()
    )
}

/// A stream that has to survive what `act` does without a loss.
pub fn unharmed<T>(client: &Host, to: SocketAddr, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let stream = Stream::start(client, to, 300)?;
    let start = Instant::now();
    let result = act();
    let took = start.elapsed();
    let after = stream.wait_for_echoes(60);
    let report = stream.stop()?;
    tell(&format!(
        "{} datagrams in {took:?}, {} lost",
        report.sent(),
        report.lost()
    ));
    let result = result?;
    after?;
    ensure!(report.lost() == 0, "{}", told("not unharmed", &report, start));
    Ok(result)
}
