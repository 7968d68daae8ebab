//! Settings of modes, VIPs and the node that do not go together, and the line that says why.

use super::*;

/// What comes after the first five lines of [`web`], and the error.
const CASES: &[(&str, &str)] = &[
    // VIPs
    (
        "[[service]]\nname = 'b'\nvip = '198.51.100.7/24:80/tcp'",
        r#"8: service "b": vip: "198.51.100.7/24" has bits behind its prefix: the network is "198.51.100.0/24""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '0.0.0.0/0:80/tcp'",
        r#"8: service "b": vip: 0.0.0.0/0 contains 0.0.0.0/8, an unspecified network: use a smaller one"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '224.0.1.0/24:80/tcp'",
        r#"8: service "b": vip: 224.0.1.0/24 is a multicast network: use one that other hosts reach"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '[::ffff:192.0.2.1]:80/tcp'",
        r#"8: service "b": vip: ::ffff:192.0.2.1 is an IPv4-mapped address: write 192.0.2.1"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:0-80/tcp'",
        r#"8: service "b": vip: port 0 is below 1: use 1 to 65535"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:90-80/tcp'",
        r#"8: service "b": vip: "192.0.2.11:90-80/tcp" has ports that end before they begin: write it like "192.0.2.10:80/tcp""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:80/icmp'",
        r#"8: service "b": vip: "192.0.2.11:80/icmp" is none of tcp, udp and sctp: write it like "192.0.2.10:80/tcp""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:80-90/tcp'\n[[service]]\nname = 'c'\nvip = '192.0.2.11:90-99/tcp'",
        r#"11: service "c": vip: 192.0.2.11:90-99/tcp and 192.0.2.11:80-90/tcp of service "b" have ports in common: give each port to one of them"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = ['192.0.2.11:80-99/tcp', '192.0.2.11:85-90/tcp']",
        r#"8: service "b": vip: 192.0.2.11:85-90/tcp and 192.0.2.11:80-99/tcp of service "b" have ports in common: give each port to one of them"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.10/32:80/tcp'",
        r#"8: service "b": vip: 192.0.2.10:80/tcp is already a VIP of service "web": use another address, port or protocol"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '10.0.0.0/24:80/tcp'\n[[service.backend]]\naddress = '10.0.0.2'",
        r#"10: service "b", backend "10.0.0.2": address: 10.0.0.2 is in the VIP 10.0.0.0/24 of service "b": give the VIP or the backend another address"#,
    ),
    (
        "[limits]\nservices = 2\n[[service]]\nname = 'b'\nvip = ['192.0.2.11:1-65534/tcp', '192.0.2.11:1-65534/udp', '192.0.2.12:1-65534/udp']",
        r#"8: service "b": 90 prefixes of ports are more than the 64 that fit: raise limits.services, or use ranges that begin and end at multiples of a power of two"#,
    ),
    // Policies
    (
        "[[vip]]\naddress = '192.0.2.11'",
        r#"7: vip "192.0.2.11": address: 192.0.2.11 is the VIP of no service: remove the policy, or write it as the service does"#,
    ),
    (
        "[[vip]]\naddress = '192.0.2.0/24'",
        r#"7: vip "192.0.2.0/24": address: 192.0.2.0/24 is the VIP of no service: remove the policy, or write it as the service does"#,
    ),
    (
        "[[vip]]\naddress = '192.0.2.10'\n[[vip]]\naddress = '192.0.2.10'",
        r#"9: vip "192.0.2.10": address: 192.0.2.10 has a policy already: remove one"#,
    ),
    (
        "[[vip]]\naddress = '192.0.2.10'\nunserved = 'refuse'",
        r#"8: vip "192.0.2.10": unserved: `refuse` is unknown: use one of `auto`, `drop`, `pass`, `reset`"#,
    ),
    (
        "[[vip]]\naddress = '192.0.2.10'\nping = 'no'",
        r#"8: vip "192.0.2.10": ping: string "no" does not fit here: use a boolean"#,
    ),
    (
        "[[vip]]\naddress = '192.0.2.10:80/tcp'",
        r#"7: vip "192.0.2.10:80/tcp": address: "192.0.2.10:80/tcp" is no address and no network: write it like "192.0.2.10" or "198.51.100.0/24""#,
    ),
    // Modes
    (
        "mode = 'dsr'\n[[service.backend]]\naddress = '10.0.0.2'\nport = 8080",
        r#"9: service "web", backend "10.0.0.2:8080": port: the port is not rewritten in mode "dsr", 8080 would get nothing: leave it out"#,
    ),
    (
        "mode = 'full-nat'\n[[service.backend]]\nname = 'b1'\naddress = 'fd00::2'",
        r#"9: service "web", backend "b1": address: fd00::2 is IPv6, and VIP 192.0.2.10:80/tcp is IPv4: mode "full-nat" needs one family, use mode = "ipip" or "gue" or another address"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = ['192.0.2.11:80/tcp', '[2001:db8::1]:80/tcp']\nmode = 'dsr'\nbackend = [{ address = '10.0.0.2' }]",
        r#"10: service "b", backend "10.0.0.2": address: 10.0.0.2 is IPv4, and VIP [2001:db8::1]:80/tcp is IPv6: mode "dsr" needs one family, use mode = "ipip" or "gue" or another address"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:80/sctp'",
        r#"8: service "b": vip: mode "nat" does not rewrite sctp: use mode = "dsr", "ipip" or "gue""#,
    ),
    (
        "mode = 'ipip'\nchecksum = true",
        r#"7: service "web": checksum: only mode "gue" has it: remove it or use mode = "gue""#,
    ),
    (
        "mtu = 500",
        r#"6: service "web": mtu: 500 is below 576: use 576 to 65535"#,
    ),
    (
        "mode = 'ipip'\nmtu = 1279\nbackend = [{ address = 'fd00::2' }]",
        r#"7: service "web": mtu: 1279 is below 1280: use 1280 to 65535"#,
    ),
    (
        "fragments = 'drop'",
        r#"6: service "web": fragments: `drop` is unknown: use `track` or `hash`"#,
    ),
    (
        "fragments = 'hash'\n[[service]]\nname = 'b'\nvip = '192.0.2.10:443/tcp'\nfragments = 'hash'",
        r#"10: service "b": fragments: service "web" has "hash" for tcp of 192.0.2.10 too, and a fragment without ports cannot tell them apart: use "track" in one"#,
    ),
    // QUIC
    (
        "[service.quic]\nconfig_id = 0\nserver_id_length = 2",
        r#"6: service "web", quic: QUIC is udp, and the service has no VIP of it: add one, or remove [service.quic]"#,
    ),
    (
        "[service.quic]\nconfig_id = 7\nserver_id_length = 2",
        r#"7: service "web", quic: config_id: 7 is above 6: use 0 to 6"#,
    ),
    (
        "[service.quic]\nconfig_id = 0\nserver_id_length = 9",
        r#"8: service "web", quic: server_id_length: 9 is above 8: use 1 to 8"#,
    ),
    (
        "[service.quic]\nconfig_id = 0",
        r#"6: service "web", quic: server_id_length: is missing: add it"#,
    ),
    (
        "backend = [{ address = '10.0.0.2', server_id = '0a' }]",
        r#"6: service "web", backend "10.0.0.2": server_id: only a service with [service.quic] has it: remove it, or add [service.quic]"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:443/udp'\nquic = { config_id = 0, server_id_length = 2 }\n[[service.backend]]\naddress = '10.0.0.2'",
        r#"10: service "b", backend "10.0.0.2": server_id: is missing: the service's connection IDs have one of 2 bytes: add it"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:443/udp'\nquic = { config_id = 0, server_id_length = 2 }\n[[service.backend]]\naddress = '10.0.0.2'\nserver_id = '0a'",
        r#"12: service "b", backend "10.0.0.2": server_id: "0a" has 1 byte: give it 2 bytes, as server_id_length says"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:443/udp'\nquic = { config_id = 0, server_id_length = 1 }\n[[service.backend]]\nname = 'b1'\naddress = '10.0.0.2'\nserver_id = '0a'\n[[service.backend]]\nname = 'b2'\naddress = '10.0.0.3'\nserver_id = '0A'",
        r#"17: service "b", backend "b2": server_id: "0a" is already that of backend "b1": give it another"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:443/udp'\n[[service.backend]]\naddress = '10.0.0.2'\nserver_id = '0x0a'",
        r#"11: service "b", backend "10.0.0.2": server_id: "0x0a" is no server ID: write 1 to 8 bytes as hexadecimal digits, like "0a0b""#,
    ),
    // Checks and backends of ranges
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:80-90/tcp'\n[service.check]\ntype = 'tcp'\n[[service.backend]]\naddress='10.0.0.2'",
        r#"9: service "b", check: port: backend "10.0.0.2" serves several ports: give the one to probe"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:80-90/tcp'\nbackend = [{ address = '10.0.0.2' }, { address = '10.0.0.2', port = 85 }]",
        r#"9: service "b", backend "10.0.0.2:85": address: port 85 of 10.0.0.2 is already backend "10.0.0.2": remove one"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:80-90/tcp'\nbackend = [{ address = '10.0.0.2', port = 85 }, { address = '10.0.0.2' }]",
        r#"9: service "b", backend "10.0.0.2": address: port 85 of 10.0.0.2 is already backend "10.0.0.2:85": remove one"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:*/tcp'\nbackend = [{ name = 'b1', address = '10.0.0.2' }, { name = 'b2', address = '10.0.0.2' }]",
        r#"9: service "b", backend "b2": address: every port of 10.0.0.2 is already backend "b1": remove one"#,
    ),
    // The node
    (
        "[node]\ntunnel_sources = ['172.16.0.1/16']",
        r#"7: node: tunnel_sources: "172.16.0.1/16" has bits behind its prefix: the network is "172.16.0.0/16""#,
    ),
    (
        "[node]\ntunnel_sources = ['172.16.0.0/16', '172.17.0.0/16']",
        r#"7: node: tunnel_sources: 172.17.0.0/16 is the second of IPv4: give one of each family"#,
    ),
    (
        "[node]\ntunnel_sources = ['127.0.0.0/8']",
        r#"7: node: tunnel_sources: 127.0.0.0/8 is a loopback network: use one that other hosts reach"#,
    ),
    (
        "[node]\nsources = ['10.0.0.2', '10.0.0.2']",
        r#"7: node: sources: 10.0.0.2 is there twice: remove one"#,
    ),
    (
        "[node]\nsources = ['::1']",
        r#"7: node: sources: ::1 is a loopback address: use one that other hosts reach"#,
    ),
    (
        "[node]\nsources = ['10.0.0.2', '192.0.2.10']",
        r#"7: node: sources: 192.0.2.10 is a VIP of service "web": give the VIP or the source another address"#,
    ),
    (
        "[node]\nsource_ports = '*'",
        r#"7: node: source_ports: "*" has ports that nobody can have: use a range like "1024-32767""#,
    ),
    (
        "[node]\nsource_ports = '32767-1024'",
        r#"7: node: source_ports: "32767-1024" ends before it begins: write the lower port first"#,
    ),
    (
        "[node]\nsource_ports = '1024-65535'",
        r#"7: node: source_ports: 1024-65535 has ports of probes through the data path, 61000 to 65535: end at 60999 at the latest"#,
    ),
    (
        "[node]\nsource_ports = '0-99'",
        r#"7: node: source_ports: port 0 is below 1: use 1 to 65535"#,
    ),
    (
        "[node]\nsource_ports = 1024",
        r#"7: node: source_ports: integer `1024` does not fit here: use a string"#,
    ),
    (
        "[node]\nanswers_per_second = -1",
        r#"7: node: answers_per_second: -1 is below 0: use 0 to 1000000"#,
    ),
    (
        "[node]\npartial_checksums = 'maybe'",
        r#"7: node: partial_checksums: `maybe` is unknown: use one of `auto`, `on`, `off`"#,
    ),
];

