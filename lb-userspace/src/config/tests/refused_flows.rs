//! Settings of flows that cannot be, or do not go together, and the line that says why.

use super::*;

/// What comes after the first five lines of [`web`], and the error.
const CASES: &[(&str, &str)] = &[
    // Single values
    (
        "algorithm = 'source'\nsource_prefix = [33, 128]",
        r#"7: service "web": source_prefix: 33 is above 32: use 0 to 32"#,
    ),
    (
        "algorithm = 'source'\nsource_prefix = [24]",
        r#"7: service "web": source_prefix: there are not two numbers: write those of IPv4 and IPv6, like [24, 64]"#,
    ),
    (
        "algorithm = 'source'\nsource_prefix = 24",
        r#"7: service "web": source_prefix: integer `24` does not fit here: use two numbers of bits, of IPv4 and IPv6, like [24, 64]"#,
    ),
    (
        "algorithm = 'dest'\nreplicas = 5",
        r#"7: service "web": replicas: 5 is above 4: use 1 to 4"#,
    ),
    (
        "algorithm = 'bounded'\nload_factor = 1",
        r#"7: service "web": load_factor: 1 is below 1.01: use 1.01 to 10"#,
    ),
    (
        "algorithm = 'bounded'\nload_factor = 12.5",
        r#"7: service "web": load_factor: 12.5 is above 10: use 1.01 to 10"#,
    ),
    (
        "algorithm = 'bounded'\nload_factor = '2'",
        r#"7: service "web": load_factor: string "2" does not fit here: use a number from 1.01 to 10"#,
    ),
    (
        "need = 0",
        r#"6: service "web": need: 0 is below 1: use 1 to 255"#,
    ),
    (
        "on_full = 'queue'",
        r#"6: service "web": on_full: `queue` is unknown: use one of `reject`, `drop`, `spill`"#,
    ),
    (
        "on_down = 'reject'",
        r#"6: service "web": on_down: `reject` is unknown: use one of `drop`, `reset`, `pass`"#,
    ),
    (
        "on_down = 'pass'\nwithdraw = true",
        r#"7: service "web": withdraw: with on_down = "pass" this host serves in the backends' place, and gets no packet without a route: remove one of them"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:9/sctp'\nmode = 'dsr'\non_down = 'reset'",
        r#"10: service "b": on_down: sctp is not refused: use "drop" or "pass""#,
    ),
    (
        "udp = 'go'",
        r#"6: service "web": udp: `go` is unknown: use `stay` or `move`"#,
    ),
    (
        "drain_timeout = '2days'",
        r#"6: service "web": drain_timeout: 2days is above 1day: use 0s to 1day"#,
    ),
    (
        "[service.affinity]\nprefix = [24, 64]",
        r#"6: service "web", affinity: timeout: is missing: add it"#,
    ),
    (
        "[service.affinity]\ntimeout = '3h'",
        r#"7: service "web", affinity: timeout: 3h is above 2h: use 1s to 2h"#,
    ),
    (
        "[service.affinity]\ntimeout = '5m'\nprefix = [24, 129]",
        r#"8: service "web", affinity: prefix: 129 is above 128: use 0 to 128"#,
    ),
    (
        "[service.new_flows]\nburst = 10",
        r#"6: service "web", new_flows: per_second: is missing: add it"#,
    ),
    (
        "[service.new_flows]\nper_second = 0",
        r#"7: service "web", new_flows: per_second: 0 is below 1: use 1 to 10000000"#,
    ),
    (
        "new_flows = { per_second = 5, burst = 0 }",
        r#"6: service "web", new_flows: burst: 0 is below 1: use 1 to 10000000"#,
    ),
    (
        "[service.new_flows]\nper_second = 5\nprefix = [24, 64]",
        r#"8: service "web", new_flows: prefix: unknown field: use `per_second` or `burst`"#,
    ),
    (
        "[service.new_flows_per_source]\nper_second = 5\nprefix = '24/64'",
        r#"8: service "web", new_flows_per_source: prefix: string "24/64" does not fit here: use two numbers of bits, of IPv4 and IPv6, like [24, 64]"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\nmax_connections = -1",
        r#"8: service "web", backend "10.0.0.2": max_connections: -1 is below 0: use 0 to 4294967295"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\npriority = 256",
        r#"8: service "web", backend "10.0.0.2": priority: 256 is above 255: use 0 to 255"#,
    ),
    // Settings of one algorithm
    (
        "source_prefix = [24, 64]",
        r#"6: service "web": source_prefix: only algorithm "source" has it: remove it or use algorithm = "source""#,
    ),
    (
        "algorithm = 'dest-port'\nreplicas = 2",
        r#"7: service "web": replicas: only algorithm "dest" has it: remove it or use algorithm = "dest""#,
    ),
    (
        "load_factor = 2",
        r#"6: service "web": load_factor: only algorithm "bounded" has it: remove it or use algorithm = "bounded""#,
    ),
    (
        "algorithm = 'failover'\nneed = 2",
        r#"7: service "web": need: algorithm "failover" has one backend serve, not several: remove it or use another algorithm"#,
    ),
    (
        "algorithm = 'failover'\n[[service.backend]]\naddress = '10.0.0.2'\nmax_connections = 5",
        r#"9: service "web", backend "10.0.0.2": max_connections: algorithm "failover" stays with a backend until it is down: remove it or use algorithm = "first""#,
    ),
    // Replicas
    (
        "algorithm = 'dest'\nreplicas = 2",
        r#"7: service "web": replicas: a replica is asked for by its port, and 192.0.2.10:80/tcp has no range with one for each: use a range of 2 ports or more"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:8000-8001/tcp'\nalgorithm = 'dest'\nreplicas = 3",
        r#"10: service "b": replicas: a replica is asked for by its port, and 192.0.2.11:8000-8001/tcp has no range with one for each: use a range of 3 ports or more"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.0/24:*/tcp'\nalgorithm = 'dest'\nreplicas = 2",
        r#"10: service "b": replicas: a replica is asked for by its port, and 192.0.2.0/24:*/tcp has no range with one for each: use a range of 2 ports or more"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = ['192.0.2.11:8000-8001/tcp', '192.0.2.12:9000-9001/tcp']\nalgorithm = 'dest'\nreplicas = 2",
        r#"10: service "b": replicas: the first port asks for the first replica, and 192.0.2.12:9000-9001/tcp and 192.0.2.11:8000-8001/tcp have different ones: begin all ranges with the same port"#,
    ),
    // Fragments, and what is not TCP
    (
        "algorithm = 'dest-port'\nfragments = 'hash'",
        r#"7: service "web": fragments: algorithm "dest-port" goes by ports: use "track" or another algorithm"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:8000-8001/tcp'\nalgorithm = 'dest'\nreplicas = 2\nfragments = 'hash'",
        r#"11: service "b": fragments: replicas go by ports: use "track" or another algorithm"#,
    ),
    (
        "udp = 'move'",
        r#"6: service "web": udp: the service has no VIP of udp: remove it, or add one"#,
    ),
    // One packet
    (
        "mode = 'dsr'\none_packet = true",
        r#"7: service "web": one_packet: 192.0.2.10:80/tcp is not udp: remove it, or serve that by another service"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\none_packet = true",
        r#"9: service "b": one_packet: mode "nat" remembers every flow: remove it or use mode = "dsr", "ipip" or "gue""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\nmode = 'dsr'\none_packet = true\nalgorithm = 'p2c'",
        r#"10: service "b": one_packet: algorithm "p2c" counts flows, and there are none: use one of "maglev", "source", "dest", "dest-port", "round-robin", "random""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\nmode = 'dsr'\none_packet = true\nnew_flows = { per_second = 5 }",
        r#"10: service "b": one_packet: [service.new_flows] is of flows, and there are none: remove one of them"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\nmode = 'dsr'\none_packet = true\naffinity = { timeout = '5m' }",
        r#"10: service "b": one_packet: [service.affinity] is of flows, and there are none: remove one of them"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\nmode = 'dsr'\none_packet = true\nalgorithm = 'random'\nfragments = 'hash'",
        r#"12: service "b": fragments: with one_packet = true fragments of one packet would go to different backends: use "track" or another algorithm"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\nmode = 'dsr'\none_packet = true\n[[service.backend]]\naddress = '10.0.0.2'\nmax_connections = 5",
        r#"13: service "b", backend "10.0.0.2": max_connections: a service with one_packet = true has no connections: remove one of them"#,
    ),
];

