//! How a backend is probed.
//!
//! Reading order: here the settings, `fields` (the flat table that people write, and which field is whose), `pattern` and `payload`
//! (what answers have to contain, what questions say), `phi`, `rules` (what makes sense together), `told` (a line about it).

mod fields;
mod pattern;
mod payload;
mod phi;
mod rules;
mod told;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use fields::CHECK_FIELDS;
use fields::Fields;
pub use pattern::Pattern;
pub use payload::Payload;
pub use phi::Phi;
pub use rules::{authorities, rcode, record_type};
pub(super) use rules::{check, command, files};

use super::{
    status::StatusSet,
    value::{Bounds, as_text, quoted},
};

/// Results in a row that may be asked for.
pub(super) const RISE_FALL: Bounds = Bounds::new(1, 100);
/// Checks that a service may have.
pub(super) const CHECKS: usize = 8;

/// One health check of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "Fields")]
pub struct CheckSpec {
    pub kind: CheckKind,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// The same while results speak against the state that a backend is in.
    pub fast_interval: Option<Duration>,
    /// Percent of the interval by which each probe is early or late, so that probes of many backends do not keep step.
    pub jitter: u8,
    /// How long a whole probe may take.
    pub timeout: Duration,
    /// Passes in a row after which a backend that is down counts as up.
    pub rise: u32,
    /// Failures in a row after which a backend that is up counts as down.
    pub fall: u32,
    /// Instead of `fall`: how unlikely a silence has to be by the intervals that there were between passes.
    pub phi: Option<Phi>,
    /// Where to probe; without it, the port that the backend serves.
    pub port: Option<u16>,
    /// How probes get there; without it, as the service's mode asks for.
    pub via: Option<Via>,
}

/// How probes get to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Straight to its address.
    Direct,
    /// To the VIP, through the rewriting or the tunnel that packets of clients go by.
    Dataplane,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Connects; sends something and looks at what comes back, if asked to.
    Tcp {
        send: Option<Payload>,
        expect: Option<Pattern>,
    },
    /// Keeps a connection and notices its end at once.
    TcpHold,
    /// Sends a request, in the clear or over TLS.
    Http(Box<HttpCheck>),
    /// Asks for the health of a gRPC service (grpc.health.v1).
    Grpc {
        /// The service to ask for; empty for the server as a whole.
        service: String,
        tls: Option<TlsSpec>,
    },
    /// Sends a datagram; an answer that contains the pattern passes. Without one, any answer does.
    Udp {
        send: Payload,
        expect: Option<Pattern>,
    },
    Dns(DnsCheck),
    /// Sends an echo request.
    Icmp,
    /// Runs a command.
    Exec {
        /// The program, by its whole path, and its arguments.
        command: Vec<String>,
    },
    /// Reads what the backend wishes for itself, as HAProxy's agent-check.
    Agent {
        send: Option<Payload>,
    },
}

/// What an HTTP check asks for, and what it wants to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    pub path: String,
    /// The Host header, or `:authority`; without it, the backend's address.
    pub host: Option<String>,
    pub method: HttpMethod,
    pub version: HttpVersion,
    pub status: StatusSet,
    /// What the body must contain.
    pub body: Option<Pattern>,
    /// Set for https.
    pub tls: Option<TlsSpec>,
}

/// How a server's certificate is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSpec {
    /// The name in SNI and in the certificate; without it, `host`, else the backend's address.
    pub server_name: Option<String>,
    /// A PEM file with the authorities that are trusted; without it, those of the system.
    pub ca: Option<PathBuf>,
    /// Whether the certificate has to be good at all.
    pub verify: bool,
}

/// A question and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCheck {
    pub query: String,
    /// The type of record asked for: `A`, `AAAA`, `SOA`, …
    pub record: String,
    /// The response code that is good: `NOERROR`, `NXDOMAIN`, …
    pub rcode: String,
    /// An address that one of the answers must have.
    pub answer: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMethod {
    #[default]
    Get,
    Head,
    Options,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    #[default]
    Http1,
    /// Without an upgrade: by prior knowledge in the clear, by ALPN over TLS (RFC 9113 §3).
    Http2,
}

