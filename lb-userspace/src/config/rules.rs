//! Rules for single values of services: names, addresses, what an HTTP check asks for.

use std::net::IpAddr;

use hyper::http::uri::PathAndQuery;

use super::{invalid::Invalid, value::quoted};

const MAX_NAME: usize = 64;
/// Longest path, host or text of an HTTP check.
const MAX_CHECK_TEXT: usize = 1024;

pub(super) fn request_path(path: &str) -> Result<(), String> {
    check_text(path)?;
    if !path.starts_with('/')
        || path.contains('#')
        || path.parse::<PathAndQuery>().is_err()
        || !is_graphic(path)
    {
        return Err(format!(
            "{} is not a path of a URL: write it like \"/health?full=1\"",
            quoted(path)
        ));
    }
    Ok(())
}

pub(super) fn host_header(host: &str) -> Result<(), String> {
    check_text(host)?;
    if !is_graphic(host) || host.contains('/') {
        return Err(format!(
            "{} is not a host: write it like \"www.example.com\"",
            quoted(host)
        ));
    }
    Ok(())
}

pub(super) fn check_text(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("is empty: leave it out or give a text".to_owned()),
        1..=MAX_CHECK_TEXT => Ok(()),
        length => Err(format!(
            "{length} bytes are too long: use at most {MAX_CHECK_TEXT}"
        )),
    }
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Names are parts of paths of the HTTP API and arguments of commands.
pub(super) fn name(name: &str) -> Result<(), Invalid> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !starts || name.len() > MAX_NAME || !name.bytes().all(allowed) {
        let problem = format!(
            "{} is not a name: use 1 to {MAX_NAME} letters, digits, '.', '_', ':' or '-', the first a letter or digit",
            quoted(name)
        );
        return Err(Invalid::field("name", problem));
    }
    Ok(())
}

/// Whether packets for this address come here from, or get there over, a network.
pub(super) fn servable(address: IpAddr) -> Result<(), String> {
    let IpAddr::V4(v4) = address else {
        return Err(format!(
            "IPv6 address {address} is not served yet: use an IPv4 address"
        ));
    };
    let kind = match v4 {
        _ if v4.octets()[0] == 0 => "an unspecified",
        _ if v4.is_loopback() => "a loopback",
        _ if v4.is_multicast() => "a multicast",
        _ if v4.is_broadcast() => "a broadcast",
        _ => return Ok(()),
    };
    Err(format!(
        "{address} is {kind} address: use one that other hosts reach"
    ))
}
