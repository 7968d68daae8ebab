//! HTTP checks against servers written by hand; `http2` has those against the library's.

mod http2;

use std::{net::SocketAddr, time::Duration};

use super::super::{
    backend::{LONG, Refusing, ask, ask_for, reason},
    serve::pieces,
};
use super::*;
use crate::config::{CheckKind, Pattern, TlsSpec};

fn wants(body: Option<&str>) -> HttpCheck {
    HttpCheck {
        path: "/health?full=1".into(),
        body: body.map(|text| Pattern::Text(text.into())),
        ..HttpCheck::default()
    }
}

async fn probe(check: &HttpCheck, target: SocketAddr) -> Result<Answer, ProbeError> {
    ask(&CheckKind::Http(Box::new(check.clone())), target).await
}

async fn answer(text: &str, body: Option<&str>) -> Result<Answer, ProbeError> {
    let (target, _server) = pieces(vec![text.as_bytes().to_vec()]).await;
    probe(&wants(body), target).await
}

fn ok() -> Result<Answer, ProbeError> {
    Ok(Answer::said("status 200"))
}

#[tokio::test]
async fn the_request_is_what_a_server_expects() {
    let (target, server) = pieces(vec![b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()]).await;
    assert_eq!(probe(&wants(None), target).await, Ok(Answer::said("status 204")));
    let request = server.await.unwrap().to_lowercase();
    assert!(
        request.starts_with("get /health?full=1 http/1.1\r\n"),
        "{request}"
    );
    for header in [
        format!("host: {target}"),
        "connection: close".into(),
        format!("user-agent: {AGENT}"),
    ] {
        assert_eq!(
            request.matches(&format!("\r\n{header}\r\n")).count(),
            1,
            "{request}"
        );
    }

    let (target, server) = pieces(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()]).await;
    let named = HttpCheck {
        host: Some("www.example.com".into()),
        method: HttpMethod::Options,
        ..HttpCheck::default()
    };
    probe(&named, target).await.unwrap();
    let request = server.await.unwrap();
    assert!(request.starts_with("OPTIONS / HTTP/1.1\r\n"), "{request}");
    assert!(
        request.to_lowercase().contains("\r\nhost: www.example.com\r\n"),
        "{request}"
    );
}

#[test]
fn the_address_stands_for_a_host_as_urls_write_it() {
    let tls = TlsSpec::default();
    let authority = |target: &str, is_tls: bool| {
        let server = Server {
            target: target.parse::<SocketAddr>().unwrap().into(),
            host: None,
            tls: is_tls.then_some(&tls),
            version: HttpVersion::Http1,
        };
        server.authority()
    };
    assert_eq!(authority("192.0.2.1:80", false), "192.0.2.1");
    assert_eq!(authority("192.0.2.1:443", true), "192.0.2.1");
    assert_eq!(authority("192.0.2.1:80", true), "192.0.2.1:80");
    assert_eq!(authority("[2001:db8::1]:80", false), "[2001:db8::1]");
    assert_eq!(authority("[fe80::1%2]:8080", false), "[fe80::1]:8080");
}

#[tokio::test]
async fn a_head_may_have_many_fields_and_folded_ones() {
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    let many = |count| with(&"X-Field: value\r\n".repeat(count));
    assert_eq!(answer(&many(500), None).await, ok());
    let error = reason(answer(&many(2000), None).await);
    assert!(error.contains("head is too large"), "{error}");
    let folded = with("X-Field: one\r\n two\r\n\tthree\r\n");
    assert_eq!(answer(&folded, None).await, ok());
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let (target, server) = pieces(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec()]).await;
    let head = HttpCheck {
        method: HttpMethod::Head,
        ..wants(None)
    };
    assert_eq!(probe(&head, target).await, ok());
    assert!(server.await.unwrap().starts_with("HEAD /health?full=1 "));
}

#[tokio::test]
async fn the_status_decides() {
    assert_eq!(
        answer("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", None).await,
        Ok(Answer::said("status 301"))
    );
    let busy = answer("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None).await;
    assert_eq!(reason(busy), "status 503 instead of 200-399");
    let after_others = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
                        HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(after_others, None).await, ok());
}

