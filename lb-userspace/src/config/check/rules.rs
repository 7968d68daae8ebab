//! What of a check makes sense together.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, str::FromStr as _, time::Duration};

use hickory_proto::rr::{Name, RecordType};
use rustls::pki_types::ServerName;

use super::{CheckKind, CheckSpec, DnsCheck, HttpCheck, HttpMethod, Pattern, RISE_FALL, TlsSpec, phi::Phi};
use crate::config::{
    invalid::Invalid,
    rules::{check_text, host_header, host_name, request_path},
    value::{PORT, lasts, quoted},
};

pub(in crate::config) const INTERVAL: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_secs(24 * 60 * 60));
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Arguments that a command may have.
const ARGUMENTS: usize = 64;
/// Response codes that a check may want (RFC 1035 §4.1.1, RFC 2136 §2.2).
const RCODES: &[(&str, u16)] = &[
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("NOTAUTH", 9),
];

pub(in crate::config) fn check(spec: &CheckSpec) -> Result<(), Invalid> {
    lasts(spec.interval, INTERVAL.0, INTERVAL.1).map_err(field("interval"))?;
    if let Some(fast) = spec.fast_interval {
        lasts(fast, INTERVAL.0, spec.interval).map_err(|problem| {
            Invalid::field("fast_interval", format!("{problem} (at most the interval)"))
        })?;
    }
    lasts(spec.timeout, TIMEOUT_MIN, spec.interval)
        .map_err(|problem| Invalid::field("timeout", format!("{problem} (at most the interval)")))?;
    RISE_FALL.check(spec.rise).map_err(field("rise"))?;
    RISE_FALL.check(spec.fall).map_err(field("fall"))?;
    port(spec)?;
    phi(spec.phi, &spec.kind)?;
    kind(&spec.kind)
}

fn field(field: &'static str) -> impl Fn(String) -> Invalid {
    move |problem| Invalid::field(field, problem)
}

fn port(spec: &CheckSpec) -> Result<(), Invalid> {
    let Some(port) = spec.port else { return Ok(()) };
    PORT.check(port).map_err(field("port"))?;
    if matches!(spec.kind, CheckKind::Icmp) {
        return Err(Invalid::field(
            "port",
            "an echo request goes to no port: remove it",
        ));
    }
    Ok(())
}

fn phi(phi: Option<Phi>, kind: &CheckKind) -> Result<(), Invalid> {
    match (phi, kind) {
        (Some(_), CheckKind::TcpHold | CheckKind::Agent { .. }) => {
            let problem = format!(
                "a check of type \"{}\" has no heartbeats to go by: use fall",
                kind.name()
            );
            Err(Invalid::field("phi", problem))
        }
        _ => Ok(()),
    }
}

fn kind(kind: &CheckKind) -> Result<(), Invalid> {
    match kind {
        CheckKind::TcpHold | CheckKind::Icmp => Ok(()),
        CheckKind::Tcp { send, expect } => {
            send.as_ref()
                .map_or(Ok(()), |send| send.check())
                .map_err(field("send"))?;
            pattern(expect.as_ref(), "expect", "expect_regex")
        }
        CheckKind::Http(check) => http(check),
        CheckKind::Grpc { service, tls } => {
            let is_name = service.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_name || service.len() > 255 {
                let problem = format!(
                    "{} is no gRPC service: write it like \"shop.v1.Cart\"",
                    quoted(service)
                );
                return Err(Invalid::field("grpc_service", problem));
            }
            self::tls(tls.as_ref())
        }
        CheckKind::Udp { send, expect } => {
            send.check().map_err(field("send"))?;
            pattern(expect.as_ref(), "expect", "expect_regex")
        }
        CheckKind::Dns(check) => dns(check),
        CheckKind::Exec { command } => words(command).map_err(field("command")),
        CheckKind::Agent { send } => send
            .as_ref()
            .map_or(Ok(()), |send| send.check())
            .map_err(field("send")),
    }
}

