//! `xlb service set`

use anyhow::{Result, ensure};

use super::flows;
use crate::{
    cli::FlowArguments,
    commands::{Reply, Session},
};

pub async fn execute(session: &Session, name: &str, arguments: FlowArguments) -> Result<Reply> {
    let change = flows::change(arguments);
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
            Command::Service(ServiceCommand::Set { name, flows }) => {
                Ok(execute(&agent.session(Output::Table), &name, *flows).await?.text)
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
             new flows: 1000 a second, 5000 at once; 10 a second, 10 at once of each source\n"
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
}
