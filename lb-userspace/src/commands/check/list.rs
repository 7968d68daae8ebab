//! `xlb check list`

use anyhow::Result;

use super::{ago, exceptions, target};
use crate::{
    api::protocol::{BackendChecks, Check, CheckQuery},
    commands::{Reply, Session},
    output::{
        self,
        Column::{Number, Text},
    },
};

pub async fn execute(session: &Session, query: &CheckQuery) -> Result<Reply> {
    let all = session.client.checks(query).await?;
    Reply::new(session.output, &all, || page(&all))
}

fn page(all: &[BackendChecks]) -> String {
    if all.is_empty() {
        return "no checks: without one, backends count as up\n".into();
    }
    let notes: String = all.iter().flat_map(notes).collect();
    let break_ = if notes.is_empty() { "" } else { "\n" };
    format!("{}{break_}{notes}", table(all))
}

fn table(all: &[BackendChecks]) -> String {
    let suspects = all
        .iter()
        .flat_map(|one| &one.checks)
        .any(|check| check.suspicion.is_some());
    let columns = [
        Some(Text("SERVICE")),
        Some(Text("BACKEND")),
        Some(Text("HEALTH")),
        Some(Text("STATE")),
        Some(Text("CHECK")),
        Some(Text("TARGET")),
        Some(Number("STREAK")),
        suspects.then_some(Number("PHI")),
        Some(Number("LAST")),
        Some(Text("RESULT")),
    ];
    let columns: Vec<_> = columns.into_iter().flatten().collect();
    let both = all
        .iter()
        .flat_map(|one| one.checks.iter().map(move |check| (one, check)));
    let rows = both.map(|(one, check)| {
        let last = check.last.as_ref();
        let none = || output::NONE.to_owned();
        let phi = check.suspicion.map_or_else(none, |phi| format!("{phi:.2}"));
        let row = [
            Some(one.service.clone()),
            Some(one.backend.clone()),
            Some(one.health.name().into()),
            Some(one.state.name().into()),
            Some(check.kind.clone()),
            Some(target(&check.target, check.via)),
            Some(streak(check)),
            suspects.then_some(phi),
            Some(last.map_or_else(none, |last| ago(last.age_seconds))),
            Some(last.map_or_else(none, |last| output::one_line(&last.said))),
        ];
        row.into_iter().flatten()
    });
    output::table(&columns, rows)
}

fn streak(check: &Check) -> String {
    match check.needed {
        Some(needed) => format!("{}/{needed}", check.streak),
        None => check.streak.to_string(),
    }
}

fn notes(one: &BackendChecks) -> Vec<String> {
    let name = format!("{}/{}", one.service, one.backend);
    let lines = exceptions(one).into_iter();
    lines
        .map(|line| format!("{name}: {}\n", output::one_line(&line)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::tests::{backend, exceptional},
        *,
    };
    use crate::{api::client::canned::CannedAgent, cli::Output};

    async fn listed(answer: Value) -> (String, String) {
        let agent = CannedAgent::new(200, answer);
        let query = CheckQuery {
            service: Some("web".into()),
            backend: None,
        };
        let reply = execute(&agent.session(Output::Table), &query).await.unwrap();
        (reply.text, agent.requests().remove(0).0)
    }

    #[tokio::test]
    async fn a_row_for_each_check_and_notes_below() {
        let (text, request) = listed(json!([backend(), exceptional()])).await;
        assert_eq!(
            text,
            "\
SERVICE  BACKEND  HEALTH  STATE  CHECK  TARGET         STREAK   PHI    LAST  RESULT
web      b1       up      up     http   10.0.0.2:8080     1/3     -    0.4s  status 500
web      b1       up      up     icmp   10.0.0.2            0  0.25       -  -
web      b2       down    up     http   10.0.0.2:8080     0/2     -  1m 15s  status 500

web/b2: not probed by http for 1m 15s, and stays as it is: connect: too many open files
web/b2: held down for 12s more: it has failed 5 times within a short while
web/b2: kept although its checks fail: its service is in panic
web/b2: wishes down drain #disk
web/b2: weight 10 of 100 for now: it grows, as it has just come up
"
        );
        assert_eq!(request, "GET /v1/checks?service=web");
    }

    #[tokio::test]
    async fn who_is_asked_by_the_data_path_is_asked_for_the_vip() {
        let mut one = backend();
        one["checks"][0]["via"] = json!("dataplane");
        one["checks"][0]["target"] = json!("192.0.2.1:80");
        let (text, _) = listed(json!([one])).await;
        assert!(text.contains("  http   VIP 192.0.2.1:80  "), "{text}");
    }

    #[tokio::test]
    async fn a_column_that_nobody_needs_is_left_out() {
        let mut one = backend();
        one["checks"][1]["suspicion"] = json!(null);
        let (text, _) = listed(json!([one])).await;
        assert!(
            text.starts_with("SERVICE  BACKEND  HEALTH  STATE  CHECK  TARGET         STREAK  LAST  RESULT\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
        let (text, _) = listed(json!([])).await;
        assert_eq!(text, "no checks: without one, backends count as up\n");
    }
}
