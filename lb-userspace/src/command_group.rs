//! A command and all that it starts: a process group, of which nothing is left when it is dropped.
//!
//! What moves to another group is on its own.

use std::{
    convert::Infallible,
    env, io,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, ChildStdin, Command, ExitStatus},
    thread,
};

use nix::{
    errno::Errno,
    libc,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::io::{Interest, unix::AsyncFd};

/// For an agent that has none itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command and all that it has started, for as long as it is held.
pub struct Group<T: Send + 'static> {
    /// Whose it is, in the log.
    whose: &'static str,
    /// The leader. As long as it is not waited for, its process id is nobody else's, and neither is the group's.
    leader: Option<Child>,
    /// What it holds until its leader is no more.
    held: Option<T>,
}

impl<T: Send + 'static> Group<T> {
    /// Starts a command, with nothing of our environment but `PATH`; `set` gives it the rest, and its standard streams.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(
        whose: &'static str,
        command: &[String],
        set: impl FnOnce(&mut Command),
        held: T,
    ) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()))
            .process_group(0);
        set(&mut command);
        let leader = Some(command.spawn()?);
        let held = Some(held);
        Ok(Self { whose, leader, held })
    }

    /// The other end of its standard input, if that is a pipe and nobody has it yet.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.leader.as_mut()?.stdin.take()
    }

    /// Waits until the leader has ended, and ends the rest. What is to be done `beside` that is given up then.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn ended(&mut self, beside: impl Future<Output = Infallible>) -> io::Result<ExitStatus> {
        let Some(leader) = &mut self.leader else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let pidfd = pidfd(leader)?;
        // SAFETY: an `OwnedFd` is one descriptor, open for as long as it lives, which is in here.
        let exit = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        tokio::select! {
            ended = exit.readable() => drop(ended?),
            never = beside => match never {},
        }
        // The leader has ended but has not been waited for: the group is still its own.
        kill(self.whose, leader);
        let status = leader.wait()?;
        self.leader = None;
        Ok(status)
    }
}

impl<T: Send + 'static> Drop for Group<T> {
    fn drop(&mut self) {
        let Some(mut leader) = self.leader.take() else {
            return;
        };
        let whose = self.whose;
        kill(whose, &mut leader);
        if !matches!(leader.try_wait(), Ok(None)) {
            return;
        }
        // It takes a moment to die, longer if it waits for a disk: nobody here waits with it. Until then it is one of those that run.
        let held = self.held.take();
        let wait = move || {
            if let Err(error) = leader.wait() {
                log::warn!("{whose}: wait for a killed command: {error}");
            }
            drop(held);
        };
        if let Err(error) = thread::Builder::new().name(whose.into()).spawn(wait) {
            log::warn!("{whose}: a killed command is not waited for: {error}");
        }
    }
}

/// How a command has failed, in words; `None` where it has not.
#[must_use]
pub fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit code {code}")),
        (None, Some(signal)) => Some(Signal::try_from(signal).map_or_else(
            // A real-time one has no name.
            |_| format!("ended by signal {signal}"),
            |signal| format!("ended by {signal}"),
        )),
        (None, None) => Some(status.to_string()),
    }
}

/// The leader may have moved to another group itself, and is named on its own.
fn kill(whose: &str, leader: &mut Child) {
    let group = Pid::from_raw(leader.id().cast_signed());
    match killpg(group, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => log::warn!("{whose}: end what a command has started: {error}"),
    }
    if let Err(error) = leader.kill() {
        log::warn!("{whose}: end a command: {error}");
    }
}

/// A descriptor that becomes readable when the process has ended, and leaves it to be waited for.
fn pidfd(leader: &Child) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers, and makes a descriptor or fails. `leader` has not been waited for, so the id is its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, leader.id(), 0) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_its_code_or_signal() {
        let told = |raw| failure(ExitStatus::from_raw(raw));
        assert_eq!(told(0), None);
        assert_eq!(told(3 << 8).unwrap(), "exit code 3");
        assert_eq!(told(9).unwrap(), "ended by SIGKILL");
        assert_eq!(told(40).unwrap(), "ended by signal 40");
    }
}
