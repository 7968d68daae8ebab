//! A client that opens one connection after the other, without waiting for any.

use std::{
    collections::VecDeque,
    net::SocketAddrV4,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    libc,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt::Linger,
    },
};
use xlb_tests::Host;

/// From one to the next.
const PACE: Duration = Duration::from_micros(500);
/// How long each is kept, then reset: nothing is left of it, not even a port that waits.
const LIFE: Duration = Duration::from_millis(20);
/// What is missed by more than that, for want of a turn on a CPU, is not made good.
const LATE: Duration = Duration::from_millis(20);

/// Goes on until it is dropped.
pub struct Stream {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    pub fn start(client: &Host, to: SocketAddrV4) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("stream".into()).spawn({
            let (ended, ns) = (ended.clone(), client.ns.clone());
            move || {
                // Without it nothing is heard at the backends, which is said there.
                if ns.enter().is_ok() {
                    run(to, &ended);
                }
            }
        })?;
        Ok(Self {
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ended = thread.join();
        }
    }
}

fn run(to: SocketAddrV4, ended: &AtomicBool) {
    let mut open: VecDeque<(OwnedFd, Instant)> = VecDeque::new();
    let mut next = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        while open
            .front()
            .is_some_and(|(_, since)| now.duration_since(*since) > LIFE)
        {
            open.pop_front();
        }
        if let Ok(socket) = open_one(to) {
            open.push_back((socket, now));
        }
        next = (next + PACE).max(now.checked_sub(LATE).unwrap_or(now));
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn open_one(to: SocketAddrV4) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("make a socket")?;
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&made, Linger, &at_once)?;
    match connect(made.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(nix::Error::EINPROGRESS) => Ok(made),
        Err(error) => Err(error).context("connect"),
    }
}
