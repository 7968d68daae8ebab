//! The API's server: HTTP on a unix socket that root and its group may use.

mod checks;
mod events;
mod problem;
#[cfg(test)]
mod tests;

use std::{
    io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, FromRef, Path as Segments, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
    routing::{get, post},
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};

use crate::{
    api::protocol::{BackendChange, FlowQuery, PoolChange, Probe, ServiceChange, VipChange},
    config::{BackendSpec, Network, ServiceSpec},
    control::{Answer, Ask, Problem, Request, change::Change, events::Journal, flows::Wish},
};

/// Read and write for the owner and its group.
const MODE: u32 = 0o660;
/// Longest body of a request, in MiB: more than a service with as many backends as ever fit.
const BODY_MAX: usize = 16;

type Loop = State<mpsc::Sender<Request>>;
type Result_ = std::result::Result<(StatusCode, Json<Answer>), Problem>;

/// Where answers come from.
#[derive(Clone, Debug)]
struct Sources {
    control: mpsc::Sender<Request>,
    journal: Journal,
}

impl FromRef<Sources> for mpsc::Sender<Request> {
    fn from_ref(sources: &Sources) -> Self {
        sources.control.clone()
    }
}

impl FromRef<Sources> for Journal {
    fn from_ref(sources: &Sources) -> Self {
        sources.journal.clone()
    }
}

/// A socket in the file system; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Makes the socket. One that a dead agent has left is replaced.
    ///
    /// # Errors
    /// When another agent answers there, something else has that name, or the socket cannot be made.
    pub fn bind(path: &Path) -> Result<Self> {
        ensure!(
            UnixStream::connect(path).is_err(),
            "socket {}: another agent answers there: stop that one, or set node.socket to another path",
            path.display()
        );
        // Only a socket is replaced, never somebody's file.
        ensure!(
            std::fs::symlink_metadata(path).map_or(true, |found| found.file_type().is_socket()),
            "socket {}: what has that name is no socket: remove it, or set node.socket to another path",
            path.display()
        );
        let make = || -> io::Result<UnixListener> {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
            Ok(listener)
        };
        let listener = make().with_context(|| {
            format!(
                "socket {}: cannot be made, set node.socket to a path where it can",
                path.display()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            listener: Some(listener),
        })
    }

    /// Answers requests through the control loop, and out of the journal, until the runtime ends.
    pub fn serve(&mut self, control: mpsc::Sender<Request>, journal: Journal) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router(Sources { control, journal })).await {
                log::error!("the API has ended: {error}");
            }
        });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::debug!("remove {}: {error}", self.path.display());
        }
    }
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route("/v1/status", get(|control: Loop| ask(control, Ask::Status)))
        .route(
            "/v1/services",
            get(|control: Loop| ask(control, Ask::Services)).post(add_service),
        )
        .route(
            "/v1/services/{service}",
            get(show_service).patch(set_service).delete(remove_service),
        )
        .route("/v1/services/{service}/backends", post(add_backend))
        .route(
            "/v1/services/{service}/slots",
            get(show_slots).post(compare_slots),
        )
        .route(
            "/v1/services/{service}/backends/{backend}",
            axum::routing::patch(set_backend).delete(remove_backend),
        )
        .route(
            "/v1/services/{service}/backends/{backend}/check",
            post(checks::run),
        )
        .route("/v1/checks", get(checks::list))
        .route("/v1/events", get(events::list))
        .route("/v1/vips", get(|control: Loop| ask(control, Ask::Vips)))
        .route("/v1/vips/{vip}", axum::routing::patch(set_vip))
        .route("/v1/lookup", get(lookup))
        .route("/v1/flows", get(list_flows).delete(purge_flows))
        .fallback(problem::unknown_resource)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX << 20))
        .with_state(sources)
}

async fn show_service(control: Loop, service: Result<Segments<String>, PathRejection>) -> Result_ {
    let Segments(service) = service?;
    ask(control, Ask::Service(service)).await
}

async fn add_service(control: Loop, body: Result<Json<ServiceSpec>, JsonRejection>) -> Result_ {
    let Json(service) = body?;
    created(ask(control, Ask::Change(Change::AddService { service }.into())).await)
}

async fn remove_service(control: Loop, service: Result<Segments<String>, PathRejection>) -> Result_ {
    let Segments(service) = service?;
    ask(control, Ask::Change(Change::RemoveService { service }.into())).await
}

