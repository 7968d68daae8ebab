//! A check in one line, as people read it.

use std::fmt;

use super::{CheckKind, CheckSpec, DnsCheck, HttpCheck, HttpVersion, Pattern, TlsSpec, Via};

impl fmt::Display for CheckSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasting = humantime::format_duration;
        write!(f, "{} every {}", self.kind.name(), lasting(self.interval))?;
        if let Some(fast) = self.fast_interval {
            write!(f, " ({} while changing)", lasting(fast))?;
        }
        write!(f, ", timeout {}, rise {}", lasting(self.timeout), self.rise)?;
        match self.phi {
            Some(phi) => write!(f, ", phi {phi}")?,
            None => write!(f, ", fall {}", self.fall)?,
        }
        if self.jitter > 0 {
            write!(f, ", jitter {} %", self.jitter)?;
        }
        if self.via == Some(Via::Dataplane) {
            f.write_str(", through the data path")?;
        }
        if let Some(port) = self.port {
            write!(f, ", port {port}")?;
        }
        match &self.kind {
            CheckKind::Tcp { send, expect } => {
                if let Some(send) = send {
                    write!(f, ", sends {:?}", send.to_string())?;
                }
                expects(f, expect.as_ref())
            }
            CheckKind::Udp { send, expect } => {
                write!(f, ", sends {:?}", send.to_string())?;
                expects(f, expect.as_ref())
            }
            CheckKind::Agent { send } => send.as_ref().map_or(Ok(()), |send| {
                let send = send.to_string();
                write!(f, ", sends {send:?}")
            }),
            CheckKind::TcpHold | CheckKind::Icmp => Ok(()),
            CheckKind::Http(check) => http(f, check),
            CheckKind::Grpc { service, tls } => {
                if !service.is_empty() {
                    write!(f, ", service {service}")?;
                }
                self::tls(f, tls.as_ref())
            }
            CheckKind::Dns(check) => dns(f, check),
            CheckKind::Exec { command } => write!(f, ", runs {}", command.join(" ")),
        }
    }
}

fn expects(f: &mut fmt::Formatter<'_>, pattern: Option<&Pattern>) -> fmt::Result {
    pattern.map_or(Ok(()), |pattern| write!(f, ", expects {pattern}"))
}

fn http(f: &mut fmt::Formatter<'_>, check: &HttpCheck) -> fmt::Result {
    write!(f, ", {} {} expects {}", check.method, check.path, check.status)?;
    if check.version != HttpVersion::default() {
        write!(f, ", HTTP/{}", check.version)?;
    }
    if let Some(host) = &check.host {
        write!(f, ", host {host}")?;
    }
    if let Some(body) = &check.body {
        write!(f, ", body with {body}")?;
    }
    tls(f, check.tls.as_ref())
}

fn tls(f: &mut fmt::Formatter<'_>, tls: Option<&TlsSpec>) -> fmt::Result {
    let Some(tls) = tls else { return Ok(()) };
    if let Some(name) = &tls.server_name {
        write!(f, ", as {name}")?;
    }
    if let Some(ca) = &tls.ca {
        write!(f, ", authority {}", ca.display())?;
    }
    if !tls.verify {
        f.write_str(", any certificate")?;
    }
    Ok(())
}

fn dns(f: &mut fmt::Formatter<'_>, check: &DnsCheck) -> fmt::Result {
    write!(f, ", {} {} expects {}", check.query, check.record, check.rcode)?;
    check.answer.map_or(Ok(()), |answer| write!(f, " with {answer}"))
}
