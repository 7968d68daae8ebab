//! Events: those of the past, and those to come as a stream, one JSON object on each line.

use std::{convert::Infallible, result::Result, sync::Arc, time::SystemTime};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, stream};

use super::{Loop, checks::known};
use crate::{
    api::protocol::{Event, EventQuery},
    control::{
        Problem,
        events::{Heard, Journal, Listener},
    },
};

/// Newline-delimited JSON.
const LINES: &str = "application/x-ndjson";
/// Events that are written at once.
const BATCH: usize = 256;

pub(super) async fn list(
    State(control): Loop,
    State(journal): State<Journal>,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let filter = query.filter(SystemTime::now()).map_err(Problem::Refused)?;
    // Who has been removed has had events all the same.
    if filter.service.is_none() || !journal.has_heard_of(&filter) {
        known(&control, filter.service.as_deref(), filter.backend.as_deref()).await?;
    }
    let body = if query.follow {
        Body::from_stream(stream(journal.follow(filter)))
    } else {
        Body::from(lines(&journal.recent(&filter, None)))
    };
    Ok(([(header::CONTENT_TYPE, LINES)], body).into_response())
}

/// What is heard, until nobody reads any more.
pub(super) fn stream(listener: Listener) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(listener, async |mut listener| {
        let Heard { lost, mut events } = listener.next(BATCH).await;
        if lost > 0 {
            // What was lost was before what is heard.
            let next = events.first().map(|event| event.id);
            let last = next.map_or(listener.passed(), |next| next.saturating_sub(1));
            events.insert(0, Event::lost(lost, last, SystemTime::now()));
        }
        Some((Ok(lines(&events).into()), listener))
    })
}

fn lines(events: &[Arc<Event>]) -> Vec<u8> {
    let mut lines = Vec::new();
    for event in events {
        // An event has a JSON, and a vector takes it.
        if serde_json::to_writer(&mut lines, &**event).is_ok() {
            lines.push(b'\n');
        }
    }
    lines
}
