//! `xlb service set`

use anyhow::{Result, anyhow, ensure};

use super::{check, flows};
use crate::{
    cli::{CheckArguments, FlowArguments},
    commands::{Reply, Session},
};

pub async fn execute(
    session: &Session,
    name: &str,
    arguments: FlowArguments,
    checks: &CheckArguments,
) -> Result<Reply> {
    let wrong = |error| anyhow!("service {name:?}, {error}");
    let mut change = flows::change(arguments);
    change.checks = check::change(checks).map_err(wrong)?;
    change.health = check::health_change(checks)
        .map_err(anyhow::Error::msg)
        .map_err(wrong)?;
    ensure!(
        !change.is_empty(),
        "service {name:?}: nothing to change: 'xlb service set --help' shows what there is"
    );
    let service = session.client.change_service(name, &change).await?;
    Reply::new(session.output, &service, || {
        let balance = &service.balance;
        let mut text = format!("service {name} set to {}\n", flows::algorithm(balance));
        if let Some(affinity) = &balance.affinity {
            text += &format!("affinity: {}\n", flows::affinity(affinity));
        }
        if let Some(limits) = flows::limits(balance) {
            text += &format!("new flows: {limits}\n");
        }
        for check in &service.checks {
            text += &format!("check: {}\n", check::told(&service, check));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::client::canned::{self, CannedAgent},
        cli::{Cli, Command, Output, ServiceCommand},
    };

    async fn set(agent: &CannedAgent, flags: &str) -> Result<String> {
        let line = ["xlb", "service", "set", "web"]
            .into_iter()
            .chain(flags.split(' '));
        match Cli::try_parse_from(line).unwrap().command {
            Command::Service(ServiceCommand::Set { name, flows, check }) => {
                Ok(execute(&agent.session(Output::Table), &name, *flows, &check)
                    .await?
                    .text)
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_given_is_asked_for_and_the_rest_stays() {
        let mut service = canned::service();
        service["algorithm"] = json!("bounded");
        service["load_factor"] = json!(1.5);
        service["affinity"] = json!({"timeout": "5m", "prefix": [24, 64]});
        service["new_flows"] = json!({"per_second": 1000, "burst": 5000});
        service["new_flows_per_source"] = json!({"per_second": 10});
        let agent = CannedAgent::new(200, service);
        let text = set(
            &agent,
            "--algorithm bounded --load-factor 1.5 --affinity 5m,prefix=24/64 --new-flows off",
        )
        .await;
        assert_eq!(
            text.unwrap(),
            "service web set to bounded, load factor 1.5\n\
             affinity: 5m after a client's last new flow, by 24/64 bits\n\
             new flows: 1000 a second, 5000 at once; 10 a second, 10 at once of each source\n\
             check: http every 1s, timeout 500ms, rise 2, fall 3, GET /health expects 200-399\n"
        );
        let asked: Vec<(String, Value)> = agent.requests();
        assert_eq!(
            asked,
            [(
                "PATCH /v1/services/web".to_owned(),
                json!({
                    "algorithm": "bounded", "load_factor": 1.5, "new_flows": null,
                    "affinity": {"timeout": "5m", "prefix": [24, 64]},
                })
            )]
        );
    }

    #[tokio::test]
    async fn checks_are_given_whole_or_taken_away() {
        let agent = CannedAgent::new(200, canned::service());
        let flags = "--check tcp,fast-interval=100ms --check-fall 2 --health require=any,flaps.hold=2s,passive.signs=0";
        set(&agent, flags).await.unwrap();
        set(&agent, "--check none").await.unwrap();
        let asked: Vec<(String, Value)> = agent.requests();
        let bodies: Vec<_> = asked.iter().map(|(_, body)| body.clone()).collect();
        let passive = json!({"signs": 0});
        let flaps = json!({"hold": "2s"});
        assert_eq!(
            bodies,
            [
                json!({
                    "check": {"type": "tcp", "interval": "1s", "fast_interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 2},
                    "health": {"require": "any", "flaps": flaps, "passive": passive},
                }),
                json!({"check": null}),
            ]
        );
        for (flags, said) in [
            (
                "--health panic=200",
                "health: panic: 200 is above 100: use 0 to 100",
            ),
            (
                "--health flaps.hold=2m,flaps.hold_max=1m",
                "health, flaps: hold_max: 1m is below 2m: use 2m to 1day (at least hold)",
            ),
            (
                "--health panics=1",
                "health: panics: unknown field: use one of `require`, `checking`, `slow_start`, `panic`, `flaps`, `passive`",
            ),
            (
                "--check none --check-fall 2",
                "--check-fall: of which check? --check none takes them away",
            ),
        ] {
            let error = set(&agent, flags).await.unwrap_err().to_string();
            assert_eq!(error, format!("service \"web\", {said}"));
        }
    }
}
