//! From a service and its pool to the entry that packets find. Pure.

use lb_common::{
    service::{OnFull as Full, Picker, Service, service_flags},
    slot::SlotBits,
};

use crate::config::{self, Affinity, Algorithm, Fragments, OnDown, Prefix, Protocol, ServiceSpec, Udp};

/// What of the entry follows from the pool, and from what was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub bits: SlotBits,
    /// How many stand behind the slots.
    pub members: u32,
    /// Weight that shares in new flows.
    pub weight: u32,
    pub home: Picker,
    /// Bits of sources that `home` goes by.
    pub home_prefix: Prefix,
    /// It has translated.
    pub looks_back: bool,
}

impl Given {
    /// Of a service without a pool and a past.
    #[must_use]
    pub fn new(service: &ServiceSpec) -> Self {
        Self {
            bits: SlotBits::MIN,
            members: 0,
            weight: 0,
            home: service.algorithm.picker().home(),
            home_prefix: service.source_prefix,
            looks_back: false,
        }
    }
}

/// The entry of a service.
#[must_use]
pub fn entry(service: &ServiceSpec, id: u32, given: &Given) -> Service {
    let picker = service.algorithm.picker();
    let prefix = prefix(service, given);
    let clients = service
        .affinity
        .map_or(Prefix::default(), |affinity| affinity.prefix);
    let rate = service.new_flows;
    let source = service.new_flows_per_source;
    let source_prefix = source.map_or(Prefix::default(), |source| source.prefix);
    Service {
        id,
        mode: service.mode.forward().wire(),
        picker: picker.wire(),
        home: given.home.wire(),
        quic_server_id_len: service.quic.map_or(0, |quic| quic.server_id_length),
        flags: flags(service, given),
        mtu: service.mtu.unwrap_or(0),
        quic_config: service.quic.map_or(0, |quic| quic.config_id),
        slot_bits: u8::try_from(given.bits.bits()).unwrap_or(0),
        source_v4: prefix.v4,
        source_v6: prefix.v6,
        members: given.members,
        weight: given.weight,
        affinity: service.affinity.map_or(0, |affinity| seconds(&affinity)),
        affinity_v4: clients.v4,
        affinity_v6: clients.v6,
        load_factor: service.load_factor,
        replicas: service.replicas,
        on_full: on_full(service.on_full).wire(),
        first_port: service.vips.first().map_or(0, |vip| vip.ports.bounds().0.to_be()),
        rate_v4: source_prefix.v4,
        rate_v6: source_prefix.v6,
        flow_rate: rate.map_or(0, |rate| rate.per_second),
        flow_burst: rate.map_or(0, |rate| rate.burst),
        source_rate: source.map_or(0, |source| source.rate.per_second),
        source_burst: source.map_or(0, |source| source.rate.burst),
        ..Service::default()
    }
}

/// Whether every flow of the service is written down: its backends' active flows are counted, or it has no slot that would say where it is.
#[must_use]
pub fn is_tracked(service: &ServiceSpec) -> bool {
    if service.one_packet {
        return false;
    }
    let has_slots = match service.algorithm {
        Algorithm::Maglev | Algorithm::Source | Algorithm::Dest | Algorithm::DestPort => {
            service.replicas == 1
        }
        Algorithm::Bounded
        | Algorithm::RoundRobin
        | Algorithm::Random
        | Algorithm::TwoChoices
        | Algorithm::LeastConn
        | Algorithm::First
        | Algorithm::Failover => false,
    };
    let has_limits = service.backends.iter().any(|backend| backend.max_connections > 0);
    // Without a SYN, only what is written down tells a new flow from an old one.
    let tells_new = is_rated(service) || service.affinity.is_some();
    !has_slots || has_limits || tells_new && has_datagrams(service)
}

/// Whether the service has no flows but those of UDP.
#[must_use]
pub fn is_only_udp(service: &ServiceSpec) -> bool {
    service.vips.iter().all(|vip| vip.protocol == Protocol::Udp)
}

fn has_datagrams(service: &ServiceSpec) -> bool {
    service.vips.iter().any(|vip| vip.protocol != Protocol::Tcp)
}

const fn is_rated(service: &ServiceSpec) -> bool {
    service.new_flows.is_some() || service.new_flows_per_source.is_some()
}

fn flags(service: &ServiceSpec, given: &Given) -> u16 {
    let is_tracked = is_tracked(service);
    let is_elsewhere = given.home != service.algorithm.picker();
    let flags = [
        (service.fragments == Fragments::Hash, service_flags::BY_ADDRESSES),
        (service.checksum, service_flags::GUE_CHECKSUM),
        (is_tracked, service_flags::TRACKED),
        (service.one_packet, service_flags::ONE_PACKET),
        (service.udp == Udp::Move, service_flags::UDP_MOVES),
        (given.looks_back, service_flags::LOOKS_BACK),
        (is_rated(service), service_flags::RATED),
        (service.on_down == OnDown::Reset, service_flags::DOWN_RESETS),
        (service.on_down == OnDown::Pass, service_flags::DOWN_PASSES),
        (
            is_tracked || is_elsewhere || service.affinity.is_some(),
            service_flags::UNSETTLED,
        ),
    ];
    let flags = flags.iter().filter(|(is_set, _)| *is_set);
    flags.fold(0, |all, (_, flag)| all | flag)
}

/// Bits of sources that `source` goes by, or went by.
fn prefix(service: &ServiceSpec, given: &Given) -> Prefix {
    if service.algorithm != Algorithm::Source && given.home == Picker::Source {
        given.home_prefix
    } else {
        service.source_prefix
    }
}

