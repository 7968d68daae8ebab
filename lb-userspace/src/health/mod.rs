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
#[error("{0}")]
pub struct ProbeError(String);

impl ProbeError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    fn timeout(timeout: Duration) -> Self {
        Self(format!("timeout after {}", humantime::format_duration(timeout)))
    }

    fn connect(error: &io::Error) -> Self {
        // The kind reads better ("connection refused") where the standard library has one.
        match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut => Self(format!("connect: {}", error.kind())),
            _ => Self(format!("connect: {error}")),
        }
    }
}
