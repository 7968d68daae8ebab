//! Rules for single values of services: names, addresses, what an HTTP check asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::http::uri::{Authority, PathAndQuery};

use super::{invalid::Invalid, network::Network, value::quoted};

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

/// What is sent as Host header or `:authority`: a name or an address, and a port or none (RFC 9110 §7.2).
pub(super) fn host_header(host: &str) -> Result<(), String> {
    check_text(host)?;
    let (name, port) = parts(host);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok() && is_number(port));
    let is_host = match name.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !name.is_empty() && !name.contains([':', '@', ']']),
    };
    if !is_host || !is_port || !is_graphic(host) || host.parse::<Authority>().is_err() {
        return Err(format!(
            "{} is not a host: write it like \"www.example.com\" or \"[2001:db8::1]:8080\"",
            quoted(host)
        ));
    }
    Ok(())
}

/// The host alone, as a server is called in TLS.
#[must_use]
pub fn host_name(host: &str) -> &str {
    let (name, _) = parts(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(name)
}

/// A host and its port, which is behind a colon that is the only one, or not within brackets.
fn parts(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if name.ends_with(']') || !name.contains(':') => (name, Some(port)),
        _ => (host, None),
    }
}

/// Digits alone: without a sign, which the standard library would take.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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

/// Addresses that no packet of a network is for, or none from beyond a link.
const UNSERVABLE: &[(IpAddr, u8, &str)] = &[
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8, "an unspecified"),
    (IpAddr::V4(Ipv4Addr::LOCALHOST), 8, "a loopback"),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4, "a multicast"),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32, "a broadcast"),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128, "an unspecified"),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, "a loopback"),
    (
        IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)),
        96,
        "an IPv4-mapped",
    ),
    (
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)),
        10,
        "a link-local",
    ),
    (
        IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)),
        8,
        "a multicast",
    ),
];

/// Whether packets for this address, or all of this network, come here from, or get there over, a network.
pub(super) fn servable(network: impl Into<Network>) -> Result<(), String> {
    let network = network.into();
    for &(base, prefix, kind) in UNSERVABLE {
        let unservable = Network::new(base, prefix);
        if !network.overlaps(unservable) {
            continue;
        }
        return Err(match network.address() {
            Some(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
                let v4 = v6.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
                format!("{v6} is {kind} address: write {v4}")
            }
            Some(address) => format!("{address} is {kind} address: use one that other hosts reach"),
            None if unservable.contains(network) => {
                format!("{network} is {kind} network: use one that other hosts reach")
            }
            None => format!("{network} contains {unservable}, {kind} network: use a smaller one"),
        });
    }
    Ok(())
}
