//! A double of the agent for tests: gives every request the same answer.

use std::{
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use axum::{
    Router,
    body::Bytes,
    http::{Method, StatusCode, Uri},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

use crate::{api::client::Client, cli::Output, commands::Session};

/// Method with path, and body (null when empty).
type Seen = (String, Value);

/// Listens in its own thread until it is dropped, so that tests may block.
#[derive(Debug)]
pub struct CannedAgent {
    socket: PathBuf,
    requests: Arc<Mutex<Vec<Seen>>>,
    _directory: TempDir,
    _stop: oneshot::Sender<()>,
}

impl CannedAgent {
    /// Answers with a status and JSON.
    pub fn new(status: u16, answer: Value) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        Self::start(async move |listener, requests| {
            let handler = async move |method: Method, uri: Uri, body: Bytes| {
                let body = if body.is_empty() {
                    Value::Null
                } else {
                    serde_json::from_slice(&body).unwrap()
                };
                requests.lock().unwrap().push((format!("{method} {uri}"), body));
                (status, answer.to_string())
            };
            axum::serve(listener, Router::new().fallback(handler))
                .await
                .unwrap();
        })
    }

    /// Answers with these bytes, HTTP or not, and closes.
    pub fn raw(answer: &'static str) -> Self {
        Self::start(async move |listener, _| {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
    }

    /// Takes requests and never answers.
    pub fn silent() -> Self {
        Self::start(async move |listener, _| {
            let mut streams = Vec::new();
            loop {
                streams.push(listener.accept().await.unwrap());
            }
        })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn session(&self, output: Output) -> Session {
        Session {
            client: Client::new(self.socket()),
            output,
        }
    }

    /// What has been asked so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.requests.lock().unwrap().clone()
    }

    fn start<F>(serve: F) -> Self
    where
        F: AsyncFnOnce(tokio::net::UnixListener, Arc<Mutex<Vec<Seen>>>) + Send + 'static,
    {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("xlb.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let requests = Arc::default();
        let seen = Arc::clone(&requests);
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, seen) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            socket,
            requests,
            _directory: directory,
            _stop: stop,
        }
    }
}

pub fn status() -> Value {
    json!({
        "version": "0.1.0", "pid": 4711, "uptime_seconds": 183_845,
        "interfaces": [{"name": "eth0", "mode": "native", "attached": true}],
        "services": [service()],
        "outcomes": [
            {"name": "forwarded", "packets": 1_234_567, "bytes": 3_650_722_202_u64},
            {"name": "returned", "packets": 0, "bytes": 0},
            {"name": "no_backend", "packets": 12, "bytes": 720},
            {"name": "of_2030", "packets": 1, "bytes": 64},
        ],
        "packets_seen": 1_345_678, "flows": 14, "written": written(), "reaction": {"count": 12, "min": 20_000, "p50": 45_055, "p90": 81_919, "p99": 1_200_000, "max": 1_200_000}, "memory": [{"map": "FLOWS", "bytes": 52_428_800}, {"map": "SLOTS", "bytes": 12_288}],
        "warnings": ["eth0: driver drops frames"],
    })
}

fn written() -> Value {
    json!({
        "room": 1_048_576, "opened": 20, "confirmed": 300, "closing": 4, "clients": 0,
        "inserted": 5_000_000, "displaced": 7, "refused": 1,
    })
}

pub fn service() -> Value {
    let mut down = backend("10.0.0.3:8080");
    down["address"] = json!("10.0.0.3");
    down["port"] = json!(null);
    down["weight"] = json!(50);
    down["weight_now"] = json!(50);
    down["max_connections"] = json!(500);
    down["max_connections_now"] = json!(500);
    down["priority"] = json!(1);
    down["admin"] = json!("drain");
    down["health"] = json!("down");
    down["state"] = json!("down");
    down["next_hop"] = json!(null);
    down["last_check"] = json!(null);
    json!({
        "name": "web", "vips": ["192.0.2.10:80/tcp", "192.0.2.10:443/tcp"], "mode": "nat", "algorithm": "maglev",
        "source_prefix": [32, 128], "replicas": 1, "load_factor": 1.25, "need": 1, "on_full": "reject", "on_down": "drop", "withdraw": false, "udp": "stay",
        "one_packet": false, "drain_timeout": "10m", "affinity": null, "new_flows": null, "new_flows_per_source": null,
        "mtu": null, "fragments": "track", "checksum": false, "quic": null,
        "check": {
            "type": "http", "interval": "1s", "timeout": "500ms", "rise": 2, "fall": 3,
            "path": "/health", "status": "200-399",
        },
        "usable": true,
        "counters": counters(12),
        "backends": [backend("b1"), down], "leaving": [],
    })
}

pub fn vip() -> Value {
    json!({"address": "198.51.100.0/24", "unserved": "reset", "ping": false, "services": ["dns", "web"], "announce": true})
}

pub fn backend(name: &str) -> Value {
    json!({
        "name": name, "address": "10.0.0.2", "port": 8080, "weight": 100, "weight_now": 100, "max_connections": 0, "max_connections_now": 0, "priority": 0,
        "admin": "ready", "server_id": null, "health": "up", "state": "up",
        "next_hop": {"interface": "eth0", "mac": "02:00:00:00:00:01"}, "flows": 7, "active": null, "drift": null, "drain_ends_seconds": null, "last_check": "200 in 2 ms",
        "counters": counters(0),
    })
}

fn counters(packets_dropped: u64) -> Value {
    json!({
        "packets_in": 1_234_567, "bytes_in": 3_650_722_202_u64, "packets_out": 9876, "bytes_out": 524_288,
        "flows_opened": 100, "packets_dropped": packets_dropped,
    })
}
