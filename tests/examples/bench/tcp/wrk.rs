//! wrk, an HTTP client that makes as many requests as it gets answers to.

use std::{
    fs::{self, File},
    net::SocketAddr,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde::Deserialize;
use xlb_tests::{Lab, interrupt, process::Process};

/// Of wrk's threads, at most: one would be what limits everything.
const THREADS: u32 = 2;
const POLL: Duration = Duration::from_millis(10);

/// What each connection is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// One request: the server closes it.
    Once,
    /// As many requests as there is time for.
    KeptAlive,
}

/// What wrk is to do.
#[derive(Clone, Copy)]
pub struct Load {
    pub each: Use,
    /// Open at once; on each of them there always is a request under way.
    pub connections: u32,
    pub seconds: u32,
}

/// What came of it.
#[derive(Deserialize)]
pub struct Measured {
    requests: f64,
    microseconds: f64,
    /// Microseconds from a request (or its connection's beginning) to the answer's end.
    pub p50: f64,
    pub p99: f64,
    /// Connections that were refused or broke, and requests that were refused or took too long.
    errors: f64,
    /// CPU time of client, balancer and servers.
    #[serde(skip)]
    cpu: Duration,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.requests / self.microseconds * 1e6
    }

    /// Microseconds of all CPUs for each request, where a whole run took so much.
    pub fn cpu_for_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests.max(1.0)
    }

    /// Errors among all that was tried, per cent.
    pub fn failed(&self) -> f64 {
        self.errors / (self.requests + self.errors).max(1.0) * 100.0
    }
}

/// Has a lab's client ask a server.
pub fn run(lab: &Lab, server: SocketAddr, load: Load) -> Result<Measured> {
    let client = &lab.client;
    let file = client.dir.join("wrk.lua");
    fs::write(&file, script(load.each)).with_context(|| format!("write {}", file.display()))?;
    let (out, log) = (client.dir.join("wrk.out"), client.dir.join("wrk.log"));
    let printing = File::create(&out).with_context(|| format!("create {}", out.display()))?;
    let mut wrk = client.ns.command("wrk");
    wrk.arg("--threads")
        .arg(load.connections.min(THREADS).to_string())
        .arg("--connections")
        .arg(load.connections.to_string())
        .arg("--duration")
        .arg(format!("{}s", load.seconds))
        .arg("--script")
        .arg(&file)
        .arg(format!("http://{server}/"));
    let others = lab.cpu_time();
    let own = cpu_of_children()?;
    let mut wrk = Process::spawn_piped("wrk", wrk, printing, &log)?;
    while wrk.is_running() {
        // It is killed when it goes out of scope.
        interrupt::check()?;
        thread::sleep(POLL);
    }
    let status = wrk.wait()?;
    let cpu = lab.cpu_time().saturating_sub(others) + cpu_of_children()?.saturating_sub(own);
    let printed = fs::read_to_string(&out).with_context(|| format!("read {}", out.display()))?;
    ensure!(status.success(), "wrk: {status}: {printed}{}", wrk.log_tail());
    let found = printed.lines().find_map(|line| line.strip_prefix(MARK));
    let found = found.with_context(|| format!("wrk said nothing of its results: {printed}"))?;
    let measured = serde_json::from_str(found);
    let measured: Measured = measured.with_context(|| format!("what wrk's script printed: {found}"))?;
    Ok(Measured { cpu, ..measured })
}

/// Of those that have ended.
fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask for the CPU time of children")?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(microseconds)?))
}

/// What the line with the results begins with.
const MARK: &str = "results: ";

fn script(each: Use) -> String {
    let close = match each {
        Use::Once => "wrk.headers[\"Connection\"] = \"close\"\n",
        Use::KeptAlive => "",
    };
    close.to_owned() + RESULTS
}

/// Prints them for us to read.
const RESULTS: &str = r#"
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'results: {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;
