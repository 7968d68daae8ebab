//! Bodies of `/v1/flows`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Target;
use crate::config::Mode;

/// Flows that are listed unless the query says how many.
const LIMIT: u32 = 100;

/// Which flows are meant: those of a service, of a backend, or one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// Name of the service.
    pub service: Option<String>,
    /// Name of a backend of it.
    pub backend: Option<String>,
    /// With `to`: both ends of one flow.
    pub from: Option<SocketAddr>,
    pub to: Option<Target>,
    /// How many are listed, of each kind.
    pub limit: Option<u32>,
}

/// Flows that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Those of modes that translate, with both five-tuples.
    pub translated: Vec<TranslatedFlow>,
    /// Those of other modes that are written down, without addresses: only a fingerprint of them is kept.
    pub written: Vec<WrittenFlow>,
    /// How many there are in all.
    pub translated_total: u64,
    pub written_total: u64,
}

/// A flow that is remembered exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranslatedFlow {
    /// Null for one that is gone.
    pub service: Option<String>,
    /// Null for one that is gone.
    pub backend: Option<String>,
    pub mode: Option<Mode>,
    pub protocol: String,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    /// Whom the backend sees: the client, or an address of ours.
    pub source: Option<SocketAddr>,
    /// Where the backend gets it.
    pub destination: Option<SocketAddr>,
    pub state: String,
    /// Since the last packet of either side.
    pub age_seconds: u64,
}

/// A flow that is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFlow {
    /// Null for one that is gone.
    pub service: Option<String>,
    /// Null for one that is gone.
    pub backend: Option<String>,
    /// The slot of its home.
    pub slot: Option<u32>,
    pub state: String,
    /// Since the client's last packet, in steps of two seconds.
    pub age_seconds: u64,
}

/// Answer to a `DELETE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    pub translated: u64,
    pub written: u64,
    /// Clients that had affinity.
    pub clients: u64,
}

impl FlowQuery {
    /// How many are listed.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT) as usize
    }

    /// Both ends, if one flow is meant.
    ///
    /// # Errors
    /// When it makes no sense, in words.
    pub fn ends(&self) -> Result<Option<(SocketAddr, Target)>, String> {
        if self.backend.is_some() && self.service.is_none() {
            return Err("backend: names are unique within a service only: give the service too".into());
        }
        match (self.from, self.to) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) if self.service.is_some() => {
                Err("from and to mean one flow: give them without service and backend".into())
            }
            (Some(from), Some(to)) => Ok(Some((from, to))),
            _ => Err("one flow has two ends: give both from and to".into()),
        }
    }

    /// Whether all flows are meant.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.service.is_none() && self.from.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_question_is_refused() {
        let backend = FlowQuery {
            backend: Some("b1".into()),
            ..FlowQuery::default()
        };
        assert!(backend.ends().unwrap_err().contains("give the service"));
        let half = FlowQuery {
            from: Some("198.51.100.7:4000".parse().unwrap()),
            ..FlowQuery::default()
        };
        assert!(half.ends().unwrap_err().contains("give both"));
        let both = FlowQuery {
            to: Some("192.0.2.10:80".parse().unwrap()),
            service: Some("web".into()),
            ..half
        };
        assert!(both.ends().unwrap_err().contains("without service"));
        assert_eq!(
            FlowQuery {
                service: None,
                ..both
            }
            .ends()
            .unwrap()
            .unwrap()
            .1
            .to_string(),
            "192.0.2.10:80/tcp"
        );
        assert!(FlowQuery::default().is_everything());
    }
}
