//! `xlb check …`

mod history;
mod list;
mod run;
mod show;

use anyhow::Result;

use crate::{
    api::protocol::{BackendChecks, CheckQuery},
    cli::check::{CheckCommand, Whose},
    commands::{Reply, Session},
    config::Via,
    output,
};

/// # Errors
/// When there is no such service or backend, or the agent does not answer.
pub async fn execute(session: &Session, command: &CheckCommand) -> Result<Reply> {
    match command {
        CheckCommand::List { whose } => {
            let (service, backend) = Whose::names(whose.as_ref());
            list::execute(session, &CheckQuery { service, backend }).await
        }
        CheckCommand::Show { path } => show::execute(session, path).await,
        CheckCommand::Run { path } => run::execute(session, path).await,
        CheckCommand::History { whose, since, lines } => {
            history::execute(session, whose.as_ref(), *since, *lines).await
        }
    }
}

/// What a check asks.
fn target(target: &str, via: Via) -> String {
    match via {
        Via::Direct => target.to_owned(),
        Via::Dataplane => format!("VIP {target}"),
    }
}

/// How long ago something was, exactly while that is short.
fn ago(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.1}s")
    } else {
        output::duration(std::time::Duration::from_secs_f64(seconds.min(1e9)).as_secs())
    }
}

/// What a backend has that its checks and settings alone do not say, in a line each.
fn exceptions(one: &BackendChecks) -> Vec<String> {
    let held = one.held_seconds.map(|left| {
        let (left, failures) = (output::duration(left), one.failures);
        format!("held down for {left} more: it has failed {failures} times within a short while")
    });
    let kept = one
        .kept_in_panic
        .then(|| "kept although its checks fail: its service is in panic".to_owned());
    let wish = one.wish.as_ref().map(|wish| format!("wishes {wish}"));
    let (now, set) = (one.weight_now, one.weight);
    let weight = (now != set).then(|| {
        let why = match one.wish.as_ref().and_then(|wish| wish.weight) {
            Some(_) => "as its agent wishes",
            None => "it grows, as it has just come up",
        };
        format!("weight {now} of {set} for now: {why}")
    });
    let unprobed = one.checks.iter().filter_map(|check| {
        let unprobed = check.unprobed.as_ref()?;
        let (kind, seconds) = (&check.kind, output::duration(unprobed.seconds));
        Some(format!(
            "not probed by {kind} for {seconds}, and stays as it is: {}",
            unprobed.reason
        ))
    });
    let rest = [held, kept, wish, weight].into_iter().flatten();
    unprobed.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    /// A backend with two checks.
    pub fn backend() -> Value {
        json!({
            "service": "web", "backend": "b1", "health": "up", "state": "up", "since_seconds": 7323, "failures": 0,
            "held_seconds": null, "weight": 100, "weight_now": 100, "wish": null, "kept_in_panic": false,
            "checks": [
                {
                    "type": "http", "target": "10.0.0.2:8080", "via": "direct",
                    "how": "http every 1s, timeout 500ms, rise 2, fall 3, GET /health expects 200-399",
                    "health": "up", "streak": 1, "needed": 3, "suspicion": null, "hurries": true,
                    "last": {"passed": false, "said": "status 500", "took_ms": 1.2, "age_seconds": 0.41}, "unprobed": null,
                },
                {
                    "type": "icmp", "target": "10.0.0.2", "via": "direct", "how": "icmp every 1s, timeout 500ms, rise 2, phi 8",
                    "health": "up", "streak": 0, "needed": null, "suspicion": 0.25, "hurries": false, "last": null, "unprobed": null,
                },
            ],
        })
    }

    /// One about which there is all to say.
    pub fn exceptional() -> Value {
        let mut one = backend();
        one["backend"] = json!("b2");
        one["health"] = json!("down");
        one["since_seconds"] = json!(null);
        one["failures"] = json!(5);
        one["held_seconds"] = json!(12);
        one["weight_now"] = json!(10);
        one["wish"] = json!({"stand": "down", "admin": "drain", "weight": null, "max_connections": null, "reason": "disk"});
        one["kept_in_panic"] = json!(true);
        one["checks"][0]["unprobed"] = json!({"seconds": 75, "reason": "connect: too many open files"});
        one["checks"].as_array_mut().unwrap().remove(1);
        one["checks"][0]["health"] = json!("down");
        one["checks"][0]["streak"] = json!(0);
        one["checks"][0]["needed"] = json!(2);
        one["checks"][0]["last"]["age_seconds"] = json!(75.2);
        one
    }
}
