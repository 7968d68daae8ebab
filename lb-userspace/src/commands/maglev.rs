//! `xlb maglev …`

use anyhow::Result;

use super::{Reply, Session};
use crate::{
    api::protocol::{Move, Moves, PoolChange, Share, SlotState, Slots},
    cli::maglev::{MaglevCommand, MaglevDiff},
    output::{
        self,
        Column::{Number, Text},
    },
};

/// # Errors
/// When there is no such service or backend, the change does not fit, or the agent does not answer.
pub async fn execute(session: &Session, command: &MaglevCommand) -> Result<Reply> {
    match command {
        MaglevCommand::Show { service } => {
            let slots = session.client.slots(service).await?;
            Reply::new(session.output, &slots, || page(&slots))
        }
        MaglevCommand::Diff(diff) => {
            let moves = session.client.slots_after(&diff.service, &change(diff)).await?;
            Reply::new(session.output, &moves, || difference(&moves))
        }
    }
}

fn change(diff: &MaglevDiff) -> PoolChange {
    let weights = diff.weight.iter().cloned();
    PoolChange {
        add: diff.add.clone(),
        remove: diff.remove.clone(),
        weights: weights.map(|weight| (weight.backend, weight.weight)).collect(),
    }
}

fn page(slots: &Slots) -> String {
    let state = |state: &SlotState| {
        let count = slots.states.get(state).copied().unwrap_or(0);
        format!("{count} {}", state.name())
    };
    let states: Vec<_> = SlotState::ALL.iter().map(state).collect();
    let nobody = match slots.unowned {
        0 => String::new(),
        count => format!(", {count} of them nobody's"),
    };
    let facts = [
        ("Service", slots.service.clone()),
        ("Algorithm", slots.algorithm.name().into()),
        ("Slots", format!("{}{nobody}", slots.slots)),
        ("States", states.join(", ")),
    ];
    format!("{}\n{}", output::facts(facts), shares(slots))
}

fn shares(slots: &Slots) -> String {
    if slots.shares.is_empty() {
        return "no backends\n".into();
    }
    let columns = [
        Text("BACKEND"),
        Number("WEIGHT"),
        Number("SLOTS"),
        Number("SHARE"),
        Number("IDEAL"),
        Number("PREVIOUS"),
    ];
    let percent = |part: f64| format!("{:.3} %", 100.0 * part / f64::from(slots.slots.max(1)));
    let rows = slots.shares.iter().map(|share: &Share| {
        [
            share.backend.clone(),
            share.weight.to_string(),
            share.slots.to_string(),
            percent(share.slots.into()),
            percent(share.ideal),
            share.previous.to_string(),
        ]
    });
    output::table(&columns, rows)
}

fn difference(moves: &Moves) -> String {
    let Moves {
        slots, moved, least, ..
    } = moves;
    let percent = |part: u32| 100.0 * f64::from(part) / f64::from((*slots).max(1));
    let facts = format!(
        "{moved} of {slots} slots would move ({:.2} %); the least possible is {least} ({:.2} %)\n",
        percent(*moved),
        percent(*least)
    );
    if moves.moves.is_empty() {
        return facts;
    }
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "nobody".into());
    let rows = moves
        .moves
        .iter()
        .map(|Move { from, to, slots }| [name(from), name(to), slots.to_string()]);
    let table = output::table(&[Text("FROM"), Text("TO"), Number("SLOTS")], rows);
    format!("{facts}\n{table}")
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

    async fn asked(answer: Value, line: &str) -> (String, (String, Value)) {
        let agent = CannedAgent::new(200, answer);
        let Command::Maglev(command) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("{line}");
        };
        let reply = execute(&agent.session(Output::Table), &command).await.unwrap();
        (reply.text, agent.requests().remove(0))
    }

    #[tokio::test]
    async fn shares_stand_beside_what_they_should_be() {
        let answer = json!({
            "service": "web", "algorithm": "maglev", "slots": 1024, "states": {"settled": 1000, "young": 24},
            "unowned": 0,
            "shares": [
                {"backend": "b1", "weight": 100, "slots": 683, "ideal": 682.6667, "previous": 0},
                {"backend": "b2", "weight": 50, "slots": 341, "ideal": 341.3333, "previous": 24},
            ],
        });
        let (text, request) = asked(answer, "xlb maglev show web").await;
        assert_eq!(
            text,
            "\
Service    web
Algorithm  maglev
Slots      1024
States     1000 settled, 24 young, 0 unsettled, 0 written

BACKEND  WEIGHT  SLOTS     SHARE     IDEAL  PREVIOUS
b1          100    683  66.699 %  66.667 %         0
b2           50    341  33.301 %  33.333 %        24
"
        );
        assert_eq!(request.0, "GET /v1/services/web/slots");
    }

    #[tokio::test]
    async fn a_difference_says_who_gets_whose() {
        let answer = json!({
            "service": "web", "slots": 1024, "moved": 350, "least": 341,
            "moves": [{"from": "b1", "to": "b3", "slots": 345}, {"from": "b2", "to": null, "slots": 5}],
        });
        let line = "xlb maglev diff web --add 10.0.0.4:80,name=b3 --remove b2 --weight b1=7";
        let (text, request) = asked(answer, line).await;
        assert_eq!(
            text,
            "\
350 of 1024 slots would move (34.18 %); the least possible is 341 (33.30 %)

FROM  TO      SLOTS
b1    b3        345
b2    nobody      5
"
        );
        assert_eq!(request.0, "POST /v1/services/web/slots");
        assert_eq!(request.1["remove"], json!(["b2"]));
        assert_eq!(request.1["weights"], json!({"b1": 7}));
        assert_eq!(request.1["add"][0]["name"], json!("b3"));
    }
}
