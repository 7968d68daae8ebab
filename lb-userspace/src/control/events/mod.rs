//! What happens to backends and services: kept for those who ask later, and told to those who listen.
//!
//! Reading order: here what an event is, `journal` (the last ones), `listener` (who hears all that follow), `hook` (a command that is run
//! for each).

pub mod hook;
mod journal;
mod listener;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use journal::{Filter, Journal};
pub use listener::{Heard, Listener};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one from event to event of one agent.
    pub id: u64,
    /// When: RFC 3339, UTC, with milliseconds.
    pub time: String,
    pub event: What,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The check that decided, by its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The evidence, in a line.
    pub reason: String,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A backend is up.
    Up,
    /// A backend is down.
    Down,
    /// A backend has not been heard of yet.
    Checking,
    /// A backend is held down because it flaps.
    Held,
    /// A backend's agent wishes something else.
    Wish,
    /// Something speaks against a backend: it is probed at once.
    Suspect,
    /// A check of a backend cannot be made for want of something here: nothing is found out.
    Unprobed,
    /// It can be again.
    Probed,
    /// There is no way to a backend any more: it gets no new flows.
    Unreachable,
    /// There is one again.
    Reachable,
    /// Too much of a service's pool fails at once: whoever has not refused is kept.
    Panic,
    /// A pool is out of panic.
    Calm,
    /// The agent has begun.
    Started,
    /// To one reader alone: events that it has not got, because it was too slow.
    Lost,
}

impl What {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Checking => "checking",
            Self::Held => "held",
            Self::Wish => "wish",
            Self::Suspect => "suspect",
            Self::Unprobed => "unprobed",
            Self::Probed => "probed",
            Self::Unreachable => "unreachable",
            Self::Reachable => "reachable",
            Self::Panic => "panic",
            Self::Calm => "calm",
            Self::Started => "started",
            Self::Lost => "lost",
        }
    }
}

impl Event {
    /// Tells a reader that it has missed so many, the last of which had this number.
    #[must_use]
    pub fn lost(count: u64, last: u64, time: std::time::SystemTime) -> Arc<Self> {
        Arc::new(Self {
            id: last,
            time: written(time),
            event: What::Lost,
            service: None,
            backend: None,
            check: None,
            reason: format!("{count} events: they were gone before they were read"),
        })
    }

    /// Whom it is about: `web/b1`, `web`, or nobody.
    #[must_use]
    pub fn whom(&self) -> Option<String> {
        let service = self.service.as_ref()?;
        Some(match &self.backend {
            Some(backend) => format!("{service}/{backend}"),
            None => service.clone(),
        })
    }
}

fn written(time: std::time::SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// An event on its way into the journal, which numbers it.
#[derive(Clone, Debug)]
pub struct News<'a> {
    pub event: What,
    pub service: Option<&'a str>,
    pub backend: Option<&'a str>,
    pub check: Option<&'a str>,
    pub reason: String,
}