#[test]
fn what_does_not_go_together_is_named_with_line_thing_field_and_remedy() {
    for (more, expected) in CASES {
        let error = parse(&web(more)).expect_err(more).to_string();
        assert_eq!(error, format!("xlb.toml:{expected}"), "{more}");
    }
}

#[test]
fn as_many_sources_as_fit() {
    let sources = |count: u8| {
        let sources: Vec<_> = (1..=count).map(|last| format!("'10.0.1.{last}'")).collect();
        parse(&web(&format!(
            "[node]\nsources = [{}, 'fd00::2']",
            sources.join(", ")
        )))
    };
    assert_eq!(sources(16).unwrap().node.sources.len(), 17);
    let error = sources(17).unwrap_err().to_string();
    assert_eq!(
        error,
        "xlb.toml:7: node: sources: more than the 16 of IPv4 that fit: remove some"
    );
}

/// What comes after the first five lines of [`web`], and is right.
const FINE: &[&str] = &[
    // The more exact wins.
    "[[service]]\nname = 'b'\nvip = '192.0.2.10:*/tcp'",
    "[[service]]\nname = 'b'\nvip = '192.0.2.10:1-1023/tcp'\n[[service]]\nname = 'c'\nvip = '192.0.2.10:*/tcp'",
    "[[service]]\nname = 'b'\nvip = '192.0.2.0/24:80/tcp'\n[[service]]\nname = 'c'\nvip = '192.0.0.0/16:80/tcp'",
    "[[service]]\nname = 'b'\nvip = ['192.0.2.11:80-89/tcp', '192.0.2.11:90-99/tcp', '192.0.2.11:80-99/udp']",
    // What tells fragments apart is protocol and VIP.
    "fragments = 'hash'\n[[service]]\nname = 'b'\nvip = '192.0.2.10:80/udp'\nfragments = 'hash'",
    "fragments = 'hash'\n[[service]]\nname = 'b'\nvip = ['192.0.2.11:80/tcp', '192.0.2.11:81/tcp']\nfragments = 'hash'",
    "mode = 'dsr'\n[service.check]\ntype = 'tcp'\n[[service.backend]]\naddress = '10.0.0.2'\nport = 80",
    "mode = 'ipip'\nmtu = 1280\nbackend = [{ address = 'fd00::2' }, { address = '10.0.0.2' }]",
    "mode = 'gue'\nchecksum = true\n[[vip]]\naddress = '192.0.2.10'\nunserved = 'reset'\nping = false",
    "[[service]]\nname = 'b'\nvip = '192.0.2.11:3868/sctp'\nmode = 'dsr'",
    "[[service]]\nname = 'b'\nvip = '[2001:db8::/64]:80/tcp'\nmode = 'full-nat'\nbackend = [{ address = 'fd00::2' }]",
    "[[service]]\nname = 'b'\nvip = ['192.0.2.11:443/tcp', '192.0.2.11:443/udp']\nmode = 'gue'\nquic = { config_id = 6, \
     server_id_length = 1 }\nbackend = [{ address = '10.0.0.2', server_id = '0a' }, { address = '10.0.0.3', server_id = '0b' }]",
    "[node]\ntunnel_sources = ['172.16.0.0/16', 'fd00::/64']\nsource_ports = '50000-60000'\nanswers_per_second = 0",
];

#[test]
fn what_goes_together_is_taken_and_reads_the_same_when_written() {
    for more in FINE {
        let config = parse(&web(more))
            .map_err(|error| format!("{more}: {error}"))
            .unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config, "{text}");
    }
}
