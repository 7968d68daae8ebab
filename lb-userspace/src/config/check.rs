//! How a backend is probed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    status::StatusSet,
    value::{self, Bounds, Port, bounded},
};

/// Results in a row that may be asked for.
pub(super) const RISE_FALL: Bounds = Bounds::new(1, 100);

/// A service's health check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct CheckSpec {
    pub kind: CheckKind,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// How long a whole probe may take.
    pub timeout: Duration,
    /// Passes in a row after which a backend that is down counts as up.
    pub rise: u32,
    /// Failures in a row after which a backend that is up counts as down.
    pub fall: u32,
    /// Where to probe; without it, the port that the backend serves.
    pub port: Option<u16>,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Connects.
    Tcp,
    /// Sends a GET request.
    Http {
        path: String,
        /// The Host header; without it, the backend's address.
        host: Option<String>,
        status: StatusSet,
        /// Text that the body must contain.
        body: Option<String>,
    },
}

impl CheckSpec {
    /// A check with the defaults for everything else.
    #[must_use]
    pub const fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: interval(),
            timeout: timeout(),
            rise: rise(),
            fall: fall(),
            port: None,
        }
    }
}

impl CheckKind {
    /// An HTTP check with the defaults: `/`, any success or redirection.
    #[must_use]
    pub fn http() -> Self {
        Self::Http {
            path: "/".into(),
            host: None,
            status: StatusSet::default(),
            body: None,
        }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http { .. } => "http",
        }
    }
}

/// The check as it is written: one flat table.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default = "interval", with = "value::duration")]
    interval: Duration,
    #[serde(default = "timeout", with = "value::duration")]
    timeout: Duration,
    #[serde(
        default = "rise",
        deserialize_with = "bounded::<_, _, { RISE_FALL.min }, { RISE_FALL.max }>"
    )]
    rise: u32,
    #[serde(
        default = "fall",
        deserialize_with = "bounded::<_, _, { RISE_FALL.min }, { RISE_FALL.max }>"
    )]
    fall: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<Port>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<StatusSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Tcp,
    Http,
}

impl TryFrom<Fields> for CheckSpec {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let Fields {
            kind,
            interval,
            timeout,
            rise,
            fall,
            port,
            path,
            host,
            status,
            body,
        } = fields;
        let kind = match kind {
            Kind::Tcp => {
                let http_only = [
                    ("path", path.is_some()),
                    ("host", host.is_some()),
                    ("status", status.is_some()),
                    ("body", body.is_some()),
                ];
                if let Some((field, _)) = http_only.iter().find(|(_, given)| *given) {
                    return Err(format!(
                        "{field}: only an http check has it: remove it or use type = \"http\""
                    ));
                }
                CheckKind::Tcp
            }
            Kind::Http => CheckKind::Http {
                path: path.unwrap_or_else(|| "/".into()),
                host,
                status: status.unwrap_or_default(),
                body,
            },
        };
        Ok(Self {
            kind,
            interval,
            timeout,
            rise,
            fall,
            port: port.map(|port| port.0),
        })
    }
}

impl From<CheckSpec> for Fields {
    fn from(spec: CheckSpec) -> Self {
        let CheckSpec {
            kind,
            interval,
            timeout,
            rise,
            fall,
            port,
        } = spec;
        let (kind, path, host, status, body) = match kind {
            CheckKind::Tcp => (Kind::Tcp, None, None, None, None),
            CheckKind::Http {
                path,
                host,
                status,
                body,
            } => (Kind::Http, Some(path), host, Some(status), body),
        };
        let port = port.map(value::Bounded);
        Self {
            kind,
            interval,
            timeout,
            rise,
            fall,
            port,
            path,
            host,
            status,
            body,
        }
    }
}

const fn interval() -> Duration {
    Duration::from_secs(1)
}

const fn timeout() -> Duration {
    Duration::from_millis(500)
}

const fn rise() -> u32 {
    2
}

const fn fall() -> u32 {
    3
}
