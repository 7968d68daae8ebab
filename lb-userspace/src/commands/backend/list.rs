//! `xlb backend list`

use anyhow::Result;
use serde::Serialize;

use super::{COLUMNS, cells};
use crate::{
    api::protocol::{Backend, Service},
    commands::{Reply, Session},
    output::{self, Column::Number},
};

/// What `-o json` prints a list of.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    /// Name of the service that the backend belongs to.
    service: &'a str,
    #[serde(flatten)]
    backend: &'a Backend,
}

pub async fn execute(session: &Session, service: Option<&str>) -> Result<Reply> {
    let services = match service {
        Some(name) => vec![session.client.service(name).await?],
        None => session.client.services().await?,
    };
    let backends: Vec<_> = services.iter().flat_map(listed).collect();
    Reply::new(session.output, &backends, || {
        if backends.is_empty() {
            "no backends\n".into()
        } else {
            table(&backends)
        }
    })
}

fn listed(service: &Service) -> impl Iterator<Item = Listed<'_>> {
    service.backends.iter().map(|backend| Listed {
        service: &service.name,
        backend,
    })
}

fn table(backends: &[Listed<'_>]) -> String {
    let columns = [&COLUMNS[..], &[Number("PACKETS IN"), Number("PACKETS OUT")]].concat();
    let rows = backends.iter().map(|Listed { service, backend }| {
        let counters = &backend.counters;
        let packets = [counters.packets_in, counters.packets_out].map(output::count);
        let name = format!("{service}/{}", backend.name);
        cells(name, backend).into_iter().chain(packets)
    });
    output::table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::client::canned::{self, CannedAgent},
        cli::Output,
    };

    #[tokio::test]
    async fn all_backends_with_their_services() {
        let agent = CannedAgent::new(200, json!([canned::service()]));
        let reply = execute(&agent.session(Output::Table), None).await.unwrap();
        assert_eq!(
            reply.text,
            "\
BACKEND            ADDRESS        ADMIN  HEALTH  STATE  WEIGHT  MAX  PRIORITY  FLOWS  PACKETS IN  PACKETS OUT
web/b1             10.0.0.2:8080  ready  up      up        100    -         0      7       1.2 M         9876
web/10.0.0.3:8080  10.0.0.3       drain  down    down       50  500         1      7       1.2 M         9876
"
        );
    }

    #[tokio::test]
    async fn in_json_each_backend_names_its_service() {
        let agent = CannedAgent::new(200, canned::service());
        let reply = execute(&agent.session(Output::Json), Some("web")).await.unwrap();
        let list: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!(list[0]["service"], "web");
        assert_eq!(list[0]["name"], "b1");
        assert_eq!(agent.requests(), [("GET /v1/services/web".into(), json!(null))]);
    }
}
