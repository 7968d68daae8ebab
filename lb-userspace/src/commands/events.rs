//! `xlb events`: lines of JSON, as they come.

use std::{
    io::{self, Write},
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Code, Reply, Session};
use crate::{api::client::Lines, cli::events::Arguments};

/// # Errors
/// When there is no such service or backend, or the agent does not answer, or no longer.
pub async fn execute(session: &Session, arguments: &Arguments) -> Result<Reply> {
    let lines = session.client.events(&arguments.query()).await?;
    let mut stdout = io::stdout();
    let gone = reader_gone(stdout.as_fd().try_clone_to_owned());
    tokio::select! {
        done = print(lines, &mut stdout) => done?,
        () = gone => {}
    }
    Ok(Reply {
        text: String::new(),
        code: Code::Done,
    })
}

async fn print(mut lines: Lines, out: &mut impl Write) -> Result<()> {
    while let Some(line) = lines.next().await? {
        // At once, since the next may be long in coming.
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            // A reader that has seen enough is no error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            done => done.context("write the result")?,
        }
    }
    Ok(())
}

/// Waits until nobody reads what is written, which else would be found out at the next event only. A file has nobody who may go.
async fn reader_gone(out: io::Result<OwnedFd>) {
    let watch = |out| {
        // SAFETY: an `OwnedFd` is one descriptor, open for as long as it lives, which is as long as it is watched.
        unsafe { AsyncFd::register_with_interest(out, Interest::ERROR) }.map_err(io::Error::from)
    };
    if let Ok(watched) = out.and_then(watch) {
        // The error of a pipe or socket is that its other end is closed.
        if watched.ready(Interest::ERROR).await.is_ok() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::{
        io::{PipeReader, pipe},
        time::Duration,
    };

    use clap::Parser as _;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::{
        api::client::{Client, Error, canned::CannedAgent},
        cli::{Cli, Command, Output},
        commands::code_of,
    };

    const STREAM: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"id\":1}\r\n1\r\n\n\r\n";

    fn arguments(line: &str) -> Arguments {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Events(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    async fn lines(agent: &CannedAgent, line: &str) -> Lines {
        let client = Client::new(agent.socket());
        client.events(&arguments(line).query()).await.unwrap()
    }

    #[tokio::test]
    async fn lines_are_printed_as_they_come_until_the_agent_ends() {
        let agent = CannedAgent::raw(STREAM);
        let mut out = Vec::new();
        let error = print(lines(&agent, "xlb events --follow").await, &mut out)
            .await
            .unwrap_err();
        assert_eq!(out, b"{\"id\":1}\n");
        assert!(matches!(error.downcast_ref(), Some(Error::Ended { .. })));
        assert_eq!(code_of(&error), Code::NotReady);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_it_quietly() {
        let agent = CannedAgent::raw(STREAM);
        let (reader, mut writer) = pipe().unwrap();
        drop::<PipeReader>(reader);
        print(lines(&agent, "xlb events -f").await, &mut writer)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn that_a_reader_leaves_is_noticed_without_an_event() {
        let (reader, writer) = pipe().unwrap();
        let mut gone = std::pin::pin!(reader_gone(Ok(writer.into())));
        assert!(timeout(Duration::from_millis(50), &mut gone).await.is_err());
        drop(reader);
        timeout(Duration::from_secs(60), gone).await.unwrap();
        // Where nobody can leave, nothing ends it.
        let file = tempfile::tempfile().unwrap();
        assert!(
            timeout(Duration::from_millis(50), reader_gone(Ok(file.into())))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn what_is_asked_for() {
        let agent = CannedAgent::new(404, json!({"error": "no"}));
        for line in [
            "xlb events",
            "xlb events --follow --since 0s web/b1",
            "xlb -o json events --since 90m web",
        ] {
            let reply = execute(&agent.session(Output::Table), &arguments(line)).await;
            assert_eq!(reply.unwrap_err().to_string(), "no");
        }
        let paths: Vec<_> = agent.requests().into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "GET /v1/events?",
                "GET /v1/events?service=web&backend=b1&since=0s&follow=true",
                "GET /v1/events?service=web&since=1h30m",
            ]
        );
    }
}
