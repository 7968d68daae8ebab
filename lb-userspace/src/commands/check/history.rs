//! `xlb check history`

use std::time::Duration;

use anyhow::Result;

use crate::{
    api::protocol::Event,
    cli::{check::Whose, events::Arguments},
    commands::{Reply, Session},
    output::{self, Column::Text},
};

pub async fn execute(
    session: &Session,
    whose: Option<&Whose>,
    since: Option<Duration>,
    lines: u32,
) -> Result<Reply> {
    let arguments = Arguments {
        whose: whose.cloned(),
        follow: false,
        since,
    };
    let events = session.client.past_events(&arguments.query()).await?;
    let older = events
        .len()
        .saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
    let shown = &events[older..];
    Reply::new(session.output, &shown, || page(shown, older))
}

fn page(events: &[Event], older: usize) -> String {
    if events.is_empty() {
        return "no events\n".into();
    }
    let more = match older {
        0 => String::new(),
        older => format!(
            "{} older ones: --lines says how many are shown\n",
            output::count(older as u64)
        ),
    };
    table(events) + &more
}

fn table(events: &[Event]) -> String {
    let columns = [
        Text("TIME"),
        Text("SERVICE"),
        Text("BACKEND"),
        Text("EVENT"),
        Text("REASON"),
    ];
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| output::NONE.to_owned());
    let rows = events.iter().map(|event| {
        [
            event.time.clone(),
            name(&event.service),
            name(&event.backend),
            event.event.name().to_owned(),
            output::one_line(&event.reason),
        ]
    });
    output::table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::client::canned::CannedAgent,
        cli::{Cli, Command, Output},
        commands::check,
    };
    use clap::Parser as _;

    const EVENTS: &str = "HTTP/1.1 200 OK\r\n\r\n\
        {\"id\":0,\"time\":\"2026-01-31T12:00:00.000Z\",\"event\":\"started\",\"reason\":\"xlb 0.1.0: 3 services\"}\n\
        {\"id\":1,\"time\":\"2026-01-31T12:00:01.250Z\",\"event\":\"down\",\"service\":\"web\",\"backend\":\"b1\",\"check\":\"http\",\"reason\":\"status 500\",\"new\":1}\n";

    async fn asked(answer: &'static str, line: &str) -> Result<String> {
        let agent = CannedAgent::raw(answer);
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Check(command) = cli.command else {
            panic!("{line}");
        };
        let session = agent.session(cli.output);
        assert!(matches!(session.output, Output::Table | Output::Json));
        Ok(check::execute(&session, &command).await?.text)
    }

    #[tokio::test]
    async fn what_has_happened_as_a_table() {
        assert_eq!(
            asked(EVENTS, "xlb check history").await.unwrap(),
            "\
TIME                      SERVICE  BACKEND  EVENT    REASON
2026-01-31T12:00:00.000Z  -        -        started  xlb 0.1.0: 3 services
2026-01-31T12:00:01.250Z  web      b1       down     status 500
"
        );
        assert_eq!(
            asked(EVENTS, "xlb check history web --lines 1 --since 1h")
                .await
                .unwrap(),
            "\
TIME                      SERVICE  BACKEND  EVENT  REASON
2026-01-31T12:00:01.250Z  web      b1       down   status 500
1 older ones: --lines says how many are shown
"
        );
        let none = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(asked(none, "xlb check history").await.unwrap(), "no events\n");
    }

    #[tokio::test]
    async fn in_json_it_is_a_list() {
        let text = asked(EVENTS, "xlb -o json check history -n 1").await.unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list[0]["event"], json!("down"));
        assert_eq!(list.as_array().unwrap().len(), 1);
    }
}
