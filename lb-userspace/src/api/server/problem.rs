//! Why there is no answer, in HTTP.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};

use super::BODY_MAX;
use crate::{api::protocol::Failure, control::Problem, output};

/// Longest part of a request's path that an answer repeats.
const PATH_SHOWN: usize = 80;

pub(super) async fn unknown_resource(uri: Uri) -> Problem {
    let path = shown(&uri);
    Problem::NotFound(format!(
        "{path}: no such resource: ask for /v1/status, /v1/checks, /v1/events, /v1/vips, /v1/lookup, /v1/flows, /v1/services or what is below"
    ))
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> (StatusCode, Json<Failure>) {
    let path = shown(&uri);
    let error = format!("{path}: does not take {method}: the header 'allow' has the methods that it takes");
    (StatusCode::METHOD_NOT_ALLOWED, Json(Failure { error }))
}

fn shown(uri: &Uri) -> String {
    uri.path().chars().take(PATH_SHOWN).collect()
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
