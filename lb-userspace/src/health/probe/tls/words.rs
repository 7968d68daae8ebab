//! What is wrong with a server's TLS, in plain words.

use std::{
    io,
    time::{Duration, SystemTime},
};

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage,
    pki_types::{ServerName, UnixTime},
};

use super::super::ProbeError;
use crate::config::HttpVersion;
use crate::output::excerpt;

/// How many of a certificate's names are told.
const NAMES: usize = 4;
/// The first second of the year 10000, which no certificate can reach (RFC 5280 §4.1.2.5).
const YEAR_10000: u64 = 253_402_300_800;

/// Why a handshake failed.
pub fn in_handshake(error: &io::Error, name: &ServerName<'_>, version: HttpVersion) -> ProbeError {
    let words = match (cause(error), error.kind()) {
        (None, io::ErrorKind::UnexpectedEof) => {
            "TLS: the server closed the connection in the handshake".to_owned()
        }
        (None, _) => return ProbeError::io("TLS", error),
        (Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)), _) => {
            return no_protocol(version);
        }
        (Some(Error::AlertReceived(AlertDescription::UnrecognisedName)), _) => {
            format!("TLS: the server does not know the name {}", name.to_str())
        }
        (
            Some(Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            )),
            _,
        ) => "not TLS: the server has answered something else".to_owned(),
        (Some(cause), _) => words(cause),
    };
    ProbeError::answer(words)
}

/// Why TLS failed once the handshake was done, if that was it. In TLS 1.3 a server may refuse only then.
pub fn after_handshake(error: &io::Error) -> Option<ProbeError> {
    cause(error).map(words).map(ProbeError::answer)
}

/// The server does not speak the version of HTTP that was asked for.
pub fn no_protocol(version: HttpVersion) -> ProbeError {
    ProbeError::answer(format!("the server does not speak HTTP/{version} (ALPN)"))
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => certificate(problem),
        Error::NoCertificatesPresented => "TLS: the server has no certificate".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "TLS: the server wants a client's certificate, which a probe does not have".to_owned()
        }
        Error::AlertReceived(alert) => format!("TLS: the server refused ({alert:?})"),
        Error::PeerIncompatible(lack) => format!("TLS: no common version or cipher ({lack:?})"),
        error => format!("TLS: {}", excerpt(&error.to_string())),
    }
}

fn certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("certificate expired on {}", date(*not_after))
        }
        CertificateError::Expired => "certificate expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("certificate is not valid before {}", date(*not_before))
        }
        CertificateError::UnknownIssuer => "certificate's authority is not trusted".to_owned(),
        CertificateError::BadSignature => {
            "certificate's signature is wrong (by another authority of the same name, or by an RSA key below 2048 bits?)".to_owned()
        }
        CertificateError::BadEncoding => "certificate cannot be read".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for a server".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!(
                "certificate is for other names than {}: {}",
                expected.to_str(),
                names(presented)
            )
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "certificate is an authority's own: give the server one that is issued to it".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "certificate is of an old version of X.509, not 3: issue another, or set verify = false".to_owned()
        }
        problem => format!("certificate: {}", excerpt(&problem.to_string())),
    }
}

/// The names in a certificate. The library writes them as `DnsName("www.example.com")`.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "it has none".to_owned();
    }
    let bare = |name: &String| match name.split_once('(') {
        Some((_, name)) => excerpt(name.trim_end_matches(')').trim_matches('"')),
        None => excerpt(name),
    };
    let mut names: Vec<_> = presented.iter().take(NAMES).map(bare).collect();
    if presented.len() > NAMES {
        names.push("…".to_owned());
    }
    names.join(", ")
}

fn date(time: UnixTime) -> String {
    let seconds = Duration::from_secs(time.as_secs().min(YEAR_10000 - 1));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + seconds).to_string()
}