#[test]
fn what_cannot_be_of_flows_is_named_with_line_thing_field_and_remedy() {
    for (more, expected) in CASES {
        let error = parse(&web(more)).expect_err(more).to_string();
        assert_eq!(error, format!("xlb.toml:{expected}"), "{more}");
    }
}

#[test]
fn an_order_has_as_many_backends_as_are_looked_at() {
    let with = |algorithm: &str, count: u8| {
        let backends: Vec<_> = (1..=count)
            .map(|last| format!("{{ address = '10.0.1.{last}' }}"))
            .collect();
        parse(&web(&format!(
            "algorithm = '{algorithm}'\nbackend = [{}]",
            backends.join(", ")
        )))
    };
    for algorithm in ["first", "failover"] {
        with(algorithm, 64).unwrap();
        let error = with(algorithm, 65).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "xlb.toml:6: service \"web\": algorithm: \"{algorithm}\" looks at 64 backends at most, and there are 65: remove some or use another algorithm"
            )
        );
    }
    with("least-conn", 65).unwrap();
}

/// What comes after the first five lines of [`web`], and is right.
const FINE: &[&str] = &[
    "algorithm = 'source'\nsource_prefix = [24, 64]\n[service.affinity]\ntimeout = '5m'\nprefix = [24, 64]",
    "algorithm = 'bounded'\nload_factor = 2\nneed = 3\non_full = 'spill'\non_down = 'reset'\nwithdraw = true\ndrain_timeout = '0s'",
    "algorithm = 'first'\n[service.new_flows]\nper_second = 100\n[service.new_flows_per_source]\nper_second = 5\nburst = 50\n\
     prefix = [24, 64]\n[[service.backend]]\naddress = '10.0.0.2'\nmax_connections = 100\n[[service.backend]]\n\
     address = '10.0.0.3'\npriority = 255\nstate = 'maintenance'",
    "[[service]]\nname = 'b'\nvip = ['192.0.2.0/24:8000-8003/tcp', '[2001:db8::/64]:8000-8007/tcp']\nmode = 'ipip'\n\
     algorithm = 'dest'\nreplicas = 4\n[service.affinity]\ntimeout = '5m'",
    "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\nmode = 'gue'\none_packet = true\nalgorithm = 'round-robin'\nudp = 'move'",
    "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\nmode = 'dsr'\none_packet = true\nfragments = 'hash'",
    "[[service]]\nname = 'b'\nvip = ['192.0.2.11:53/udp', '192.0.2.11:53/tcp']\nudp = 'move'\non_full = 'drop'\non_down = 'pass'",
];

