//! Why there is no answer. Every text is one line that names the socket or the thing, its cause included: causes are no
//! [`source`](std::error::Error::source), or they would be printed twice.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::StatusCode;

use crate::output;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens, or not for us.
    #[error("{}", unreachable(.socket, .cause))]
    Unreachable { socket: PathBuf, cause: io::Error },
    #[error("the agent at {} did not answer within {}{}",
        .socket.display(), humantime::format_duration(*.after), timeout_note(*.changes))]
    Timeout {
        socket: PathBuf,
        after: Duration,
        /** Whether the request was to change something. */
        changes: bool,
    },
    /// The agent understood and said no.
    #[error("{}", output::one_line(.error))]
    Refused { status: StatusCode, error: String },
    /// A refusal that no agent writes.
    #[error("{} answered '{status}' without a reason: is it an xlb agent of this version?", .socket.display())]
    Unexplained { socket: PathBuf, status: StatusCode },
    /// Success, with a body that cannot be read.
    #[error("{} answered what this version does not understand ({cause}): is it an xlb agent of this version?",
        .socket.display())]
    Garbage {
        socket: PathBuf,
        cause: serde_json::Error,
    },
    /// The connection ended or carried no HTTP.
    #[error("the agent at {} gave no whole answer ({})", .socket.display(), output::one_line(&.cause.to_string()))]
    Broken {
        socket: PathBuf,
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stream that was to go on.
    #[error("the agent at {} has ended the connection ({cause}): was it stopped? ask again when it runs", .socket.display())]
    Ended { socket: PathBuf, cause: String },
    #[error("write the request as JSON ({cause})")]
    Body { cause: serde_json::Error },
}

impl Error {
    /// Whether there was no agent to talk to, so that the same command may work later. One that this user may not talk to is
    /// there.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => cause.kind() != io::ErrorKind::PermissionDenied,
            // A change may have been made: to say "not ready" would invite to make it again.
            Self::Timeout { changes, .. } => !changes,
            Self::Ended { .. } => true,
            _ => false,
        }
    }
}

fn unreachable(socket: &Path, cause: &io::Error) -> String {
    let socket = socket.display();
    let reason = cause.to_string();
    // Without the number: "No such file or directory (os error 2)".
    let reason = reason.split(" (os error").next().unwrap_or_default();
    if cause.kind() == io::ErrorKind::PermissionDenied {
        format!(
            "may not talk to the agent at {socket} ({reason}): run as root or as a member of the socket's group"
        )
    } else {
        format!(
            "no agent answers at {socket} ({reason}): start it with 'xlb run --config FILE' or name its socket with --socket"
        )
    }
}

fn timeout_note(changes: bool) -> &'static str {
    if changes {
        ": whether the change was made is not known, look with 'xlb status'"
    } else {
        ""
    }
}
