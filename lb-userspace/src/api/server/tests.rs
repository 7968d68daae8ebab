//! The server behind a real socket, before a control loop that knows service web with backend b1.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use super::*;
use crate::{
    api::{
        client::{Client, Error},
        protocol::{BackendChecks, CheckQuery, Event, EventQuery, Health, State as BackendState, What},
    },
    config::{CheckKind, CheckSpec, Via},
    control::{Question, change::Refusal, events::News},
    health::{Course, Who},
};

const LONG: Duration = Duration::from_secs(60);

struct Agent {
    client: Client,
    journal: Journal,
    asked: Arc<Mutex<Vec<Ask>>>,
    _socket: Socket,
    _directory: TempDir,
}

impl Agent {
    fn start(questions: Vec<Question>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xlb.sock");
        let mut socket = Socket::bind(&path).unwrap();
        let (control, mut requests) = mpsc::channel::<Request>(8);
        let journal = Journal::default();
        socket.serve(control, journal.clone());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Some(Request { ask, answer }) = requests.recv().await {
                seen.lock().unwrap().push(ask.clone());
                let told = match ask {
                    Ask::Known(service, backend) => {
                        known(&service, backend.as_deref()).map(|()| Answer::Known)
                    }
                    Ask::Questions(service, backend) => {
                        known(&service, Some(&backend)).map(|()| Answer::Questions(questions.clone()))
                    }
                    Ask::Checks => Ok(Answer::Checks(vec![checks("dns", "b1"), checks("web", "b1")])),
                    other => Err(Problem::Failed(format!("{other:?}"))),
                };
                drop(answer.send(told));
            }
        });
        Self {
            client: Client::new(path),
            journal,
            asked,
            _socket: socket,
            _directory: directory,
        }
    }

    fn note(&self, service: &str, backend: Option<&str>) {
        let news = News {
            event: What::Down,
            service: Some(service),
            backend,
            check: None,
            reason: "connect: connection refused".into(),
        };
        self.journal.note(news, SystemTime::now());
    }
}

fn known(service: &str, backend: Option<&str>) -> Result<(), Problem> {
    let refusal = match (service, backend) {
        ("web", None | Some("b1")) => return Ok(()),
        ("web", Some(other)) => Refusal::NoBackend("web".into(), other.into()),
        _ => Refusal::NoService(service.into()),
    };
    Err(Problem::NotFound(refusal.to_string()))
}

fn checks(service: &str, backend: &str) -> BackendChecks {
    BackendChecks {
        service: service.into(),
        backend: backend.into(),
        health: Health::Up,
        state: BackendState::Up,
        since_seconds: None,
        failures: 0,
        held_seconds: None,
        weight: 100,
        weight_now: 100,
        wish: None,
        kept_in_panic: false,
        checks: Vec::new(),
    }
}

fn whose(service: &str, backend: Option<&str>) -> EventQuery {
    EventQuery {
        service: Some(service.into()),
        backend: backend.map(Into::into),
        ..EventQuery::default()
    }
}

fn check_query(service: Option<&str>, backend: Option<&str>) -> CheckQuery {
    CheckQuery {
        service: service.map(Into::into),
        backend: backend.map(Into::into),
    }
}

#[tokio::test]
async fn checks_are_those_that_are_asked_for() {
    let agent = Agent::start(Vec::new());
    let list = async |service, backend| agent.client.checks(&check_query(service, backend)).await;
    assert_eq!(list(None, None).await.unwrap().len(), 2);
    let web = list(Some("web"), Some("b1")).await.unwrap();
    assert_eq!(web, [checks("web", "b1")]);
    let error = list(Some("wbe"), None).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "service \"wbe\": there is none of that name: 'xlb service list' shows them"
    );
    let error = list(None, Some("b1")).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "backend: names are unique within a service only: give the service too"
    );
}

