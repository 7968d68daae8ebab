//! The check as it is written: one flat table, in which some fields are of some types only.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    CheckKind, CheckSpec, DnsCheck, HttpCheck, HttpMethod, HttpVersion, Pattern, Payload, Phi, RISE_FALL,
    StatusSet, TlsSpec, Via,
};
use crate::config::value::{self, Bounds, Port, bounded};

/// Percent of jitter that may be asked for.
const JITTER: Bounds = Bounds::new(0, 50);
/// What a DNS check asks for, and wants, when nothing is said.
const RECORD: &str = "A";
const RCODE: &str = "NOERROR";

const HTTP: &[Kind] = &[Kind::Http, Kind::Https];
const TLS: &[Kind] = &[Kind::Https, Kind::Grpc];
const ANSWERS: &[Kind] = &[Kind::Tcp, Kind::Udp];
const QUESTIONS: &[Kind] = &[Kind::Tcp, Kind::Udp, Kind::Agent];

/// The fields that not all types have, and whose they are.
const OWNED: &[(&str, &[Kind])] = &[
    ("path", HTTP),
    ("host", HTTP),
    ("method", HTTP),
    ("version", HTTP),
    ("status", HTTP),
    ("body", HTTP),
    ("body_regex", HTTP),
    ("server_name", TLS),
    ("ca", TLS),
    ("verify", TLS),
    ("grpc_service", &[Kind::Grpc]),
    ("tls", &[Kind::Grpc]),
    ("send", QUESTIONS),
    ("send_hex", QUESTIONS),
    ("expect", ANSWERS),
    ("expect_regex", ANSWERS),
    ("query", &[Kind::Dns]),
    ("record", &[Kind::Dns]),
    ("rcode", &[Kind::Dns]),
    ("answer", &[Kind::Dns]),
    ("command", &[Kind::Exec]),
];

/// Makes the table, and a list of the fields that are given of those that not all types have.
macro_rules! fields {
    ($($name:ident: $type:ty),+ $(,)?) => {
        #[derive(Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Fields {
            #[serde(rename = "type")]
            kind: Kind,
            #[serde(default = "super::interval", with = "value::duration")]
            interval: Duration,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            fast_interval: Option<value::Lasting>,
            #[serde(
                default,
                skip_serializing_if = "value::is_default",
                deserialize_with = "bounded::<_, _, { JITTER.min }, { JITTER.max }>"
            )]
            jitter: u8,
            #[serde(default = "super::timeout", with = "value::duration")]
            timeout: Duration,
            #[serde(
                default = "super::rise",
                deserialize_with = "bounded::<_, _, { RISE_FALL.min }, { RISE_FALL.max }>"
            )]
            rise: u32,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            fall: Option<Fall>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            phi: Option<Phi>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            port: Option<Port>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            via: Option<Via>,
            $(
                #[serde(default, skip_serializing_if = "Option::is_none")]
                $name: Option<$type>,
            )+
        }

        impl Fields {
            fn given(&self) -> impl Iterator<Item = &'static str> {
                let given = [$((stringify!($name), self.$name.is_some())),+];
                given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name)
            }

            fn common(spec: &CheckSpec, kind: Kind) -> Self {
                Self {
                    kind,
                    interval: spec.interval,
                    fast_interval: spec.fast_interval.map(value::Lasting),
                    jitter: spec.jitter,
                    timeout: spec.timeout,
                    rise: spec.rise,
                    fall: spec.phi.is_none().then_some(value::Bounded(spec.fall)),
                    phi: spec.phi,
                    port: spec.port.map(value::Bounded),
                    via: spec.via,
                    $($name: None,)+
                }
            }
        }

        /// Every field of a check, for those who write one on a command line.
        pub const CHECK_FIELDS: &[&str] = &[
            "interval", "fast_interval", "jitter", "timeout", "rise", "fall", "phi", "port", "via", $(stringify!($name)),+
        ];
    };
}

type Fall = value::Bounded<u32, { RISE_FALL.min }, { RISE_FALL.max }>;

fields! {
    path: String,
    host: String,
    method: HttpMethod,
    version: HttpVersion,
    status: StatusSet,
    body: String,
    body_regex: String,
    server_name: String,
    ca: PathBuf,
    verify: bool,
    grpc_service: String,
    tls: bool,
    send: String,
    send_hex: String,
    expect: String,
    expect_regex: String,
    query: String,
    record: String,
    rcode: String,
    answer: IpAddr,
    command: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Tcp,
    TcpHold,
    Http,
    Https,
    Grpc,
    Udp,
    Dns,
    Icmp,
    Exec,
    Agent,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::TcpHold => "tcp-hold",
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
            Self::Udp => "udp",
            Self::Dns => "dns",
            Self::Icmp => "icmp",
            Self::Exec => "exec",
            Self::Agent => "agent",
        }
    }
}

