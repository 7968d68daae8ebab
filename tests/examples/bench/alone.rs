//! A host of our own, and one CPU of it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare},
    unistd::Pid,
};

use crate::host;

/// As many as programs take turns, and more.
const PAIRS: usize = 4;

/// A host of this process's own.
pub struct Alone {
    /// Interfaces that nothing comes in by.
    pub interfaces: Vec<u32>,
}

impl Alone {
    /// A network namespace without routes, a BPF file system that goes with this process, and the last CPU where there are several:
    /// interrupts tend to the first.
    pub fn enter() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (as root)")?;
        host::prepare()?;
        stay_on_one_cpu()?;
        let mut interfaces = Vec::new();
        for pair in 0..PAIRS {
            interfaces.extend(veth(&[format!("a{pair}"), format!("b{pair}")])?);
        }
        Ok(Self { interfaces })
    }
}

/// The last one of those that this thread may use: its number.
pub fn stay_on_one_cpu() -> Result<usize> {
    let this = Pid::from_raw(0);
    let may = sched_getaffinity(this).context("ask for this thread's CPUs")?;
    let all = (0..CpuSet::count()).rev();
    let last = all
        .into_iter()
        .find(|&cpu| may.is_set(cpu).unwrap_or(false))
        .context("no CPU to run on")?;
    let mut cpus = CpuSet::new();
    cpus.set(last).context("name a CPU")?;
    sched_setaffinity(this, &cpus).context("stay on one CPU")?;
    Ok(last)
}

fn veth([a, b]: &[String; 2]) -> Result<[u32; 2]> {
    let mut ip = Command::new("ip");
    ip.args(["link", "add", a, "type", "veth", "peer", "name", b]);
    let made = ip.output().context("run ip (Debian's package iproute2)")?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(
        made.status.success(),
        "make a pair of veth interfaces: {}",
        said.trim()
    );
    let index = |name: &String| if_nametoindex(name.as_str()).with_context(|| format!("find {name}"));
    Ok([index(a)?, index(b)?])
}
