//! A client of the API: one request per connection over the agent's unix socket.

#[cfg(test)]
pub(crate) mod canned;
mod error;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time};

pub use self::error::Error;
use crate::{
    api::protocol::{
        Backend, BackendChange, Failure, FlowQuery, Flows, Lookup, Moves, PoolChange, Probe, Purged, Removed,
        Service, ServiceChange, Slots, Status, Vip, VipChange,
    },
    config::{BackendSpec, Network, ServiceSpec},
};

/// From connecting to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Far above what the largest configuration answers.
const ANSWER_MAX: usize = 64 << 20;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Knows where the agent listens. Each call makes its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: TIMEOUT,
        }
    }

    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// # Errors
    /// When no agent answers, as with every request.
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("/v1/status").await
    }

    /// # Errors
    /// When no agent answers.
    pub async fn services(&self) -> Result<Vec<Service>, Error> {
        self.get("/v1/services").await
    }

    /// # Errors
    /// When there is no such service, or no agent answers.
    pub async fn service(&self, name: &str) -> Result<Service, Error> {
        self.get(&service_path(name)).await
    }

    /// # Errors
    /// When the agent refuses the service, or no agent answers.
    pub async fn add_service(&self, service: &ServiceSpec) -> Result<Service, Error> {
        self.send(Method::POST, "/v1/services", service).await
    }

    /// # Errors
    /// When there is no such service, the agent refuses the change, or no agent answers.
    pub async fn change_service(&self, name: &str, change: &ServiceChange) -> Result<Service, Error> {
        self.send(Method::PATCH, &service_path(name), change).await
    }

    /// # Errors
    /// When there is no such service, or no agent answers.
    pub async fn remove_service(&self, name: &str) -> Result<Removed, Error> {
        self.delete(&service_path(name)).await
    }

    /// # Errors
    /// When the agent refuses the backend, or no agent answers.
    pub async fn add_backend(&self, service: &str, backend: &BackendSpec) -> Result<Backend, Error> {
        self.send(
            Method::POST,
            &format!("{}/backends", service_path(service)),
            backend,
        )
        .await
    }

    /// # Errors
    /// When there is no such backend, the agent refuses the change, or no agent answers.
    pub async fn change_backend(
        &self,
        service: &str,
        backend: &str,
        change: &BackendChange,
    ) -> Result<Backend, Error> {
        self.send(Method::PATCH, &backend_path(service, backend), change)
            .await
    }

    /// # Errors
    /// When there is no such backend, or no agent answers.
    pub async fn remove_backend(&self, service: &str, backend: &str) -> Result<Removed, Error> {
        self.delete(&backend_path(service, backend)).await
    }

    /// # Errors
    /// When no agent answers.
    pub async fn vips(&self) -> Result<Vec<Vip>, Error> {
        self.get("/v1/vips").await
    }

    /// # Errors
    /// When no service has the VIP, or no agent answers.
    pub async fn change_vip(&self, vip: Network, change: &VipChange) -> Result<Vip, Error> {
        let path = format!("/v1/vips/{}", percent_encoded(&vip.to_string()));
        self.send(Method::PATCH, &path, change).await
    }

    /// # Errors
    /// When there can be no such packet, or no agent answers.
    pub async fn lookup(&self, probe: &Probe) -> Result<Lookup, Error> {
        let from = percent_encoded(&probe.from.to_string());
        let to = percent_encoded(&probe.to.to_string());
        let packet = probe.packet.map(|packet| format!("&packet={}", packet.name()));
        let path = format!("/v1/lookup?from={from}&to={to}{}", packet.unwrap_or_default());
        self.get(&path).await
    }

    /// # Errors
    /// When there is no such service or backend, or no agent answers.
    pub async fn flows(&self, query: &FlowQuery) -> Result<Flows, Error> {
        self.get(&flows_path(query)).await
    }

    /// # Errors
    /// When there is no such service or backend, or no agent answers.
    pub async fn purge_flows(&self, query: &FlowQuery) -> Result<Purged, Error> {
        self.delete(&flows_path(query)).await
    }

    /// # Errors
    /// When there is no such service, or no agent answers.
    pub async fn slots(&self, service: &str) -> Result<Slots, Error> {
        self.get(&format!("{}/slots", service_path(service))).await
    }

    /// # Errors
    /// When there is no such service, the change does not fit, or no agent answers.
    pub async fn slots_after(&self, service: &str, change: &PoolChange) -> Result<Moves, Error> {
        let path = format!("{}/slots", service_path(service));
        self.send(Method::POST, &path, change).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.request(Method::DELETE, path, Bytes::new()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|cause| Error::Body { cause })?;
        self.request(method, path, body.into()).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Error> {
        let changes = method != Method::GET;
        let answer = time::timeout(self.timeout, self.exchange(method, path, body)).await;
        let (status, body) = answer.unwrap_or_else(|_| {
            Err(Error::Timeout {
                socket: self.socket.clone(),
                after: self.timeout,
                changes,
            })
        })?;
        if status.is_success() {
            serde_json::from_slice(&body).map_err(|cause| Error::Garbage {
                socket: self.socket.clone(),
                cause,
            })
        } else {
            Err(match serde_json::from_slice(&body) {
                Ok(Failure { error }) => Error::Refused { status, error },
                Err(_) => Error::Unexplained {
                    socket: self.socket.clone(),
                    status,
                },
            })
        }
    }

    /// Sends a request and reads the whole answer.
    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|cause| Error::Unreachable {
                socket: self.socket.clone(),
                cause,
            })?;
        let broken = |cause: Cause| Error::Broken {
            socket: self.socket.clone(),
            cause,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.into()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "xlb")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| broken(error.into()))?;
        let answer = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await?;
            Ok::<_, Cause>((head.status, body.to_bytes()))
        };
        // The connection moves bytes only while it is polled, and its own error also comes out of the answer.
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
        .map_err(broken)
    }
}

