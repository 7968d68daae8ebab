//! One raw socket for each family. A raw socket hears all ICMP that comes in: if each probe had one, each would read the answers of all.
//!
//! A thread reads and tells each answer to who waits for it. It begins with the first probe and never ends; it belongs to no runtime.

use std::{
    collections::HashMap,
    collections::hash_map::Entry,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};
use tokio::sync::oneshot;

use super::{
    super::ProbeError,
    packet::{self, Echo, Heard},
};

/// Requests under way at once, of 2^32 that can be told apart.
const MAX: usize = 1 << 16;
/// For replies that come all at once.
const BUFFER: usize = 1 << 20;
/// After an error of the socket, so that one that stays does not take a CPU.
const PAUSE: Duration = Duration::from_millis(10);

static IPV4: Mutex<Option<Arc<Shared>>> = Mutex::new(None);
static IPV6: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

type Told = oneshot::Receiver<Result<super::Answer, ProbeError>>;

/// A raw socket and who waits for what.
pub struct Shared {
    /// A raw socket in truth: the standard library's type reads and sends with addresses, whatever the protocol.
    socket: UdpSocket,
    asked: Mutex<HashMap<(u16, u16), Asked>>,
}

struct Asked {
    target: IpAddr,
    token: [u8; 16],
    tell: oneshot::Sender<Result<super::Answer, ProbeError>>,
}

/// Somebody who waits; no longer, when dropped.
pub struct Waiting {
    shared: Arc<Shared>,
    echo: Echo,
}

/// The socket for a target's family; the first call makes it.
pub fn of(target: IpAddr) -> io::Result<Arc<Shared>> {
    let place = if target.is_ipv4() { &IPV4 } else { &IPV6 };
    let mut place = lock(place);
    if let Some(shared) = &*place {
        return Ok(Arc::clone(shared));
    }
    let shared = Arc::new(Shared {
        socket: raw(target.is_ipv4())?.into(),
        asked: Mutex::default(),
    });
    let reader = Arc::clone(&shared);
    thread::Builder::new()
        .name("icmp-check".into())
        .spawn(move || reader.read())?;
    *place = Some(Arc::clone(&shared));
    Ok(shared)
}

