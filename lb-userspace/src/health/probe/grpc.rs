//! The gRPC check: `grpc.health.v1.Health/Check` (gRPC's health checking protocol), by HTTP/2 (gRPC's "PROTOCOL-HTTP2").

#[cfg(test)]
mod tests;

use std::time::Duration;

use http_body_util::Full;
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, TE, USER_AGENT},
    http::response::Parts,
};
use prost::Message as _;

use super::{
    Answer, ProbeError, Target,
    exchange::{AGENT, Read, Server},
};
use crate::{
    config::{HttpVersion, TlsSpec},
    output::excerpt,
};

const PATH: &str = "/grpc.health.v1.Health/Check";
const TYPE: &str = "application/grpc";
/// Before each message: whether it is compressed (one byte), and its length.
const PREFIX: usize = 5;
/// The largest number that `grpc-timeout` may have.
const LONGEST_TIMEOUT: u128 = 99_999_999;

/// What a server says of a service, by number.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: i32 = 1;

/// How a call went, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Passes if the server says `SERVING` of the service; the empty one is the server as a whole.
pub async fn probe(
    target: Target<'_>,
    service: &str,
    tls: Option<&TlsSpec>,
    timeout: Duration,
) -> Result<Answer, ProbeError> {
    let server = Server {
        target,
        // A client that reaches the server by this name asks for it, too. An IPv6 address would need brackets.
        host: tls
            .and_then(|tls| tls.server_name.as_deref())
            .filter(|name| !name.contains(':')),
        tls,
        version: HttpVersion::Http2,
    };
    let request = request(&server, service, timeout)?;
    let (head, body) = server.ask(request, is_good).await?;
    judge(&head.headers, &body)
}

fn request(
    server: &Server<'_>,
    service: &str,
    timeout: Duration,
) -> Result<Request<Full<Bytes>>, ProbeError> {
    let question = HealthCheckRequest {
        service: service.to_owned(),
    };
    let question = question.encode_to_vec();
    let length = u32::try_from(question.len())
        .map_err(|_| ProbeError::ours("the service's name is too long: use a shorter grpc_service"))?;
    let mut body = Vec::with_capacity(PREFIX + question.len());
    body.push(0);
    body.extend(length.to_be_bytes());
    body.extend(question);

    Request::post(format!("{}://{}{PATH}", server.scheme(), server.authority()))
        .header(TE, "trailers")
        .header(CONTENT_TYPE, TYPE)
        .header(
            "grpc-timeout",
            format!("{}m", timeout.as_millis().clamp(1, LONGEST_TIMEOUT)),
        )
        .header(USER_AGENT, AGENT)
        .body(Full::from(body))
        .map_err(|error| ProbeError::ours(format!("request: {error}")))
}

fn is_good(head: &Parts) -> Result<(), ProbeError> {
    // What answers so is no gRPC server, but perhaps a proxy before one.
    if head.status != StatusCode::OK {
        return Err(ProbeError::answer(format!(
            "HTTP status {} instead of 200",
            head.status.as_u16()
        )));
    }
    is_grpc(&head.headers)?;
    // A call that failed may be one head alone.
    status(&head.headers).unwrap_or(Ok(()))
}

fn judge(head: &HeaderMap, body: &Read) -> Result<Answer, ProbeError> {
    if !body.is_whole {
        return Err(ProbeError::answer("answer is longer than 64 KiB"));
    }
    status(&body.trailers)
        .or_else(|| status(head))
        .unwrap_or_else(|| Err(ProbeError::answer("answer without grpc-status")))?;
    match message(&body.bytes)?.status {
        SERVING => Ok(Answer::said("SERVING")),
        other => Err(ProbeError::answer(format!(
            "status {} instead of SERVING",
            serving_status(other)
        ))),
    }
}

fn is_grpc(headers: &HeaderMap) -> Result<(), ProbeError> {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    let kind = String::from_utf8_lossy(kind.unwrap_or_default());
    match kind.strip_prefix(TYPE) {
        Some(rest) if rest.is_empty() || rest.starts_with(['+', ';']) => Ok(()),
        _ if kind.is_empty() => Err(ProbeError::answer(format!("no content type instead of {TYPE}"))),
        _ => Err(ProbeError::answer(format!(
            "content type {} instead of {TYPE}",
            excerpt(&kind)
        ))),
    }
}

/// How the call went, if it is told here.
fn status(headers: &HeaderMap) -> Option<Result<(), ProbeError>> {
    let told = headers.get("grpc-status")?;
    let code: Option<usize> = told.to_str().ok().and_then(|code| code.parse().ok());
    if code == Some(0) {
        return Some(Ok(()));
    }
    let name = match code.and_then(|code| CODES.get(code)) {
        Some(name) => (*name).to_owned(),
        None => format!(
            "grpc-status {}",
            excerpt(&String::from_utf8_lossy(told.as_bytes()))
        ),
    };
    let message = headers.get("grpc-message").map(|message| message.as_bytes());
    let message = excerpt(&String::from_utf8_lossy(&percent_decoded(
        message.unwrap_or_default(),
    )));
    let reason = match message.is_empty() {
        false => format!("{name}: {message}"),
        true if name == "UNIMPLEMENTED" => format!("{name}: the server has no grpc.health.v1.Health"),
        true => name,
    };
    Some(Err(ProbeError::answer(reason)))
}

/// What is not well encoded stays as it is, as gRPC asks for.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn message(body: &[u8]) -> Result<HealthCheckResponse, ProbeError> {
    let Some((&[compressed, length @ ..], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(ProbeError::answer("answer without a message"));
    };
    if compressed != 0 {
        return Err(ProbeError::answer(
            "answer is compressed, which was not asked for",
        ));
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(ProbeError::answer("answer is not one message"));
    }
    HealthCheckResponse::decode(message)
        .map_err(|error| ProbeError::answer(format!("answer cannot be read: {error}")))
}

fn serving_status(status: i32) -> String {
    let name = usize::try_from(status)
        .ok()
        .and_then(|status| STATUSES.get(status));
    name.map_or_else(|| status.to_string(), |name| (*name).to_owned())
}
