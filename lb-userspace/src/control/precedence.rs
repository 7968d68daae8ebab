//! The loop's place among what a host does: results of probes are heard before any other program's turn is over.
//!
//! Nothing that takes long is done so. Packets may be on threads of the usual kind (`ksoftirqd`, those of NAPI), and those of this thread's CPU
//! would wait.

use std::{cell::Cell, io, ptr};

use nix::libc;

/// The least of those before usual threads (sched(7)).
const FIRST: libc::sched_param = libc::sched_param { sched_priority: 1 };
const USUAL: libc::sched_param = libc::sched_param { sched_priority: 0 };

thread_local! {
    /// Whether this thread has it now.
    static HAS: Cell<bool> = const { Cell::new(false) };
}

/// This thread has precedence for as long as it lives, but for when it gives way.
#[derive(Debug)]
pub struct Precedence(());

/// This thread is one like any other for as long as it lives.
#[derive(Debug)]
pub struct GivenWay(());

impl Precedence {
    /// Takes it, if this program may.
    pub fn take() -> Option<Self> {
        match take() {
            Ok(()) => Some(Self(())),
            Err(error) => {
                log::warn!(
                    "results of probes wait for other programs' turns: sched_setscheduler: {error}: \
                     give xlb CAP_SYS_NICE, or set node.realtime = false"
                );
                None
            }
        }
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        drop_it();
    }
}

/// For what has time, if this thread has precedence.
#[must_use]
pub fn give_way() -> Option<GivenWay> {
    HAS.get().then(|| {
        drop_it();
        GivenWay(())
    })
}

impl Drop for GivenWay {
    fn drop(&mut self) {
        if let Err(error) = take() {
            log::warn!(
                "results of probes wait for other programs' turns from now on: sched_setscheduler: {error}"
            );
        }
    }
}

fn take() -> io::Result<()> {
    // Threads and programs that this one starts are usual ones.
    set(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &FIRST)?;
    HAS.set(true);
    Ok(())
}

fn drop_it() {
    // That needs no privilege.
    let _never = set(libc::SCHED_OTHER, &USUAL);
    HAS.set(false);
}

fn set(policy: libc::c_int, parameters: &libc::sched_param) -> io::Result<()> {
    // SAFETY: 0 is this thread, and the kernel reads the parameters, which are borrowed for the call.
    let done = unsafe { libc::sched_setscheduler(0, policy, ptr::from_ref(parameters)) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const URGENT: libc::c_int = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;

    fn policy() -> libc::c_int {
        // SAFETY: 0 is this thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    /// In a thread of its own: tests share theirs.
    fn apart(test: impl FnOnce() + Send + 'static) {
        thread::spawn(test).join().unwrap();
    }

    #[test]
    fn it_is_given_up_for_what_takes_long_and_not_handed_on() {
        apart(|| {
            let Some(precedence) = Precedence::take() else {
                eprintln!("not tried: this user may not (CAP_SYS_NICE)");
                return;
            };
            assert_eq!(policy(), URGENT);
            assert_eq!(thread::spawn(policy).join().unwrap(), libc::SCHED_OTHER);
            let outer = give_way();
            assert_eq!(policy(), libc::SCHED_OTHER);
            drop(give_way());
            assert_eq!(policy(), libc::SCHED_OTHER, "within what gives way anyhow");
            drop(outer);
            assert_eq!(policy(), URGENT);
            drop(precedence);
            assert_eq!(policy(), libc::SCHED_OTHER);
        });
    }

    #[test]
    fn who_has_none_gives_none_up() {
        apart(|| {
            assert!(give_way().is_none());
            assert_eq!(policy(), libc::SCHED_OTHER);
        });
    }
}
