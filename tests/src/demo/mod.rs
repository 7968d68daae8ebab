//! The demo: what a load balancer is, shown with real servers, real requests and the real agent in a lab.
//!
//! Reading order: [`story`] (the whole of it on one screen), [`steps`] (one file each), [`stage`] (what they
//! play on), [`screen`] (all that is printed), [`traces`] (the proof that nothing is left), [`signals`] (an early
//! end).
//!
//! Every number was measured, and every claim is checked before it is printed: one that does not hold ends the
//! demo with an error.

mod arguments;
mod screen;
mod signals;
mod stage;
mod status;
mod steps;
mod story;
mod traces;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::preflight;
use arguments::Wish;
use screen::Screen;
use stage::Pace;

/// What a shell adds to the number of a signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// Runs the demo with the arguments of this process; its exit code.
pub fn main() -> ExitCode {
    let mut screen = Screen::new();
    let shown = arguments::parse(env::args_os().skip(1)).and_then(|wish| match wish {
        Wish::Help => screen.plain(arguments::HELP),
        Wish::Show(pace) => show(&mut screen, pace),
    });
    let Err(error) = shown else {
        return ExitCode::SUCCESS;
    };
    // Who has hung up or closed the pipe is not there to read an explanation.
    if screen.reader_left() {
        return by(Signal::SIGPIPE);
    }
    if let Some(signal) = signals::caught() {
        explain(&format!("{signal}: ended early; all that it had made is removed"));
        return by(signal);
    }
    explain(&format!("{error:#}"));
    ExitCode::FAILURE
}

fn show(screen: &mut Screen, pace: Pace) -> Result<()> {
    if let Some(reason) = preflight::preflight() {
        bail!("the demo cannot run here: {reason}");
    }
    signals::catch().context("handle signals")?;
    story::tell(screen, pace)
}

fn by(signal: Signal) -> ExitCode {
    ExitCode::from(u8::try_from(BY_SIGNAL + signal as i32).unwrap_or(u8::MAX))
}

fn explain(problem: &str) {
    // Not eprintln!, which panics when the reader of errors is gone too.
    let _ = writeln!(io::stderr(), "demo: {problem}");
}