async fn set_service(
    control: Loop,
    service: Result<Segments<String>, PathRejection>,
    body: Result<Json<ServiceChange>, JsonRejection>,
) -> Result_ {
    let Segments(service) = service?;
    let Json(set) = body?;
    if set.is_empty() {
        let nothing = format!(
            "service {service:?}: nothing to change: give {}",
            ServiceChange::fields()
        );
        return Err(Problem::Refused(nothing));
    }
    ask(control, Ask::Change(Change::SetService { service, set }.into())).await
}

async fn add_backend(
    control: Loop,
    service: Result<Segments<String>, PathRejection>,
    body: Result<Json<BackendSpec>, JsonRejection>,
) -> Result_ {
    let Segments(service) = service?;
    let Json(backend) = body?;
    created(
        ask(
            control,
            Ask::Change(Change::AddBackend { service, backend }.into()),
        )
        .await,
    )
}

async fn set_backend(
    control: Loop,
    path: Result<Segments<(String, String)>, PathRejection>,
    body: Result<Json<BackendChange>, JsonRejection>,
) -> Result_ {
    let Segments((service, backend)) = path?;
    let Json(set) = body?;
    if set.is_empty() {
        let nothing = format!(
            "service {service:?}, backend {backend:?}: nothing to change: give {}",
            BackendChange::fields()
        );
        return Err(Problem::Refused(nothing));
    }
    ask(
        control,
        Ask::Change(
            Change::SetBackend {
                service,
                backend,
                set,
            }
            .into(),
        ),
    )
    .await
}

async fn remove_backend(control: Loop, path: Result<Segments<(String, String)>, PathRejection>) -> Result_ {
    let Segments((service, backend)) = path?;
    ask(
        control,
        Ask::Change(Change::RemoveBackend { service, backend }.into()),
    )
    .await
}

async fn set_vip(
    control: Loop,
    vip: Result<Segments<String>, PathRejection>,
    body: Result<Json<VipChange>, JsonRejection>,
) -> Result_ {
    let Segments(vip) = vip?;
    let address: Network = vip
        .parse()
        .map_err(|problem| Problem::Refused(format!("vip: {problem}")))?;
    let Json(VipChange { unserved, ping }) = body?;
    if unserved.is_none() && ping.is_none() {
        return Err(Problem::Refused(format!(
            "vip {address}: nothing to change: give unserved or ping"
        )));
    }
    ask(
        control,
        Ask::Change(
            Change::SetVip {
                address,
                unserved,
                ping,
            }
            .into(),
        ),
    )
    .await
}

async fn show_slots(control: Loop, service: Result<Segments<String>, PathRejection>) -> Result_ {
    let Segments(service) = service?;
    ask(control, Ask::Slots(service)).await
}

async fn compare_slots(
    control: Loop,
    service: Result<Segments<String>, PathRejection>,
    body: Result<Json<PoolChange>, JsonRejection>,
) -> Result_ {
    let Segments(service) = service?;
    let Json(change) = body?;
    if change.is_empty() {
        return Err(Problem::Refused(format!(
            "service {service:?}: nothing to compare: give add, remove or weights"
        )));
    }
    ask(control, Ask::SlotsAfter(service, change)).await
}

async fn lookup(control: Loop, probe: Result<Query<Probe>, QueryRejection>) -> Result_ {
    let Query(probe) = probe?;
    ask(control, Ask::Lookup(probe)).await
}

async fn list_flows(control: Loop, query: Result<Query<FlowQuery>, QueryRejection>) -> Result_ {
    let Query(query) = query?;
    ask(control, Ask::Flows(Wish::List(query))).await
}

async fn purge_flows(control: Loop, query: Result<Query<FlowQuery>, QueryRejection>) -> Result_ {
    let Query(query) = query?;
    if query.is_everything() {
        return Err(Problem::Refused(
            "flows: which are to be forgotten? give service, service and backend, or from and to".into(),
        ));
    }
    if query.limit.is_some() {
        return Err(Problem::Refused(
            "flows: limit is for listing: whatever fits the rest of the query is forgotten: leave it out"
                .into(),
        ));
    }
    ask(control, Ask::Flows(Wish::Purge(query))).await
}

async fn ask(State(control): Loop, ask: Ask) -> Result_ {
    let answer = told(&control, ask).await?;
    Ok((StatusCode::OK, Json(answer)))
}

/// What the control loop says.
async fn told(control: &mpsc::Sender<Request>, ask: Ask) -> Result<Answer, Problem> {
    let (answer, answered) = oneshot::channel();
    let ends = || Problem::Failed("the agent is ending".to_owned());
    control.send(Request { ask, answer }).await.map_err(|_| ends())?;
    answered.await.map_err(|_| ends())?
}

fn created(result: Result_) -> Result_ {
    result.map(|(_, answer)| (StatusCode::CREATED, answer))
}
