//! `xlb check run`

use anyhow::Result;

use super::target;
use crate::{
    api::protocol::CheckRun,
    cli::values::BackendPath,
    commands::{Code, Reply, Session},
    output::{self, Column::Text},
};

pub async fn execute(session: &Session, path: &BackendPath) -> Result<Reply> {
    let run = session.client.run_checks(&path.service, &path.backend).await?;
    let passed = run.checks.iter().all(|check| check.passed);
    let code = if passed { Code::Done } else { Code::NotReady };
    Ok(Reply::new(session.output, &run, || table(&run))?.with_code(code))
}

fn table(run: &CheckRun) -> String {
    let columns = [Text("CHECK"), Text("TARGET"), Text("PASSED"), Text("RESULT")];
    let rows = run.checks.iter().map(|check| {
        let passed = if check.passed { "yes" } else { "no" };
        [
            check.kind.clone(),
            target(&check.target, check.via),
            passed.to_owned(),
            output::one_line(&check.said),
        ]
    });
    output::table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::client::canned::CannedAgent, cli::Output};

    fn ran(second_passes: bool) -> Value {
        json!({
            "service": "web", "backend": "b1",
            "checks": [
                {"type": "http", "target": "10.0.0.2:8080", "via": "direct", "passed": true, "said": "passed in 0.4 ms: status 200", "took_ms": 0.4},
                {"type": "tcp", "target": "192.0.2.1:22", "via": "dataplane", "passed": second_passes, "said": "connect: connection refused", "took_ms": 0.1},
            ],
        })
    }

    #[tokio::test]
    async fn one_that_fails_is_code_2() {
        let agent = CannedAgent::new(200, ran(false));
        let path = "web/b1".parse().unwrap();
        let reply = execute(&agent.session(Output::Table), &path).await.unwrap();
        assert_eq!(reply.code, Code::NotReady);
        assert_eq!(
            reply.text,
            "\
CHECK  TARGET            PASSED  RESULT
http   10.0.0.2:8080     yes     passed in 0.4 ms: status 200
tcp    VIP 192.0.2.1:22  no      connect: connection refused
"
        );
        let request = "POST /v1/services/web/backends/b1/check";
        assert_eq!(agent.requests(), [(request.to_owned(), Value::Null)]);
    }

    #[tokio::test]
    async fn all_that_pass_are_code_0() {
        let agent = CannedAgent::new(200, ran(true));
        let path = "web/b1".parse().unwrap();
        let reply = execute(&agent.session(Output::Json), &path).await.unwrap();
        assert_eq!(reply.code, Code::Done);
        assert_eq!(serde_json::from_str::<Value>(&reply.text).unwrap(), ran(true));
    }
}
