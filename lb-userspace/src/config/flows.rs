//! What a service's algorithm allows, and the settings of flows that only some services have.

use std::time::Duration;

use lb_common::limits::ORDER_TRIES;

use super::{
    backend::BackendSpec,
    balance::{Algorithm, OnDown, Udp, load_factor},
    factor,
    invalid::{Invalid, Step},
    ports::Ports,
    prefix::Prefix,
    service::{Fragments, NEED, REPLICAS, ServiceSpec},
    value::{lasts, quoted},
    vip::{Protocol, Vip},
};

const DRAIN: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(24 * 60 * 60));

/// Whether the service's own settings go together.
pub(super) fn service(spec: &ServiceSpec) -> Result<(), Invalid> {
    in_bounds(spec)?;
    settings_of_one_algorithm(spec)?;
    replicas(spec)?;
    order(spec)?;
    fragments(spec)?;
    udp(spec)?;
    on_down(spec)?;
    tables(spec)?;
    if spec.one_packet { one_packet(spec) } else { Ok(()) }
}

/// Whether the service counts what `backend` limits.
pub(super) fn backend(spec: &ServiceSpec, backend: &BackendSpec) -> Result<(), Invalid> {
    let problem = if backend.max_connections == 0 {
        return Ok(());
    } else if spec.algorithm == Algorithm::Failover {
        "algorithm \"failover\" stays with a backend until it is down: remove it or use algorithm = \"first\""
    } else if spec.one_packet {
        "a service with one_packet = true has no connections: remove one of them"
    } else {
        return Ok(());
    };
    Err(Invalid::field("max_connections", problem))
}

fn in_bounds(spec: &ServiceSpec) -> Result<(), Invalid> {
    let field = |field| move |problem: String| Invalid::field(field, problem);
    spec.source_prefix.check().map_err(field("source_prefix"))?;
    REPLICAS.check(spec.replicas).map_err(field("replicas"))?;
    factor::check(spec.load_factor).map_err(field("load_factor"))?;
    NEED.check(spec.need).map_err(field("need"))?;
    lasts(spec.drain_timeout, DRAIN.0, DRAIN.1).map_err(field("drain_timeout"))
}

fn settings_of_one_algorithm(spec: &ServiceSpec) -> Result<(), Invalid> {
    let settings = [
        (
            "source_prefix",
            spec.source_prefix != Prefix::default(),
            Algorithm::Source,
        ),
        ("replicas", spec.replicas > 1, Algorithm::Dest),
        (
            "load_factor",
            spec.load_factor != load_factor(),
            Algorithm::Bounded,
        ),
    ];
    for (field, is_set, algorithm) in settings {
        if is_set && spec.algorithm != algorithm {
            let name = quoted(algorithm.name());
            let problem = format!("only algorithm {name} has it: remove it or use algorithm = {name}");
            return Err(Invalid::field(field, problem));
        }
    }
    Ok(())
}

/// Whether the ports tell replicas apart.
fn replicas(spec: &ServiceSpec) -> Result<(), Invalid> {
    let wrong = |problem| Err(Invalid::field("replicas", problem));
    if spec.replicas == 1 {
        return Ok(());
    }
    let mut first: Option<&Vip> = None;
    for vip in &spec.vips {
        let (begin, end) = vip.ports.bounds();
        let has_enough = vip.ports != Ports::All && end - begin >= u16::from(spec.replicas) - 1;
        if !has_enough {
            return wrong(format!(
                "a replica is asked for by its port, and {vip} has no range with one for each: use a range of {} ports or more",
                spec.replicas
            ));
        }
        let other = first.get_or_insert(vip);
        if other.ports.bounds().0 != begin {
            return wrong(format!(
                "the first port asks for the first replica, and {vip} and {other} have different ones: begin all ranges with the same port"
            ));
        }
    }
    Ok(())
}

