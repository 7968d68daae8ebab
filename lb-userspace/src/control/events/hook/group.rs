//! A command and all that it starts: a process group, of which nothing is left when it is dropped.

use std::{
    convert::Infallible,
    env,
    future::pending,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use tokio::{io::AsyncWriteExt as _, net::unix::pipe, task::spawn_blocking};

use crate::{control::events::Event, output};

pub struct Group {
    leader: Child,
}

impl Group {
    /// Starts a command for an event.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(command: &[String], event: &Event) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        let leader = command
            .env("XLB_EVENT", event.event.name())
            .env("XLB_SERVICE", event.service.as_deref().unwrap_or_default())
            .env("XLB_BACKEND", event.backend.as_deref().unwrap_or_default())
            // Without control characters: a NUL cannot be in an environment.
            .env("XLB_REASON", output::one_line(&event.reason))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { leader })
    }

    /// Gives the leader its input, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn ended(&mut self, input: &[u8]) -> io::Result<WaitStatus> {
        let leader = self.id();
        // Whoever waits on a thread of its own does not take the leader's id away: as long as it has that, so has the group.
        let wait = move || waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let end = spawn_blocking(wait);
        let stdin = self.leader.stdin.take();
        let fed = async {
            // It need not read what it is told.
            let _unread = feed(stdin, input).await;
            pending::<Infallible>().await
        };
        tokio::select! {
            ended = end => Ok(ended.map_err(io::Error::other)??),
            never = fed => match never {},
        }
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.leader.id().cast_signed())
    }
}

/// Writes the input and ends it.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(stdin) = stdin else { return Ok(()) };
    let mut pipe = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
    pipe.write_all(input).await
}

impl Drop for Group {
    fn drop(&mut self) {
        // The leader has not been waited for, so the id is still that of this group.
        match killpg(self.id(), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => log::warn!("on_event: end what it has started: {error}"),
        }
        // One that has moved to another group.
        if let Err(error) = self.leader.kill() {
            log::warn!("on_event: end it: {error}");
        }
        if !matches!(self.leader.try_wait(), Ok(None)) {
            return;
        }
        // It takes a moment to die, or longer if it waits for a disk: nobody here waits with it.
        let leader = self.id();
        let wait = move || {
            if let Err(error) = waitpid(leader, None) {
                log::warn!("on_event: wait for its end: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().name("on-event".into()).spawn(wait) {
            log::warn!("on_event: its end is not waited for: {error}");
        }
    }
}