#[tokio::test]
async fn the_body_decides() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall is up";
    assert_eq!(answer(text, Some("is up")).await, ok());
    assert_eq!(
        reason(answer(text, Some("fine")).await),
        r#"body does not contain "fine""#
    );
    for (regex, expected) in [
        ("^all is (up|well)$", ok()),
        (
            "^is up",
            Err(ProbeError::answer("body does not contain /^is up/")),
        ),
    ] {
        let (target, _server) = pieces(vec![text.as_bytes().to_vec()]).await;
        let check = HttpCheck {
            body: Some(Pattern::regex(regex).unwrap()),
            ..wants(None)
        };
        assert_eq!(probe(&check, target).await, expected);
    }
}

#[tokio::test]
async fn chunks_bytes_and_bodies_to_the_end_of_the_connection_are_read() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let parts = vec![
        head,
        b"4\r\nis r\r\n".to_vec(),
        b"4\r\neady\r\n0\r\n\r\n".to_vec(),
    ];
    let (target, _server) = pieces(parts).await;
    assert_eq!(probe(&wants(Some("is ready")), target).await, ok());
    let text = "HTTP/1.0 200 OK\r\n\r\nis ready";
    assert_eq!(answer(text, Some("is ready")).await, ok());
    let (target, _server) = pieces(text.bytes().map(|byte| vec![byte]).collect()).await;
    assert_eq!(probe(&wants(Some("is ready")), target).await, ok());
}

#[tokio::test]
async fn a_huge_body_is_looked_at_up_to_a_bound() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let filler = vec![b'x'; 16 * 1024];
    let huge = |count| std::iter::once(head.clone()).chain(std::iter::repeat_n(filler.clone(), count));
    let (target, _server) = pieces(huge(500).chain([b"ready".to_vec()]).collect()).await;
    assert_eq!(
        reason(probe(&wants(Some("ready")), target).await),
        r#"body does not contain "ready" in its first 64 KiB"#
    );

    let (target, _server) = pieces(huge(2).chain([b"ready".to_vec()]).collect()).await;
    assert_eq!(probe(&wants(Some("ready")), target).await, ok());
    let (target, _server) = pieces(huge(500).collect()).await;
    assert_eq!(probe(&wants(None), target).await, ok());
}

#[tokio::test]
async fn a_slow_answer_times_out_wherever_it_is_slow() {
    let timeout = Duration::from_millis(60);
    for text in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall",
    ] {
        for version in [HttpVersion::Http1, HttpVersion::Http2] {
            let parts = std::iter::once(text).chain(std::iter::repeat_n("", 100));
            let (target, _server) = pieces(parts.map(Into::into).collect()).await;
            if version == HttpVersion::Http2 && !text.is_empty() {
                continue;
            }
            let check = HttpCheck {
                version,
                ..wants(None)
            };
            let slow = ask_for(&CheckKind::Http(Box::new(check)), target, timeout).await;
            assert_eq!(reason(slow), "timeout after 60ms", "{text}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_none_fails() {
    for text in [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall",
    ] {
        for body in [None, Some("all")] {
            let reason = reason(answer(text, body).await);
            assert!(reason.starts_with("response: "), "{reason}");
        }
    }
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(200_000));
    assert!(reason(answer(&endless, None).await).starts_with("response: "));
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let check = HttpCheck {
            version,
            ..wants(None)
        };
        let refused = probe(&check, Refusing::tcp().address).await;
        assert!(refused.as_ref().unwrap_err().is_refusal());
        assert_eq!(reason(refused), "connect: connection refused");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_this_hosts_own_failure() {
    let check = HttpCheck {
        version: HttpVersion::Http2,
        host: Some("a b".into()),
        ..HttpCheck::default()
    };
    assert!(
        probe(&check, Refusing::tcp().address)
            .await
            .unwrap_err()
            .is_ours()
    );
}
