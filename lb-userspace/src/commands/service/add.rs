//! `xlb service add`

use anyhow::{Result, anyhow};

use crate::{
    cli::ServiceAdd,
    commands::{Reply, Session},
    config::{QuicSpec, ServiceSpec},
};

pub async fn execute(session: &Session, arguments: &ServiceAdd) -> Result<Reply> {
    let spec = spec(arguments)?;
    // As the configuration would say it; the agent would complain of the JSON that nobody has written.
    spec.validate()?;
    spec.validate_files()?;
    let service = session.client.add_service(&spec).await?;
    Reply::new(session.output, &service, || {
        format!("service {} added\n", service.name)
    })
}

fn spec(arguments: &ServiceAdd) -> Result<ServiceSpec> {
    let ServiceAdd {
        name,
        vips,
        mode,
        mtu,
        fragments,
        checksum,
        quic_config_id,
        quic_server_id_length,
        backends,
        one_packet,
        flows,
        check,
    } = arguments.clone();
    let quic = quic_config_id
        .zip(quic_server_id_length)
        .map(|(config_id, server_id_length)| QuicSpec {
            config_id,
            server_id_length,
        });
    let checks = super::check::checks(&check).map_err(|error| anyhow!("service {name:?}, {error}"))?;
    let health = check.health.as_deref().map(super::check::health).transpose();
    let health = health.map_err(|error| anyhow!("service {name:?}, {error}"))?;
    let unnamed = ServiceSpec::new(name, vips);
    let mut spec = ServiceSpec {
        mode,
        mtu,
        fragments,
        checksum,
        quic,
        checks,
        health: health.unwrap_or_default(),
        backends,
        one_packet,
        ..unnamed
    };
    super::flows::change(flows).apply(&mut spec);
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{Cli, Command, ServiceCommand};

    fn body(flags: &str) -> Result<Value> {
        let line = ["xlb", "service", "add", "web"]
            .into_iter()
            .chain(flags.split(' '));
        match Cli::try_parse_from(line).unwrap().command {
            Command::Service(ServiceCommand::Add(arguments)) => Ok(serde_json::to_value(spec(&arguments)?)?),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_what_the_configuration_would_say() {
        let body = body(
            "--vip 192.0.2.10:80/tcp --vip 192.0.2.10:443/tcp --backend 10.0.0.2:8080,name=b1 --backend 10.0.0.3,weight=5 \
             --check http --check-interval 2s --check-path /health --check-status 200-299,304 --check-port 9000",
        );
        assert_eq!(
            body.unwrap(),
            json!({
                "name": "web", "vip": ["192.0.2.10:80/tcp", "192.0.2.10:443/tcp"],
                "algorithm": "maglev", "mode": "nat",
                "check": {
                    "type": "http", "interval": "2s", "timeout": "500ms", "rise": 2, "fall": 3, "port": 9000,
                    "path": "/health", "status": "200-299,304",
                },
                "backend": [
                    {"name": "b1", "address": "10.0.0.2", "port": 8080, "weight": 100, "state": "ready"},
                    {"name": "10.0.0.3", "address": "10.0.0.3", "weight": 5, "state": "ready"},
                ],
            })
        );
    }

    #[test]
    fn flags_of_a_mode_become_its_settings() {
        let body = body(
            "--vip [2001:db8::/64]:443/udp --mode gue --mtu 1500 --fragments hash --checksum --quic-config-id 1 \
             --quic-server-id-length 2 --backend 10.0.0.2,server-id=0a0b",
        );
        assert_eq!(
            body.unwrap(),
            json!({
                "name": "web", "vip": ["[2001:db8::/64]:443/udp"], "algorithm": "maglev", "mode": "gue",
                "mtu": 1500, "fragments": "hash", "checksum": true,
                "quic": {"config_id": 1, "server_id_length": 2},
                "backend": [{
                    "name": "10.0.0.2", "address": "10.0.0.2", "weight": 100, "state": "ready", "server_id": "0a0b",
                }],
            })
        );
    }

    #[test]
    fn flags_of_flows_become_its_settings() {
        let body = body(
            "--vip 192.0.2.10:53/udp --mode dsr --algorithm source --source-prefix 24/64 --need 2 --on-full spill --on-down reset --withdraw true \
             --udp move --drain-timeout 1h --affinity 5m,prefix=24/64 --new-flows 1000,burst=5000 \
             --new-flows-per-source 10,prefix=24/48 --backend 10.0.0.2,max-connections=500,priority=1,state=drain",
        );
        assert_eq!(
            body.unwrap(),
            json!({
                "name": "web", "vip": ["192.0.2.10:53/udp"], "algorithm": "source", "source_prefix": [24, 64],
                "need": 2, "on_full": "spill", "on_down": "reset", "withdraw": true, "udp": "move", "drain_timeout": "1h", "mode": "dsr",
                "affinity": {"timeout": "5m", "prefix": [24, 64]},
                "new_flows": {"per_second": 1000, "burst": 5000},
                "new_flows_per_source": {"per_second": 10, "prefix": [24, 48]},
                "backend": [{
                    "name": "10.0.0.2", "address": "10.0.0.2", "weight": 100, "max_connections": 500, "priority": 1,
                    "state": "drain",
                }],
            })
        );
    }

    #[test]
    fn checks_are_written_with_their_fields() {
        let body = body(
            "--vip 192.0.2.10:53/udp --check dns,query=example.com,rise=1,fast-interval=100ms --check icmp,jitter=10 \
             --check tcp,port=8080,expect_regex=^a{1\\,2}$,phi=8 --backend 10.0.0.2",
        );
        assert_eq!(
            body.unwrap()["check"],
            json!([
                {
                    "type": "dns", "interval": "1s", "fast_interval": "100ms", "timeout": "500ms", "rise": 1, "fall": 3,
                    "query": "example.com", "record": "A", "rcode": "NOERROR",
                },
                {"type": "icmp", "interval": "1s", "jitter": 10, "timeout": "500ms", "rise": 2, "fall": 3},
                {
                    "type": "tcp", "interval": "1s", "timeout": "500ms", "rise": 2, "phi": 8.0, "port": 8080,
                    "expect_regex": "^a{1,2}$",
                },
            ])
        );
    }

    #[test]
    fn a_check_that_cannot_be_is_refused_by_name() {
        for (flags, said) in [
            (
                "--check tcp --check-path /",
                r#"check: path: a check of type "tcp" has none: remove it, or use type = "http" or "https""#,
            ),
            (
                "--check tcp --check-rise 0",
                "check: rise: 0 is below 1: use 1 to 100",
            ),
            (
                "--check tcp,rise=no",
                "check: rise: string \"no\" does not fit here: use a whole number from 1 to 100",
            ),
            (
                "--check tcp --check icmp --check-rise 2",
                "--check-rise: of which check? write it as --check TYPE,rise=… of the one that it is for",
            ),
            (
                "--check exec,/bin/true",
                "check: \"/bin/true\" is no field with its value: write it like interval=1s, and a comma that is meant literally as \\,",
            ),
        ] {
            let error = body(&format!("--vip 192.0.2.10:80/tcp {flags}")).unwrap_err();
            assert_eq!(error.to_string(), format!("service \"web\", {said}"), "{flags}");
        }
    }
}
