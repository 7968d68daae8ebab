//! The HTTP check: one GET request over a connection of its own.

use std::{error::Error, net::SocketAddr};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::ProbeError;
use crate::config::StatusSet;

/// How much of a body is read, and looked at.
const BODY: usize = 64 * 1024;
/// How long the head of a response may be.
const HEAD: usize = 64 * 1024;
const AGENT: &str = concat!("xlb/", env!("CARGO_PKG_VERSION"));

/// Passes if the status is one of `status` and, where `body` is given, the first 64 KiB of the response's body contain
/// it. The response must be complete, or longer than that.
pub async fn probe(
    target: SocketAddr,
    path: &str,
    host: Option<&str>,
    status: &StatusSet,
    body: Option<&str>,
) -> Result<(), ProbeError> {
    let request = request(target, path, host)?;
    let stream = TcpStream::connect(target)
        .await
        .map_err(|error| ProbeError::connect(&error))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| response_error(&error))?;

    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| response_error(&error))?;
        judge(response, status, body).await
    };
    tokio::pin!(exchange);
    tokio::select! {
        verdict = &mut exchange => verdict,
        // The connection ends by itself once the response is in; what was received is still to be judged.
        _ = connection => exchange.await,
    }
}

fn request(target: SocketAddr, path: &str, host: Option<&str>) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let host = match (host, target.port()) {
        (Some(host), _) => host.to_owned(),
        // As a browser would: the port belongs there unless it is http's own (RFC 9110 §7.2).
        (None, 80) => target.ip().to_string(),
        (None, _) => target.to_string(),
    };
    Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| ProbeError::new(format!("request: {error}")))
}

async fn judge(
    response: Response<Incoming>,
    status: &StatusSet,
    text: Option<&str>,
) -> Result<(), ProbeError> {
    let code = response.status().as_u16();
    if !status.contains(code) {
        return Err(ProbeError::new(format!("status {code} not in {status}")));
    }
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while body.len() < BODY
        && let Some(frame) = incoming.frame().await
    {
        let frame = frame.map_err(|error| response_error(&error))?;
        if let Some(data) = frame.data_ref() {
            body.extend_from_slice(&data[..data.len().min(BODY - body.len())]);
        }
    }
    match text {
        Some(text)
            if !body
                .windows(text.len().max(1))
                .any(|window| window == text.as_bytes()) =>
        {
            let start = if body.len() < BODY {
                ""
            } else {
                " in its first 64 KiB"
            };
            Err(ProbeError::new(format!("body does not contain {text:?}{start}")))
        }
        _ => Ok(()),
    }
}

