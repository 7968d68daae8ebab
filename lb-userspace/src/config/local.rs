//! Rules for what concerns this host alone: paths, sizes, timeouts, interfaces.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use lb_common::{
    limits::SOURCES,
    probe::{FIRST_PORT, LAST_PORT},
};

use super::{
    check::command,
    invalid::{Invalid, Step},
    model::{ANSWERS, BACKENDS, FLOWS, Interface, Limits, Node, SERVICES, Timeouts, WRITTEN},
    network::Network,
    ports::Ports,
    rules::servable,
    value::{lasts, quoted},
};

/// IFNAMSIZ less its zero.
const MAX_INTERFACE_NAME: usize = 15;
/// `sun_path` less its zero.
const MAX_SOCKET_PATH: usize = 107;
const FLOW_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30 * 24 * 60 * 60));

pub(super) fn node(node: &Node) -> Result<(), Invalid> {
    let Node {
        pin_dir,
        socket,
        state_dir,
        log_packets: _,
        tunnel_sources,
        sources,
        source_ports,
        answers_per_second,
        partial_checksums: _,
        on_event,
        realtime: _,
    } = node;
    for (field, path) in [("pin_dir", pin_dir), ("socket", socket), ("state_dir", state_dir)] {
        if !path.is_absolute() {
            let path = quoted(&path.display().to_string());
            return Err(Invalid::field(
                field,
                format!("{path} is not absolute: start it with /"),
            ));
        }
        if path
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .any(u8::is_ascii_control)
        {
            let path = quoted(&path.display().to_string());
            return Err(Invalid::field(
                field,
                format!("{path} has control characters: leave them out"),
            ));
        }
    }
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        let problem = format!(
            "{} bytes are too long for the path of a socket: use at most {MAX_SOCKET_PATH}",
            socket.as_os_str().len()
        );
        return Err(Invalid::field("socket", problem));
    }
    if !on_event.is_empty() {
        command(on_event).map_err(|problem| Invalid::field("on_event", problem))?;
    }
    self::tunnel_sources(tunnel_sources)?;
    self::sources(sources)?;
    let ports = match source_ports {
        Ports::All => Err("\"*\" has ports that nobody can have: use a range like \"1024-32767\"".to_owned()),
        ports => ports.check(),
    };
    ports.map_err(|problem| Invalid::field("source_ports", problem))?;
    if source_ports.bounds().1 >= FIRST_PORT {
        let problem = format!(
            "{source_ports} has ports of probes through the data path, {FIRST_PORT} to {LAST_PORT}: end at {} at the latest",
            FIRST_PORT - 1
        );
        return Err(Invalid::field("source_ports", problem));
    }
    ANSWERS
        .check(*answers_per_second)
        .map_err(|problem| Invalid::field("answers_per_second", problem))
}

fn tunnel_sources(networks: &[Network]) -> Result<(), Invalid> {
    let mut families = HashSet::new();
    for (at, network) in networks.iter().enumerate() {
        let wrong = |problem| Invalid::field("tunnel_sources", problem).element(at);
        servable(*network).map_err(wrong)?;
        if !families.insert(network.family()) {
            let family = network.family();
            return Err(wrong(format!(
                "{network} is the second of {family}: give one of each family"
            )));
        }
    }
    Ok(())
}

fn sources(sources: &[IpAddr]) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    for (at, &source) in sources.iter().enumerate() {
        let wrong = |problem| Invalid::field("sources", problem).element(at);
        servable(source).map_err(wrong)?;
        if !seen.insert(source) {
            return Err(wrong(format!("{source} is there twice: remove one")));
        }
        let of_family = seen.iter().filter(|other| other.is_ipv4() == source.is_ipv4());
        if of_family.count() > SOURCES as usize {
            let family = Network::from(source).family();
            return Err(wrong(format!(
                "more than the {SOURCES} of {family} that fit: remove some"
            )));
        }
    }
    Ok(())
}

pub(super) fn limits(limits: &Limits) -> Result<(), Invalid> {
    let Limits {
        flows,
        backends,
        services,
        written,
    } = limits;
    FLOWS
        .check(*flows)
        .map_err(|problem| Invalid::field("flows", problem))?;
    BACKENDS
        .check(*backends)
        .map_err(|problem| Invalid::field("backends", problem))?;
    SERVICES
        .check(*services)
        .map_err(|problem| Invalid::field("services", problem))?;
    WRITTEN
        .check(*written)
        .map_err(|problem| Invalid::field("written", problem))
}

pub(super) fn timeouts(timeouts: &Timeouts) -> Result<(), Invalid> {
    let Timeouts {
        syn,
        established,
        fin,
        closed,
        udp,
        settle,
    } = timeouts;
    for (field, &timeout) in [
        ("syn", syn),
        ("established", established),
        ("fin", fin),
        ("closed", closed),
        ("udp", udp),
        ("settle", settle),
    ] {
        lasts(timeout, FLOW_TIMEOUT.0, FLOW_TIMEOUT.1).map_err(|problem| Invalid::field(field, problem))?;
    }
    Ok(())
}

pub(super) fn interfaces(interfaces: &[Interface]) -> Result<(), Invalid> {
    if interfaces.is_empty() {
        return Err(Invalid::field(
            "interface",
            "there is none: name one to attach to under [[interface]]",
        ));
    }
    let mut names = HashSet::new();
    for (at, Interface { name, mode: _ }) in interfaces.iter().enumerate() {
        let problem = if name.is_empty()
            || name.len() > MAX_INTERFACE_NAME
            || [".", ".."].contains(&name.as_str())
            || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
        {
            format!(
                "{} cannot be an interface: give a name that `ip link` shows",
                quoted(name)
            )
        } else if !names.insert(name) {
            "the interface is there twice: remove one".to_owned()
        } else {
            continue;
        };
        let place = [Step::Key("interface"), Step::Index(at)];
        return Err(Invalid::field("name", problem)
            .of(format!("interface {}", quoted(name)))
            .at(&place));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_for_an_event_must_be_a_program() {
        let checked = |command: &[&str]| {
            let on_event = command.iter().map(|&word| word.to_owned()).collect();
            node(&Node {
                on_event,
                ..Node::default()
            })
        };
        for right in [&[][..], &["/bin/sh"], &["/bin/sh", "-c", "exit"]] {
            assert_eq!(checked(right), Ok(()));
        }
        for (wrong, expected) in [
            (&["sh"][..], "on_event: \"sh\" is no whole path: "),
            (
                &["/nonexistent/hook"],
                "on_event: \"/nonexistent/hook\" cannot be run (",
            ),
            (&["/etc"], "on_event: \"/etc\" is no file: "),
            (&["/etc/passwd"], "on_event: \"/etc/passwd\" may not be run: "),
        ] {
            let refusal = checked(wrong).unwrap_err().to_string();
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
