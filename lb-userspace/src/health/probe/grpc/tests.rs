//! gRPC checks against the library's health service, and against what is none.

use std::net::SocketAddr;

use std::convert::Infallible;

use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{
    Response,
    body::{Body, Frame, Incoming},
    server::conn::http2,
    service::{HttpService, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::sync::mpsc;
use tonic_health::ServingStatus;

use super::super::{
    backend::{Refusing, ask, ask_for, reason},
    serve::{Authority, Stream, pieces, server},
};
use super::*;
use crate::config::CheckKind;

async fn probe(service: &str, tls: Option<&TlsSpec>, target: SocketAddr) -> Result<Answer, ProbeError> {
    let kind = CheckKind::Grpc {
        service: service.to_owned(),
        tls: tls.cloned(),
    };
    ask(&kind, target).await
}

async fn serve<S, B>(stream: Box<dyn Stream>, service: S)
where
    S: HttpService<Incoming, ResBody = B, Error = Infallible> + Send,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[tokio::test]
async fn the_servers_word_on_a_service_decides() {
    let authority = Authority::new();
    let (reporter, health) = tonic_health::server::health_reporter();
    for (service, status) in [
        ("shop.v1.Cart", ServingStatus::Serving),
        ("shop.v1.Order", ServingStatus::NotServing),
        ("shop.v1.Stock", ServingStatus::Unknown),
    ] {
        reporter.set_service_status(service, status).await;
    }
    for tls in [None, Some(authority.spec())] {
        let config = tls.as_ref().map(|_| authority.good_server(&["h2"]));
        let health = health.clone();
        let target = server(config, move |stream| {
            serve(stream, TowerToHyperService::new(health.clone()))
        })
        .await;
        let tls = tls.as_ref();
        let serving = Ok(Answer::said("SERVING"));
        assert_eq!(probe("", tls, target).await, serving);
        assert_eq!(probe("shop.v1.Cart", tls, target).await, serving);
        for (service, words) in [
            ("shop.v1.Order", "status NOT_SERVING instead of SERVING"),
            ("shop.v1.Stock", "status UNKNOWN instead of SERVING"),
        ] {
            assert_eq!(reason(probe(service, tls, target).await), words);
        }
        let unknown = reason(probe("shop.v1.Other", tls, target).await);
        assert!(unknown.starts_with("NOT_FOUND: "), "{unknown}");
    }
}

type Answers = BoxBody<Bytes, Infallible>;
type Respond = fn() -> Response<Answers>;

/// An answer: its head, its data, and what comes behind.
fn response(head: &[(&str, &str)], data: Option<&[u8]>, trailers: &[(&str, &str)]) -> Response<Answers> {
    let mut response = Response::builder();
    for &(name, value) in head {
        response = response.header(name, value);
    }
    let mut frames: Vec<_> = data
        .map(|data| Frame::data(Bytes::copy_from_slice(data)))
        .into_iter()
        .collect();
    if !trailers.is_empty() {
        let trailers = trailers.iter().map(|&(name, value)| {
            let name: hyper::header::HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        });
        frames.push(Frame::trailers(trailers.collect()));
    }
    let frames = futures_util::stream::iter(frames.into_iter().map(Ok));
    response.body(StreamBody::new(frames).boxed()).unwrap()
}

async fn answer(respond: Respond) -> Result<Answer, ProbeError> {
    let target = server(None, move |stream| {
        let service = service_fn(move |_| async move { Ok::<_, Infallible>(respond()) });
        serve(stream, service)
    })
    .await;
    probe("", None, target).await
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const DONE: &[(&str, &str)] = &[("grpc-status", "0")];

#[tokio::test]
async fn answers_of_every_form_are_understood() {
    let passes = Ok(Answer::said("SERVING"));
    let proto = || {
        response(
            &[("content-type", "application/grpc+proto")],
            Some(b"\0\0\0\0\x02\x08\x01"),
            DONE,
        )
    };
    assert_eq!(answer(proto).await, passes);
    // With a field that nobody knows yet.
    let newer = || response(&[GRPC], Some(b"\0\0\0\0\x06\x08\x01\x12\x02ab"), DONE);
    assert_eq!(answer(newer).await, passes);

    let cases: &[(Respond, &str)] = &[
        (
            || response(&[GRPC, ("grpc-status", "12")], None, &[]),
            "UNIMPLEMENTED: the server has no grpc.health.v1.Health",
        ),
        (
            || {
                response(
                    &[
                        GRPC,
                        ("grpc-status", "5"),
                        ("grpc-message", "unknown%20service%0A%E2%82%AC %zz"),
                    ],
                    None,
                    &[],
                )
            },
            "NOT_FOUND: unknown service € %zz",
        ),
        (
            || {
                response(
                    &[GRPC],
                    None,
                    &[("grpc-status", "14"), ("grpc-message", "draining")],
                )
            },
            "UNAVAILABLE: draining",
        ),
        (
            || response(&[GRPC], None, &[("grpc-status", "99")]),
            "grpc-status 99",
        ),
        (
            || response(&[GRPC], Some(b"\0\0\0\0\x02\x08\x01"), &[("grpc-status", "13")]),
            "INTERNAL",
        ),
        (
            || response(&[GRPC], Some(b"\0\0\0\0\x02\x08\x01"), &[]),
            "answer without grpc-status",
        ),
        (
            || response(&[GRPC, ("grpc-status", "0")], None, &[]),
            "answer without a message",
        ),
        (
            || response(&[GRPC], Some(b"\0\0\0\0\x02\x08\x03"), DONE),
            "status SERVICE_UNKNOWN instead of SERVING",
        ),
        (
            || response(&[GRPC], Some(b"\0\0\0\0\x02\x08\x09"), DONE),
            "status 9 instead of SERVING",
        ),
        // Nothing said is the first status of all.
        (
            || response(&[GRPC], Some(b"\0\0\0\0\0"), DONE),
            "status UNKNOWN instead of SERVING",
        ),
        (
            || response(&[GRPC], Some(b"\x01\0\0\0\x02\x08\x01"), DONE),
            "answer is compressed, which was not asked for",
        ),
        (
            || response(&[GRPC], Some(b"\0\0\0\0\x03\x08\x01"), DONE),
            "answer is not one message",
        ),
        (
            || response(&[("content-type", "text/html")], Some(b"<html>"), &[]),
            "content type text/html instead of application/grpc",
        ),
        (
            || response(&[], Some(b"ok"), &[]),
            "no content type instead of application/grpc",
        ),
        (
            || {
                let mut response = response(&[("content-type", "text/html")], None, &[]);
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            },
            "HTTP status 502 instead of 200",
        ),
    ];
    for (respond, words) in cases {
        assert_eq!(reason(answer(*respond).await), *words);
    }
    let unreadable = || response(&[GRPC], Some(b"\0\0\0\0\x02\x08\xff"), DONE);
    assert!(reason(answer(unreadable).await).starts_with("answer cannot be read: "));
    let endless = || response(&[GRPC], Some(&[0; 100_000]), DONE);
    assert_eq!(reason(answer(endless).await), "answer is longer than 64 KiB");
}

#[tokio::test]
async fn the_request_is_what_a_server_expects() {
    let (tx, mut requests) = mpsc::unbounded_channel();
    let target = server(None, move |stream| {
        let tx = tx.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let tx = tx.clone();
            async move {
                let (head, body) = request.into_parts();
                tx.send((head, body.collect().await.unwrap().to_bytes())).unwrap();
                Ok::<_, Infallible>(response(&[GRPC], Some(b"\0\0\0\0\x02\x08\x01"), DONE))
            }
        });
        serve(stream, service)
    })
    .await;
    probe("a.B", None, target).await.unwrap();
    let (head, body) = requests.recv().await.unwrap();
    assert_eq!(head.method, "POST");
    assert_eq!(
        head.uri.to_string(),
        format!("http://{target}/grpc.health.v1.Health/Check")
    );
    for (name, value) in [
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "20000m"),
        ("user-agent", AGENT),
    ] {
        assert_eq!(head.headers[name], value);
    }
    assert_eq!(&body[..], b"\0\0\0\0\x05\x0a\x03a.B");
}

#[tokio::test]
async fn what_is_no_grpc_fails() {
    let refused = probe("", None, Refusing::tcp().address).await;
    assert_eq!(reason(refused), "connect: connection refused");
    for text in ["", "HTTP/1.1 200 OK\r\n\r\n"] {
        let (target, _server) = pieces(vec![text.as_bytes().to_vec()]).await;
        let reason = reason(probe("", None, target).await);
        assert!(reason.starts_with("response: "), "{reason}");
    }
    let (target, _server) = pieces(vec![Vec::new(); 100]).await;
    let kind = CheckKind::Grpc {
        service: String::new(),
        tls: None,
    };
    let silent = ask_for(&kind, target, Duration::from_millis(60)).await;
    assert_eq!(reason(silent), "timeout after 60ms");
}