/// hyper's errors say little without their source.
fn response_error(error: &hyper::Error) -> ProbeError {
    match error.source() {
        Some(source) => ProbeError::new(format!("response: {error}: {source}")),
        None => ProbeError::new(format!("response: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::super::{ProbeError, probe};
    use crate::config::CheckKind;

    /// What the server does between the pieces of its answer.
    const PAUSE: Duration = Duration::from_millis(20);
    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Serves one connection: the pieces one after another, then closes. Gives back the request.
    async fn serve(pieces: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            for piece in pieces {
                // The client leaves before the end of what it does not want.
                if stream.write_all(&piece).await.is_err() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            request.truncate(length);
            String::from_utf8(request).unwrap()
        });
        (target, server)
    }

    fn wants(body: Option<&str>) -> CheckKind {
        let status = "200-399".parse().unwrap();
        CheckKind::Http {
            path: "/health?full=1".into(),
            host: None,
            status,
            body: body.map(Into::into),
        }
    }

    async fn answer(text: &str, body: Option<&str>) -> Result<(), ProbeError> {
        let (target, _server) = serve(vec![text.as_bytes().to_vec()]).await;
        probe(&wants(body), target, TIMEOUT).await
    }

    fn reason(result: Result<(), ProbeError>) -> String {
        let reason = result.unwrap_err().to_string();
        assert!(!reason.contains('\n'), "{reason}");
        reason
    }

    #[tokio::test]
    async fn the_request_is_what_a_server_expects() {
        let (target, server) = serve(vec![b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()]).await;
        probe(&wants(None), target, TIMEOUT).await.unwrap();
        let request = server.await.unwrap().to_lowercase();
        assert!(
            request.starts_with("get /health?full=1 http/1.1\r\n"),
            "{request}"
        );
        for header in [
            format!("host: {target}"),
            "connection: close".into(),
            format!("user-agent: {}", super::AGENT),
        ] {
            assert_eq!(
                request.matches(&format!("\r\n{header}\r\n")).count(),
                1,
                "{request}"
            );
        }

        let (target, server) = serve(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()]).await;
        let named = CheckKind::Http {
            path: "/".into(),
            host: Some("www.example.com".into()),
            status: "200".parse().unwrap(),
            body: None,
        };
        probe(&named, target, TIMEOUT).await.unwrap();
        assert!(
            server
                .await
                .unwrap()
                .to_lowercase()
                .contains("\r\nhost: www.example.com\r\n")
        );
    }

    #[tokio::test]
    async fn the_status_decides() {
        assert_eq!(
            answer("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", None).await,
            Ok(())
        );
        let busy = answer("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None).await;
        assert_eq!(reason(busy), "status 503 not in 200-399");
    }

    #[tokio::test]
    async fn the_body_decides() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall is up";
        assert_eq!(answer(text, Some("is up")).await, Ok(()));
        assert_eq!(
            reason(answer(text, Some("fine")).await),
            r#"body does not contain "fine""#
        );
    }

    #[tokio::test]
    async fn chunks_and_bodies_to_the_end_of_the_connection_are_read() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let (target, _server) = serve(vec![
            head,
            b"4\r\nis r\r\n".to_vec(),
            b"4\r\neady\r\n0\r\n\r\n".to_vec(),
        ])
        .await;
        assert_eq!(probe(&wants(Some("is ready")), target, TIMEOUT).await, Ok(()));
        assert_eq!(
            answer("HTTP/1.0 200 OK\r\n\r\nis ready", Some("is ready")).await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn a_huge_body_is_looked_at_up_to_a_bound() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        let filler = vec![b'x'; 16 * 1024];
        let huge = |count| std::iter::once(head.clone()).chain(std::iter::repeat_n(filler.clone(), count));
        let (target, _server) = serve(huge(500).chain([b"ready".to_vec()]).collect()).await;
        let refused = probe(&wants(Some("ready")), target, TIMEOUT).await;
        assert_eq!(
            reason(refused),
            r#"body does not contain "ready" in its first 64 KiB"#
        );

        let (target, _server) = serve(huge(2).chain([b"ready".to_vec()]).collect()).await;
        assert_eq!(probe(&wants(Some("ready")), target, TIMEOUT).await, Ok(()));
        let (target, _server) = serve(huge(500).collect()).await;
        assert_eq!(probe(&wants(None), target, TIMEOUT).await, Ok(()));
    }

    #[tokio::test]
    async fn a_slow_answer_times_out_wherever_it_is_slow() {
        let timeout = Duration::from_millis(60);
        for text in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall",
        ] {
            let pieces = std::iter::once(text.as_bytes().to_vec()).chain(std::iter::repeat_n(Vec::new(), 20));
            let (target, _server) = serve(pieces.collect()).await;
            assert_eq!(
                reason(probe(&wants(None), target, timeout).await),
                "timeout after 60ms",
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_none_fails() {
        for text in [
            "",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall",
        ] {
            let reason = reason(answer(text, None).await);
            assert!(reason.starts_with("response: "), "{reason}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(200_000));
        assert!(reason(answer(&endless, None).await).starts_with("response: "));
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(
            reason(probe(&wants(None), target, TIMEOUT).await),
            "connect: connection refused"
        );
    }
}
