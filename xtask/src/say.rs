//! Everything that xtask itself prints.

use std::{
    fmt::Display,
    io::{self, Write as _},
    time::Duration,
};

/// A reader that has gone away (`cargo xtask demo | head -3`) does not keep the work from being done.
pub fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
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

pub fn error(error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "xtask: {error:#}");
}