/// Not by `try_from`: what is wrong with the fields together has to be said while the reader of text still knows which table it is in.
impl<'de> Deserialize<'de> for CheckSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = CheckSpec;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<CheckSpec, A::Error> {
                let fields = Fields::deserialize(de::value::MapAccessDeserializer::new(map))?;
                CheckSpec::try_from(fields).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

impl CheckSpec {
    /// A check with the defaults for everything else.
    #[must_use]
    pub const fn new(kind: CheckKind) -> Self {
        let fall = fall(&kind);
        Self {
            kind,
            interval: interval(),
            fast_interval: None,
            jitter: 0,
            timeout: timeout(),
            rise: rise(),
            fall,
            phi: None,
            port: None,
            via: None,
        }
    }

    /// What it asks, and where, without how often and how many answers count. What is known by one question says nothing of another.
    #[must_use]
    pub fn question(&self) -> Self {
        Self {
            port: self.port,
            via: self.via,
            ..Self::new(self.kind.clone())
        }
    }

    /// The check in a line, with the way that its probes go.
    #[must_use]
    pub fn told(&self, goes_through: bool) -> String {
        let via = goes_through.then_some(Via::Dataplane);
        Self { via, ..self.clone() }.to_string()
    }
}

impl CheckKind {
    pub const TCP: Self = Self::Tcp {
        send: None,
        expect: None,
    };

    /// An HTTP check with the defaults: `/`, any success or redirection.
    #[must_use]
    pub fn http() -> Self {
        Self::Http(Box::default())
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::TcpHold => "tcp-hold",
            Self::Http(http) if http.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Grpc { .. } => "grpc",
            Self::Udp { .. } => "udp",
            Self::Dns(_) => "dns",
            Self::Icmp => "icmp",
            Self::Exec { .. } => "exec",
            Self::Agent { .. } => "agent",
        }
    }

    /// Whether a probe goes to a port.
    #[must_use]
    pub const fn has_port(&self) -> bool {
        !matches!(self, Self::Icmp | Self::Exec { .. })
    }

    /// Whether a probe goes over UDP.
    #[must_use]
    pub const fn is_udp(&self) -> bool {
        matches!(self, Self::Udp { .. } | Self::Dns(_))
    }
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            path: "/".into(),
            host: None,
            method: HttpMethod::default(),
            version: HttpVersion::default(),
            status: StatusSet::default(),
            body: None,
            tls: None,
        }
    }
}

impl Default for TlsSpec {
    fn default() -> Self {
        Self {
            server_name: None,
            ca: None,
            verify: true,
        }
    }
}

/// Gives an enum the names that people write, and the error of any other.
macro_rules! named {
    ($name:ident, $what:literal, $($variant:ident = $text:literal),+) => {
        impl $name {
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!(
                        "{} is no {}: use one of {}",
                        quoted(text),
                        $what,
                        [$($text),+].join(", ")
                    )),
                }
            }
        }

        as_text!($name);
    };
}

named!(Via, "way of probes", Direct = "direct", Dataplane = "dataplane");
named!(
    HttpMethod,
    "method of a check",
    Get = "GET",
    Head = "HEAD",
    Options = "OPTIONS"
);
named!(HttpVersion, "version of HTTP", Http1 = "1.1", Http2 = "2");

/// For `with`: no check as nothing, one as a table of its own, several as a list of them.
pub mod one_or_more {
    use super::*;

    pub fn serialize<S: Serializer>(checks: &[CheckSpec], serializer: S) -> Result<S::Ok, S::Error> {
        match checks {
            [] => serializer.serialize_none(),
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CheckSpec>, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vec<CheckSpec>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table, or a list of tables, each with a head like [[service.check]]")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let check = CheckSpec::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(vec![check])
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut checks = Vec::new();
                while let Some(check) = seq.next_element()? {
                    checks.push(check);
                }
                Ok(checks)
            }
        }

        deserializer.deserialize_any(Visitor)
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

/// A kept connection that ends and cannot be made again is evidence enough.
const fn fall(kind: &CheckKind) -> u32 {
    if matches!(kind, CheckKind::TcpHold) { 2 } else { 3 }
}