fn http(check: &HttpCheck) -> Result<(), Invalid> {
    request_path(&check.path).map_err(field("path"))?;
    check
        .host
        .as_deref()
        .map_or(Ok(()), host_header)
        .map_err(field("host"))?;
    pattern(check.body.as_ref(), "body", "body_regex")?;
    if check.method == HttpMethod::Head && check.body.is_some() {
        return Err(Invalid::field(
            "body",
            "an answer to HEAD has no body: use method = \"GET\", or remove it",
        ));
    }
    tls(check.tls.as_ref())?;
    name_in_tls(check)
}

/// Without a `server_name` it is the host that is asked for.
fn name_in_tls(check: &HttpCheck) -> Result<(), Invalid> {
    let is_named = check.tls.as_ref().is_none_or(|tls| tls.server_name.is_some());
    let Some(host) = check.host.as_deref().filter(|_| !is_named) else {
        return Ok(());
    };
    if ServerName::try_from(host_name(host)).is_ok() {
        return Ok(());
    }
    let problem = format!(
        "{} cannot be the name of a server in TLS: set server_name beside it",
        quoted(host)
    );
    Err(Invalid::field("host", problem))
}

fn pattern(pattern: Option<&Pattern>, text: &'static str, regex: &'static str) -> Result<(), Invalid> {
    let Some(pattern) = pattern else { return Ok(()) };
    let name = if matches!(pattern, Pattern::Text(_)) {
        text
    } else {
        regex
    };
    check_text(pattern.text()).map_err(field(name))
}

fn tls(tls: Option<&TlsSpec>) -> Result<(), Invalid> {
    let Some(tls) = tls else { return Ok(()) };
    if let Some(name) = &tls.server_name
        && ServerName::try_from(name.as_str()).is_err()
    {
        let problem = format!(
            "{} is no name of a server: write it like \"www.example.com\"",
            quoted(name)
        );
        return Err(Invalid::field("server_name", problem));
    }
    if let Some(ca) = tls.ca.as_ref().filter(|ca| !ca.is_absolute()) {
        let problem = format!(
            "{} is no whole path: write it like \"/etc/xlb/ca.pem\"",
            quoted(&ca.display().to_string())
        );
        return Err(Invalid::field("ca", problem));
    }
    if tls.ca.is_some() && !tls.verify {
        return Err(Invalid::field(
            "ca",
            "nothing is verified: remove it, or remove verify = false",
        ));
    }
    Ok(())
}

/// The certificates in a PEM file.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn authorities(file: &Path) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, String> {
    use rustls::pki_types::{
        CertificateDer,
        pem::{self, PemObject as _},
    };
    let name = quoted(&file.display().to_string());
    let text = fs::read(file).map_err(|error| format!("{name} cannot be read ({error}): name a PEM file"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!(
            "{name} has no certificate: name a PEM file with the authority's"
        )),
        // The library's words would have the line in numbers.
        Err(pem::Error::MissingSectionEnd { .. }) => Err(format!(
            "{name} ends within a certificate, before its END line: name a whole PEM file"
        )),
        Err(pem::Error::IllegalSectionStart { .. }) => Err(format!(
            "{name} has a BEGIN line that is cut off: name a whole PEM file"
        )),
        Err(error) => Err(format!(
            "{name} is no PEM file ({error}): name one with the authority's certificate"
        )),
    }
}

fn dns(check: &DnsCheck) -> Result<(), Invalid> {
    let name = Name::from_str(&check.query)
        .ok()
        .filter(|_| !check.query.is_empty());
    if name.is_none() || !check.query.is_ascii() {
        let problem = format!(
            "{} is no domain name: write it like \"www.example.com\"",
            quoted(&check.query)
        );
        return Err(Invalid::field("query", problem));
    }
    if record_type(&check.record).is_none() {
        let problem = format!(
            "{} is no type of record: use one like A, AAAA, SOA or NS",
            quoted(&check.record)
        );
        return Err(Invalid::field("record", problem));
    }
    if rcode(&check.rcode).is_none() {
        let names: Vec<_> = RCODES.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "{} is no response code: use one of {}",
            quoted(&check.rcode),
            names.join(", ")
        );
        return Err(Invalid::field("rcode", problem));
    }
    match (check.answer, check.record.as_str()) {
        (None, _) => Ok(()),
        (Some(_), _) if check.rcode != "NOERROR" => Err(Invalid::field(
            "answer",
            format!("there is none beside {}: remove it", check.rcode),
        )),
        (Some(address), "A") if address.is_ipv4() => Ok(()),
        (Some(address), "AAAA") if address.is_ipv6() => Ok(()),
        (Some(address), record) => Err(Invalid::field(
            "answer",
            format!(
                "{address} is in no record of type {record}: use record = {:?}",
                if address.is_ipv4() { "A" } else { "AAAA" }
            ),
        )),
    }
}

