//! Whose turn it is on a CPU.

use std::io;

use nix::libc;

/// As nice(1) has it: others get a turn still, but later.
const NICE: i32 = -10;

/// Goes before other work, with all threads and processes that are made from now on. Figures tell without it too, only less.
pub fn raise() {
    // SAFETY: it takes three numbers.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if done != 0 {
        let error = io::Error::last_os_error();
        println!("at the usual priority: {error}");
    }
}
