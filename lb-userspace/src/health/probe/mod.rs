//! Probes: each asks a backend once, in its own way.
//!
//! A new one is one file with an async `probe`, a variant of [`CheckKind`] and an arm in [`probe`]. Sockets are made by `socket`; what
//! a probe may say is an [`Answer`] or a [`ProbeError`].

mod agent;
#[cfg(test)]
mod backend;
mod dns;
mod error;
mod exchange;
mod exec;
mod grpc;
mod hold;
mod http;
mod icmp;
#[cfg(test)]
mod serve;
mod socket;
mod target;
mod tcp;
mod tls;
mod udp;
mod wish;

use std::{net::SocketAddr, time::Duration};

pub use error::ProbeError;
#[cfg(test)]
pub use exec::turns;
pub use exec::{Permit, late_turns};
pub use hold::{Held, SHORT_LIFE};
pub use target::{Course, Door, Target, Way};
pub use wish::{Stand, Wish};

use crate::config::CheckKind;

/// One question to one backend.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub kind: &'a CheckKind,
    pub target: SocketAddr,
    /// How long the whole may take.
    pub timeout: Duration,
    pub who: &'a Who,
    pub course: &'a Course,
}

/// Whose backend it is, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub service: String,
    pub backend: String,
}

/// What a backend that passes has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// A few words worth showing: `status 200`.
    pub said: Option<String>,
    /// What it wishes for itself.
    pub wish: Option<Wish>,
}

impl Answer {
    /// An answer worth a few words.
    #[must_use]
    pub fn said(words: impl Into<String>) -> Self {
        Self {
            said: Some(words.into()),
            wish: None,
        }
    }
}

/// Asks once: whether the target is fit for traffic, found out within the timeout, which begins when it has its turn.
///
/// # Errors
/// When it is not, or could not be asked; [`ProbeError`] tells which.
pub async fn probe(question: Question<'_>, permit: Permit) -> Result<Answer, ProbeError> {
    let way = match question.course {
        Course::Direct => return in_time(question, question.target.into(), permit).await,
        Course::Through(way) => way,
        Course::Nowhere(error) => return Err(error.clone()),
    };
    let door = Door::open(way).await?;
    let answer = in_time(question, Target::through(&door), permit).await;
    answer.map_err(|error| error.through(way.mode))
}

async fn in_time(question: Question<'_>, target: Target<'_>, permit: Permit) -> Result<Answer, ProbeError> {
    let mut so_far = None;
    let asked = ask(question, target, permit, &mut so_far);
    let answer = tokio::time::timeout(limit(question), asked).await;
    answer.unwrap_or_else(|_| Err(so_far.unwrap_or_else(|| ProbeError::timeout(question.timeout))))
}

/// For how long the whole may last.
fn limit(question: Question<'_>) -> Duration {
    match question.kind {
        // A connection that is made has to live for a while then.
        CheckKind::TcpHold => question.timeout + SHORT_LIFE,
        _ => question.timeout,
    }
}

/// `so_far` is what there will be to say if the time ends, where that is more than that it has ended.
async fn ask(
    question: Question<'_>,
    target: Target<'_>,
    permit: Permit,
    so_far: &mut Option<ProbeError>,
) -> Result<Answer, ProbeError> {
    match question.kind {
        CheckKind::Tcp { send, expect } => tcp::probe(target, send.as_ref(), expect.as_ref(), so_far).await,
        // Asked once; a runner keeps its connection.
        CheckKind::TcpHold => {
            let lives = Held::lives(target, question.timeout, SHORT_LIFE).await;
            lives.map(|()| Answer::default())
        }
        CheckKind::Http(check) => http::probe(target, check).await,
        CheckKind::Grpc { service, tls } => {
            grpc::probe(target, service, tls.as_ref(), question.timeout).await
        }
        CheckKind::Udp { send, expect } => udp::probe(target, send, expect.as_ref(), so_far).await,
        CheckKind::Dns(check) => dns::probe(target, check, so_far).await,
        CheckKind::Icmp => icmp::probe(question.target.ip()).await,
        CheckKind::Exec { command } => exec::probe(question, command, permit).await,
        CheckKind::Agent { send } => agent::probe(target, send.as_ref()).await,
    }
}
