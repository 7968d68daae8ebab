//! The `ip` tool, one line per call or many in a batch.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::netns::Netns;

/// Runs `ip ARGS` in this process's namespace.
pub(crate) fn run(args: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(args).stdin(Stdio::null());
    let output = command.output().context("start ip")?;
    finished(&output, || format!("ip {}", args.join(" ")))
}

/// Runs many `ip` commands in one process, in `ns` if given. Stops at the first that fails.
pub(crate) fn batch(ns: Option<&Netns>, lines: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(ns) = ns {
        command.args(["-n", ns.name()]);
    }
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("start ip")?;
    let text = lines.join("\n") + "\n";
    // Taken, so that the pipe closes and ip sees the end of its input.
    if let Some(mut stdin) = child.stdin.take() {
        // ip may end at a bad line before it has read all: its message says more than our broken pipe.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().context("wait for ip")?;
    finished(&output, || format!("ip -batch:\n{text}")).map(drop)
}

fn finished(output: &Output, what: impl Fn() -> String) -> Result<String> {
    if !output.status.success() {
        bail!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
