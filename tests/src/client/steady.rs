//! New connections at a steady rate, one HTTP request on each: what users of a service see while something happens
//! to it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::samples::{Failure, Sample, Samples};
use crate::host::Host;

const MAX_WORKERS: u32 = 512;
const STACK: usize = 128 << 10;

/// How the stream shall be.
#[derive(Clone, Debug)]
pub struct SteadyBuilder {
    host: Host,
    to: SocketAddr,
    rate: u32,
    timeout: Duration,
    path: String,
}

/// A stream of requests under way. Dropping it ends it.
#[derive(Debug)]
pub struct Steady {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    request: String,
    timeout: Duration,
    start: Instant,
    gap: Duration,
    next: AtomicU32,
    ended: AtomicBool,
    samples: Mutex<Vec<Sample>>,
}

impl Host {
    /// Requests to `to`, `rate` a second, each on a new connection.
    pub fn steady(&self, to: SocketAddr, rate: u32) -> SteadyBuilder {
        SteadyBuilder {
            host: self.clone(),
            to,
            rate: rate.max(1),
            timeout: Duration::from_secs(1),
            path: "/".into(),
        }
    }
}

impl SteadyBuilder {
    /// How long to wait for the handshake, and again for each piece of the reply; 1 s unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The path to ask for, `/` unless set. The body of the reply names the backend.
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Starts it. There are workers enough to keep the rate while every request runs into its timeouts.
    pub fn start(self) -> Result<Steady> {
        let shared = Arc::new(Shared {
            to: self.to,
            request: format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.path,
                self.to.ip()
            ),
            timeout: self.timeout,
            start: Instant::now(),
            gap: Duration::from_secs(1) / self.rate,
            next: AtomicU32::new(0),
            ended: AtomicBool::new(false),
            samples: Mutex::default(),
        });
        let hanging = self.timeout.as_millis().saturating_mul(2 * u128::from(self.rate)) / 1000;
        let workers = u32::try_from(hanging)
            .unwrap_or(MAX_WORKERS)
            .saturating_add(4)
            .min(MAX_WORKERS);
        let mut steady = Steady {
            shared,
            workers: Vec::new(),
        };
        for _ in 0..workers {
            let (shared, ns) = (steady.shared.clone(), self.host.ns.clone());
            let worker = thread::Builder::new()
                .name("steady".into())
                .stack_size(STACK)
                .spawn(move || {
                    // Fails when the lab is gone: there is nobody left to ask.
                    if ns.enter().is_ok() {
                        shared.work();
                    }
                });
            steady.workers.push(worker.context("start a worker")?);
        }
        Ok(steady)
    }
}

impl Steady {
    /// How many requests have ended so far.
    pub fn count(&self) -> usize {
        self.shared.samples().len()
    }

    /// What it has met so far.
    pub fn so_far(&self) -> Samples {
        Samples::new(self.shared.samples().clone())
    }

    /// Begins no more requests, waits for those under way, and returns all.
    pub fn stop(mut self) -> Samples {
        self.end();
        Samples::new(std::mem::take(&mut *self.shared.samples()))
    }

    fn end(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // A panic of a worker has been printed, and its request is missing from the samples.
            let _ = worker.join();
        }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn samples(&self) -> std::sync::MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes turn after turn, each at its time.
    fn work(&self) {
        loop {
            let turn = self.start + self.gap * self.next.fetch_add(1, Ordering::Relaxed);
            while let Some(early) = turn.checked_duration_since(Instant::now()) {
                if self.ended.load(Ordering::Relaxed) {
                    return;
                }
                // In steps, so that an end is not long in coming.
                thread::sleep(early.min(Duration::from_millis(50)));
            }
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            let at = Instant::now();
            let outcome = self.request();
            self.samples().push(Sample {
                at,
                took: at.elapsed(),
                outcome,
            });
        }
    }

    fn request(&self) -> Result<String, Failure> {
        let stream = TcpStream::connect_timeout(&self.to, self.timeout);
        let stream = stream.map_err(|e| Failure::Connect(e.into()))?;
        let reply = self.exchange(stream).map_err(|e| Failure::Exchange(e.into()))?;
        let text = String::from_utf8_lossy(&reply);
        match text.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") && !body.trim().is_empty() => {
                Ok(body.trim().to_owned())
            }
            _ => Err(Failure::Reply(text.lines().next().unwrap_or_default().to_owned())),
        }
    }

    fn exchange(&self, mut stream: TcpStream) -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        stream.write_all(self.request.as_bytes())?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        Ok(reply)
    }
}