impl TryFrom<Fields> for CheckSpec {
    type Error = String;

    fn try_from(mut fields: Fields) -> Result<Self, String> {
        let written = fields.kind;
        for field in fields.given() {
            let owners = OWNED.iter().find(|(name, _)| *name == field);
            let owners = owners.map_or(&[][..], |(_, owners)| owners);
            if !owners.contains(&written) {
                return Err(format!("{field}: {}", not_of(written, owners)));
            }
        }
        if fields.phi.is_some() && fields.fall.is_some() {
            return Err("fall: phi takes its place: give one of the two".to_owned());
        }
        let kind = kind(&mut fields)?;
        let default = Self::new(kind);
        Ok(Self {
            interval: fields.interval,
            fast_interval: fields.fast_interval.map(|lasting| lasting.0),
            jitter: fields.jitter,
            timeout: fields.timeout,
            rise: fields.rise,
            fall: fields.fall.map_or(default.fall, |fall| fall.0),
            phi: fields.phi,
            port: fields.port.map(|port| port.0),
            via: fields.via,
            ..default
        })
    }
}

fn not_of(written: Kind, owners: &[Kind]) -> String {
    let names: Vec<_> = owners.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
    format!(
        "a check of type \"{}\" has none: remove it, or use type = {}",
        written.name(),
        names.join(" or ")
    )
}

fn kind(fields: &mut Fields) -> Result<CheckKind, String> {
    Ok(match fields.kind {
        Kind::Tcp => CheckKind::Tcp {
            send: payload(fields)?,
            expect: expect(fields)?,
        },
        Kind::TcpHold => CheckKind::TcpHold,
        Kind::Http => CheckKind::Http(Box::new(http(fields, None)?)),
        Kind::Https => {
            let tls = tls(fields);
            CheckKind::Http(Box::new(http(fields, Some(tls))?))
        }
        Kind::Grpc => {
            let wants_tls = fields.tls.unwrap_or(false);
            let tls_only = [
                ("server_name", fields.server_name.is_some()),
                ("ca", fields.ca.is_some()),
                ("verify", fields.verify.is_some()),
            ];
            if let Some((field, _)) = tls_only.iter().find(|(_, given)| *given && !wants_tls) {
                return Err(format!(
                    "{field}: the check is without TLS: add tls = true, or remove it"
                ));
            }
            CheckKind::Grpc {
                service: fields.grpc_service.take().unwrap_or_default(),
                tls: wants_tls.then(|| tls(fields)),
            }
        }
        Kind::Udp => CheckKind::Udp {
            send: payload(fields)?
                .ok_or("send: is missing: a server answers only what it is asked: add it")?,
            expect: expect(fields)?,
        },
        Kind::Dns => CheckKind::Dns(DnsCheck {
            query: fields
                .query
                .take()
                .ok_or("query: is missing: give the name to ask for")?,
            record: fields
                .record
                .take()
                .unwrap_or_else(|| RECORD.into())
                .to_uppercase(),
            rcode: fields.rcode.take().unwrap_or_else(|| RCODE.into()).to_uppercase(),
            answer: fields.answer,
        }),
        Kind::Icmp => CheckKind::Icmp,
        Kind::Exec => CheckKind::Exec {
            command: fields
                .command
                .take()
                .ok_or("command: is missing: give the program and its arguments")?,
        },
        Kind::Agent => CheckKind::Agent {
            send: payload(fields)?,
        },
    })
}

fn http(fields: &mut Fields, tls: Option<TlsSpec>) -> Result<HttpCheck, String> {
    Ok(HttpCheck {
        path: fields.path.take().unwrap_or_else(|| "/".into()),
        host: fields.host.take(),
        method: fields.method.unwrap_or_default(),
        version: fields.version.unwrap_or_default(),
        status: fields.status.take().unwrap_or_default(),
        body: pattern(
            ("body", fields.body.take()),
            ("body_regex", fields.body_regex.take()),
        )?,
        tls,
    })
}

fn tls(fields: &mut Fields) -> TlsSpec {
    TlsSpec {
        server_name: fields.server_name.take(),
        ca: fields.ca.take(),
        verify: fields.verify.unwrap_or(true),
    }
}

