//! HTTP/2, against the library's server.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{
    Response,
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use super::*;
use crate::{
    config::TlsSpec,
    health::probe::serve::{Authority, Stream, server},
};

type Body = BoxBody<Bytes, Infallible>;

/// A body of these pieces, sent as they come.
fn body(parts: Vec<Bytes>) -> Body {
    let parts = parts.into_iter().map(|part| Ok(Frame::data(part)));
    StreamBody::new(futures_util::stream::iter(parts)).boxed()
}

async fn serve_http2<F>(stream: Box<dyn Stream>, answer: F)
where
    F: Fn(Request<Incoming>) -> Response<Body> + Clone + Send + 'static,
{
    let service = service_fn(move |request| {
        let response = answer(request);
        async { Ok::<_, Infallible>(response) }
    });
    let _ = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn check(body: Option<&str>) -> HttpCheck {
    HttpCheck {
        version: HttpVersion::Http2,
        ..wants(body)
    }
}

#[tokio::test]
async fn http2_is_spoken_in_the_clear_and_over_tls() {
    let authority = Authority::new();
    for tls in [None, Some(authority.spec())] {
        let (tx, mut requests) = mpsc::unbounded_channel();
        let config = tls.as_ref().map(|_| authority.good_server(&["h2", "http/1.1"]));
        let target = server(config, move |stream| {
            let tx = tx.clone();
            serve_http2(stream, move |request| {
                let parts = match *request.method() {
                    Method::HEAD => Vec::new(),
                    _ => vec!["is r".into(), "eady".into()],
                };
                tx.send(request.map(|_| ())).unwrap();
                Response::new(body(parts))
            })
        })
        .await;
        let secure = HttpCheck {
            tls,
            ..check(Some("is ready"))
        };
        assert_eq!(probe(&secure, target).await, ok());
        let request = requests.recv().await.unwrap();
        assert_eq!(request.method(), Method::GET);
        let scheme = if secure.tls.is_some() { "https" } else { "http" };
        assert_eq!(
            request.uri().to_string(),
            format!("{scheme}://{target}/health?full=1")
        );
        assert_eq!(request.headers()[USER_AGENT], AGENT);

        // Nobody asks for another host's name in the certificate.
        let named = HttpCheck {
            host: Some("www.example.com".into()),
            method: HttpMethod::Head,
            body: None,
            tls: secure.tls.clone().map(|tls| TlsSpec {
                server_name: Some("127.0.0.1".into()),
                ..tls
            }),
            ..secure
        };
        assert_eq!(probe(&named, target).await, ok());
        let request = requests.recv().await.unwrap();
        assert_eq!(request.method(), Method::HEAD);
        assert_eq!(request.uri().authority().unwrap(), "www.example.com");
    }
}

#[tokio::test]
async fn an_answer_by_http2_is_judged_as_any() {
    let target = server(None, |stream| {
        serve_http2(stream, |request| {
            let (status, parts) = match request.uri().path() {
                "/busy" => (503, vec!["no".into()]),
                "/huge" => (200, vec![Bytes::from(vec![b'x'; 16 * 1024]); 500]),
                _ => (200, Vec::new()),
            };
            Response::builder().status(status).body(body(parts)).unwrap()
        })
    })
    .await;
    for (path, expected) in [
        ("/busy", "status 503 instead of 200-399"),
        ("/huge", r#"body does not contain "ready" in its first 64 KiB"#),
        ("/", r#"body does not contain "ready""#),
    ] {
        let wanting = HttpCheck {
            path: path.into(),
            ..check(Some("ready"))
        };
        assert_eq!(reason(probe(&wanting, target).await), expected);
    }
    let huge = HttpCheck {
        path: "/huge".into(),
        ..check(None)
    };
    assert_eq!(probe(&huge, target).await, ok());
}

#[tokio::test]
async fn a_server_without_http2_fails() {
    for text in ["", "HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let (target, _server) = pieces(vec![text.as_bytes().to_vec()]).await;
        let reason = reason(probe(&check(None), target).await);
        assert!(reason.starts_with("response: "), "{reason}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_by_http2_fails() {
    let target = server(None, |stream| {
        serve_http2(stream, |_| {
            let length = Response::builder().header("content-length", 9);
            length.body(body(vec!["all".into()])).unwrap()
        })
    })
    .await;
    for text in [None, Some("all")] {
        let reason = reason(probe(&check(text), target).await);
        assert!(reason.starts_with("response: "), "{reason}");
    }
}

/// The tasks of a connection end with the probe: the server sees its end.
#[tokio::test]
async fn nothing_is_left_of_a_probe_that_timed_out() {
    let (tx, mut ended) = mpsc::unbounded_channel();
    let target = server(None, move |stream| {
        let tx = tx.clone();
        async move {
            let service = service_fn(|_| std::future::pending::<Result<Response<Body>, Infallible>>());
            let connection = http2::Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            tx.send(()).unwrap();
        }
    })
    .await;
    let kind = CheckKind::Http(Box::new(check(None)));
    let slow = ask_for(&kind, target, Duration::from_millis(300)).await;
    assert_eq!(reason(slow), "timeout after 300ms");
    tokio::time::timeout(LONG, ended.recv()).await.unwrap().unwrap();
}
