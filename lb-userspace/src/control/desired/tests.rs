//! From services and policies to entries.

use lb_common::service::{ForwardMode, PortKey, Unserved, service_flags};

use super::*;
use crate::{
    config::{self, Limits, Mode, QuicSpec},
    control::{change::tests::backend, entries::Key},
    datapath::Snapshot,
};

fn service(name: &str, vips: &[&str]) -> ServiceSpec {
    let vips = vips.iter().map(|vip| vip.parse().unwrap());
    ServiceSpec::new(name, vips.collect())
}

/// The entries of services, whose ids are their places.
fn entries_of(services: &[ServiceSpec]) -> Vec<Entry> {
    let setup = Setup {
        services: services.to_vec(),
        ..Setup::default()
    };
    all(&setup)
}

fn all(setup: &Setup) -> Vec<Entry> {
    let mut ids = Ids::adopt(&Snapshot::default(), &[], Limits::default());
    ids.assign(&setup.services).unwrap();
    entries(setup, &ids, &Host::default(), &BTreeMap::new())
        .missing_in(&Entries::default())
        .collect()
}

fn find(entries: &[Entry], wanted: impl Fn(&Key) -> bool) -> Vec<Entry> {
    entries
        .iter()
        .filter(|entry| wanted(&entry.key()))
        .copied()
        .collect()
}

fn ids_by_bits(entries: &[Entry]) -> Vec<(u32, u16, u32)> {
    let ports = entries.iter().filter_map(|entry| match entry {
        Entry::Ports(bits, key, service) => Some((
            bits - PortKey::BITS_BEFORE_PORT,
            u16::from_be(key.port),
            service.id,
        )),
        _ => None,
    });
    ports.collect()
}

#[test]
fn a_port_of_a_network_is_its_own_services_even_where_a_range_has_it_as_a_prefix() {
    let one = service("one", &["198.51.100.0/24:8002/tcp"]);
    let range = service("range", &["198.51.100.0/24:8000-8002/tcp"]);
    for (services, own, ranges) in [([one.clone(), range.clone()], 0, 1), ([range, one], 1, 0)] {
        let mut ports = ids_by_bits(&entries_of(&services));
        ports.sort_unstable();
        assert_eq!(ports, [(15, 8000, ranges), (16, 8002, own)]);
    }
}

#[test]
fn a_vip_says_whether_it_has_ranges() {
    let services = [service(
        "web",
        &[
            "192.0.2.1:80/tcp",
            "192.0.2.2:*/tcp",
            "192.0.2.2:80/tcp",
            "[2001:db8::/64]:80/tcp",
        ],
    )];
    let entries = entries_of(&services);
    let vips = find(&entries, |key| matches!(key, Key::Vip(_) | Key::Network(..)));
    let [
        Entry::Vip(_, first),
        Entry::Vip(_, second),
        Entry::Network(64, _, third),
    ] = vips[..]
    else {
        panic!("{vips:?}");
    };
    assert_eq!(
        [first, second, third].map(|vip| (vip.prefix_len, vip.flags)),
        [
            (128, vip_flags::ECHO),
            (128, vip_flags::ECHO | vip_flags::PORTS),
            (64, vip_flags::ECHO | vip_flags::PORTS)
        ]
    );
}

#[test]
fn a_policy_is_its_vips_alone() {
    let network: Network = "192.0.2.1".parse().unwrap();
    let policy = VipPolicy {
        unserved: config::Unserved::Reset,
        ping: false,
        ..VipPolicy::of(network)
    };
    let setup = Setup {
        services: vec![service("web", &["192.0.2.1:80/tcp", "192.0.2.2:80/tcp"])],
        policies: [(network, policy)].into(),
    };
    let vips = find(&all(&setup), |key| matches!(key, Key::Vip(_)));
    let [Entry::Vip(_, first), Entry::Vip(_, second)] = vips[..] else {
        panic!("{vips:?}");
    };
    assert_eq!((first.unserved, first.flags), (Unserved::Reset.wire(), 0));
    assert_eq!(
        (second.unserved, second.flags),
        (Unserved::Auto.wire(), vip_flags::ECHO)
    );
}

#[test]
fn only_backends_of_translating_services_are_hairpins() {
    let mut services = [
        service("nat", &["192.0.2.1:80/tcp"]),
        service("full", &["192.0.2.2:80/tcp"]),
        service("dsr", &["192.0.2.3:80/tcp"]),
    ];
    services[1].mode = Mode::FullNat;
    services[2].mode = Mode::Dsr;
    for (service, numbers) in services.iter_mut().zip([[1, 2], [2, 3], [4, 5]]) {
        service.backends = numbers.map(backend).into();
    }
    let hairpins = find(&entries_of(&services), |key| matches!(key, Key::Hairpin(_)));
    let counts: Vec<_> = hairpins
        .iter()
        .map(|entry| match entry {
            Entry::Hairpin(address, count) => (std::net::IpAddr::from(*address).to_string(), *count),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 1)];
    assert_eq!(
        counts,
        expected.map(|(address, count)| (address.to_owned(), count))
    );
}

#[test]
fn a_service_by_addresses_is_also_found_without_ports() {
    let mut spec = service("dns", &["192.0.2.1:53/udp", "192.0.2.0/24:53/udp"]);
    spec.fragments = Fragments::Hash;
    let entries = entries_of(&[spec]);
    let services = find(&entries, |key| matches!(key, Key::Service(key) if key.port == 0));
    assert!(
        matches!(services[..], [Entry::Service(_, service)] if service.flags == service_flags::BY_ADDRESSES),
        "{services:?}"
    );
    let mut ports = ids_by_bits(&entries);
    ports.sort_unstable();
    assert_eq!(ports, [(16, 0, 0), (16, 53, 0)]);
}

#[test]
fn a_server_id_names_its_backend() {
    let mut spec = service("h3", &["192.0.2.1:443/udp"]);
    spec.mode = Mode::Gue;
    spec.checksum = true;
    spec.mtu = Some(1500);
    spec.quic = Some(QuicSpec {
        config_id: 5,
        server_id_length: 2,
    });
    spec.backends = vec![backend(1), backend(2)];
    spec.backends[1].server_id = Some("0a0b".parse().unwrap());
    let entries = entries_of(&[spec]);
    let servers = find(&entries, |key| matches!(key, Key::QuicServer(_)));
    let key = QuicServerKey {
        service: 0,
        len: 2,
        server_id: 0x0b0a,
    };
    assert_eq!(servers, [Entry::QuicServer(key, 2)]);
    let services = find(&entries, |key| matches!(key, Key::Service(_)));
    let [Entry::Service(_, service)] = services[..] else {
        panic!("{services:?}");
    };
    assert_eq!((service.mode, service.mtu), (ForwardMode::Gue.wire(), 1500));
    assert_eq!((service.quic_server_id_len, service.quic_config), (2, 5));
    assert_eq!(service.flags, service_flags::GUE_CHECKSUM);
}
