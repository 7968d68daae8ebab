//! The script of each mode: what it sets, and that a shell reads it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::*;

const MODES: &[ForwardMode] = ForwardMode::ALL;

fn setup(mode: ForwardMode, vips: &[&str], addresses: &[&str]) -> Setup {
    Setup {
        subject: "service web".into(),
        mode,
        vips: vips.iter().map(|text| text.parse().unwrap()).collect(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        interface: None,
        balancers: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        decap: false,
    }
}

/// The script's commands behind those that find the interface, without comments.
fn commands(setup: &Setup) -> Vec<String> {
    let script = setup.script().unwrap();
    let own = ["\nfi\n", "\nput()", "\nset -eu\n"]
        .into_iter()
        .find_map(|end| script.split_once(end))
        .map_or("", |(_, own)| own);
    own.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn shell_reads(script: &str) -> bool {
    let mut shell = Command::new("sh")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    shell.wait().unwrap().success()
}

#[test]
fn a_shell_reads_the_script_of_every_mode_and_family() {
    let vips = [
        "192.0.2.10/32",
        "2001:db8:1::10/128",
        "198.51.100.0/24",
        "2001:db8:2::/64",
    ];
    for &mode in MODES {
        for addresses in [
            &["10.0.0.2", "10.0.0.3"][..],
            &["2001:db8::2"],
            &["10.0.0.2", "2001:db8::2"],
        ] {
            for vips in [&vips[..1], &vips[1..2], &vips] {
                for decap in [false, mode.encapsulates()] {
                    let setup = Setup {
                        decap,
                        ..setup(mode, vips, addresses)
                    };
                    let script = setup.script().unwrap();
                    assert!(shell_reads(&script), "{script}");
                }
            }
        }
    }
}

#[test]
fn nat_needs_the_way_back() {
    let all = setup(
        ForwardMode::Nat,
        &["192.0.2.10/32", "2001:db8:1::10/128"],
        &["10.0.0.2", "2001:db8::2"],
    );
    assert_eq!(
        commands(&all),
        [
            r#"ip route replace default via 10.0.0.1 dev "$DEV""#,
            "put ipv4/conf/all/accept_redirects 0",
            r#"put "ipv4/conf/$DEV/accept_redirects" 0"#,
            r#"ip -6 route replace default via 2001:db8::1 dev "$DEV" metric 1"#,
            r#"put "ipv6/conf/$DEV/accept_redirects" 0"#,
        ]
    );
    let unknown = Setup {
        balancers: Vec::new(),
        ..setup(ForwardMode::Nat, &["192.0.2.10/32"], &["10.0.0.2"])
    };
    let error = unknown.script().unwrap_err().to_string();
    assert!(error.contains("--balancer 10.0.0.1"), "{error}");
}

#[test]
fn full_nat_needs_nothing() {
    let full = setup(ForwardMode::FullNat, &["192.0.2.10/32"], &["10.0.0.2"]);
    assert_eq!(commands(&full), [""; 0]);
}

#[test]
fn dsr_has_the_vip_and_keeps_it_to_itself() {
    let found = commands(&setup(ForwardMode::Dsr, &["192.0.2.10/32"], &["10.0.0.2"]));
    assert_eq!(
        found,
        [
            r#"put "ipv4/conf/$DEV/arp_ignore" 1"#,
            r#"put "ipv4/conf/$DEV/arp_announce" 2"#,
            "ip address replace 192.0.2.10/32 dev lo",
        ]
    );
    let v6 = setup(ForwardMode::Dsr, &["2001:db8:1::10/128"], &["2001:db8::2"])
        .script()
        .unwrap();
    assert!(v6.contains("\nip -6 address replace 2001:db8:1::10/128 dev lo nodad preferred_lft 0\n"));
    assert!(!v6.contains("arp_ignore") && !v6.contains("DEV"), "{v6}");
}

#[test]
fn a_network_is_a_local_route() {
    let found = commands(&setup(
        ForwardMode::Dsr,
        &["198.51.100.0/24", "2001:db8:2::/64"],
        &["10.0.0.2"],
    ));
    assert_eq!(
        found[2..],
        [
            "ip route replace local 198.51.100.0/24 dev lo",
            "ip -6 route replace local 2001:db8:2::/64 dev lo",
        ]
    );
}

#[test]
fn ipip_has_a_device_for_each_pair_of_families() {
    let devices = |vip: &str, address: &str| {
        let found = commands(&setup(ForwardMode::Ipip, &[vip], &[address]));
        let chosen = found.into_iter().filter(|line| {
            line.starts_with("ip link set") || line.contains("rp_filter") || line.contains("mode any")
        });
        chosen.collect::<Vec<_>>()
    };
    let (v4, v6) = ("192.0.2.10/32", "2001:db8:1::10/128");
    assert_eq!(
        devices(v4, "10.0.0.2"),
        ["ip link set dev tunl0 up", "put ipv4/conf/tunl0/rp_filter 2"]
    );
    assert_eq!(
        devices(v4, "2001:db8::2"),
        [
            "ip link set dev ip6tnl0 up",
            "ip -6 tunnel change ip6tnl0 mode any",
            "put ipv4/conf/ip6tnl0/rp_filter 2",
        ]
    );
    // These need no interface, so there is no line that names one.
    let v6_in = |address: &str| setup(ForwardMode::Ipip, &[v6], &[address]).script().unwrap();
    assert!(v6_in("10.0.0.2").contains("\nip link set dev sit0 up\n"));
    assert!(v6_in("2001:db8::2").contains("\nip link set dev ip6tnl0 up\n"));
    assert!(!v6_in("2001:db8::2").contains("mode any"));
}

#[test]
fn an_ipv4_vip_is_an_address_of_the_tunnel() {
    let found = commands(&setup(
        ForwardMode::Ipip,
        &["192.0.2.10/32", "198.51.100.0/24"],
        &["10.0.0.2"],
    ));
    let addresses: Vec<_> = found.iter().filter(|line| line.contains("replace")).collect();
    assert_eq!(
        addresses,
        [
            "ip address replace 192.0.2.10/32 dev tunl0",
            "ip route replace local 198.51.100.0/24 dev lo",
            "ip address replace 198.51.100.0/32 dev tunl0",
        ]
    );
}

#[test]
fn gue_is_received_on_its_port_once() {
    let both = setup(ForwardMode::Gue, &["192.0.2.10/32"], &["10.0.0.2", "2001:db8::2"])
        .script()
        .unwrap();
    assert!(both.contains("|| ip fou add port 6080 gue\n"));
    assert!(both.contains("|| ip -6 fou add port 6080 gue\n"));
    assert!(both.contains("\nip link set dev tunl0 up\n"));
    let v4 = setup(ForwardMode::Gue, &["192.0.2.10/32"], &["10.0.0.2"])
        .script()
        .unwrap();
    assert!(!v4.contains("ip -6 fou"));
    assert!(v4.contains("udp dport 6080 ip saddr != 10.0.0.1 drop"));
}

#[test]
fn a_decapsulator_takes_the_place_of_devices() {
    let ipip = Setup {
        decap: true,
        ..setup(ForwardMode::Ipip, &["192.0.2.10/32"], &["10.0.0.2"])
    };
    let found = commands(&ipip);
    assert_eq!(
        found[2..],
        [
            "ip address replace 192.0.2.10/32 dev lo",
            r#"exec xlb decap --interface "$DEV""#,
        ]
    );
    let dsr = Setup {
        decap: true,
        ..setup(ForwardMode::Dsr, &["192.0.2.10/32"], &["10.0.0.2"])
    };
    let error = dsr.script().unwrap_err().to_string();
    assert!(error.contains("leave it out"), "{error}");
}

#[test]
fn the_mss_is_that_of_mode_and_family() {
    let shows = |mode, address: &str, expected: &str| {
        let script = setup(mode, &["192.0.2.10/32", "2001:db8:1::10/128"], &[address])
            .script()
            .unwrap();
        assert!(script.contains(expected), "{script}");
    };
    shows(
        ForwardMode::Ipip,
        "10.0.0.2",
        "ip route change default via ROUTER dev DEV advmss 1440",
    );
    shows(
        ForwardMode::Ipip,
        "10.0.0.2",
        "ip -6 route change default via ROUTER dev DEV advmss 1420",
    );
    shows(
        ForwardMode::Gue,
        "2001:db8::2",
        "ip route change default via ROUTER dev DEV advmss 1412",
    );
    shows(
        ForwardMode::Gue,
        "2001:db8::2",
        "ip -6 route change default via ROUTER dev DEV advmss 1392",
    );
    shows(ForwardMode::Gue, "2001:db8::2", "takes 1548 bytes");
}

#[test]
fn an_interface_that_cannot_be_told_is_asked_for() {
    let unknown = setup(ForwardMode::Dsr, &["192.0.2.10/32"], &[]);
    let error = unknown.script().unwrap_err().to_string();
    assert!(error.contains("--interface"), "{error}");
    let named = Setup {
        interface: Some("a b".into()),
        ..unknown
    };
    assert!(named.script().unwrap().contains("\nDEV='a b'\n"));
}

#[test]
fn the_service_is_found_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("xlb.toml");
    let text = "[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"web\"\nvip = [\"192.0.2.10:80/tcp\", \"192.0.2.10:443/tcp\"]\n\
        [[service.backend]]\nname = \"b1\"\naddress = \"10.0.0.2\"\n[[service.backend]]\nname = \"b2\"\naddress = \"10.0.0.3\"\n";
    std::fs::write(&file, text).unwrap();
    let arguments = |service: &str, backend: Option<&str>| BackendSetup {
        print: true,
        config: Some(file.clone()),
        service: Some(service.into()),
        backend: backend.map(str::to_owned),
        vips: Vec::new(),
        mode: None,
        addresses: Vec::new(),
        interface: None,
        balancers: vec!["10.0.0.1".parse().unwrap()],
        decap: false,
    };
    let read = Setup::read(&arguments("web", None)).unwrap();
    assert_eq!((read.vips.len(), read.addresses.len()), (1, 2));
    let one = Setup::read(&arguments("web", Some("b2"))).unwrap();
    assert_eq!(one.addresses, ["10.0.0.3".parse::<IpAddr>().unwrap()]);
    let refused = |service, backend| Setup::read(&arguments(service, backend)).unwrap_err().to_string();
    assert!(refused("api", None).contains("no service \"api\": there is web"));
    assert!(refused("web", Some("b3")).contains("no backend \"b3\": there is b1, b2"));
}
