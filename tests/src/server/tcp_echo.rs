//! A TCP echo in this process, on sockets in the host's namespace: for connections that live long.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::sys::socket;

use crate::host::Host;

/// Greets each connection with the host's name and a newline, then sends back what comes.
#[derive(Debug)]
pub struct TcpEcho {
    addr: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TcpEcho {
    pub(super) fn start(host: &Host, port: u16) -> Result<Self> {
        let listener = host.ns.run(|| TcpListener::bind(super::any(port)))?;
        let listener = listener.with_context(|| format!("TCP port {port} on {}", host.name))?;
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new()
            .name(format!("tcp-echo-{}", host.name))
            .spawn({
                let (listener, shared) = (listener.try_clone()?, shared.clone());
                let greeting = format!("{}\n", host.name);
                move || accept(&listener, &shared, &greeting)
            })?;
        let addr = SocketAddr::new(host.addr.into(), port);
        Ok(Self {
            addr,
            listener,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections it has accepted that have not ended.
    pub fn connections(&self) -> usize {
        self.shared.open().len()
    }
}

impl Drop for TcpEcho {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread out of accept.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Shared, greeting: &str) {
    thread::scope(|scope| {
        for (id, stream) in (0..).zip(listener.incoming()) {
            if shared.ended.load(Ordering::Relaxed) {
                break;
            }
            // A connection that ended in the queue is the client's matter.
            let Ok(stream) = stream else { continue };
            let Ok(handle) = stream.try_clone() else { continue };
            shared.open().insert(id, handle);
            scope.spawn(move || {
                // However it ends, the client sees it end.
                let _ = echo(stream, greeting);
                shared.open().remove(&id);
            });
        }
        for stream in shared.open().values() {
            // Fails when the client was first.
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

fn echo(mut stream: TcpStream, greeting: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(greeting.as_bytes())?;
    let mut buffer = [0; 16_384];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}
