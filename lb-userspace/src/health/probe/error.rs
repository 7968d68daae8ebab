//! Why a probe failed.

use std::{io, time::Duration};

use lb_common::service::ForwardMode;
use nix::errno::Errno;

use super::super::through::missing;

/// Why a probe failed: one line, and whose failure it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProbeError {
    reason: String,
    from: From,
}

/// Where a failure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The backend's host has said no: nobody listens, or the connection was reset.
    Refusal,
    /// The backend has answered, and not well.
    Answer,
    /// Nothing came back.
    Silence,
    /// This host could not even ask.
    Ourselves,
}

impl ProbeError {
    fn from(reason: impl Into<String>, from: From) -> Self {
        let reason = reason.into();
        Self { reason, from }
    }

    /// A bad answer.
    #[must_use]
    pub fn answer(reason: impl Into<String>) -> Self {
        Self::from(reason, From::Answer)
    }

    /// A refusal.
    #[must_use]
    pub fn refusal(reason: impl Into<String>) -> Self {
        Self::from(reason, From::Refusal)
    }

    /// Silence for some other reason than the timeout.
    #[must_use]
    pub fn silence(reason: impl Into<String>) -> Self {
        Self::from(reason, From::Silence)
    }

    /// Something that this host lacks.
    #[must_use]
    pub fn ours(reason: impl Into<String>) -> Self {
        Self::from(reason, From::Ourselves)
    }

    /// The same failure of a probe [through the data path](super::super::through) of a service in `mode`: with what to look at, where
    /// nothing came back.
    #[must_use]
    pub fn through(mut self, mode: ForwardMode) -> Self {
        if self.is_silence() {
            self.reason = format!("{}: {}", self.reason, missing(mode));
        }
        self
    }

    #[must_use]
    pub fn timeout(timeout: Duration) -> Self {
        Self::silence(format!("timeout after {}", humantime::format_duration(timeout)))
    }

    /// Whether nothing came back: the way there may be wrong. A refusal or a bad answer has come by it.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self.from, From::Silence)
    }

    /// Whether the backend's host itself has said that nobody serves there.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self.from, From::Refusal)
    }

    /// Whether the probe failed for want of something here, which says nothing of the backend.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self.from, From::Ourselves)
    }

    /// An error of a socket while `doing` something: `connect`, `read`, `send`.
    #[must_use]
    pub fn io(doing: &str, error: &io::Error) -> Self {
        let from = match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
            (
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::TimedOut,
                _,
            )
            | (_, Some(Errno::EHOSTDOWN)) => From::Silence,
            (
                _,
                Some(
                    Errno::EMFILE
                    | Errno::ENFILE
                    | Errno::ENOBUFS
                    | Errno::ENOMEM
                    | Errno::EADDRNOTAVAIL
                    | Errno::EPERM,
                ),
            ) => From::Ourselves,
            // How Linux tells of an ICMPv6 error that a filter on the way has sent (RFC 4443 §3.1, codes 1, 5 and 6).
            (_, Some(Errno::EACCES)) => From::Silence,
            (
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe,
                _,
            ) => From::Refusal,
            _ => From::Answer,
        };
        // The kind reads better ("connection refused") where the standard library has one.
        let reason = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => error.kind().to_string(),
            kind if from == From::Silence => kind.to_string(),
            _ => error.to_string(),
        };
        Self::from(format!("{doing}: {reason}"), from)
    }
}