/// Whether the algorithms that take backends one after the other get to all of them.
fn order(spec: &ServiceSpec) -> Result<(), Invalid> {
    let name = quoted(spec.algorithm.name());
    if !matches!(spec.algorithm, Algorithm::First | Algorithm::Failover) {
        return Ok(());
    }
    if spec.backends.len() > ORDER_TRIES as usize {
        let problem = format!(
            "{name} looks at {ORDER_TRIES} backends at most, and there are {}: remove some or use another algorithm",
            spec.backends.len()
        );
        return Err(Invalid::field("algorithm", problem));
    }
    if spec.algorithm == Algorithm::Failover && spec.need > 1 {
        let problem = format!(
            "algorithm {name} has one backend serve, not several: remove it or use another algorithm"
        );
        return Err(Invalid::field("need", problem));
    }
    Ok(())
}

/// Whether fragments without ports find the backend of their packet.
fn fragments(spec: &ServiceSpec) -> Result<(), Invalid> {
    let why = if spec.fragments != Fragments::Hash {
        return Ok(());
    } else if spec.algorithm == Algorithm::DestPort {
        "algorithm \"dest-port\" goes by ports"
    } else if spec.replicas > 1 {
        "replicas go by ports"
    } else if spec.one_packet && !spec.algorithm.is_hash() {
        "with one_packet = true fragments of one packet would go to different backends"
    } else {
        return Ok(());
    };
    Err(Invalid::field(
        "fragments",
        format!("{why}: use \"track\" or another algorithm"),
    ))
}

fn udp(spec: &ServiceSpec) -> Result<(), Invalid> {
    if spec.udp == Udp::Move && spec.vips.iter().all(|vip| vip.protocol == Protocol::Tcp) {
        return Err(Invalid::field(
            "udp",
            "the service has no VIP of udp: remove it, or add one",
        ));
    }
    Ok(())
}

/// Whether something of the service can be refused.
fn on_down(spec: &ServiceSpec) -> Result<(), Invalid> {
    if spec.on_down == OnDown::Reset && spec.vips.iter().all(|vip| vip.protocol == Protocol::Sctp) {
        return Err(Invalid::field(
            "on_down",
            "sctp is not refused: use \"drop\" or \"pass\"",
        ));
    }
    if spec.withdraw && spec.on_down == OnDown::Pass {
        return Err(Invalid::field(
            "withdraw",
            "with on_down = \"pass\" this host serves in the backends' place, and gets no packet without a route: remove one of them",
        ));
    }
    Ok(())
}

/// The settings that are tables of their own.
fn tables(spec: &ServiceSpec) -> Result<(), Invalid> {
    let within = |key| move |invalid: Invalid| invalid.of(key).at(&[Step::Key(key)]);
    if let Some(affinity) = &spec.affinity {
        affinity.check().map_err(within("affinity"))?;
    }
    if let Some(rate) = &spec.new_flows {
        rate.check().map_err(within("new_flows"))?;
    }
    if let Some(rate) = &spec.new_flows_per_source {
        rate.check().map_err(within("new_flows_per_source"))?;
    }
    Ok(())
}

/// Whether nothing asks for flows where there are none.
fn one_packet(spec: &ServiceSpec) -> Result<(), Invalid> {
    let flows = [
        ("quic", spec.quic.is_some()),
        ("affinity", spec.affinity.is_some()),
        ("new_flows", spec.new_flows.is_some()),
        ("new_flows_per_source", spec.new_flows_per_source.is_some()),
    ];
    let problem = if let Some(vip) = spec.vips.iter().find(|vip| vip.protocol != Protocol::Udp) {
        format!("{vip} is not udp: remove it, or serve that by another service")
    } else if spec.mode.forward().translates() {
        format!(
            "mode {} remembers every flow: remove it or use mode = \"dsr\", \"ipip\" or \"gue\"",
            quoted(spec.mode.name())
        )
    } else if spec.algorithm.counts_flows() {
        format!(
            "algorithm {} counts flows, and there are none: use one of {}",
            quoted(spec.algorithm.name()),
            uncounted()
        )
    } else if let Some((table, _)) = flows.iter().find(|(_, is_set)| *is_set) {
        format!("[service.{table}] is of flows, and there are none: remove one of them")
    } else {
        return Ok(());
    };
    Err(Invalid::field("one_packet", problem))
}

fn uncounted() -> String {
    let names: Vec<_> = Algorithm::ALL
        .iter()
        .filter(|algorithm| !algorithm.counts_flows())
        .map(|algorithm| quoted(algorithm.name()))
        .collect();
    names.join(", ")
}
