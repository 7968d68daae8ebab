//! When packets for a backend's port come by: a packet socket (packet(7)) in a namespace, with the kernel's own times.

use std::{
    collections::BTreeSet,
    io::IoSliceMut,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    cmsg_space,
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
            setsockopt, socket,
            sockopt::{RcvBufForce, ReceiveTimeout, ReceiveTimestampns},
        },
        time::{TimeSpec, TimeVal},
    },
};
use xlb_tests::{interrupt, netns::Netns};

/// Room for seconds in which this process has no turn on a CPU.
const BUFFER: usize = 8 << 20;
/// As much of a frame as is looked at: Ethernet, IPv4 and TCP, with options.
const HEADERS: usize = 14 + 60 + 20;
/// How long a thread that is to end may still wait.
const WAKE: i64 = 50_000;
const POLL: Duration = Duration::from_millis(5);

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Aim {
    pub address: Ipv4Addr,
    pub port: u16,
    /// Only the first packet of each connection.
    pub attempts_only: bool,
}

/// Looks until it is dropped.
pub struct Arrivals {
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    /// By the clock that also says when the fault was.
    last: Option<SystemTime>,
    /// Attempts: by client's address, port and sequence number.
    attempts: BTreeSet<(u32, u16, u32)>,
}

/// What a packet is.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    attempt: Option<(u32, u16, u32)>,
}

impl Arrivals {
    /// All packets in a namespace, on any device.
    pub fn in_namespace(ns: &Netns, aim: Aim) -> Result<Self> {
        // All of them: bridges take frames before those are told apart. A switch shows one twice, where it comes in and goes out.
        let protocol = SockProtocol::EthAll;
        let made = ns.run(|| {
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )
        })?;
        let socket = made.context("make a packet socket (as root)")?;
        setsockopt(&socket, RcvBufForce, &BUFFER).context("enlarge a receive buffer")?;
        setsockopt(&socket, ReceiveTimestampns, &true).context("ask for the times of packets")?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, WAKE)).context("limit a wait")?;
        let (seen, ended) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let thread = thread::Builder::new().name("arrivals".into()).spawn({
            let (seen, ended) = (seen.clone(), ended.clone());
            move || look(&socket, aim, &seen, &ended)
        })?;
        Ok(Self {
            seen,
            ended,
            thread: Some(thread),
        })
    }

    /// Waits until so many have come within a tenth of a second.
    pub fn wait_flowing(&self, count: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut before = self.count();
        loop {
            interrupt::check()?;
            thread::sleep(Duration::from_millis(100));
            let now = self.count();
            if now - before >= count {
                return Ok(());
            }
            before = now;
            ensure!(
                Instant::now() < deadline,
                "hardly anything has come for the backend within {patience:?}"
            );
        }
    }

    /// Waits until nothing has come for so long, and says when the last one came.
    pub fn wait_quiet(&self, silence: Duration, patience: Duration) -> Result<Option<SystemTime>> {
        let deadline = Instant::now() + patience;
        let (mut count, mut since) = (self.count(), Instant::now());
        while since.elapsed() < silence {
            interrupt::check()?;
            ensure!(
                Instant::now() < deadline,
                "packets still go to the dead backend after {patience:?}"
            );
            thread::sleep(POLL);
            let now = self.count();
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(self.seen().last)
    }

    fn count(&self) -> u64 {
        self.seen().count
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ended = thread.join();
        }
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(socket: &OwnedFd, aim: Aim, seen: &Mutex<Seen>, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let mut frame = [0; HEADERS];
        // A wait that has ended without a packet.
        let Some((length, at)) = receive(socket, &mut frame) else {
            continue;
        };
        let Some(packet) = packet(&frame[..length.min(HEADERS)], aim) else {
            continue;
        };
        let mut seen = locked(seen);
        let is_counted = match packet.attempt {
            Some(attempt) => seen.attempts.insert(attempt) || !aim.attempts_only,
            None => !aim.attempts_only,
        };
        if is_counted {
            seen.count += 1;
            seen.last = seen.last.max(Some(at));
        }
    }
}

fn receive(socket: &OwnedFd, frame: &mut [u8]) -> Option<(usize, SystemTime)> {
    let mut pieces = [IoSliceMut::new(frame)];
    let mut space = cmsg_space!(TimeSpec);
    let got = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut pieces,
        Some(&mut space),
        MsgFlags::empty(),
    );
    let got = got.ok()?;
    let at = got.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
        _ => None,
    });
    Some((got.bytes, SystemTime::UNIX_EPOCH + at?))
}

/// A TCP packet for the aim. A reset without an acknowledgment is none: so a client's host answers what the dead host's kernel still sends
/// of connections that are no more (RFC 9293, section 3.5.2), and to that host itself, without any balancer.
fn packet(frame: &[u8], aim: Aim) -> Option<Packet> {
    const IPV4: u16 = 0x0800;
    const TCP: u8 = 6;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    let u16_at = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    let tcp = 14 + usize::from(frame.get(14)? & 0xf) * 4;
    let is_it = u16_at(12)? == IPV4
        && *frame.get(23)? == TCP
        && u32_at(30)? == aim.address.to_bits()
        && u16_at(tcp + 2)? == aim.port;
    if !is_it {
        return None;
    }
    let flags = frame.get(tcp + 13)?;
    if flags & (RST | ACK) == RST {
        return None;
    }
    let is_attempt = flags & (SYN | ACK) == SYN;
    let attempt = is_attempt.then_some((u32_at(26)?, u16_at(tcp)?, u32_at(tcp + 4)?));
    Some(Packet { attempt })
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};

    use super::*;

    const AIM: Aim = Aim {
        address: Ipv4Addr::new(10, 20, 0, 11),
        port: 80,
        attempts_only: false,
    };

    fn frame(to: [u8; 4], port: u16, ack: bool) -> Vec<u8> {
        with(to, port, |tcp| if ack { tcp.ack(1) } else { tcp.syn() })
    }

    fn with(
        to: [u8; 4],
        port: u16,
        flags: impl FnOnce(PacketBuilderStep<TcpHeader>) -> PacketBuilderStep<TcpHeader>,
    ) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 10, 0, 11], to, 64)
            .tcp(4711, port, 99, 1000);
        let mut frame = Vec::new();
        flags(builder).write(&mut frame, &[]).unwrap();
        frame
    }

    #[test]
    fn only_tcp_to_the_address_and_port_is_seen() {
        let attempt = Some((Ipv4Addr::new(10, 10, 0, 11).to_bits(), 4711, 99));
        assert_eq!(
            packet(&frame([10, 20, 0, 11], 80, false), AIM),
            Some(Packet { attempt })
        );
        assert_eq!(
            packet(&frame([10, 20, 0, 11], 80, true), AIM),
            Some(Packet { attempt: None })
        );
        assert_eq!(packet(&frame([10, 20, 0, 12], 80, false), AIM), None);
        assert_eq!(packet(&frame([10, 20, 0, 11], 9000, false), AIM), None);
        assert_eq!(packet(&with([10, 20, 0, 11], 80, |tcp| tcp.rst()), AIM), None);
        let ended = with([10, 20, 0, 11], 80, |tcp| tcp.rst().ack(1));
        assert_eq!(packet(&ended, AIM), Some(Packet { attempt: None }));
        // Up to the flags.
        for length in 0..48 {
            assert_eq!(packet(&frame([10, 20, 0, 11], 80, false)[..length], AIM), None);
        }
    }
}
