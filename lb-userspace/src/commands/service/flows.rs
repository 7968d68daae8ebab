//! What flags and tables say of a service's flows.

use crate::{
    api::protocol::ServiceChange,
    cli::FlowArguments,
    config::{Affinity, Balance, DRAIN_TIMEOUT, OnDown, OnFull, Prefix, Rate, SourceRate, Udp, factor},
};

/// What the flags ask for.
pub fn change(arguments: FlowArguments) -> ServiceChange {
    let FlowArguments {
        algorithm,
        source_prefix,
        replicas,
        load_factor,
        need,
        on_full,
        on_down,
        withdraw,
        udp,
        drain_timeout,
        affinity,
        new_flows,
        new_flows_per_source,
    } = arguments;
    ServiceChange {
        algorithm,
        source_prefix,
        replicas,
        load_factor,
        need,
        on_full,
        on_down,
        withdraw,
        udp,
        drain_timeout,
        affinity: affinity.map(|setting| setting.0),
        new_flows: new_flows.map(|setting| setting.0),
        new_flows_per_source: new_flows_per_source.map(|setting| setting.0),
        ..ServiceChange::default()
    }
}

/// The algorithm with those of its settings that are not as everywhere.
pub fn algorithm(balance: &Balance) -> String {
    let settings = [
        (balance.source_prefix != Prefix::default()).then(|| format!("prefix {}", balance.source_prefix)),
        (balance.replicas > 1).then(|| format!("replicas {}", balance.replicas)),
        is_bounded(balance).then(|| format!("load factor {}", factor::text(balance.load_factor))),
        (balance.need > 1).then(|| format!("need {}", balance.need)),
        (balance.on_full != OnFull::default()).then(|| format!("on full {}", balance.on_full.name())),
        (balance.on_down != OnDown::default()).then(|| format!("on down {}", balance.on_down.name())),
        balance.withdraw.then(|| "withdraw".to_owned()),
        (balance.udp != Udp::default()).then(|| format!("udp {}", balance.udp.name())),
        balance.one_packet.then(|| "one packet".to_owned()),
        (balance.drain_timeout != DRAIN_TIMEOUT).then(|| {
            format!(
                "drain timeout {}",
                humantime::format_duration(balance.drain_timeout)
            )
        }),
    ];
    let mut text = balance.algorithm.name().to_owned();
    for setting in settings.into_iter().flatten() {
        text += ", ";
        text += &setting;
    }
    text
}

pub fn affinity(affinity: &Affinity) -> String {
    let Affinity { timeout, prefix } = affinity;
    format!(
        "{} after a client's last new flow",
        humantime::format_duration(*timeout)
    ) + &by(*prefix)
}

/// The limits of new flows, if there are any.
pub fn limits(balance: &Balance) -> Option<String> {
    let all = balance.new_flows.map(|rate| self::rate(&rate));
    let of_source = balance
        .new_flows_per_source
        .map(|SourceRate { rate, prefix }| format!("{} of each source{}", self::rate(&rate), by(prefix)));
    let limits: Vec<_> = all.into_iter().chain(of_source).collect();
    (!limits.is_empty()).then(|| limits.join("; "))
}

fn is_bounded(balance: &Balance) -> bool {
    balance.algorithm == crate::config::Algorithm::Bounded
}

fn rate(Rate { per_second, burst }: &Rate) -> String {
    format!("{per_second} a second, {burst} at once")
}

fn by(prefix: Prefix) -> String {
    if prefix == Prefix::default() {
        String::new()
    } else {
        format!(", by {prefix} bits")
    }
}
