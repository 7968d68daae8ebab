//! An answer that is read line by line, while it still comes.

use std::collections::VecDeque;

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method,
    body::{Bytes, Incoming},
};
use tokio::task::JoinHandle;

use super::{ANSWER_MAX, Client, Error, paths::request};
use crate::output;

/// Far above what a line has.
const LINE_MAX: usize = 1 << 20;

/// Lines that come from the agent; the connection ends when they are dropped.
#[derive(Debug)]
pub struct Lines {
    client: Client,
    body: Incoming,
    /// Whether an end is no end, but the connection's.
    is_endless: bool,
    whole: VecDeque<Vec<u8>>,
    begun: Vec<u8>,
    _connection: Connection,
}

/// Moves the connection's bytes.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lines {
    pub(super) async fn ask(client: &Client, path: &str, is_endless: bool) -> Result<Self, Error> {
        let (mut sender, connection) = client.connect().await?;
        // Its own error also comes out of the answer.
        let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
        let asked = request(Method::GET, path, Bytes::new()).map_err(|error| client.broken(error))?;
        let answer = sender.send_request(asked).await;
        let (head, body) = answer.map_err(|error| client.broken(error.into()))?.into_parts();
        if !head.status.is_success() {
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map_err(|error| client.broken(error))?;
            return Err(client.refused(head.status, &body.to_bytes()));
        }
        Ok(Self {
            client: client.clone(),
            body,
            is_endless,
            whole: VecDeque::new(),
            begun: Vec::new(),
            _connection: connection,
        })
    }

    /// The next line, without its end; `None` after the last. To stop waiting for it loses nothing.
    ///
    /// # Errors
    /// When the connection ends before the answer does, or what comes is no text in lines.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(line) = self.whole.pop_front() {
                let line = String::from_utf8(line).map_err(|error| self.client.broken(error.into()))?;
                return Ok(Some(line));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(&data)?;
                    }
                }
                Some(Err(error)) => return Err(self.ended(&error.to_string())),
                None if self.is_endless => return Err(self.ended("no more events")),
                None if self.begun.is_empty() => return Ok(None),
                None => return Err(self.ended("in the middle of a line")),
            }
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        let mut parts = data.split(|&byte| byte == b'\n');
        // What is behind the last line end is the beginning of a line.
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            self.begun.extend_from_slice(part);
            self.whole.push_back(std::mem::take(&mut self.begun));
        }
        self.begun.extend_from_slice(last);
        if self.begun.len() > LINE_MAX {
            return Err(self.client.broken("a line without an end".into()));
        }
        Ok(())
    }

    fn ended(&self, cause: &str) -> Error {
        Error::Ended {
            socket: self.client.socket.clone(),
            cause: output::one_line(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::canned::CannedAgent, *};
    use crate::api::protocol::EventQuery;

    async fn read(answer: &'static str, follow: bool) -> (Vec<String>, Option<Error>) {
        let agent = CannedAgent::raw(answer);
        let query = EventQuery {
            follow,
            ..EventQuery::default()
        };
        let mut lines = match Client::new(agent.socket()).events(&query).await {
            Ok(lines) => lines,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut read = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => read.push(line),
                Ok(None) => return (read, None),
                Err(error) => return (read, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn lines_may_come_in_any_pieces() {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\na\nb\r\n1\r\nc\r\n4\r\nd\n\ne\r\n1\r\n\n\r\n0\r\n\r\n";
        let (lines, error) = read(answer, false).await;
        assert_eq!(lines, ["a", "bcd", "", "e"]);
        assert!(error.is_none());
        // One that is to go on has been ended.
        let (lines, error) = read(answer, true).await;
        assert_eq!(lines.len(), 4);
        assert!(matches!(error, Some(Error::Ended { .. })));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_an_error_that_says_so() {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n2\r\nb";
        for follow in [false, true] {
            let (lines, error) = read(answer, follow).await;
            let error = error.unwrap();
            assert_eq!(lines, ["a"]);
            assert!(
                matches!(error, Error::Ended { .. }) && error.is_not_ready(),
                "{error}"
            );
            assert!(
                error.to_string().contains("has ended the connection ("),
                "{error}"
            );
        }
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\nb";
        let (lines, error) = read(whole, false).await;
        assert_eq!(lines, ["a"]);
        assert!(error.unwrap().to_string().contains("in the middle of a line"));
    }

    #[tokio::test]
    async fn a_refusal_is_the_agents_own_text() {
        let agent = CannedAgent::new(
            404,
            serde_json::json!({"error": "service \"web\": there is none"}),
        );
        let asked = Client::new(agent.socket()).events(&EventQuery::default()).await;
        assert_eq!(asked.unwrap_err().to_string(), "service \"web\": there is none");
        assert_eq!(agent.requests()[0].0, "GET /v1/events?");
    }
}
