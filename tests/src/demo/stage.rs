//! What the demo plays on: the lab, a web server on each backend, and the agent that balances between them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{signals, status};
use crate::Lab;
use crate::agent::Agent;
use crate::client::Steady;
use crate::server::Nginx;

/// Of the one service.
pub(super) const SERVICE: &str = "web";
const PORT: u16 = 80;
const BACKENDS: u8 = 3;

/// From one heartbeat to the next.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
/// Heartbeats in a row that take a backend out, and that bring it back.
pub(super) const FALL: u32 = 3;
pub(super) const RISE: u32 = 2;

/// New connections a second, where the demo speaks of load.
pub(super) const RATE: u32 = 200;

const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Longer than TCP takes to send a lost packet again, so that no answer that was only late counts as missing.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the demo takes for things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Normal,
    Fast,
}

impl Pace {
    /// How long to watch something that a patient viewer sees for `normal`.
    pub(super) fn watch(self, normal: Duration) -> Duration {
        match self {
            Self::Normal => normal,
            Self::Fast => normal / 4,
        }
    }

    /// How long to leave a viewer for reading.
    pub(super) fn read(self) -> Duration {
        match self {
            Self::Normal => Duration::from_millis(1200),
            Self::Fast => Duration::ZERO,
        }
    }
}

/// Everything that runs. Dropping it ends and removes it, in the order of the fields.
pub(super) struct Stage {
    pub(super) agent: Agent,
    pub(super) servers: Vec<Nginx>,
    pub(super) lab: Lab,
    /// What `/files/` of all servers shows.
    pub(super) files: PathBuf,
    pub(super) pace: Pace,
    /// How long it took to build the network with its servers, and until the agent had seen all of them.
    pub(super) built: Duration,
    pub(super) started: Duration,
}

impl Stage {
    pub(super) fn build(pace: Pace) -> Result<Self> {
        let start = Instant::now();
        let lab = Lab::new().backends(BACKENDS).build()?;
        let files = lab.dir().join("files");
        fs::create_dir(&files).with_context(|| format!("create {}", files.display()))?;
        let mut servers = Vec::new();
        for backend in &lab.backends {
            signals::check()?;
            servers.push(backend.nginx_with().ports(&[PORT]).files(&files).start()?);
        }
        let built = start.elapsed();
        let start = Instant::now();
        let agent = lab.agent(&service(&lab)).start()?;
        let mut stage = Self {
            agent,
            servers,
            lab,
            files,
            pace,
            built,
            started: Duration::ZERO,
        };
        stage.wait_until("all backends are up", status::all_up)?;
        stage.started = start.elapsed();
        Ok(stage)
    }

    /// Where clients find the service.
    pub(super) fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.lab.vip().into(), PORT)
    }

    /// A URL of the service. `path` begins with a slash.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.lab.vip())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lab.backends.iter().map(|backend| backend.name.as_str())
    }

    /// Requests to the VIP at a steady rate, each on a new connection.
    pub(super) fn load(&self) -> Result<Steady> {
        self.lab.client.steady(self.vip(), RATE).timeout(TIMEOUT).start()
    }

    /// Sleeps for as long as the viewer's patience makes of `normal`.
    pub(super) fn watch(&self, normal: Duration) -> Result<()> {
        signals::sleep(self.pace.watch(normal))
    }

    /// Asks for the status until `done` likes it.
    pub(super) fn wait_until(&self, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.agent.status()?;
            if done(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let log = self.agent.log_tail();
                bail!("not within {PATIENCE:?}: {what}\n{status:#}\n{log}");
            }
            signals::sleep(POLL)?;
        }
    }

    /// The same for the state of one backend.
    pub(super) fn wait_for(&self, name: &str, state: &str) -> Result<Value> {
        self.wait_until(&format!("{name} is {state}"), |now| status::is(now, name, state))
    }
}

/// The service in the agent's configuration.
fn service(lab: &Lab) -> String {
    let interval = INTERVAL.as_millis();
    let backends: String = lab
        .backends
        .iter()
        .map(|backend| {
            let (name, address) = (&backend.name, backend.addr);
            format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n")
        })
        .collect();
    format!(
        "[[service]]\nname = \"{SERVICE}\"\nvip = \"{}:{PORT}/tcp\"\n[service.check]\ntype = \"http\"\n\
         path = \"/health\"\ninterval = \"{interval}ms\"\ntimeout = \"{interval}ms\"\nrise = {RISE}\n\
         fall = {FALL}\n{backends}",
        lab.vip()
    )
}
