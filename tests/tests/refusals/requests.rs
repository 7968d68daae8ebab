//! Requests over the socket that no command line of ours would send.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xlb_tests::preflight;

use crate::running::Running;

const PATIENCE: Duration = Duration::from_secs(5);

/// Requests, each followed by a line with `>>> `, the status and what is said.
const REQUESTS: &str = include_str!("requests.cases");

/// Sends bytes as they are and reads until the agent closes.
fn exchange(running: &Running, bytes: &[u8]) -> Result<String> {
    let mut stream = connect(running)?;
    if let Err(error) = stream.write_all(bytes) {
        // It may have answered and closed before it has heard everything.
        ensure!(
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "{error}"
        );
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        ensure!(error.kind() == ErrorKind::ConnectionReset, "no answer: {error}");
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(running: &Running) -> Result<UnixStream> {
    let stream = UnixStream::connect(running.agent.socket()).context("connect to the agent")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A request with a JSON body.
fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{head} HTTP/1.1\r\nhost: xlb\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The answer has this status and, as its JSON body, an error with `said` in it, in one line.
fn ensure_answers(answer: &str, status: &str, said: &str) -> Result<()> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("no answer: {answer:?}"))?;
    ensure!(
        head.starts_with(&format!("HTTP/1.1 {status} ")),
        "not {status}: {answer}"
    );
    let body: Value = serde_json::from_str(body).with_context(|| format!("no JSON: {answer}"))?;
    let error = body["error"]
        .as_str()
        .with_context(|| format!("no error: {body}"))?;
    ensure!(error.contains(said), "no {said:?} in {error:?}");
    ensure!(
        !error.contains(char::is_control) && error.len() < 500,
        "{error:?}"
    );
    Ok(())
}

#[test]
fn what_makes_no_sense_is_answered_and_changes_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut running = Running::start()?;
    wrong_requests(&mut running).context("wrong requests")?;
    no_requests(&mut running).context("what is no request")?;
    half_requests(&mut running).context("half a request and silence")
}

fn wrong_requests(running: &mut Running) -> Result<()> {
    let before = running.standing()?;
    let mut lines = REQUESTS.lines().filter(|line| !line.is_empty());
    let mut count = 0;
    while let (Some(line), Some(expected)) = (lines.next(), lines.next()) {
        let (head, body) = line.split_once(" | ").unwrap_or((line, ""));
        let expected = expected
            .strip_prefix(">>> ")
            .with_context(|| format!("no answer to {line}"))?;
        let (status, said) = expected.split_once(' ').context("no text")?;
        let answer = exchange(running, &request(head, body.as_bytes()))?;
        ensure_answers(&answer, status, said).context(line)?;
        before.ensure_holds(running).with_context(|| line.to_owned())?;
        count += 1;
    }
    ensure!(count > 30, "only {count} cases");
    running.ensure_stands(&before)
}

fn no_requests(running: &mut Running) -> Result<()> {
    let before = running.standing()?;
    let long_path = format!("GET /v1/{} HTTP/1.1\r\nhost: xlb\r\n\r\n", "x".repeat(200_000));
    let many_headers = format!("GET /v1/status HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let negative = "POST /v1/services HTTP/1.1\r\nhost: xlb\r\ncontent-length: -5\r\n\r\n";
    for (bytes, status) in [
        (&b"\0\x01\x02\xff\r\n\r\n"[..], "400"),
        (b"status\r\n\r\n", "400"),
        (b"GET /v1/status HTTP/9.9\r\n\r\n", "400"),
        (negative.as_bytes(), "400"),
        (long_path.as_bytes(), "4"),
        (many_headers.as_bytes(), "431"),
    ] {
        let answer = exchange(running, bytes)?;
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer:?} to {bytes:.60?}"
        );
        running.ensure_stands(&before)?;
    }
    let not_utf8 = exchange(running, &request("POST /v1/services", b"{\"name\": \"\xff\"}"))?;
    ensure_answers(&not_utf8, "422", "parse the request body as JSON")?;
    let deep = exchange(
        running,
        &request("POST /v1/services", "[".repeat(100_000).as_bytes()),
    )?;
    ensure_answers(&deep, "422", "expected a string")?;
    let huge = exchange(running, &request("POST /v1/services", &vec![b' '; 17 << 20]))?;
    ensure_answers(&huge, "422", "longer than 16 MiB")?;
    running.ensure_stands(&before)
}

fn half_requests(running: &mut Running) -> Result<()> {
    let before = running.standing()?;
    let whole = request(
        "POST /v1/services",
        b"{\"name\": \"api\", \"vip\": \"192.0.2.11:80/tcp\"}",
    );
    let mut silent = Vec::new();
    for at in [0, 5, 60, whole.len() - 1].repeat(25) {
        let mut stream = connect(running)?;
        stream.write_all(&whole[..at])?;
        silent.push(stream);
    }
    running.ensure_stands(&before)?;
    running.agent.ok(&["backend", "weight", "web/b1", "60"])?;
    running.agent.ok(&["backend", "weight", "web/b1", "100"])?;
    let changed = running.standing()?;
    drop(silent);
    running.ensure_stands(&changed)?;
    // What was sent by halves can still be sent as a whole.
    let answer = exchange(running, &whole)?;
    ensure!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    Ok(())
}
