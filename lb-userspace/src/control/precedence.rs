//! The loop's place among what a host does: results of probes are heard before any other program's turn is over.
//!
//! What may take longer than a usual thread's turn is not done so. Packets may be on threads of the usual kind (`ksoftirqd`, those of NAPI), and those
//! of this thread's CPU would wait.

use std::{cell::Cell, io, ptr, time::Duration};

use nix::libc;

/// Threads and programs that a thread starts are usual ones.
const ALONE: libc::c_int = libc::SCHED_RESET_ON_FORK;
/// The least of those before usual threads (sched(7)).
const FIRST: libc::sched_param = libc::sched_param { sched_priority: 1 };
const USUAL: libc::sched_param = libc::sched_param { sched_priority: 0 };

/// As long as usual threads have to wait for each other (`base_slice_ns` of the kernel's scheduler, with some CPUs). Whoever has given way for less
/// may get back only after as much.
const TURN: Duration = Duration::from_millis(3);

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
    /// Takes it, if this program may. Whoever has given this thread another place knows why.
    pub fn take() -> Option<Self> {
        if policy() != libc::SCHED_OTHER {
            log::debug!("the control loop keeps the scheduling policy that it was started with");
            return None;
        }
        match take() {
            Ok(()) => Some(Self(())),
            Err(error) => {
                log::warn!(
                    "results of probes wait for other programs' turns: sched_setscheduler: {error}: allow it (CAP_SYS_NICE; \
                     RestrictRealtime of systemd and real-time time of a cgroup forbid it, too), or set node.realtime = false"
                );
                None
            }
        }
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        let _done = drop_it();
    }
}

/// For what has time, if this thread has precedence.
#[must_use]
pub fn give_way() -> Option<GivenWay> {
    (HAS.get() && drop_it()).then(|| GivenWay(()))
}

/// For so many things that take so long each, if that is longer than others' turns are.
#[must_use]
pub fn give_way_for(many: usize, each: Duration) -> Option<GivenWay> {
    let all = each.saturating_mul(u32::try_from(many).unwrap_or(u32::MAX));
    if all > TURN { give_way() } else { None }
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
    set(libc::SCHED_RR | ALONE, &FIRST)?;
    HAS.set(true);
    Ok(())
}

/// Whether it is dropped. That needs no privilege, as what is reset stays so.
fn drop_it() -> bool {
    let dropped = set(libc::SCHED_OTHER | ALONE, &USUAL);
    match &dropped {
        Ok(()) => HAS.set(false),
        Err(error) => {
            log::warn!("the control loop goes first in all that it does: sched_setscheduler: {error}");
        }
    }
    dropped.is_ok()
}

/// This thread's, whatever it hands on.
fn policy() -> libc::c_int {
    // SAFETY: it takes a number, of which 0 is this thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    policy & !ALONE
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
            assert_eq!(policy(), libc::SCHED_RR);
            assert_eq!(thread::spawn(policy).join().unwrap(), libc::SCHED_OTHER);
            let outer = give_way();
            assert_eq!(policy(), libc::SCHED_OTHER);
            drop(give_way());
            assert_eq!(policy(), libc::SCHED_OTHER, "within what gives way anyhow");
            drop(outer);
            assert_eq!(policy(), libc::SCHED_RR);
            drop(precedence);
            assert_eq!(policy(), libc::SCHED_OTHER);
        });
    }

    #[test]
    fn another_place_is_kept() {
        apart(|| {
            set(libc::SCHED_BATCH, &USUAL).unwrap();
            assert!(Precedence::take().is_none() && give_way().is_none());
            assert_eq!(policy(), libc::SCHED_BATCH);
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