fn service_path(service: &str) -> String {
    format!("/v1/services/{}", percent_encoded(service))
}

fn flows_path(query: &FlowQuery) -> String {
    let FlowQuery {
        service,
        backend,
        from,
        to,
        limit,
    } = query;
    let parts = [
        ("service", service.clone()),
        ("backend", backend.clone()),
        ("from", from.map(|from| from.to_string())),
        ("to", to.map(|to| to.to_string())),
        ("limit", limit.map(|limit| limit.to_string())),
    ];
    let parts = parts.into_iter().filter_map(|(name, value)| {
        let value = percent_encoded(&value?);
        Some(format!("{name}={value}"))
    });
    let parts: Vec<_> = parts.collect();
    format!("/v1/flows?{}", parts.join("&"))
}

fn backend_path(service: &str, backend: &str) -> String {
    format!("{}/backends/{}", service_path(service), percent_encoded(backend))
}

/// One segment of a path: all but unreserved characters (RFC 3986 §2.3) as `%XX`.
fn percent_encoded(segment: &str) -> String {
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
    use serde_json::json;

    use super::{canned::CannedAgent, *};

    #[test]
    fn names_are_one_segment_of_a_path() {
        assert_eq!(
            backend_path("web", "10.0.0.2:8080"),
            "/v1/services/web/backends/10.0.0.2%3A8080"
        );
        assert_eq!(service_path("a/b ?#%ü"), "/v1/services/a%2Fb%20%3F%23%25%C3%BC");
        assert_eq!(service_path("A-z.0_9~"), "/v1/services/A-z.0_9~");
    }

    #[tokio::test]
    async fn an_answer_is_read() {
        let agent = CannedAgent::new(200, canned::status());
        let status = Client::new(agent.socket()).status().await.unwrap();
        assert_eq!(serde_json::to_value(status).unwrap(), canned::status());
        assert_eq!(agent.requests(), [("GET /v1/status".into(), json!(null))]);
    }

    #[tokio::test]
    async fn an_answer_may_be_long() {
        let mut service = canned::service();
        service["backends"] = (0..4096).map(|id| canned::backend(&format!("b{id}"))).collect();
        let agent = CannedAgent::new(200, json!([service]));
        let services = Client::new(agent.socket()).services().await.unwrap();
        assert_eq!(services[0].backends.len(), 4096);
    }

    #[tokio::test]
    async fn a_refusal_is_the_agents_own_text() {
        let agent = CannedAgent::new(404, json!({"error": "no service \"web\""}));
        let error = Client::new(agent.socket())
            .remove_service("web")
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "no service \"web\"");
        assert!(
            matches!(
                error,
                Error::Refused {
                    status: StatusCode::NOT_FOUND,
                    ..
                }
            ) && !error.is_not_ready()
        );
    }

    #[tokio::test]
    async fn answers_of_something_else_are_named_as_such() {
        let not_found = CannedAgent::new(404, json!("nothing here"));
        let error = Client::new(not_found.socket())
            .status()
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("answered '404 Not Found' without a reason"),
            "{error}"
        );
        let other = CannedAgent::new(200, json!({"version": 1}));
        let error = Client::new(other.socket())
            .status()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("what this version does not understand"), "{error}");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_an_error() {
        for answer in [
            "",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"version\"",
            "HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n{}",
        ] {
            let agent = CannedAgent::raw(answer);
            let error = Client::new(agent.socket()).status().await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains("gave no whole answer ("), "{answer:?}: {text}");
            assert!(!error.is_not_ready());
        }
    }

    #[tokio::test]
    async fn an_agent_that_says_nothing_is_waited_for_only_so_long() {
        let agent = CannedAgent::silent();
        let client = Client::new(agent.socket()).with_timeout(Duration::from_millis(50));
        let error = client.status().await.unwrap_err();
        assert!(error.is_not_ready());
        assert!(
            error.to_string().ends_with("did not answer within 50ms"),
            "{error}"
        );
        let error = client.remove_service("web").await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("whether the change was made is not known"),
            "{error}"
        );
    }

    #[test]
    fn a_socket_that_may_not_be_used_has_its_own_remedy() {
        let cause = std::io::Error::from_raw_os_error(13);
        let error = Error::Unreachable {
            socket: "/run/xlb/xlb.sock".into(),
            cause,
        };
        let expected = "may not talk to the agent at /run/xlb/xlb.sock (Permission denied): \
                        run as root or as a member of the socket's group";
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_not_ready());
    }
}
