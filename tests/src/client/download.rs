//! Downloads that are hashed as they come and stored nowhere.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::curl::curl;
use crate::host::Host;
use crate::process::{self, Process};
use crate::server::files;

/// A finished download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// How many bytes came.
    pub bytes: u64,
    /// Their SHA-256 in hex.
    pub sha256: String,
}

/// Downloads under way, each on a connection of its own. Dropping the value ends them.
#[derive(Debug)]
pub struct Downloads {
    running: Vec<Running>,
    started: Instant,
}

#[derive(Debug)]
struct Running {
    url: String,
    curl: Process,
    sha256sum: Child,
}

impl Host {
    /// Starts one download per URL, all at the same time, without a time limit. `args` are further arguments for
    /// curl, such as `--limit-rate`.
    pub fn download(&self, urls: &[String], args: &[&str]) -> Result<Downloads> {
        let started = Instant::now();
        let running = urls
            .iter()
            .enumerate()
            .map(|(i, url)| self.start_download(i, url, args));
        Ok(Downloads {
            running: running.collect::<Result<_>>()?,
            started,
        })
    }

    fn start_download(&self, index: usize, url: &str, args: &[&str]) -> Result<Running> {
        let mut sha256sum = self.ns.command("sha256sum");
        let mut sha256sum = sha256sum
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start sha256sum")?;
        let pipe = sha256sum.stdin.take().context("sha256sum has no input")?;
        let mut command = curl(self);
        command
            .args([
                "--fail",
                "--max-time",
                "0",
                "--write-out",
                "%{stderr}%{size_download}\n",
            ])
            .args(args)
            .arg(url);
        let log = self.dir.join(format!("download-{index}.log"));
        // Its end is what counts, not that of an earlier download.
        process::truncate(&log)?;
        let curl = Process::spawn_piped(&format!("download of {url}"), command, pipe, &log)?;
        Ok(Running {
            url: url.to_owned(),
            curl,
            sha256sum,
        })
    }
}

impl Downloads {
    /// How many have not ended.
    pub fn running(&mut self) -> usize {
        self.running
            .iter_mut()
            .filter_map(|one| one.curl.is_running().then_some(()))
            .count()
    }

    /// Waits for all; the downloads in the order of their URLs and the time from the start. The first that failed is
    /// an error.
    pub fn wait(mut self) -> Result<(Vec<Download>, Duration)> {
        let finished: Vec<Download> = self.running.drain(..).map(finish).collect::<Result<_>>()?;
        Ok((finished, self.started.elapsed()))
    }
}

fn finish(mut running: Running) -> Result<Download> {
    let status = running.curl.wait()?;
    let printed = running.curl.log_text();
    if !status.success() {
        bail!("download of {}: {}", running.url, printed.trim());
    }
    let output = running
        .sha256sum
        .wait_with_output()
        .context("wait for sha256sum")?;
    ensure!(output.status.success(), "sha256sum: {}", output.status);
    let bytes = printed.lines().last().and_then(|line| line.trim().parse().ok());
    Ok(Download {
        bytes: bytes.context("curl printed no size")?,
        sha256: files::digest(&output.stdout)?,
    })
}
