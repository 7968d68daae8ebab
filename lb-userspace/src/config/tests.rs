//! Files as people write them, good and bad.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod bad;
mod refused_flows;
mod refused_setups;

const GOOD: &str = r#"
[node]
pin_dir = "/sys/fs/bpf/other"
log_packets = true
[limits]
flows = 4096
[timeouts]
established = "1h 30m"
[[interface]]
name = "eth0"
[[interface]]
name = "eth1"
mode = "auto"

[[service]]
name = "web"
vip = ["192.0.2.10:80/tcp", "192.0.2.10:443/tcp"]
  [service.check]
  type = "http"
  port = 8080
  status = [200, "300-399"]
  body = "ok"
  [[service.backend]]
  address = "10.0.0.2"
  [[service.backend]]
  name = "b2"
  address = "10.0.0.3"
  port = 8080
  weight = 0
  state = "drain"

[[service]]
name = "dns"
vip = "192.0.2.10:53/udp"
algorithm = "maglev"
mode = "nat"
backend = [{ address = "10.0.0.2", port = 53 }]
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "xlb.toml")
}

/// A file with one service `web` on 192.0.2.10:80, to which `more` is added, from line 6 on.
fn web(more: &str) -> String {
    format!(
        "[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"web\"\nvip = \"192.0.2.10:80/tcp\"\n{more}"
    )
}

#[test]
fn a_full_file_says_what_it_says() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.node.pin_dir.to_str(), Some("/sys/fs/bpf/other"));
    assert_eq!(config.node.socket, Node::default().socket);
    assert!(config.node.log_packets);
    assert_eq!(
        config.limits,
        Limits {
            flows: 4096,
            backends: 4096,
            services: 1024,
            written: 262_144,
        }
    );
    assert_eq!(config.timeouts.established, Duration::from_secs(5400));
    assert_eq!(config.timeouts.syn, Duration::from_secs(10));
    let modes: Vec<_> = config.interfaces.iter().map(|interface| interface.mode).collect();
    assert_eq!(modes, [AttachMode::Native, AttachMode::Auto]);

    let [web, dns] = &config.services[..] else {
        panic!("{:?}", config.services)
    };
    assert_eq!(
        web.vips,
        [
            "192.0.2.10:80/tcp".parse().unwrap(),
            "192.0.2.10:443/tcp".parse().unwrap()
        ]
    );
    let [check] = &web.checks[..] else {
        panic!("{:?}", web.checks)
    };
    assert_eq!(
        (check.interval, check.timeout),
        (Duration::from_secs(1), Duration::from_millis(500))
    );
    assert_eq!((check.rise, check.fall, check.port), (2, 3, Some(8080)));
    let CheckKind::Http(http) = &check.kind else {
        panic!("{check:?}")
    };
    let body = Pattern::Text("ok".into());
    assert_eq!(
        (http.path.as_str(), &http.host, &http.body),
        ("/", &None, &Some(body))
    );
    assert!(http.status.contains(200) && !http.status.contains(201) && http.status.contains(302));
    let [b1, b2] = &web.backends[..] else {
        panic!("{:?}", web.backends)
    };
    assert_eq!(
        (b1.name.as_str(), b1.port, b1.weight, b1.admin),
        ("10.0.0.2", None, 100, Admin::Ready)
    );
    assert_eq!(
        (b2.name.as_str(), b2.port, b2.weight, b2.admin),
        ("b2", Some(8080), 0, Admin::Drain)
    );
    assert_eq!(dns.backends[0].name, "10.0.0.2:53");
    let v6 = BackendSpec::new("2001:db8::2".parse().unwrap(), Some(53));
    assert_eq!(v6.name, "2001:db8::2.53");
    assert_eq!(dns.checks, []);
}

#[test]
fn a_small_file_is_enough() {
    let config = parse("[[interface]]\nname = 'eth0'").unwrap();
    assert_eq!((config.node, config.limits), (Node::default(), Limits::default()));
    assert_eq!((config.timeouts, config.services), (Timeouts::default(), vec![]));
}

