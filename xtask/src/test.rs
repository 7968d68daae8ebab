//! `cargo xtask test`: everything that has to hold before a change goes in.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};

use crate::{
    build, check, process, say, setup, verify,
    workspace::{self, cargo},
};

pub fn run(args: &[String]) -> Result<()> {
    let start = Instant::now();
    timed("setup", setup::for_lab)?;
    let xlb = timed("build", build::with_labs)?;
    let check = timed("check", check::run);
    let unit_tests = timed("unit tests", || unit_tests(args));
    let verified = timed("verify", verify::running_kernel);
    say::took("test: lab tests follow after", start.elapsed());
    // Last, and nothing said after it: a run ends in cargo's own summary.
    let lab_tests = lab_tests(&xlb, args);
    verdict(&[
        ("check", check),
        ("unit tests", unit_tests),
        ("verify", verified),
        ("lab tests", lab_tests),
    ])
}

/// Built as developers build: sooner, and with all checks of arithmetic.
fn unit_tests(args: &[String]) -> Result<()> {
    let run = |packages: &[&str]| {
        let mut command = cargo(&["test", "--no-fail-fast"]);
        for package in packages {
            command.args(["--package", package]);
        }
        // The agent's own tests need no BPF program.
        command
            .env(check::NO_PROGRAM.0, check::NO_PROGRAM.1)
            .arg("--")
            .args(args);
        process::run(&mut command)
    };
    let common = run(&workspace::COMMON);
    let rest = run(&["lb-userspace", "xtask", "xlb-fuzz", "xlb-blockstore"]);
    common.and(rest)
}

/// Two at a time, as most of a lab's time is waiting; each has namespaces, pins and sockets of its own. Not more, as they share the machine's
/// cores with the agents and servers that they start.
fn lab_tests(xlb: &Path, args: &[String]) -> Result<()> {
    let mut command = cargo(&["test", "--release", "--no-fail-fast", "--package", "xlb-tests"]);
    process::run(
        command
            .env("XLB_BIN", xlb)
            // Set-up has found that the lab can run: a test that is skipped all the same is a failure.
            .env("XLB_LAB", "required")
            // As a variable, so that an argument may say otherwise.
            .env("RUST_TEST_THREADS", "2")
            .arg("--")
            .args(args),
    )
}

fn timed<T>(stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "ok" } else { "FAILED" };
    say::step(
        "test",
        stage,
        format_args!("{outcome} ({})", say::seconds(start.elapsed())),
    );
    result
}

/// A stage that fails does not keep the later ones from running: one run shows everything that is wrong.
fn verdict(stages: &[(&str, Result<()>)]) -> Result<()> {
    let failed: Vec<String> = stages
        .iter()
        .filter_map(|(name, result)| result.as_ref().err().map(|error| format!("{name}: {error:#}")))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\nxtask: "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn any_failed_stage_fails_the_run_and_all_are_named() {
        let stages = [
            ("a", Ok(())),
            ("b", Err(anyhow!("broke"))),
            ("c", Err(anyhow!("too"))),
        ];
        let error = verdict(&stages).unwrap_err().to_string();
        assert!(error.contains("b: broke") && error.contains("c: too"), "{error}");
        assert!(verdict(&stages[..1]).is_ok());
    }
}
