//! `xlb flow …`

use anyhow::{Result, bail};

use super::{Reply, Session};
use crate::{
    api::protocol::{FlowQuery, Flows, Purged, TranslatedFlow, WrittenFlow},
    cli::flow::FlowCommand,
    output::{
        self,
        Column::{Number, Text},
    },
};

/// # Errors
/// When there is no such service, backend or flow, or the agent does not answer.
pub async fn execute(session: &Session, command: &FlowCommand) -> Result<Reply> {
    match command {
        FlowCommand::List { whose, limit } => {
            let query = FlowQuery {
                limit: Some(*limit),
                ..whose.query()
            };
            let flows = session.client.flows(&query).await?;
            Reply::new(session.output, &flows, || list(&flows))
        }
        FlowCommand::Show { ends } => {
            let query = FlowQuery {
                from: Some(ends.from),
                to: Some(ends.to),
                ..FlowQuery::default()
            };
            let flows = session.client.flows(&query).await?;
            if flows.translated.is_empty() && flows.written.is_empty() {
                bail!(
                    "no flow from {} to {} is remembered: 'xlb lookup' says which backend it has all the same",
                    ends.from,
                    ends.to
                );
            }
            Reply::new(session.output, &flows, || list(&flows))
        }
        FlowCommand::Purge(purge) => {
            let purged = session.client.purge_flows(&purge.query()).await?;
            Reply::new(session.output, &purged, || said(&purged))
        }
    }
}

fn list(flows: &Flows) -> String {
    let mut parts = Vec::new();
    if !flows.translated.is_empty() {
        let more = more(flows.translated.len(), flows.translated_total);
        parts.push(translated(&flows.translated) + &more);
    }
    if !flows.written.is_empty() {
        let more = more(flows.written.len(), flows.written_total);
        parts.push(written(&flows.written) + &more);
    }
    if parts.is_empty() {
        return "no flows\n".into();
    }
    parts.join("\n")
}

fn more(shown: usize, all: u64) -> String {
    match all.saturating_sub(shown as u64) {
        0 => String::new(),
        more => format!("{} more: --limit says how many are shown\n", output::count(more)),
    }
}

fn translated(flows: &[TranslatedFlow]) -> String {
    let columns = [
        Text("SERVICE"),
        Text("BACKEND"),
        Text("PROTO"),
        Text("CLIENT"),
        Text("VIP"),
        Text("SOURCE"),
        Text("DESTINATION"),
        Text("STATE"),
        Number("AGE"),
    ];
    let end =
        |socket: Option<std::net::SocketAddr>| socket.map_or(output::NONE.into(), |end| end.to_string());
    let rows = flows.iter().map(|flow| {
        [
            name(flow.service.as_ref()),
            name(flow.backend.as_ref()),
            flow.protocol.clone(),
            flow.client.to_string(),
            flow.vip.to_string(),
            end(flow.source),
            end(flow.destination),
            flow.state.clone(),
            output::duration(flow.age_seconds),
        ]
    });
    output::table(&columns, rows)
}

fn written(flows: &[WrittenFlow]) -> String {
    let columns = [
        Text("SERVICE"),
        Text("BACKEND"),
        Number("SLOT"),
        Text("STATE"),
        Number("AGE"),
    ];
    let rows = flows.iter().map(|flow| {
        [
            name(flow.service.as_ref()),
            name(flow.backend.as_ref()),
            flow.slot.map_or(output::NONE.into(), |slot| slot.to_string()),
            flow.state.clone(),
            output::duration(flow.age_seconds),
        ]
    });
    let table = output::table(&columns, rows);
    format!("Written down, by a fingerprint: their addresses are not kept\n{table}")
}

fn name(name: Option<&String>) -> String {
    name.cloned().unwrap_or_else(|| output::NONE.into())
}

fn said(purged: &Purged) -> String {
    let Purged {
        translated,
        written,
        clients,
    } = purged;
    let flows = translated + written;
    let clients = match clients {
        0 => String::new(),
        clients => format!(", and where {clients} clients went last"),
    };
    format!("{flows} flows forgotten{clients}\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::client::canned::CannedAgent,
        cli::{Cli, Command, Output},
    };

    async fn asked(answer: Value, line: &str) -> (Result<Reply>, String) {
        let agent = CannedAgent::new(200, answer);
        let Command::Flow(command) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("{line}");
        };
        let reply = execute(&agent.session(Output::Table), &command).await;
        (reply, agent.requests().remove(0).0)
    }

    fn flows() -> Value {
        json!({
            "translated": [{
                "service": "web", "backend": null, "mode": "full-nat", "protocol": "tcp",
                "client": "198.51.100.7:4000", "vip": "192.0.2.10:80", "source": "10.0.0.1:1024",
                "destination": "10.0.0.2:8080", "state": "established", "age_seconds": 3,
            }],
            "written": [{"service": "dns", "backend": "b1", "slot": 77, "state": "opened", "age_seconds": 4}],
            "translated_total": 1, "written_total": 12,
        })
    }

    #[tokio::test]
    async fn both_kinds_in_a_table_each() {
        let (reply, request) = asked(flows(), "xlb flow list --backend web/b1 --limit 1").await;
        assert_eq!(
            reply.unwrap().text,
            "\
SERVICE  BACKEND  PROTO  CLIENT             VIP            SOURCE         DESTINATION    STATE        AGE
web      -        tcp    198.51.100.7:4000  192.0.2.10:80  10.0.0.1:1024  10.0.0.2:8080  established   3s

Written down, by a fingerprint: their addresses are not kept
SERVICE  BACKEND  SLOT  STATE   AGE
dns      b1         77  opened   4s
11 more: --limit says how many are shown
"
        );
        assert_eq!(request, "GET /v1/flows?service=web&backend=b1&limit=1");
    }

    #[tokio::test]
    async fn one_flow_that_is_not_known_is_an_error() {
        let none = json!({"translated": [], "written": [], "translated_total": 0, "written_total": 0});
        let (reply, _) = asked(
            none.clone(),
            "xlb flow show --from 198.51.100.7:4000 --to 192.0.2.10:80",
        )
        .await;
        let error = reply.unwrap_err().to_string();
        assert!(
            error.starts_with("no flow from 198.51.100.7:4000 to 192.0.2.10:80/tcp is remembered: "),
            "{error}"
        );
        assert_eq!(asked(none, "xlb flow list").await.0.unwrap().text, "no flows\n");
    }

    #[tokio::test]
    async fn a_purge_says_how_many_are_gone() {
        let gone = json!({"translated": 2, "written": 3, "clients": 0});
        let line = "xlb flow purge --from 198.51.100.7:4000 --to [2001:db8::1]:53/udp";
        let (reply, request) = asked(gone, line).await;
        assert_eq!(reply.unwrap().text, "5 flows forgotten\n");
        let path = "DELETE /v1/flows?from=198.51.100.7%3A4000&to=%5B2001%3Adb8%3A%3A1%5D%3A53%2Fudp";
        assert_eq!(request, path);
    }
}