#[test]
fn what_is_written_reads_the_same() {
    let config = parse(GOOD).unwrap();
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

#[test]
fn the_api_may_say_null() {
    let json = r#"{"name": "web", "vip": "192.0.2.1:80/tcp", "check": null,
        "backend": [{"name": null, "address": "10.0.0.2", "port": null}]}"#;
    let service: ServiceSpec = serde_json::from_str(json).unwrap();
    assert_eq!(
        (service.checks, service.backends[0].name.as_str()),
        (vec![], "10.0.0.2")
    );
}

#[test]
fn the_check_goes_to_the_port_that_is_served() {
    let config = |more: &str| parse(&web(more)).unwrap().services.remove(0);
    let target = |service: &ServiceSpec| {
        let target = service.check_target(service.checks.first()?, &service.backends[0]);
        target.map(|target| target.to_string())
    };
    let given = |check, port| {
        config(&format!(
            "check = {{ type = 'tcp'{check} }}\nbackend = [{{ address = '10.0.0.2'{port} }}]"
        ))
    };
    assert_eq!(target(&given("", "")).as_deref(), Some("10.0.0.2:80"));
    assert_eq!(
        target(&given("", ", port = 8080")).as_deref(),
        Some("10.0.0.2:8080")
    );
    assert_eq!(
        target(&given(", port = 9", ", port = 8080")).as_deref(),
        Some("10.0.0.2:9")
    );
    assert_eq!(target(&config("backend = [{ address = '10.0.0.2' }]")), None);
    // The same port by TCP and UDP, as name servers have it: the TCP one is probed.
    let dns = "[[interface]]\nname='eth0'\n[[service]]\nname='dns'\nvip=['192.0.2.1:53/udp', '192.0.2.1:53/tcp']\n\
        check={type='tcp'}\nbackend=[{address='10.0.0.2'}]";
    assert_eq!(
        target(&parse(dns).unwrap().services[0]).as_deref(),
        Some("10.0.0.2:53")
    );
}

#[test]
fn a_check_by_the_data_path_asks_the_first_vip_or_the_one_of_its_port() {
    let asked = |vip: &str, mode: &str, check: &str| {
        let text = format!(
            "[[interface]]\nname='eth0'\n[[service]]\nname='web'\nvip={vip}\nmode='{mode}'\ncheck={{{check}}}\n\
            backend=[{{address='10.0.0.2'}}]"
        );
        let service = parse(&text).unwrap().services.remove(0);
        let check = &service.checks[0];
        let target = service.check_target(check, &service.backends[0]).unwrap();
        let vip = service.check_vip(check).map(|vip| vip.to_string());
        (vip.unwrap_or_default(), target.to_string())
    };
    let two = "['192.0.2.1:80/tcp', '192.0.2.1:443/tcp']";
    let range = "'192.0.2.0/24:8000-8010/tcp'";
    let through = |vip: &str, target: &str| (vip.to_owned(), target.to_owned());
    for mode in ["dsr", "ipip", "gue"] {
        for (vip, check, expected) in [
            (two, "type='tcp'", through("192.0.2.1:80", "10.0.0.2:80")),
            (
                two,
                "type='tcp', port=443",
                through("192.0.2.1:443", "10.0.0.2:443"),
            ),
            (
                range,
                "type='tcp-hold'",
                through("192.0.2.0:8000", "10.0.0.2:8000"),
            ),
            (
                range,
                "type='http', port=8005",
                through("192.0.2.0:8005", "10.0.0.2:8005"),
            ),
            (
                "'192.0.2.1:*/udp'",
                "type='dns', query='a'",
                through("192.0.2.1:1", "10.0.0.2:1"),
            ),
            // A port of the check's own.
            (two, "type='tcp', port=9000", through("", "10.0.0.2:9000")),
            (
                two,
                "type='tcp', port=443, via='direct'",
                through("", "10.0.0.2:443"),
            ),
        ] {
            assert_eq!(asked(vip, mode, check), expected, "{mode} {vip} {check}");
        }
    }
    assert_eq!(
        asked(two, "nat", "type='tcp', port=443, via='dataplane'"),
        through("192.0.2.1:443", "10.0.0.2:443")
    );
    assert_eq!(
        asked(two, "nat", "type='tcp', via='dataplane'"),
        through("192.0.2.1:80", "10.0.0.2:80")
    );
    assert_eq!(
        asked(two, "nat", "type='tcp', port=443"),
        through("", "10.0.0.2:443")
    );
}

