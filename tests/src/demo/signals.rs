//! Ctrl-C, SIGTERM and SIGHUP end the demo early, but not before its destructors have run.
//!
//! [`check`] stands in every loop and before every line that is printed, so the end is not long in coming.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::{SaFlags, Signal};

use crate::interrupt;

/// How long a signal may wait.
const STEP: Duration = Duration::from_millis(20);

/// The first that came; 0 is no signal.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// A signal came.
#[derive(Debug)]
struct Interrupted;

impl Error for Interrupted {}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

/// Sets the handlers. A second signal does not cut short the removal that the first one began.
pub(super) fn catch() -> Result<()> {
    // Takes the lab's own handlers out of the way: they leave SIGHUP out and do not say which signal came.
    interrupt::flag()?;
    // SAFETY: the handler does nothing but an atomic store, which is safe in one.
    Ok(unsafe { interrupt::handle(on_signal, SaFlags::SA_RESTART) }?)
}

extern "C" fn on_signal(signal: i32) {
    let _ = CAUGHT.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
}

/// The signal that came first, if any.
pub(super) fn caught() -> Option<Signal> {
    Signal::try_from(CAUGHT.load(Ordering::Relaxed)).ok()
}

/// An error once a signal has come.
pub(super) fn check() -> Result<()> {
    match caught() {
        Some(_) => Err(Interrupted.into()),
        None => Ok(()),
    }
}

/// Sleeps, or fails soon after a signal.
pub(super) fn sleep(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(STEP));
    }
}
