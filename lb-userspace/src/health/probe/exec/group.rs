//! A command's process group.

use std::{
    env, io,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use nix::{
    libc,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::SemaphorePermit,
};

use super::{
    super::{ProbeError, Question},
    output::Output,
};

/// For an agent that has none itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command and all that it has started, for as long as it is held.
pub struct Group {
    /// The leader. As long as it is not waited for, its process id is nobody else's, and neither is the group's.
    leader: Option<Child>,
    turn: Option<SemaphorePermit<'static>>,
}

impl Group {
    pub fn start(
        question: Question<'_>,
        command: &[String],
        turn: SemaphorePermit<'static>,
    ) -> Result<(Self, Output), ProbeError> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| ProbeError::ours("there is no command"))?;
        let failed = |error: io::Error| ProbeError::ours(format!("cannot run {program:?}: {error}"));
        // One pipe for both, so that the lines are in the order in which they were written.
        let (reader, writer) = io::pipe().map_err(failed)?;
        let output = Output::new(reader.into()).map_err(failed)?;
        let leader = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()))
            .env("XLB_SERVICE", &question.who.service)
            .env("XLB_BACKEND", &question.who.backend)
            .env("XLB_ADDRESS", question.target.ip().to_string())
            .env("XLB_PORT", question.target.port().to_string())
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (leader, turn) = (Some(leader), Some(turn));
        Ok((Self { leader, turn }, output))
    }

    /// Waits until the leader has ended, and ends the rest.
    pub async fn ended(&mut self, output: &mut Output) -> io::Result<ExitStatus> {
        let Some(leader) = &mut self.leader else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let pidfd = pidfd(leader)?;
        // SAFETY: an `OwnedFd` is one descriptor, open for as long as it lives, which is in here.
        let exit = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        tokio::select! {
            ended = exit.readable() => drop(ended?),
            never = output.drain() => match never {},
        }
        // The leader has ended but has not been waited for: the group is still its own.
        kill(leader);
        output.take_rest();
        let status = leader.wait()?;
        self.leader = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut leader) = self.leader.take() else {
            return;
        };
        kill(&mut leader);
        if !matches!(leader.try_wait(), Ok(None)) {
            return;
        }
        // It takes a moment to die, longer if it waits for a disk. Until then it is one of those that run.
        let turn = self.turn.take();
        let wait = move || {
            if let Err(error) = leader.wait() {
                log::warn!("wait for a command of a check: {error}");
            }
            drop(turn);
        };
        let waiting = thread::Builder::new().name("exec-check".into()).spawn(wait);
        if let Err(error) = waiting {
            log::warn!("a killed command of a check is not waited for: {error}");
        }
    }
}

/// The leader may have moved to another group itself, and is named on its own.
fn kill(leader: &mut Child) {
    let group = Pid::from_raw(leader.id().cast_signed());
    if let Err(error) = killpg(group, Signal::SIGKILL) {
        log::warn!("end a command of a check: {error}");
    }
    if let Err(error) = leader.kill() {
        log::warn!("end a command of a check: {error}");
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
