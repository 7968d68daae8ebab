//! Everything that xtask itself prints.

use std::{fmt::Display, time::Duration};

#[expect(clippy::print_stdout, reason = "this is where xtask prints")]
pub fn line(text: &str) {
    println!("{text}");
}

/// `setup: curl … ok`
pub fn step(stage: &str, step: &str, outcome: impl Display) {
    line(&format!("{stage}: {step} … {outcome}"));
}

/// How long a stage took.
pub fn took(stage: &str, elapsed: Duration) {
    line(&format!("{stage}: {}", seconds(elapsed)));
}

pub fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

#[expect(clippy::print_stderr, reason = "this is where xtask prints")]
pub fn error(error: &anyhow::Error) {
    eprintln!("xtask: {error:#}");
}
