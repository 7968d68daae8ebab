//! A client of the API: one request per connection over the agent's unix socket.

#[cfg(test)]
pub(crate) mod canned;
mod error;
mod lines;
mod paths;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time};

use self::paths::{backend_path, events_path, flows_path, percent_encoded, request, service_path, written};
pub use self::{error::Error, lines::Lines};
use crate::{
    api::protocol::{
        Backend, BackendChange, BackendChecks, CheckQuery, CheckRun, Event, EventQuery, Failure, FlowQuery,
        Flows, Lookup, Moves, PoolChange, Probe, Purged, Removed, Service, ServiceChange, Slots, Status, Vip,
        VipChange,
    },
    config::{BackendSpec, Network, ServiceSpec},
};

/// From connecting to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The same where probes are made: longer than any sensible timeout of a check.
const PROBES: Duration = Duration::from_secs(5 * 60);
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

    /// # Errors
    /// When there is no such service or backend, or no agent answers.
    pub async fn checks(&self, query: &CheckQuery) -> Result<Vec<BackendChecks>, Error> {
        let CheckQuery { service, backend } = query.clone();
        let query = written(&[("service", service), ("backend", backend)]);
        self.get(&format!("/v1/checks?{query}")).await
    }

    /// Runs all checks of a backend once. Takes as long as they do.
    ///
    /// # Errors
    /// When there is no such service or backend, it has no check, or no agent answers.
    pub async fn run_checks(&self, service: &str, backend: &str) -> Result<CheckRun, Error> {
        let patient = self.clone().with_timeout(self.timeout.max(PROBES));
        let path = format!("{}/check", backend_path(service, backend));
        patient.asked(Method::POST, &path, Bytes::new(), false).await
    }

    /// The events of the past.
    ///
    /// # Errors
    /// When there is no such service or backend, the time is none, or no agent answers.
    pub async fn past_events(&self, query: &EventQuery) -> Result<Vec<Event>, Error> {
        let past = EventQuery {
            follow: false,
            ..query.clone()
        };
        let read = async {
            let mut lines = self.events(&past).await?;
            let mut events = Vec::new();
            while let Some(line) = lines.next().await? {
                events.push(serde_json::from_str(&line).map_err(|cause| self.garbage(cause))?);
            }
            Ok(events)
        };
        let read = time::timeout(self.timeout, read).await;
        read.unwrap_or_else(|_| Err(self.timed_out(false)))
    }

    /// Events as they come, each in JSON on a line; without end if they are followed.
    ///
    /// # Errors
    /// When there is no such service or backend, the time is none, or no agent answers.
    pub async fn events(&self, query: &EventQuery) -> Result<Lines, Error> {
        let begun = time::timeout(self.timeout, Lines::ask(self, &events_path(query), query.follow)).await;
        begun.unwrap_or_else(|_| Err(self.timed_out(false)))
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
        self.asked(method, path, body, changes).await
    }

    async fn asked<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        changes: bool,
    ) -> Result<T, Error> {
        let answer = time::timeout(self.timeout, self.exchange(method, path, body)).await;
        let (status, body) = answer.unwrap_or_else(|_| Err(self.timed_out(changes)))?;
        if status.is_success() {
            serde_json::from_slice(&body).map_err(|cause| self.garbage(cause))
        } else {
            Err(self.refused(status, &body))
        }
    }

    /// What an answer that is no success says.
    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        match serde_json::from_slice(body) {
            Ok(Failure { error }) => Error::Refused { status, error },
            Err(_) => Error::Unexplained {
                socket: self.socket.clone(),
                status,
            },
        }
    }

    fn garbage(&self, cause: serde_json::Error) -> Error {
        Error::Garbage {
            socket: self.socket.clone(),
            cause,
        }
    }

    fn timed_out(&self, changes: bool) -> Error {
        Error::Timeout {
            socket: self.socket.clone(),
            after: self.timeout,
            changes,
        }
    }

    fn broken(&self, cause: Cause) -> Error {
        Error::Broken {
            socket: self.socket.clone(),
            cause,
        }
    }

    /// Sends a request and reads the whole answer.
    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let (mut sender, connection) = self.connect().await?;
        let request = request(method, path, body).map_err(|error| self.broken(error))?;
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
        .map_err(|error| self.broken(error))
    }

    async fn connect(
        &self,
    ) -> Result<
        (
            http1::SendRequest<Full<Bytes>>,
            http1::Connection<TokioIo<UnixStream>, Full<Bytes>>,
        ),
        Error,
    > {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|cause| Error::Unreachable {
            socket: self.socket.clone(),
            cause,
        })?;
        let connected = http1::handshake(TokioIo::new(stream)).await;
        connected.map_err(|error| self.broken(error.into()))
    }
}