#[test]
fn a_service_is_valid_or_says_why_without_a_file() {
    let mut service = ServiceSpec::new("web", vec!["192.0.2.1:80/tcp".parse().unwrap()]);
    service
        .backends
        .push(BackendSpec::new("10.0.0.2".parse().unwrap(), None));
    service.validate().unwrap();
    service.backends[0].weight = 2000;
    assert_eq!(
        service.validate().unwrap_err().to_string(),
        r#"service "web", backend "10.0.0.2": weight: 2000 is above 1000: use 0 to 1000"#
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.toml");
    let error = Config::load(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}: cannot be read (No such file or directory (os error 2)): name a file that can",
            path.display()
        )
    );
    std::fs::write(&path, b"\xff\xfe").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("is not UTF-8 text"), "{error}");
    let error = Config::load("/dev/zero").unwrap_err().to_string();
    assert!(error.contains("64 MiB and more"), "{error}");
    std::fs::write(&path, GOOD).unwrap();
    assert_eq!(Config::load(&path).unwrap(), parse(GOOD).unwrap());
}

proptest! {
    #[test]
    fn any_text_is_answered_in_one_line(text in "\\PC*|[a-z\\[\\]{}=\"'.,0-9\\n #]*") {
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }

    #[test]
    fn a_damaged_file_is_answered_in_one_line(at in any::<prop::sample::Index>(), length in 0_usize..40, text in "[\\PC\\n]{0,12}") {
        let chars: Vec<char> = GOOD.chars().collect();
        let at = at.index(chars.len());
        let damaged: String = chars[..at].iter().copied()
            .chain(text.chars())
            .chain(chars[(at + length).min(chars.len())..].iter().copied())
            .collect();
        if let Err(error) = parse(&damaged) {
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let text = include_str!("../../xlb.example.toml");
    let example = Config::parse(text, "example").unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(
        uncommented.lines().filter(|line| line.starts_with('#')).count() < 5,
        "{uncommented}"
    );
    let mut everything = Config::parse(&uncommented, "example").unwrap();
    // Those have no default to show.
    assert!(!everything.node.tunnel_sources.is_empty() && !everything.node.sources.is_empty());
    (everything.node.tunnel_sources, everything.node.sources) = (Vec::new(), Vec::new());
    assert!(!std::mem::take(&mut everything.node.on_event).is_empty());
    assert_eq!(
        (
            &everything.node,
            &everything.limits,
            &everything.timeouts,
            &everything.interfaces,
            &everything.vips
        ),
        (
            &example.node,
            &example.limits,
            &example.timeouts,
            &example.interfaces,
            &example.vips
        )
    );
    for (all, some) in everything.services.iter().zip(&example.services) {
        assert_eq!(all.backends, some.backends);
        assert_eq!(
            (all.mode, all.fragments, all.checksum),
            (some.mode, some.fragments, some.checksum)
        );
        assert_eq!(Balance::from(all), Balance::from(some));
    }
    let (all, some) = (
        everything.services[0].checks[0].clone(),
        example.services[0].checks[0].clone(),
    );
    assert_eq!(
        (all.interval, all.timeout, all.rise, all.fall),
        (some.interval, some.timeout, some.rise, some.fall)
    );
    let status = |kind| match kind {
        CheckKind::Http(http) => http.status,
        other => panic!("the example's check is http: {other:?}"),
    };
    assert_eq!(status(all.kind), status(some.kind));
}