#[test]
fn what_can_be_of_flows_is_taken_and_reads_the_same_when_written() {
    for more in FINE {
        let config = parse(&web(more))
            .map_err(|error| format!("{more}: {error}"))
            .unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config, "{text}");
        for service in &config.services {
            let json = serde_json::to_string(service).unwrap();
            assert_eq!(
                &serde_json::from_str::<ServiceSpec>(&json).unwrap(),
                service,
                "{json}"
            );
        }
    }
}

#[test]
fn every_algorithm_is_taken_and_defaults_are_not_written() {
    for algorithm in Algorithm::ALL {
        let config = parse(&web(&format!("algorithm = '{}'", algorithm.name()))).unwrap();
        assert_eq!(config.services[0].algorithm, *algorithm);
    }
    let config = parse(&web("[service.new_flows]\nper_second = 7")).unwrap();
    let service = serde_json::to_value(&config.services[0]).unwrap();
    let expected = serde_json::json!({
        "name": "web", "vip": ["192.0.2.10:80/tcp"], "algorithm": "maglev", "mode": "nat", "new_flows": {"per_second": 7}, "backend": [],
    });
    assert_eq!(service, expected);
}

#[test]
fn the_table_of_written_flows_has_a_power_of_two_of_entries() {
    let entries = |written: u32| {
        let limits = Limits {
            written,
            ..Limits::default()
        };
        limits.written_entries()
    };
    assert_eq!(entries(1024), 1024);
    assert_eq!(entries(1025), 2048);
    assert_eq!(entries(16_777_216), 16_777_216);
}
