//! Checks: what they have found, and probes because somebody asks.

use std::{result::Result, time::Instant};

use axum::{
    Json,
    extract::{
        Path as Segments, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::{Loop, Result_, told};
use crate::{
    api::protocol::{CheckQuery, CheckRun, CheckRunResult},
    control::{Answer, Ask, Problem, Question, Request, via, where_to},
    health,
};

pub(super) async fn list(State(control): Loop, query: Result<Query<CheckQuery>, QueryRejection>) -> Result_ {
    let Query(CheckQuery { service, backend }) = query?;
    known(&control, service.as_deref(), backend.as_deref()).await?;
    let Answer::Checks(mut checks) = told(&control, Ask::Checks).await? else {
        return Err(unexpected());
    };
    let is_of = |wanted: &Option<String>, name: &String| wanted.as_ref().is_none_or(|one| one == name);
    checks.retain(|one| is_of(&service, &one.service) && is_of(&backend, &one.backend));
    Ok((StatusCode::OK, Json(Answer::Checks(checks))))
}

/// Runs all checks of a backend at once, here: neither the control loop nor what it knows is touched. Whoever hangs up ends them.
pub(super) async fn run(
    State(control): Loop,
    path: Result<Segments<(String, String)>, PathRejection>,
) -> Result_ {
    let Segments((service, backend)) = path?;
    let ask = Ask::Questions(service.clone(), backend.clone());
    let Answer::Questions(questions) = told(&control, ask).await? else {
        return Err(unexpected());
    };
    let run = CheckRun {
        service,
        backend,
        checks: join_all(questions.iter().map(probe)).await,
    };
    Ok((StatusCode::OK, Json(Answer::Run(run))))
}

async fn probe(question: &Question) -> CheckRunResult {
    let Question {
        spec,
        target,
        who,
        course,
        asks,
    } = question;
    let permit = health::Permit::soon(health::Permit::of(&spec.kind)).await;
    // What it has waited for its turn says nothing of the backend.
    let start = Instant::now();
    let question = health::Question {
        kind: &spec.kind,
        target: *target,
        timeout: spec.timeout,
        who,
        course,
    };
    let result = match permit {
        Ok(permit) => health::probe(question, permit).await,
        Err(error) => Err(error),
    };
    let took = start.elapsed();
    CheckRunResult {
        kind: spec.kind.name().to_owned(),
        target: where_to(&spec.kind, asks.as_ref().unwrap_or(target)),
        via: via(*asks),
        passed: result.is_ok(),
        said: health::said(&result, took),
        took_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
    }
}

/// Whether there is such a service, and such a backend of it.
pub(super) async fn known(
    control: &mpsc::Sender<Request>,
    service: Option<&str>,
    backend: Option<&str>,
) -> Result<(), Problem> {
    match (service, backend) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Problem::Refused(
            "backend: names are unique within a service only: give the service too".to_owned(),
        )),
        (Some(service), backend) => {
            let ask = Ask::Known(service.to_owned(), backend.map(str::to_owned));
            told(control, ask).await.map(drop)
        }
    }
}

fn unexpected() -> Problem {
    Problem::Failed("the control loop has answered something else: that is a mistake of xlb's".to_owned())
}
