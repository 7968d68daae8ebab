//! Ctrl-C, SIGTERM and SIGHUP.
//!
//! A program with long loops asks for [`flag`] and leaves them early, so that its destructors run; a second Ctrl-C
//! then ends it at once. In every other program that builds a lab (a test), the first one removes the lab and ends
//! the program, for a signal runs no destructors.

use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::write;

use crate::scope;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static POLLED: AtomicBool = AtomicBool::new(false);
static WAKE: OnceLock<PipeWriter> = OnceLock::new();

/// Becomes true at the first of the signals. From this call on the caller ends the program, not this module.
pub fn flag() -> io::Result<&'static AtomicBool> {
    POLLED.store(true, Ordering::Relaxed);
    install()?;
    Ok(&INTERRUPTED)
}

/// Whether one of the signals has come.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// An error once one of the signals has come: for the steps of a long loop.
pub fn check() -> Result<()> {
    ensure!(!interrupted(), "interrupted; all that was made is removed");
    Ok(())
}

/// Sets the handlers, once for the process.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let (mut reader, writer) = io::pipe()?;
    let _ = WAKE.set(writer);
    thread::Builder::new().name("interrupt".into()).spawn(move || {
        let mut signal = [0];
        while reader.read_exact(&mut signal).is_ok() {
            if !POLLED.load(Ordering::Relaxed) {
                remove_and_end(signal[0]);
            }
        }
    })?;
    // The default comes back with the first signal: the second ends a program that does not look at the flag.
    let flags = SaFlags::SA_RESTART | SaFlags::SA_RESETHAND;
    // SAFETY: the caller vouches for the handler.
    unsafe { handle(on_signal, flags) }
}

/// Has a handler called at each of the signals.
///
/// # Safety
/// It only does what is safe in a handler (signal-safety(7)).
pub(crate) unsafe fn handle(handler: extern "C" fn(i32), flags: SaFlags) -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(handler), flags, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only does what is safe in one: an atomic store, a OnceLock read and write(2).
        let before = unsafe { sigaction(signal, &action) }?;
        // nohup: whoever started us wants us to outlive the terminal.
        if signal == Signal::SIGHUP && matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: puts back what was there, which is no handler at all.
            unsafe { sigaction(signal, &before) }?;
        }
    }
    Ok(())
}

extern "C" fn on_signal(signal: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
    if let Some(wake) = WAKE.get() {
        // Nothing could be done here about a failure.
        let _ = write(wake.as_fd(), &[u8::try_from(signal).unwrap_or(0)]);
    }
}

fn remove_and_end(signal: u8) {
    let _ = writeln!(io::stderr(), "\nlab: interrupted, removing");
    scope::remove_own();
    let signal = Signal::try_from(i32::from(signal)).unwrap_or(Signal::SIGTERM);
    // The handler is the default by now: this ends the process the way its parent expects.
    let _ = raise(signal);
    std::process::exit(1);
}
