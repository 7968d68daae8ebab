//! The API's server: HTTP on a unix socket that root and its group may use.

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
        DefaultBodyLimit, Path as Segments, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};

use crate::{
    api::protocol::{BackendChange, Failure, FlowQuery, PoolChange, Probe, ServiceChange, VipChange},
    config::{BackendSpec, Network, ServiceSpec},
    control::{Answer, Ask, Problem, Request, change::Change, flows::Wish},
    output,
};

/// Read and write for the owner and its group.
const MODE: u32 = 0o660;
/// Longest body of a request, in MiB: more than a service with as many backends as ever fit.
const BODY_MAX: usize = 16;
/// Longest part of a request's path that an answer repeats.
const PATH_SHOWN: usize = 80;

type Loop = State<mpsc::Sender<Request>>;
type Result_ = std::result::Result<(StatusCode, Json<Answer>), Problem>;

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

    /// Answers requests through the control loop, until the runtime ends.
    pub fn serve(&mut self, control: mpsc::Sender<Request>) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router(control)).await {
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

fn router(control: mpsc::Sender<Request>) -> Router {
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
        .route("/v1/vips", get(|control: Loop| ask(control, Ask::Vips)))
        .route("/v1/vips/{vip}", axum::routing::patch(set_vip))
        .route("/v1/lookup", get(lookup))
        .route("/v1/flows", get(list_flows).delete(purge_flows))
        .fallback(unknown_resource)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX << 20))
        .with_state(control)
}

async fn unknown_resource(uri: Uri) -> Problem {
    let path = shown(&uri);
    Problem::NotFound(format!(
        "{path}: no such resource: ask for /v1/status, /v1/vips, /v1/lookup, /v1/flows, /v1/services or what is below"
    ))
}

async fn wrong_method(method: Method, uri: Uri) -> (StatusCode, Json<Failure>) {
    let path = shown(&uri);
    let error = format!("{path}: does not take {method}: the header 'allow' has the methods that it takes");
    (StatusCode::METHOD_NOT_ALLOWED, Json(Failure { error }))
}

fn shown(uri: &Uri) -> String {
    uri.path().chars().take(PATH_SHOWN).collect()
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
            ServiceChange::FIELDS
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
            BackendChange::FIELDS
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
    ask(control, Ask::Flows(Wish::Purge(query))).await
}

async fn ask(State(control): Loop, ask: Ask) -> Result_ {
    let (answer, answered) = oneshot::channel();
    let ends = || Problem::Failed("the agent is ending".to_owned());
    control.send(Request { ask, answer }).await.map_err(|_| ends())?;
    let answer = answered.await.map_err(|_| ends())??;
    Ok((StatusCode::OK, Json(answer)))
}

fn created(result: Result_) -> Result_ {
    result.map(|(_, answer)| (StatusCode::CREATED, answer))
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::Refused(match rejection {
            JsonRejection::BytesRejection(_) => {
                format!(
                    "the request's body cannot be read, or is longer than {BODY_MAX} MiB: send less at once"
                )
            }
            other => output::one_line(&other.body_text()),
        })
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::Refused(output::one_line(&rejection.body_text()))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::Refused(output::one_line(&rejection.body_text()))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NotFound(error) => (StatusCode::NOT_FOUND, error),
            Self::Refused(error) => (StatusCode::UNPROCESSABLE_ENTITY, error),
            Self::Failed(error) => (StatusCode::INTERNAL_SERVER_ERROR, error),
        };
        (status, Json(Failure { error })).into_response()
    }
}
