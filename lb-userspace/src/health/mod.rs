//! Health checks: probes ask a backend, a runner asks again and again, a monitor makes a state of the answers.
//!
//! `monitor` is pure; only `runner` and the probes know of sockets and clocks. A new check is one file with an async
//! `probe`, a variant of [`CheckKind`] and an arm in [`probe`].

mod http;
mod monitor;
mod runner;
mod tcp;

use std::{io, net::SocketAddr, time::Duration};

pub use monitor::{Health, Monitor};
pub use runner::{Handle, Observation, spawn};

use nix::errno::Errno;

use crate::config::CheckKind;

/// Probes once: whether `target` is fit for traffic, found out within `timeout`.
pub async fn probe(kind: &CheckKind, target: SocketAddr, timeout: Duration) -> Result<(), ProbeError> {
    let answer = async {
        match kind {
            CheckKind::Tcp => tcp::probe(target).await,
            CheckKind::Http {
                path,
                host,
                status,
                body,
            } => http::probe(target, path, host.as_deref(), status, body.as_deref()).await,
        }
    };
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or_else(|_| Err(ProbeError::timeout(timeout)))
}

/// Why a probe failed: one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProbeError {
    reason: String,
    from: From,
}

/// Where a failure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The backend has answered, and not well.
    Answer,
    /// Nothing came back.
    Silence,
    /// This host could not even ask.
    Ourselves,
}

impl ProbeError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            from: From::Answer,
        }
    }

    pub(crate) fn timeout(timeout: Duration) -> Self {
        Self {
            reason: format!("timeout after {}", humantime::format_duration(timeout)),
            from: From::Silence,
        }
    }

    /// Whether nothing came back: the way there may be wrong. A refusal or a bad answer has come by it.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self.from, From::Silence)
    }

    /// Whether the probe failed for want of something here, which says nothing of the backend.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self.from, From::Ourselves)
    }

    fn connect(error: &io::Error) -> Self {
        let from = match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
            (
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut,
                _,
            ) => From::Silence,
            (
                _,
                Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EADDRNOTAVAIL),
            ) => From::Ourselves,
            _ => From::Answer,
        };
        // The kind reads better ("connection refused") where the standard library has one.
        let reason = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => error.kind().to_string(),
            kind if from == From::Silence => kind.to_string(),
            _ => error.to_string(),
        };
        Self {
            reason: format!("connect: {reason}"),
            from,
        }
    }
}
