//! Servers on the loopback, whose every address is in 127.0.0.0/8, and the commands against them.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, Uri, header::CONTENT_LENGTH},
    response::{IntoResponse as _, Response},
};
use clap::Parser as _;
use tokio::runtime::Runtime;
use xlb_blockstore::{
    cli::Cli,
    report::{Done, Report},
    run::done,
};

pub type Content = BTreeMap<String, Bytes>;
type Files = Arc<Mutex<Content>>;

/// One server: what it has, and the runtime that it ends with.
pub struct Server {
    files: Files,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let files = Files::default();
        let app = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(files.clone());
        let runtime = Runtime::new()?;
        runtime.spawn(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await });
        Ok(Self {
            files,
            runtime: Some(runtime),
        })
    }

    /// Takes its port away.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut lock(&self.files));
    }

    pub fn content(&self) -> Content {
        lock(&self.files).clone()
    }

    pub fn count(&self) -> usize {
        lock(&self.files).len()
    }
}

fn lock(files: &Files) -> MutexGuard<'_, Content> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What nginx does with WebDAV's PUT.
async fn serve(State(files): State<Files>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut files = lock(&files);
    match method {
        Method::PUT => {
            files.insert(uri.path().to_owned(), body);
            StatusCode::CREATED.into_response()
        }
        Method::GET | Method::HEAD => match files.get(uri.path()) {
            Some(content) => ([(CONTENT_LENGTH, content.len())], content.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// Three servers on three ports that follow each other, and a directory.
pub struct Stage {
    pub servers: Vec<Server>,
    pub port: u16,
    pub dir: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Result<Self> {
        let (port, listeners) = (0..1000)
            .find_map(|_| three_ports().ok())
            .context("no three free ports")?;
        let servers = listeners.into_iter().map(Server::start).collect::<Result<_>>()?;
        let dir = tempfile::tempdir()?;
        Ok(Self { servers, port, dir })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `xlb-blockstore ARGS`, with this stage for its service.
    pub fn run(&self, args: &[&str]) -> Result<Report> {
        let port = self.port.to_string();
        let service = ["--network", "127.77.0.0/16", "--port", &port, "--tries", "2"];
        let all = [&["xlb-blockstore"], args, &service].concat();
        done(&Cli::try_parse_from(all)?)
    }

    /// A text of words that go over the ends of blocks, stored as `words.txt` in blocks of 1 KiB; and how many words.
    pub fn put(&self) -> Result<(Vec<u8>, u64)> {
        let words = (0..20_000u32).map(|n| "x".repeat((n.wrapping_mul(2_654_435_761) >> 28) as usize + 1));
        let text = words.collect::<Vec<_>>().join(" ");
        let path = self.path("words.txt");
        fs::write(&path, &text)?;
        let report = self.run(&["put", &path.display().to_string(), "--block-size", "1K"])?;
        ensure!(report.notes().is_empty(), "{report:?}");
        Ok((text.into_bytes(), 20_000))
    }

    /// What `get` gives, and how many blocks came from elsewhere.
    pub fn get(&self) -> Result<(Vec<u8>, u64)> {
        let copy = self.path("copy");
        let report = self.run(&["get", "words.txt", "-o", &copy.display().to_string()])?;
        let Done::Get { elsewhere, .. } = report.done else {
            bail!("{report:?}")
        };
        Ok((fs::read(&copy)?, elsewhere))
    }

    pub fn count(&self) -> Result<u64> {
        match self.run(&["count", "words.txt"])?.done {
            Done::Count { words, .. } => Ok(words),
            other => bail!("{other:?}"),
        }
    }
}

fn three_ports() -> Result<(u16, Vec<TcpListener>)> {
    let any = Ipv4Addr::UNSPECIFIED;
    let first = TcpListener::bind((any, 0))?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    for more in 1..3 {
        listeners.push(TcpListener::bind((
            any,
            port.checked_add(more).context("no port")?,
        ))?);
    }
    Ok((port, listeners))
}
