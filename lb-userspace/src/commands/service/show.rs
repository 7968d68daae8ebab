//! `xlb service show`

use anyhow::Result;

use super::flows;
use crate::{
    api::protocol::{Backend, Counters, Service},
    commands::{Reply, Session, backend},
    config::{Fragments, QuicSpec},
    output::{self, Column::Text},
};

pub async fn execute(session: &Session, name: &str) -> Result<Reply> {
    let service = session.client.service(name).await?;
    Reply::new(session.output, &service, || page(&service))
}

fn page(service: &Service) -> String {
    let vips: Vec<_> = service.vips.iter().map(ToString::to_string).collect();
    let Counters {
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
        flows_opened,
        packets_dropped,
    } = service.counters;
    let (count, bytes) = (output::count, output::bytes);
    let facts = [
        ("Service", service.name.clone()),
        ("VIP", vips.join(", ")),
        ("Mode", mode(service)),
        ("Algorithm", flows::algorithm(&service.balance)),
    ];
    let affinity = service.balance.affinity.as_ref().map(flows::affinity);
    let limits = flows::limits(&service.balance);
    let some = [("Affinity", affinity), ("New flows", limits)];
    let some = some.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let counted = [
        (
            "In",
            format!("{} packets, {}", count(packets_in), bytes(bytes_in)),
        ),
        (
            "Out",
            format!("{} packets, {}", count(packets_out), bytes(bytes_out)),
        ),
        ("Dropped", format!("{} packets", count(packets_dropped))),
        (
            "Flows",
            format!("{} now, {} opened", count(service.flows()), count(flows_opened)),
        ),
    ];
    let checks: Vec<_> = match service.checks.as_slice() {
        [] => vec![("Check", "none: backends count as up".to_owned())],
        checks => checks
            .iter()
            .map(|check| ("Check", super::check::told(service, check)))
            .collect(),
    };
    let facts = output::facts(facts.into_iter().chain(some).chain(checks).chain(counted));
    let backends = if service.backends.is_empty() {
        "no backends\n".into()
    } else {
        backends(&service.backends) + &server_ids(service)
    };
    format!("{facts}\n{backends}")
}

/// The mode with those of its settings that are not as everywhere.
fn mode(service: &Service) -> String {
    let mut text = service.mode.name().to_owned();
    if let Some(mtu) = service.mtu {
        text += &format!(", mtu {mtu}");
    }
    if service.fragments != Fragments::default() {
        text += &format!(", fragments {}", service.fragments.name());
    }
    if service.checksum {
        text += ", checksum";
    }
    if let Some(quic) = service.quic {
        let QuicSpec {
            config_id,
            server_id_length,
        } = quic;
        text += &format!(", quic config {config_id} with server IDs of {server_id_length} bytes");
    }
    text
}

fn backends(backends: &[Backend]) -> String {
    let columns = [&backend::COLUMNS[..], &[Text("NEXT HOP"), Text("LAST CHECK")]].concat();
    let rows = backends.iter().map(|one| {
        let next_hop = one.next_hop.as_ref();
        let next_hop = next_hop.map(|hop| format!("{} {}", hop.interface, hop.mac));
        let last_check = one.last_check.as_deref().map(output::one_line);
        let more = [next_hop, last_check].map(|cell| cell.unwrap_or(output::NONE.into()));
        backend::cells(one.name.clone(), one).into_iter().chain(more)
    });
    output::table(&columns, rows)
}