#[tokio::test]
async fn checks_run_side_by_side_in_the_request_itself() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (open_at, closed_at) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
    drop(closed);
    let question = |target| Question {
        spec: CheckSpec::new(CheckKind::TCP),
        target,
        who: Who::default(),
        course: Course::Direct,
        asks: None,
    };
    let agent = Agent::start(vec![question(open_at), question(closed_at)]);
    let run = agent.client.run_checks("web", "b1").await.unwrap();
    assert_eq!((run.service.as_str(), run.backend.as_str()), ("web", "b1"));
    let results: Vec<_> = run
        .checks
        .iter()
        .map(|one| {
            assert_eq!(one.via, Via::Direct);
            (one.kind.as_str(), one.target.clone(), one.passed)
        })
        .collect();
    assert_eq!(
        results,
        [
            ("tcp", open_at.to_string(), true),
            ("tcp", closed_at.to_string(), false)
        ]
    );
    assert_eq!(run.checks[1].said, "connect: connection refused");
    assert_eq!(agent.asked.lock().unwrap().len(), 1);
    let error = agent.client.run_checks("web", "b2").await.unwrap_err();
    assert!(
        error.to_string().contains("backend \"b2\": there is none"),
        "{error}"
    );
}

#[tokio::test]
async fn past_events_are_lines() {
    let agent = Agent::start(Vec::new());
    agent.note("web", Some("b1"));
    agent.note("gone", Some("b9"));
    let events = async |query: &EventQuery| agent.client.past_events(query).await;
    let ids = |events: Vec<Event>| events.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(events(&EventQuery::default()).await.unwrap()), [0, 1]);
    assert_eq!(ids(events(&whose("web", None)).await.unwrap()), [0]);
    assert_eq!(ids(events(&whose("gone", Some("b9"))).await.unwrap()), [1]);
    let late = EventQuery {
        since: Some("2999-01-01T00:00:00Z".into()),
        ..whose("gone", None)
    };
    assert!(ids(events(&late).await.unwrap()).is_empty());
    let error = events(&whose("web", Some("b9"))).await.unwrap_err();
    assert!(
        error.to_string().contains("backend \"b9\": there is none"),
        "{error}"
    );
    let wrong = EventQuery {
        since: Some("yesterday".into()),
        ..EventQuery::default()
    };
    let error = events(&wrong).await.unwrap_err();
    assert!(error.to_string().contains("is no time"), "{error}");
}

#[tokio::test]
async fn a_stream_goes_on_from_the_past() {
    let agent = Agent::start(Vec::new());
    agent.note("web", Some("b1"));
    let query = EventQuery {
        follow: true,
        ..whose("web", None)
    };
    let mut lines = agent.client.events(&query).await.unwrap();
    for id in [0, 2, 3] {
        if id == 2 {
            agent.note("dns", Some("b1"));
            agent.note("web", Some("b1"));
            agent.note("web", None);
        }
        let line = timeout(LONG, lines.next()).await.unwrap().unwrap().unwrap();
        let event: Event = serde_json::from_str(&line).unwrap();
        assert_eq!(event.id, id);
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_what_it_has_lost() {
    let journal = Journal::default();
    let mut stream = std::pin::pin!(events::stream(journal.follow(Default::default())));
    for _ in 0..10_007 {
        let news = News {
            event: What::Up,
            service: Some("web"),
            backend: None,
            check: None,
            reason: String::new(),
        };
        journal.note(news, SystemTime::now());
    }
    let first = futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
    let lines: Vec<Event> = first
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!((lines[0].event, lines[0].id), (What::Lost, 6));
    assert!(lines[0].reason.starts_with("7 events: "), "{}", lines[0].reason);
    assert_eq!((lines[1].event, lines[1].id), (What::Up, 7));
}

#[tokio::test]
async fn the_end_of_the_agent_is_an_error_of_a_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xlb.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let journal = Journal::default();
    let socket = {
        let _entered = runtime.enter();
        let mut socket = Socket::bind(&path).unwrap();
        socket.serve(mpsc::channel(1).0, journal.clone());
        socket
    };
    let client = Client::new(&path);
    let query = EventQuery {
        follow: true,
        ..EventQuery::default()
    };
    let mut lines = client.events(&query).await.unwrap();
    let ended = tokio::spawn(async move { timeout(LONG, lines.next()).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    runtime.shutdown_background();
    drop(socket);
    let error = ended.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Ended { .. }), "{error}");
    assert!(error.to_string().contains("has ended the connection"), "{error}");
}
