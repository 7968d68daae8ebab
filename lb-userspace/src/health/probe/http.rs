//! The HTTP check: one request over a connection of its own, by HTTP/1.1 or HTTP/2, in the clear or over TLS.

#[cfg(test)]
mod tests;

use http_body_util::Full;
use hyper::{
    Method, Request,
    body::Bytes,
    header::{CONNECTION, HOST, USER_AGENT},
};

use super::{
    Answer, ProbeError, Target,
    exchange::{AGENT, Read, Server},
};
use crate::config::{HttpCheck, HttpMethod, HttpVersion};

/// Passes if the status is one of those wanted and, where a body is wanted, the first 64 KiB of the response's body contain
/// it. The response must be complete, or longer than that.
pub async fn probe(target: Target<'_>, check: &HttpCheck) -> Result<Answer, ProbeError> {
    let server = Server {
        target,
        host: check.host.as_deref(),
        tls: check.tls.as_ref(),
        version: check.version,
    };
    let request = request(&server, check)?;
    let (head, body) = server
        .ask(request, |head| has_status(head.status.as_u16(), check))
        .await?;
    has_body(&body, check)?;
    Ok(Answer::said(format!("status {}", head.status.as_u16())))
}

fn request(server: &Server<'_>, check: &HttpCheck) -> Result<Request<Full<Bytes>>, ProbeError> {
    let (path, authority) = (&check.path, server.authority());
    let request = Request::builder()
        .method(match check.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Options => Method::OPTIONS,
        })
        .header(USER_AGENT, AGENT);
    let request = match check.version {
        HttpVersion::Http1 => request
            .uri(path)
            .header(HOST, authority)
            .header(CONNECTION, "close"),
        HttpVersion::Http2 => request.uri(format!("{}://{authority}{path}", server.scheme())),
    };
    request
        .body(Full::default())
        .map_err(|error| ProbeError::ours(format!("request: {error}")))
}

fn has_status(status: u16, check: &HttpCheck) -> Result<(), ProbeError> {
    if check.status.contains(status) {
        return Ok(());
    }
    Err(ProbeError::answer(format!(
        "status {status} instead of {}",
        check.status
    )))
}

fn has_body(body: &Read, check: &HttpCheck) -> Result<(), ProbeError> {
    match &check.body {
        Some(pattern) if !pattern.is_in(&body.bytes) => {
            let start = if body.is_whole { "" } else { " in its first 64 KiB" };
            Err(ProbeError::answer(format!(
                "body does not contain {pattern}{start}"
            )))
        }
        _ => Ok(()),
    }
}