fn payload(fields: &mut Fields) -> Result<Option<Payload>, String> {
    match (fields.send.take(), fields.send_hex.take()) {
        (Some(_), Some(_)) => Err("send_hex: send says it already: give one of the two".to_owned()),
        (Some(text), None) => Ok(Some(Payload::Text(text))),
        (None, Some(hex)) => Payload::hex(&hex)
            .map(Some)
            .map_err(|problem| format!("send_hex: {problem}")),
        (None, None) => Ok(None),
    }
}

fn expect(fields: &mut Fields) -> Result<Option<Pattern>, String> {
    pattern(
        ("expect", fields.expect.take()),
        ("expect_regex", fields.expect_regex.take()),
    )
}

fn pattern(
    (text_field, text): (&str, Option<String>),
    (regex_field, regex): (&str, Option<String>),
) -> Result<Option<Pattern>, String> {
    match (text, regex) {
        (Some(_), Some(_)) => Err(format!(
            "{regex_field}: {text_field} says it already: give one of the two"
        )),
        (Some(text), None) => Ok(Some(Pattern::Text(text))),
        (None, Some(regex)) => Pattern::regex(&regex)
            .map(Some)
            .map_err(|problem| format!("{regex_field}: {problem}")),
        (None, None) => Ok(None),
    }
}

impl From<CheckSpec> for Fields {
    fn from(spec: CheckSpec) -> Self {
        let kind = match &spec.kind {
            CheckKind::Tcp { .. } => Kind::Tcp,
            CheckKind::TcpHold => Kind::TcpHold,
            CheckKind::Http(http) if http.tls.is_some() => Kind::Https,
            CheckKind::Http(_) => Kind::Http,
            CheckKind::Grpc { .. } => Kind::Grpc,
            CheckKind::Udp { .. } => Kind::Udp,
            CheckKind::Dns(_) => Kind::Dns,
            CheckKind::Icmp => Kind::Icmp,
            CheckKind::Exec { .. } => Kind::Exec,
            CheckKind::Agent { .. } => Kind::Agent,
        };
        let mut fields = Self::common(&spec, kind);
        match spec.kind {
            CheckKind::Tcp { send, expect } => {
                fields.put_payload(send);
                (fields.expect, fields.expect_regex) = written(expect);
            }
            CheckKind::TcpHold | CheckKind::Icmp => {}
            CheckKind::Http(http) => fields.put_http(*http),
            CheckKind::Grpc { service, tls } => {
                fields.grpc_service = (!service.is_empty()).then_some(service);
                fields.tls = tls.is_some().then_some(true);
                tls.into_iter().for_each(|tls| fields.put_tls(tls));
            }
            CheckKind::Udp { send, expect } => {
                fields.put_payload(Some(send));
                (fields.expect, fields.expect_regex) = written(expect);
            }
            CheckKind::Dns(dns) => {
                fields.query = Some(dns.query);
                fields.record = Some(dns.record);
                fields.rcode = Some(dns.rcode);
                fields.answer = dns.answer;
            }
            CheckKind::Exec { command } => fields.command = Some(command),
            CheckKind::Agent { send } => fields.put_payload(send),
        }
        fields
    }
}

impl Fields {
    fn put_http(&mut self, http: HttpCheck) {
        self.path = Some(http.path);
        self.host = http.host;
        self.method = (http.method != HttpMethod::default()).then_some(http.method);
        self.version = (http.version != HttpVersion::default()).then_some(http.version);
        self.status = Some(http.status);
        (self.body, self.body_regex) = written(http.body);
        http.tls.into_iter().for_each(|tls| self.put_tls(tls));
    }

    fn put_tls(&mut self, tls: TlsSpec) {
        self.server_name = tls.server_name;
        self.ca = tls.ca;
        self.verify = (!tls.verify).then_some(false);
    }

    fn put_payload(&mut self, payload: Option<Payload>) {
        match payload {
            Some(Payload::Text(text)) => self.send = Some(text),
            Some(bytes @ Payload::Bytes(_)) => self.send_hex = Some(bytes.to_string()),
            None => {}
        }
    }
}

fn written(pattern: Option<Pattern>) -> (Option<String>, Option<String>) {
    match pattern {
        Some(Pattern::Text(text)) => (Some(text), None),
        Some(Pattern::Regex(regex)) => (None, Some(regex.as_str().to_owned())),
        None => (None, None),
    }
}