fn seconds(affinity: &Affinity) -> u32 {
    u32::try_from(affinity.timeout.as_secs())
        .unwrap_or(u32::MAX)
        .max(1)
}

const fn on_full(on_full: config::OnFull) -> Full {
    match on_full {
        config::OnFull::Reject => Full::Reject,
        config::OnFull::Drop => Full::Drop,
        config::OnFull::Spill => Full::Spill,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::{Rate, SourceRate},
        control::change::tests::service,
    };

    fn entry_of(service: &ServiceSpec) -> Service {
        entry(service, 7, &Given::new(service))
    }

    fn has(service: &ServiceSpec, flags: u16) -> bool {
        entry_of(service).flags & flags == flags
    }

    #[test]
    fn only_what_has_a_slot_goes_without_being_written_down() {
        for &algorithm in Algorithm::ALL {
            let mut spec = service("web", 1, 2);
            spec.algorithm = algorithm;
            let entry = entry_of(&spec);
            let has_slot = algorithm.picker().has_slot();
            let flags = service_flags::TRACKED | service_flags::UNSETTLED;
            assert_eq!(entry.flags, if has_slot { 0 } else { flags }, "{algorithm:?}");
            assert_eq!(entry.picker, algorithm.picker().wire());
            assert_eq!(entry.home, algorithm.picker().home().wire());
            spec.backends[1].max_connections = 5;
            assert!(has(&spec, flags), "{algorithm:?}");
        }
    }

    #[test]
    fn rates_of_datagrams_and_replicas_need_every_flow_and_single_packets_none() {
        let mut spec = service("web", 1, 2);
        spec.new_flows = Some(Rate::new(9));
        assert!(has(&spec, service_flags::RATED) && !is_tracked(&spec));
        spec.vips = vec!["192.0.2.1:53/udp".parse().unwrap()];
        assert!(is_tracked(&spec) && is_only_udp(&spec));
        spec = service("web", 1, 2);
        (spec.algorithm, spec.replicas) = (Algorithm::Dest, 2);
        assert!(is_tracked(&spec) && !is_only_udp(&spec));
        (spec.algorithm, spec.replicas) = (Algorithm::RoundRobin, 1);
        spec.one_packet = true;
        let flags = service_flags::ONE_PACKET | service_flags::UNSETTLED;
        assert_eq!(entry_of(&spec).flags, flags, "not the slot of its hash");
        spec.algorithm = Algorithm::Maglev;
        assert_eq!(entry_of(&spec).flags, service_flags::ONE_PACKET);
    }

    #[test]
    fn an_entry_says_all_that_the_service_does() {
        let mut spec = service("web", 1, 2);
        let prefix = Prefix { v4: 24, v6: 64 };
        spec.vips = vec!["192.0.2.1:8001-8004/tcp".parse().unwrap()];
        spec.affinity = Some(Affinity {
            timeout: Duration::from_secs(300),
            prefix,
        });
        spec.new_flows_per_source = Some(SourceRate {
            rate: Rate {
                per_second: 5,
                burst: 9,
            },
            prefix: Prefix { v4: 16, v6: 48 },
        });
        (spec.on_full, spec.udp) = (config::OnFull::Spill, Udp::Move);
        let given = Given {
            bits: SlotBits::new(12),
            members: 2,
            weight: 200,
            home: Picker::Maglev,
            home_prefix: Prefix::default(),
            looks_back: true,
        };
        let entry = entry(&spec, 7, &given);
        assert_eq!(
            (entry.id, entry.slot_bits, entry.members, entry.weight),
            (7, 12, 2, 200)
        );
        assert_eq!((entry.source_v4, entry.source_v6), (32, 128));
        assert_eq!(
            (entry.affinity_v4, entry.affinity_v6, entry.affinity),
            (24, 64, 300)
        );
        assert_eq!((entry.rate_v4, entry.rate_v6), (16, 48));
        assert_eq!(
            (entry.source_rate, entry.source_burst, entry.flow_rate),
            (5, 9, 0)
        );
        assert_eq!(
            (entry.on_full, entry.first_port),
            (Full::Spill.wire(), 8001_u16.to_be())
        );
        let flags = service_flags::UDP_MOVES
            | service_flags::LOOKS_BACK
            | service_flags::RATED
            | service_flags::UNSETTLED;
        assert_eq!(entry.flags, flags);
    }

    #[test]
    fn what_no_backend_takes_is_dropped_unless_the_service_says_otherwise() {
        let mut spec = service("web", 1, 2);
        for (on_down, flags) in [
            (OnDown::Drop, 0),
            (OnDown::Reset, service_flags::DOWN_RESETS),
            (OnDown::Pass, service_flags::DOWN_PASSES),
        ] {
            spec.on_down = on_down;
            assert_eq!(entry_of(&spec).flags, flags, "{on_down:?}");
        }
    }

    #[test]
    fn flows_are_found_by_the_sources_of_their_home_as_long_as_that_lasts() {
        let mut spec = service("web", 1, 2);
        spec.affinity = Some(Affinity {
            timeout: Duration::from_secs(300),
            prefix: Prefix { v4: 24, v6: 64 },
        });
        let given = Given {
            home: Picker::Source,
            home_prefix: Prefix { v4: 8, v6: 8 },
            ..Given::new(&spec)
        };
        let entry = entry(&spec, 7, &given);
        assert_eq!((entry.home, entry.source_v4), (Picker::Source.wire(), 8));
        assert_ne!(entry.flags & service_flags::UNSETTLED, 0);
    }
}
