//! A program that runs in the lab: started in a process group of its own, killed with all its children when dropped.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

const LOG_TAIL_LINES: usize = 40;
const POLL: Duration = Duration::from_millis(5);

/// A running program and the file that takes what it prints.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, which must make its own process group; output and errors are appended to `log`.
    pub fn spawn(what: &str, command: Command, log: &Path) -> Result<Self> {
        let out = append(log)?;
        Self::spawn_piped(what, command, out, log)
    }

    /// The same, with the output going elsewhere and only errors to `log`.
    pub fn spawn_piped(what: &str, mut command: Command, out: impl Into<Stdio>, log: &Path) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(out).stderr(append(log)?);
        let child = command.spawn().with_context(|| format!("start {what}"))?;
        let group = Pid::from_raw(i32::try_from(child.id()).context("process id out of range")?);
        Ok(Self {
            what: what.to_owned(),
            child,
            group,
            log: log.to_owned(),
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to the program and its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        killpg(self.group, signal).with_context(|| format!("send {signal} to {}", self.what))
    }

    /// SIGKILL to the program and its children, as in a crash.
    pub fn kill(&mut self) {
        // Fails when all have ended, which is what we want.
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// SIGTERM, and SIGKILL with an error when the program is not gone after `patience`.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                self.kill();
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        self.kill();
        bail!(
            "{} did not end within {patience:?} of SIGTERM; killed\n{}",
            self.what,
            self.log_tail()
        );
    }

    /// Polls `ready` until it says yes; an error with the end of the log when the program ends or time runs out.
    pub fn wait_ready(&mut self, patience: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at start: {status}\n{}", self.what, self.log_tail());
            }
            if ready() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} not ready after {patience:?}\n{}", self.what, self.log_tail());
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child
            .wait()
            .with_context(|| format!("wait for {}", self.what))
    }

    /// The file that takes what the program prints.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that the log holds.
    pub fn log_text(&self) -> String {
        log_text(&self.log)
    }

    /// The last lines of the log under a heading with its path.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file under a heading with its path.
pub(crate) fn log_tail(path: &Path) -> String {
    let text = log_text(path);
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
    format!("--- {} ---\n{}", path.display(), tail.join("\n"))
}

/// Empties a log file.
pub(crate) fn truncate(path: &Path) -> Result<()> {
    fs::write(path, "").with_context(|| format!("empty {}", path.display()))
}

/// All that a log file holds.
pub(crate) fn log_text(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.unwrap_or_else(|e| format!("(not readable: {e})"))
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))
}
