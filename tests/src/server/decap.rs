//! A backend's end of tunnels: `xlb decap`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent;
use crate::host::Host;
use crate::process::Process;

/// A start waits for the verifier, and that for two cores that may have other work.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says once it is attached.
const READY: &str = "takes packets out of tunnels";

/// A running `xlb decap`.
#[derive(Debug)]
pub struct Decap {
    process: Process,
    report: PathBuf,
}

impl Decap {
    pub(super) fn start(host: &Host, args: &[&str]) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let (log, report) = ["log", "json"]
            .map(|kind| host.dir.join(format!("decap-{n}.{kind}")))
            .into();
        let mut command = host.ns.command(agent::binary()?);
        command
            .args(["-o", "json", "decap", "--interface", "eth0"])
            .args(args);
        let out = File::create(&report).with_context(|| format!("create {}", report.display()))?;
        let what = format!("xlb decap on {}", host.name);
        let mut process = Process::spawn_piped(&what, command, out, &log)?;
        process.wait_ready(PATIENCE, || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains(READY))
        })?;
        Ok(Self { process, report })
    }

    /// Ends it by SIGTERM; its report.
    pub fn stop(mut self) -> Result<Value> {
        let status = self.process.terminate(PATIENCE)?;
        ensure!(
            status.success(),
            "xlb decap ended with {status}\n{}",
            self.process.log_tail()
        );
        let report = fs::read_to_string(&self.report).context("read what xlb decap printed")?;
        serde_json::from_str(&report).with_context(|| format!("what xlb decap printed: {report}"))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        self.process.log_text()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
