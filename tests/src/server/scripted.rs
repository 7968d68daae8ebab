//! A TCP server that behaves to order, in this process, on sockets in a host's namespace. It knows how many connections were open at a
//! time.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::{libc, sys::socket};

use crate::host::Host;

const SECOND: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// What a connection meets.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Hears a question, gives this answer and closes.
    Answers(String),
    /// The same after a while; not at all where the server hangs by then.
    AnswersAfter(Duration, String),
    /// Answers by HTTP: 200 for this Host header, 404 for every other.
    OnlyFor(String),
    /// Says this unasked, and closes.
    Greets(String),
    /// Says this unasked, and no more.
    GreetsOnly(String),
    /// Says this unasked, and then sends back what comes.
    Echoes(String),
    /// Hears a question, says this, and goes on by a byte a second, without an end.
    Drips(String),
    /// Takes the connection and says nothing.
    Hangs,
    /// Hears a question and closes.
    Closes,
    /// Hears a question and resets the connection.
    Resets,
}

impl Manner {
    /// Answers by HTTP.
    pub fn http(status: u16, body: &str) -> Self {
        Self::Answers(reply(status, body))
    }
}

fn reply(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} So\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// A running server. Dropping it ends its connections; new ones are refused.
#[derive(Debug)]
pub struct Scripted {
    listener: TcpListener,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    addr: SocketAddr,
}

#[derive(Debug, Default)]
struct Shared {
    script: Mutex<VecDeque<Manner>>,
    open: Mutex<BTreeMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    heard: AtomicUsize,
    answered: AtomicUsize,
    most: AtomicUsize,
    ended: AtomicBool,
}

impl Scripted {
    /// Connections meet one manner after another of a script, then all its last.
    pub(super) fn start(host: &Host, port: u16, script: impl IntoIterator<Item = Manner>) -> Result<Self> {
        let listener = host.ns.run(|| TcpListener::bind(super::any(port)))?;
        let listener = listener.with_context(|| format!("TCP port {port} on {}", host.name))?;
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            ..Shared::default()
        });
        let thread = thread::Builder::new()
            .name(format!("server-{}", host.name))
            .spawn({
                let (listener, shared) = (listener.try_clone()?, shared.clone());
                move || shared.accept(&listener)
            })?;
        Ok(Self {
            listener,
            shared,
            thread: Some(thread),
            addr: SocketAddr::new(host.addr.into(), port),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Behaves like this from the next connection on.
    pub fn set(&self, manner: Manner) {
        *held(&self.shared.script) = [manner].into();
    }

    /// How many connections it has taken.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections have asked anything.
    pub fn heard(&self) -> usize {
        self.shared.heard.load(Ordering::Relaxed)
    }

    /// How many questions it has answered.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        held(&self.shared.open)
            .values()
            .filter(|stream| is_open(stream))
            .count()
    }

    /// How many were open at once at most.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread out of accept.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for (id, stream) in (0..).zip(listener.incoming()) {
                if self.ended.load(Ordering::Relaxed) {
                    break;
                }
                // A connection that ended in the queue is the client's matter.
                let Ok(stream) = stream else { continue };
                let Ok(handle) = stream.try_clone() else { continue };
                self.enter(id, handle);
                let manner = self.next();
                scope.spawn(move || {
                    // However it ends, the client sees it end.
                    let _ = self.serve(stream, manner);
                    held(&self.open).remove(&id);
                });
            }
            for stream in held(&self.open).values() {
                // Fails when the client was first.
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    fn enter(&self, id: usize, stream: TcpStream) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let mut open = held(&self.open);
        open.insert(id, stream);
        let count = open.values().filter(|stream| is_open(stream)).count();
        self.most.fetch_max(count, Ordering::Relaxed);
    }

    fn next(&self) -> Manner {
        let mut script = held(&self.script);
        let next = if script.len() > 1 {
            script.pop_front()
        } else {
            script.front().cloned()
        };
        next.unwrap_or(Manner::Hangs)
    }

    fn serve(&self, mut stream: TcpStream, manner: Manner) -> io::Result<()> {
        stream.set_nodelay(true)?;
        match manner {
            Manner::Answers(text) => {
                self.hear(&mut stream)?;
                stream.write_all(text.as_bytes())?;
                self.answered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Manner::AnswersAfter(pause, text) => {
                self.hear(&mut stream)?;
                self.wait(pause);
                if matches!(held(&self.script).front(), Some(Manner::Hangs)) {
                    return self.hang(&mut stream);
                }
                stream.write_all(text.as_bytes())
            }
            Manner::OnlyFor(site) => {
                let asked = self.hear(&mut stream)?;
                let text = if is_for(&asked, &site) {
                    reply(200, "ok")
                } else {
                    reply(404, "no such site")
                };
                stream.write_all(text.as_bytes())
            }
            Manner::Greets(text) => stream.write_all(text.as_bytes()),
            Manner::GreetsOnly(text) => {
                stream.write_all(text.as_bytes())?;
                self.hang(&mut stream)
            }
            Manner::Echoes(text) => {
                stream.write_all(text.as_bytes())?;
                echo(&mut stream)
            }
            Manner::Drips(text) => {
                self.hear(&mut stream)?;
                stream.write_all(text.as_bytes())?;
                while !self.ended.load(Ordering::Relaxed) {
                    self.wait(SECOND);
                    stream.write_all(b".")?;
                }
                Ok(())
            }
            Manner::Hangs => self.hang(&mut stream),
            Manner::Closes => self.hear(&mut stream).map(drop),
            Manner::Resets => {
                self.hear(&mut stream)?;
                let at_once = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                Ok(socket::setsockopt(&stream, socket::sockopt::Linger, &at_once)?)
            }
        }
    }

    /// Waits for a question; an error where none comes.
    fn hear(&self, stream: &mut TcpStream) -> io::Result<String> {
        let mut question = [0; 4096];
        let length = stream.read(&mut question)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        Ok(String::from_utf8_lossy(&question[..length]).into_owned())
    }

    /// Until the client has had enough, or this server ends.
    fn hang(&self, stream: &mut TcpStream) -> io::Result<()> {
        self.hear(stream)?;
        while stream.read(&mut [0; 4096])? > 0 {}
        Ok(())
    }

    /// In steps, so that an end is not long in coming.
    fn wait(&self, pause: Duration) {
        let steps = pause.as_millis() / POLL.as_millis();
        for _ in 0..steps {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(POLL);
        }
    }
}

/// Whether a request of HTTP has this in its Host header.
fn is_for(request: &str, site: &str) -> bool {
    let mut headers = request.lines().filter_map(|line| line.split_once(':'));
    headers.any(|(name, value)| name.eq_ignore_ascii_case("host") && value.trim() == site)
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16_384];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// Whether the client has not reset it: the kernel knows that before anybody has read it. Probes end in a reset.
fn is_open(stream: &TcpStream) -> bool {
    stream.peer_addr().is_ok()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
