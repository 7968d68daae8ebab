//! A TCP server that behaves to order, in this process, on sockets in a host's namespace. It knows how many connections were open at a
//! time.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{libc, sys::socket};
use xlb_tests::Host;

const SECOND: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// What a connection meets.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Hears a question, gives this answer and closes.
    Answers(String),
    /// The same after a while; not at all where the server hangs by then.
    AnswersAfter(Duration, String),
    /// Says this unasked, and closes.
    Greets(String),
    /// Says this unasked, and no more.
    GreetsOnly(String),
    /// Hears a question and answers a byte a second, without an end.
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
        let length = body.len();
        Self::Answers(format!(
            "HTTP/1.1 {status} So\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
    }
}

/// A running server. Dropping it ends its connections; new ones are refused.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Manner>>,
    open: Mutex<BTreeMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    answered: AtomicUsize,
    most: AtomicUsize,
    ended: AtomicBool,
}

impl Server {
    /// Connections meet one manner after another of a script, then all its last.
    pub fn start(host: &Host, port: u16, script: impl IntoIterator<Item = Manner>) -> Result<Self> {
        let listener = host.ns.run(|| TcpListener::bind(("0.0.0.0", port)))?;
        let listener = listener.with_context(|| format!("TCP port {port} on {}", host.name))?;
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            ..Shared::default()
        });
        let thread = thread::Builder::new().name("server".into()).spawn({
            let (listener, shared) = (listener.try_clone()?, shared.clone());
            move || shared.accept(&listener)
        })?;
        Ok(Self {
            listener,
            shared,
            thread: Some(thread),
        })
    }

    /// Behaves like this from the next connection on.
    pub fn set(&self, manner: Manner) {
        *held(&self.shared.script) = [manner].into();
    }

    /// How many connections it has taken.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
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

impl Drop for Server {
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
                hear(&mut stream)?;
                stream.write_all(text.as_bytes())?;
                self.answered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Manner::AnswersAfter(pause, text) => {
                hear(&mut stream)?;
                self.wait(pause);
                if matches!(held(&self.script).front(), Some(Manner::Hangs)) {
                    return hang(&mut stream);
                }
                stream.write_all(text.as_bytes())
            }
            Manner::Greets(text) => stream.write_all(text.as_bytes()),
            Manner::GreetsOnly(text) => {
                stream.write_all(text.as_bytes())?;
                hang(&mut stream)
            }
            Manner::Drips(text) => {
                hear(&mut stream)?;
                for byte in text.bytes().cycle() {
                    if self.ended.load(Ordering::Relaxed) {
                        break;
                    }
                    stream.write_all(&[byte])?;
                    self.wait(SECOND);
                }
                Ok(())
            }
            Manner::Hangs => hang(&mut stream),
            Manner::Closes => hear(&mut stream),
            Manner::Resets => {
                hear(&mut stream)?;
                let at_once = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                Ok(socket::setsockopt(&stream, socket::sockopt::Linger, &at_once)?)
            }
        }
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

/// Waits for a question; an error where none comes.
fn hear(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0; 4096])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Until the client has had enough, or this server ends.
fn hang(stream: &mut TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

/// Whether the client has not reset it: the kernel knows that before anybody has read it. Probes end in a reset.
fn is_open(stream: &TcpStream) -> bool {
    stream.peer_addr().is_ok()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
