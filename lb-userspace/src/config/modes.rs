//! What a service's mode allows: families, ports, protocols, and the settings that only some have.

use std::net::IpAddr;

use super::{
    backend::BackendSpec,
    invalid::{Invalid, Step},
    network::family,
    ports::Ports,
    quic::{CONFIG_ID, QuicSpec, SERVER_ID_LENGTH},
    service::{MTU, MTU_V6, Mode, ServiceSpec},
    value::quoted,
    vip::Protocol,
};

/// Whether the service's own settings go together.
pub(super) fn service(spec: &ServiceSpec) -> Result<(), Invalid> {
    for (at, vip) in spec.vips.iter().enumerate() {
        if vip.protocol == Protocol::Sctp && spec.mode.forward().translates() {
            let problem = format!(
                "mode {} does not rewrite sctp: use mode = \"dsr\", \"ipip\" or \"gue\"",
                quoted(spec.mode.name())
            );
            return Err(Invalid::field("vip", problem).element(at));
        }
    }
    if let Some(mtu) = spec.mtu {
        bounds_of_mtu(spec)
            .check(mtu)
            .map_err(|problem| Invalid::field("mtu", problem))?;
    }
    if spec.checksum && spec.mode != Mode::Gue {
        return Err(Invalid::field(
            "checksum",
            "only mode \"gue\" has it: remove it or use mode = \"gue\"",
        ));
    }
    spec.quic.as_ref().map_or(Ok(()), |quic| {
        self::quic(spec, quic).map_err(|invalid| invalid.of("quic").at(&[Step::Key("quic")]))
    })
}

/// Whether the service's mode gets packets to `backend`.
pub(super) fn backend(spec: &ServiceSpec, backend: &BackendSpec) -> Result<(), Invalid> {
    same_family(spec, backend)?;
    port_that_is_served(spec, backend)?;
    server_id(spec, backend)
}

/// IPv6 packets of 1280 bytes get everywhere (RFC 8200 §5), and nothing tells a sender to make them shorter.
fn bounds_of_mtu(spec: &ServiceSpec) -> super::value::Bounds {
    let mut addresses = spec
        .vips
        .iter()
        .map(|vip| vip.network.base())
        .chain(spec.backends.iter().map(|backend| backend.address));
    if addresses.any(|address| address.is_ipv6()) {
        MTU_V6
    } else {
        MTU
    }
}

fn quic(spec: &ServiceSpec, quic: &QuicSpec) -> Result<(), Invalid> {
    let QuicSpec {
        config_id,
        server_id_length,
    } = *quic;
    CONFIG_ID
        .check(config_id)
        .map_err(|problem| Invalid::field("config_id", problem))?;
    SERVER_ID_LENGTH
        .check(server_id_length)
        .map_err(|problem| Invalid::field("server_id_length", problem))?;
    if !spec.vips.iter().any(|vip| vip.protocol == Protocol::Udp) {
        return Err(Invalid::whole(
            "QUIC is udp, and the service has no VIP of it: add one, or remove [service.quic]",
        ));
    }
    Ok(())
}

fn same_family(spec: &ServiceSpec, backend: &BackendSpec) -> Result<(), Invalid> {
    let differs = |address: IpAddr| address.is_ipv4() != backend.address.is_ipv4();
    let other = spec.vips.iter().find(|vip| differs(vip.network.base()));
    let Some(vip) = other.filter(|_| !spec.mode.forward().encapsulates()) else {
        return Ok(());
    };
    let problem = format!(
        "{} is {}, and VIP {vip} is {}: mode {} needs one family, use mode = \"ipip\" or \"gue\" or another address",
        backend.address,
        family(backend.address),
        vip.network.family(),
        quoted(spec.mode.name())
    );
    Err(Invalid::field("address", problem))
}

fn port_that_is_served(spec: &ServiceSpec, backend: &BackendSpec) -> Result<(), Invalid> {
    let Some(port) = backend.port.filter(|_| !spec.mode.forward().translates()) else {
        return Ok(());
    };
    if spec.vips.iter().all(|vip| vip.ports == Ports::One(port)) {
        return Ok(());
    }
    let problem = format!(
        "the port is not rewritten in mode {}, {port} would get nothing: leave it out",
        quoted(spec.mode.name())
    );
    Err(Invalid::field("port", problem))
}

fn server_id(spec: &ServiceSpec, backend: &BackendSpec) -> Result<(), Invalid> {
    let problem = match (&spec.quic, backend.server_id) {
        (None, None) => return Ok(()),
        (None, Some(_)) => {
            "only a service with [service.quic] has it: remove it, or add [service.quic]".to_owned()
        }
        (Some(quic), None) => format!(
            "is missing: the service's connection IDs have one of {}: add it",
            bytes(quic.server_id_length)
        ),
        (Some(quic), Some(id)) if id.length() == quic.server_id_length => return Ok(()),
        (Some(quic), Some(id)) => format!(
            "{} has {}: give it {}, as server_id_length says",
            quoted(&id.to_string()),
            bytes(id.length()),
            bytes(quic.server_id_length)
        ),
    };
    Err(Invalid::field("server_id", problem))
}

fn bytes(count: u8) -> String {
    match count {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    }
}
