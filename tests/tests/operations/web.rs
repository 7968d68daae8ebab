//! An HTTP server that answers as it is told, in this process, on sockets in a host's namespace.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
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
use nix::sys::socket;
use xlb_tests::Host;

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and a body.
    Reply(u16, &'static str),
    /// 200 for this Host header, 404 for every other.
    OnlyFor(&'static str),
    /// Nothing; the connection stays open.
    Silence,
    /// A body that has no end, a byte now and then.
    Drip,
}

/// Answers requests one after another from a script, then all with its last line.
pub struct Web {
    listener: TcpListener,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    script: Mutex<VecDeque<Answer>>,
    requests: AtomicUsize,
    ended: AtomicBool,
}

impl Web {
    pub fn start(host: &Host, port: u16, script: impl IntoIterator<Item = Answer>) -> Result<Self> {
        let listener = host.ns.run(|| TcpListener::bind(("0.0.0.0", port)))??;
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            requests: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let thread = thread::Builder::new().name("web".into()).spawn({
            let (listener, shared) = (listener.try_clone().context("share a listener")?, shared.clone());
            move || shared.accept(&listener)
        })?;
        Ok(Self {
            listener,
            shared,
            thread: Some(thread),
        })
    }

    /// Answers like this from now on.
    pub fn set(&self, answer: Answer) {
        *self.shared.script() = [answer].into();
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Web {
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
    fn script(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Answer {
        let mut script = self.script();
        let last = script.len() <= 1;
        let next = if last {
            script.front().cloned()
        } else {
            script.pop_front()
        };
        next.unwrap_or(Answer::Silence)
    }

    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for stream in listener.incoming() {
                if self.ended.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(stream) = stream {
                    // However it ends, the client sees it end.
                    scope.spawn(move || drop(self.serve(stream)));
                }
            }
        });
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut reader = BufReader::new(stream);
        let mut host = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("host:") {
                value.trim().clone_into(&mut host);
            }
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.answer(reader.into_inner(), &host)
    }

    fn answer(&self, mut stream: TcpStream, host: &str) -> std::io::Result<()> {
        let reply = |code: u16, body: &str| {
            format!(
                "HTTP/1.1 {code} So\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        };
        match self.next() {
            Answer::Reply(code, body) => stream.write_all(reply(code, body).as_bytes())?,
            Answer::OnlyFor(name) if name == host => stream.write_all(reply(200, "ok").as_bytes())?,
            Answer::OnlyFor(_) => stream.write_all(reply(404, "no such site").as_bytes())?,
            Answer::Silence => self.wait_for_end(&stream),
            Answer::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                while !self.ended.load(Ordering::Relaxed) {
                    stream.write_all(b".")?;
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
        stream.shutdown(Shutdown::Both)
    }

    /// Until the client has had enough, or this server ends.
    fn wait_for_end(&self, stream: &TcpStream) {
        let poll = Duration::from_millis(20);
        if stream.set_read_timeout(Some(poll)).is_err() {
            return;
        }
        while !self.ended.load(Ordering::Relaxed) {
            match stream.peek(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}
