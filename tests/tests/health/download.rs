//! A download that is read a little at a time, by somebody who wants to know from which host it comes.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use xlb_tests::Host;

/// What is read at a time, and how long until the next time: 25 s for the whole.
const PIECE: usize = 4096;
const PAUSE: Duration = Duration::from_millis(50);
const LINES: usize = 250_000;

/// Writes `part` into `dir`, with the host's name in every line.
pub fn offer(dir: &Path, host: &Host) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    Ok(std::fs::write(dir.join("part"), content(&host.name))?)
}

fn content(name: &str) -> String {
    (0..LINES).map(|line| format!("{line:06} {name}\n")).collect()
}

/// A download under way.
pub struct Download {
    /// From whom it comes.
    pub host: String,
    hurries: Arc<AtomicBool>,
    stream: TcpStream,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Download {
    /// Asks for the file and reads its first line.
    pub fn start(client: &Host, to: SocketAddr) -> Result<Self> {
        let handle = client.connect(to)?;
        let stream = handle.try_clone()?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = BufReader::with_capacity(PIECE, stream);
        let request = "GET /files/part HTTP/1.1\r\nHost: part\r\nConnection: close\r\n\r\n";
        stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        // The head ends with an empty line.
        while line != "\r\n" {
            line.clear();
            ensure!(stream.read_line(&mut line)? > 0, "closed in the head");
        }
        let mut first = String::new();
        stream.read_line(&mut first)?;
        let host = first.trim().split(' ').next_back().unwrap_or_default().to_owned();
        let hurries = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (host, hurries) = (host.clone(), hurries.clone());
            move || read(stream, first, &host, &hurries)
        });
        Ok(Self {
            host,
            hurries,
            stream: handle,
            thread: Some(thread),
        })
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Reads the rest as fast as it comes; all of it has to be right.
    pub fn finish(mut self) -> Result<()> {
        self.hurries.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it has been waited for")?;
        let whole = thread.join().map_err(|_| anyhow!("a download panicked"))?;
        whole.with_context(|| format!("download from {}", self.host))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Wakes the thread out of read; fails when the other side was first.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // What has come so far is of no interest to whoever drops it.
            let _ = thread.join();
        }
    }
}

fn read(mut stream: BufReader<TcpStream>, first: String, host: &str, hurries: &AtomicBool) -> Result<()> {
    let mut got = first.into_bytes();
    let mut piece = [0; PIECE];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            break;
        }
        got.extend_from_slice(&piece[..count]);
        if !hurries.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
        }
    }
    ensure!(
        got == content(host).into_bytes(),
        "{} bytes are not what {host} has",
        got.len()
    );
    Ok(())
}
