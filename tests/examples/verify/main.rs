//! Loads every variant of the XDP programs on the kernel that runs, and says what each costs there: what `cargo xtask verify`
//! runs, on this host and as the first and only process of guests with other kernels.
//!
//! Reading order: [`accept`], [`variant`] (what is loaded, as the agent loads it), [`statistics`] (what the verifier says of it), [`stack`] (what
//! that means together), [`host`] (the file systems that it takes), [`syscall`] (bpf(2)).
#![expect(clippy::print_stdout, reason = "a command-line tool")]

mod accept;
mod host;
mod stack;
mod statistics;
mod syscall;
mod variant;

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::init();
    let accepted = host::prepare().and_then(|()| accept::all());
    let accepted = accepted.map(|(_, all)| all).unwrap_or_else(|error| {
        println!("{error:#}");
        false
    });
    // A guest's console has no exit code.
    println!("verify: {}", if accepted { "all accepted" } else { "FAILED" });
    ExitCode::from(u8::from(!accepted))
}
