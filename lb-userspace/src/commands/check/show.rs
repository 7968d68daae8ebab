//! `xlb check show`

use anyhow::{Context as _, Result};

use super::{ago, exceptions, target};
use crate::{
    api::protocol::{BackendChecks, Check, CheckQuery, Health},
    cli::values::BackendPath,
    commands::{Reply, Session},
    control::change::Refusal,
    output::{self, facts},
};

pub async fn execute(session: &Session, path: &BackendPath) -> Result<Reply> {
    let query = CheckQuery {
        service: Some(path.service.clone()),
        backend: Some(path.backend.clone()),
    };
    let found = session.client.checks(&query).await?.pop();
    let one = found.with_context(|| Refusal::NoCheck(path.service.clone(), path.backend.clone()))?;
    Reply::new(session.output, &one, || page(&one))
}

fn page(one: &BackendChecks) -> String {
    let health = match one.since_seconds {
        Some(seconds) => format!("{}, for {}", one.health.name(), output::duration(seconds)),
        None => one.health.name().to_owned(),
    };
    let weight = if one.weight == one.weight_now {
        one.weight.to_string()
    } else {
        format!("{} of {}", one.weight_now, one.weight)
    };
    let mut all = vec![
        ("Backend", format!("{}/{}", one.service, one.backend)),
        ("Health", health),
        ("State", one.state.name().to_owned()),
        ("Weight", weight),
        (
            "Failures",
            format!("{} within the window of flap damping", one.failures),
        ),
    ];
    all.extend(exceptions(one).into_iter().map(|line| ("Note", line)));
    let parts = std::iter::once(facts(all)).chain(one.checks.iter().map(check));
    parts.collect::<Vec<_>>().join("\n")
}

fn check(check: &Check) -> String {
    let mut all = vec![
        ("Check", check.how.clone()),
        ("Target", target(&check.target, check.via)),
        ("Health", check.health.name().to_owned()),
        ("Streak", streak(check)),
    ];
    if let Some(phi) = check.suspicion {
        all.push(("Phi", format!("{phi:.2}: how unlikely the silence is by now")));
    }
    let last = check.last.as_ref();
    let last = last.map(|last| format!("{} ago: {}", ago(last.age_seconds), last.said));
    all.push(("Last", last.unwrap_or_else(|| "no result yet".to_owned())));
    facts(all)
}

fn streak(check: &Check) -> String {
    let next = match check.health {
        Health::Up => "down",
        _ => "up",
    };
    let pace = if check.hurries {
        "; probes at its fast interval"
    } else {
        ""
    };
    let streak = check.streak;
    match check.needed {
        Some(needed) => format!("{streak} of {needed} results that make it {next}{pace}"),
        None => format!("{streak} results against it; a long silence makes it {next}{pace}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::tests::{backend, exceptional},
        *,
    };
    use crate::{api::client::canned::CannedAgent, cli::Output};

    async fn shown(answer: Value, output: Output) -> Result<String> {
        let agent = CannedAgent::new(200, answer);
        let reply = execute(&agent.session(output), &"web/b1".parse().unwrap()).await?;
        assert_eq!(agent.requests()[0].0, "GET /v1/checks?service=web&backend=b1");
        Ok(reply.text)
    }

    #[tokio::test]
    async fn one_page() {
        assert_eq!(
            shown(json!([backend()]), Output::Table).await.unwrap(),
            "\
Backend    web/b1
Health     up, for 2h 2m
State      up
Weight     100
Failures   0 within the window of flap damping

Check      http every 1s, timeout 500ms, rise 2, fall 3, GET /health expects 200-399
Target     10.0.0.2:8080
Health     up
Streak     1 of 3 results that make it down; probes at its fast interval
Last       0.4s ago: status 500

Check      icmp every 1s, timeout 500ms, rise 2, phi 8
Target     10.0.0.2
Health     up
Streak     0 results against it; a long silence makes it down
Phi        0.25: how unlikely the silence is by now
Last       no result yet
"
        );
    }

    #[tokio::test]
    async fn what_is_exceptional_is_noted() {
        let text = shown(json!([exceptional()]), Output::Table).await.unwrap();
        assert!(
            text.starts_with("Backend    web/b2\nHealth     down\nState      up\nWeight     10 of 100\n"),
            "{text}"
        );
        assert!(text.contains("Note       wishes down drain #disk\n"), "{text}");
        assert!(
            text.contains("Streak     0 of 2 results that make it up; "),
            "{text}"
        );
    }

    #[tokio::test]
    async fn json_is_the_backend_itself_and_one_without_checks_is_an_error() {
        let text = shown(json!([backend()]), Output::Json).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), backend());
        let error = shown(json!([]), Output::Table).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "service \"web\", backend \"b1\": it has no check: give its service one"
        );
    }
}