/// Whom QUIC connection IDs name, where they are read.
fn server_ids(service: &Service) -> String {
    if service.quic.is_none() {
        return String::new();
    }
    let rows = service.backends.iter().map(|backend| {
        let id = backend.server_id.map(|id| id.to_string());
        [backend.name.clone(), id.unwrap_or(output::NONE.into())]
    });
    let table = output::table(&[Text("BACKEND"), Text("SERVER ID")], rows);
    format!("\n{table}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::client::canned::{self, CannedAgent},
        cli::Output,
    };

    #[tokio::test]
    async fn one_page() {
        let agent = CannedAgent::new(200, canned::service());
        let reply = execute(&agent.session(Output::Table), "web").await.unwrap();
        assert_eq!(
            reply.text,
            "\
Service    web
VIP        192.0.2.10:80/tcp, 192.0.2.10:443/tcp
Mode       nat
Algorithm  maglev
Check      http every 1s, timeout 500ms, rise 2, fall 3, GET /health expects 200-399
In         1.2 M packets, 3.4 GiB
Out        9876 packets, 512.0 KiB
Dropped    12 packets
Flows      14 now, 100 opened

BACKEND        ADDRESS        ADMIN  HEALTH  STATE  WEIGHT  MAX  PRIORITY  FLOWS  NEXT HOP                LAST CHECK
b1             10.0.0.2:8080  ready  up      up        100    -         0      7  eth0 02:00:00:00:00:01  200 in 2 ms
10.0.0.3:8080  10.0.0.3       drain  down    down       50  500         1      7  -                       -
"
        );
        assert_eq!(agent.requests(), [("GET /v1/services/web".into(), json!(null))]);
    }

    #[tokio::test]
    async fn a_check_is_shown_with_the_way_that_it_goes() {
        for (mode, way) in [("nat", ""), ("dsr", ", through the data path")] {
            let mut service = canned::service();
            service["mode"] = json!(mode);
            service["check"] = json!({"type": "tcp"});
            let agent = CannedAgent::new(200, service);
            let text = execute(&agent.session(Output::Table), "web").await.unwrap().text;
            let line = format!("Check      tcp every 1s, timeout 500ms, rise 2, fall 3{way}\n");
            assert!(text.contains(&line), "{text}");
        }
    }

    #[tokio::test]
    async fn settings_of_the_mode_and_server_ids_are_shown() {
        let mut service = canned::service();
        service["mode"] = json!("gue");
        service["mtu"] = json!(1500);
        service["fragments"] = json!("hash");
        service["checksum"] = json!(true);
        service["quic"] = json!({"config_id": 1, "server_id_length": 2});
        service["backends"][0]["server_id"] = json!("0a0b");
        service["backends"][0]["weight_now"] = json!(10);
        let reply = execute(&CannedAgent::new(200, service).session(Output::Table), "web")
            .await
            .unwrap();
        let mode =
            "Mode       gue, mtu 1500, fragments hash, checksum, quic config 1 with server IDs of 2 bytes\n";
        assert!(reply.text.contains(mode), "{}", reply.text);
        assert!(reply.text.contains(" 10/100 "), "{}", reply.text);
        let ids = "\n\nBACKEND        SERVER ID\nb1             0a0b\n10.0.0.3:8080  -\n";
        assert!(reply.text.ends_with(ids), "{}", reply.text);
    }

    #[tokio::test]
    async fn settings_of_flows_are_shown() {
        let mut service = canned::service();
        service["algorithm"] = json!("p2c");
        service["need"] = json!(2);
        service["on_full"] = json!("drop");
        service["on_down"] = json!("reset");
        service["udp"] = json!("move");
        service["drain_timeout"] = json!("1h");
        service["affinity"] = json!({"timeout": "5m"});
        service["new_flows_per_source"] = json!({"per_second": 10, "prefix": [24, 64]});
        let reply = execute(&CannedAgent::new(200, service).session(Output::Table), "web")
            .await
            .unwrap();
        let lines = "\
Algorithm  p2c, need 2, on full drop, on down reset, udp move, drain timeout 1h
Affinity   5m after a client's last new flow
New flows  10 a second, 10 at once of each source, by 24/64 bits
";
        assert!(reply.text.contains(lines), "{}", reply.text);
    }

    #[tokio::test]
    async fn a_service_without_check_and_backends() {
        let mut service = canned::service();
        service["check"] = json!(null);
        service["backends"] = json!([]);
        let reply = execute(&CannedAgent::new(200, service).session(Output::Table), "web")
            .await
            .unwrap();
        assert!(
            reply.text.contains("Check      none: backends count as up\n"),
            "{}",
            reply.text
        );
        assert!(reply.text.ends_with("\nno backends\n"), "{}", reply.text);
    }
}
