//! Requests, with what is asked for as paths and queries.

use http_body_util::Full;
use hyper::{Method, Request, body::Bytes, header};

use super::Cause;
use crate::api::protocol::{EventQuery, FlowQuery};

pub fn request(method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Cause> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "xlb")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .body(Full::new(body))?;
    Ok(request)
}

pub fn service_path(service: &str) -> String {
    format!("/v1/services/{}", percent_encoded(service))
}

pub fn flows_path(query: &FlowQuery) -> String {
    let FlowQuery {
        service,
        backend,
        from,
        to,
        limit,
    } = query;
    let query = written(&[
        ("service", service.clone()),
        ("backend", backend.clone()),
        ("from", from.map(|from| from.to_string())),
        ("to", to.map(|to| to.to_string())),
        ("limit", limit.map(|limit| limit.to_string())),
    ]);
    format!("/v1/flows?{query}")
}

pub fn events_path(query: &EventQuery) -> String {
    let EventQuery {
        service,
        backend,
        since,
        follow,
    } = query.clone();
    let query = written(&[
        ("service", service),
        ("backend", backend),
        ("since", since),
        ("follow", follow.then(|| "true".to_owned())),
    ]);
    format!("/v1/events?{query}")
}

/// A query of those of its parts that there are.
pub fn written(parts: &[(&str, Option<String>)]) -> String {
    let parts = parts.iter().filter_map(|(name, value)| {
        let value = percent_encoded(value.as_deref()?);
        Some(format!("{name}={value}"))
    });
    parts.collect::<Vec<_>>().join("&")
}

pub fn backend_path(service: &str, backend: &str) -> String {
    format!("{}/backends/{}", service_path(service), percent_encoded(backend))
}

/// One segment of a path: all but unreserved characters (RFC 3986 §2.3) as `%XX`.
pub fn percent_encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment_of_a_path() {
        assert_eq!(
            backend_path("web", "10.0.0.2:8080"),
            "/v1/services/web/backends/10.0.0.2%3A8080"
        );
        assert_eq!(service_path("a/b ?#%ü"), "/v1/services/a%2Fb%20%3F%23%25%C3%BC");
        assert_eq!(service_path("A-z.0_9~"), "/v1/services/A-z.0_9~");
    }
}