/// A type of record that can be asked for in one datagram: not a transfer, nor what stands beside a question (RFC 6895 §3.1).
#[must_use]
pub fn record_type(name: &str) -> Option<RecordType> {
    let is_other = |kind: &RecordType| {
        use RecordType::{AXFR, IXFR, OPT, TSIG, Unknown, ZERO};
        matches!(kind, AXFR | IXFR | OPT | TSIG | ZERO | Unknown(_))
    };
    RecordType::from_str(name)
        .ok()
        .filter(|kind| !kind.is_dnssec() || *kind == RecordType::DNSKEY)
        .filter(|kind| !is_other(kind))
}

#[must_use]
pub fn rcode(name: &str) -> Option<u16> {
    RCODES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, code)| *code)
}

/// Whether the files are there that a check names.
pub(in crate::config) fn files(spec: &CheckSpec) -> Result<(), Invalid> {
    let ca = match &spec.kind {
        CheckKind::Exec { command } => return program(command).map_err(field("command")),
        CheckKind::Http(check) => check.tls.as_ref(),
        CheckKind::Grpc { tls, .. } => tls.as_ref(),
        _ => None,
    };
    let ca = ca.and_then(|tls| tls.ca.as_deref());
    ca.map_or(Ok(()), |ca| authorities(ca).map(drop).map_err(field("ca")))
}

/// What is wrong with a command that is to be run, if anything.
pub(in crate::config) fn command(command: &[String]) -> Result<(), String> {
    words(command)?;
    program(command)
}

fn words(command: &[String]) -> Result<(), String> {
    let Some(program) = command.first() else {
        return Err("is empty: give the program and its arguments".to_owned());
    };
    if let Some(argument) = command.iter().find(|argument| argument.contains('\0')) {
        return Err(format!(
            "{} has a zero byte, which no argument can have: remove it",
            quoted(argument)
        ));
    }
    if command.len() > ARGUMENTS || command.iter().any(|argument| argument.len() > 4096) {
        return Err(format!(
            "it is too long: use at most {ARGUMENTS} arguments of at most 4096 bytes, or a script"
        ));
    }
    if !Path::new(program).is_absolute() {
        return Err(format!(
            "{} is no whole path: write it like \"/usr/local/bin/check\"",
            quoted(program)
        ));
    }
    Ok(())
}

fn program(command: &[String]) -> Result<(), String> {
    let program = command.first().map_or("", String::as_str);
    match fs::metadata(program) {
        Err(error) => Err(format!(
            "{} cannot be run ({error}): name a program that is there",
            quoted(program)
        )),
        Ok(found) if !found.is_file() => Err(format!("{} is no file: name a program", quoted(program))),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Err(format!(
            "{} may not be run: make it executable (chmod +x)",
            quoted(program)
        )),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;

    #[test]
    fn a_file_of_authorities_that_is_cut_off_is_told_in_words() {
        let refused = |text: &str| {
            let mut file = NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let name = quoted(&file.path().display().to_string());
            let problem = authorities(file.path()).unwrap_err();
            problem.strip_prefix(&name).unwrap().to_owned()
        };
        assert_eq!(
            refused("-----BEGIN CERTIFICATE-----\nMIIB\n"),
            " ends within a certificate, before its END line: name a whole PEM file"
        );
        assert_eq!(
            refused("-----BEGIN CERTIFICATE\nMIIB\n"),
            " has a BEGIN line that is cut off: name a whole PEM file"
        );
        assert!(
            refused("-----BEGIN CERTIFICATE-----\n$\n-----END CERTIFICATE-----\n")
                .starts_with(" is no PEM file (")
        );
        assert!(refused("nothing").starts_with(" has no certificate: "));
    }
}