fn raw(is_v4: bool) -> io::Result<Socket> {
    let (domain, protocol) = if is_v4 {
        (Domain::IPV4, Protocol::ICMPV4)
    } else {
        (Domain::IPV6, Protocol::ICMPV6)
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.attach_filter(&filter(is_v4))?;
    socket.set_recv_buffer_size(BUFFER)?;
    Ok(socket)
}

/// Passes replies and errors by their type: the rest of a host's ICMP wakes nobody.
fn filter(is_v4: bool) -> [SockFilter; 7] {
    const IP_HEADER_LENGTH: u16 = 0xb1; // BPF_LDX | BPF_MSH | BPF_B: into X
    const BYTE_BEHIND_X: u16 = 0x50; // BPF_LD | BPF_IND | BPF_B
    const BYTE: u16 = 0x30; // BPF_LD | BPF_ABS | BPF_B
    const EQUALS: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let types = packet::types(is_v4);
    let (first, second) = if is_v4 {
        (IP_HEADER_LENGTH, BYTE_BEHIND_X)
    } else {
        // There is no header in front; to load the byte twice harms nobody.
        (BYTE, BYTE)
    };
    [
        SockFilter::new(first, 0, 0, 0),
        SockFilter::new(second, 0, 0, 0),
        SockFilter::new(EQUALS, 3, 0, types.reply.into()),
        SockFilter::new(EQUALS, 2, 0, types.unreachable.into()),
        SockFilter::new(EQUALS, 1, 0, types.exceeded.into()),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

impl Shared {
    /// Has the answers to a request told that nobody waits for yet.
    pub fn expect(
        self: &Arc<Self>,
        target: IpAddr,
        random: impl Fn() -> Echo,
    ) -> Result<(Waiting, Told), ProbeError> {
        let mut asked = lock(&self.asked);
        if asked.len() >= MAX {
            return Err(ProbeError::ours(format!(
                "{MAX} echo requests are under way already: raise interval"
            )));
        }
        loop {
            let echo = random();
            // One in 65,536 is taken at most: it will not be long.
            let Entry::Vacant(place) = asked.entry((echo.id, echo.sequence)) else {
                continue;
            };
            let (tell, told) = oneshot::channel();
            place.insert(Asked {
                target,
                token: echo.token,
                tell,
            });
            let shared = Arc::clone(self);
            return Ok((Waiting { shared, echo }, told));
        }
    }

    pub fn send(&self, target: IpAddr, echo: &Echo) -> Result<(), ProbeError> {
        let request = echo.request(target.is_ipv4());
        let to = SockAddr::from(SocketAddr::from((target, 0)));
        // The socket blocks, for the thread that reads; who sends must not.
        let sent = SockRef::from(&self.socket).send_to_with_flags(&request, &to, libc::MSG_DONTWAIT);
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(ProbeError::ours("send: too much waits to be sent already"))
            }
            Err(error) => Err(ProbeError::io("send", &error)),
        }
    }

    fn read(&self) {
        // An answer has at most 84 bytes, an error what it quotes beside.
        let mut packet = [0; 2048];
        loop {
            match self.socket.recv_from(&mut packet) {
                Ok((length, from)) => {
                    if let Some(heard) = packet::read(&packet[..length], from.ip()) {
                        self.tell(heard, from.ip());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::debug!("read answers to echo requests: {error}");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn tell(&self, heard: Heard, from: IpAddr) {
        let (key, result) = match heard {
            Heard::Reply(echo) => {
                let key = (echo.id, echo.sequence);
                let is_ours = |asked: &Asked| asked.target == from && asked.token == echo.token;
                (self.answered(key, is_ours), Ok(super::Answer::default()))
            }
            Heard::Error {
                target,
                id,
                sequence,
                error,
            } => (
                self.answered((id, sequence), |asked| asked.target == target),
                Err(error),
            ),
        };
        if let Some(asked) = key {
            // Who does not wait any more need not know.
            drop(asked.tell.send(result));
        }
    }

    fn answered(&self, key: (u16, u16), is_it: impl Fn(&Asked) -> bool) -> Option<Asked> {
        let mut asked = lock(&self.asked);
        asked.get(&key).filter(|asked| is_it(asked))?;
        asked.remove(&key)
    }
}

impl Waiting {
    pub fn echo(&self) -> &Echo {
        &self.echo
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let asked = |asked: &Asked| asked.token == self.echo.token;
        drop(self.shared.answered((self.echo.id, self.echo.sequence), asked));
    }
}

/// What is behind these locks is whole at any moment, also when somebody panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(id: u16) -> Echo {
        Echo {
            id,
            sequence: 1,
            token: [id.to_be_bytes()[1]; 16],
        }
    }

    fn shared() -> Arc<Shared> {
        Arc::new(Shared {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            asked: Mutex::default(),
        })
    }

    #[test]
    fn an_answer_is_told_to_who_waits_for_it_and_to_nobody_else() {
        let shared = shared();
        let (target, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let (_first, mut told_first) = shared.expect(target, || echo(1)).unwrap();
        let (second, mut told_second) = shared.expect(target, || echo(2)).unwrap();
        shared.tell(Heard::Reply(echo(1)), other);
        let mut forged = echo(1);
        forged.token[0] ^= 1;
        shared.tell(Heard::Reply(forged), target);
        shared.tell(Heard::Reply(echo(3)), target);
        told_first.try_recv().unwrap_err();
        shared.tell(Heard::Reply(echo(1)), target);
        assert_eq!(
            told_first.try_recv().unwrap(),
            Ok(super::super::Answer::default())
        );
        let error = |target| Heard::Error {
            target,
            id: 2,
            sequence: 1,
            error: ProbeError::silence("host unreachable"),
        };
        shared.tell(error(other), other);
        told_second.try_recv().unwrap_err();
        shared.tell(error(target), other);
        assert_eq!(
            told_second.try_recv().unwrap(),
            Err(ProbeError::silence("host unreachable"))
        );
        // Twice is harmless.
        shared.tell(error(target), other);
        drop(second);
        assert!(lock(&shared.asked).is_empty());
    }

    #[test]
    fn who_goes_is_forgotten_and_a_number_in_use_is_not_given_twice() {
        let shared = shared();
        let target: IpAddr = [192, 0, 2, 1].into();
        let (first, _told) = shared.expect(target, || echo(1)).unwrap();
        let ids = std::cell::Cell::new(0);
        let next = || {
            ids.set(ids.get() + 1);
            echo(ids.get())
        };
        let (second, _told) = shared.expect(target, next).unwrap();
        assert_eq!(second.echo().id, 2);
        drop(first);
        assert_eq!(lock(&shared.asked).len(), 1);
    }
}
