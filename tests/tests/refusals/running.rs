//! A running agent that answers refusals, and how to tell that it is as before.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use xlb_tests::{Host, Lab, agent::Agent, server::Scripted};

use crate::{refused::bounded, traces::Traces};

const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 80;

/// An agent with the service `web` over two backends that serve, and room for one service and one backend more.
pub struct Running {
    pub lab: Lab,
    pub agent: Agent,
    _servers: Vec<Scripted>,
}

/// What must not change: settings, the process id with them, and traces.
pub struct Standing {
    settings: Value,
    traces: Traces,
}

impl Standing {
    /// The agent is as it was.
    pub fn ensure_holds(&self, of: &Running) -> Result<()> {
        let settings = settings(&of.agent.status()?);
        ensure!(settings == self.settings, "{settings} was {}", self.settings);
        self.traces.ensure_stand(&of.lab)
    }
}

/// The service `web` on the VIP, over these backends of the lab.
pub fn web(lab: &Lab, backends: usize) -> String {
    let backends = lab.backends[..backends].iter();
    let backends: String = backends.map(Host::as_backend).collect();
    format!(
        "[[service]]\nname = \"web\"\nvip = \"{}:{PORT}/tcp\"\n{backends}",
        lab.vip()
    )
}

impl Running {
    pub fn start() -> Result<Self> {
        let lab = Lab::new().backends(2).build()?;
        let servers = lab
            .backends
            .iter()
            .map(|host| host.tcp_echo(PORT))
            .collect::<Result<_>>()?;
        let limits = "[limits]\nflows = 4096\nbackends = 3\nservices = 2\n";
        let agent = lab.agent(&(limits.to_owned() + &web(&lab, 2))).start()?;
        let running = Self {
            lab,
            agent,
            _servers: servers,
        };
        running.wait_until_it_serves()?;
        Ok(running)
    }

    pub fn wait_until_it_serves(&self) -> Result<()> {
        self.agent
            .wait_until("the next hops are known", PATIENCE, |status| {
                let backends = status["services"][0]["backends"].as_array();
                backends.is_some_and(|all| all.iter().all(|backend| !backend["next_hop"].is_null()))
            })?;
        self.ensure_serves()
    }

    /// New connections to the VIP reach a backend.
    pub fn ensure_serves(&self) -> Result<()> {
        for _ in 0..4 {
            let stream = self
                .lab
                .client
                .connect(SocketAddr::from((self.lab.vip(), PORT)))?;
            let mut greeting = String::new();
            BufReader::new(stream)
                .read_line(&mut greeting)
                .context("no greeting")?;
            ensure!(
                ["b1\n", "b2\n"].contains(&greeting.as_str()),
                "greeted by {greeting:?}"
            );
        }
        Ok(())
    }

    /// `xlb ARGUMENTS` against the agent.
    pub fn ask(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut command = bounded(&self.lab.lb.ns, &[], self.agent.binary());
        Ok(command
            .args(arguments)
            .env("XLB_SOCKET", self.agent.socket())
            .output()?)
    }

    pub fn standing(&self) -> Result<Standing> {
        Ok(Standing {
            settings: settings(&self.agent.status()?),
            traces: Traces::of(&self.lab)?,
        })
    }

    /// The agent runs on, is as it was, has not panicked, and traffic flows.
    pub fn ensure_stands(&mut self, before: &Standing) -> Result<()> {
        if !self.agent.is_running() {
            bail!("the agent has ended\n{}", self.agent.log_tail());
        }
        ensure!(
            !self.agent.log().contains("panicked"),
            "{}",
            self.agent.log_tail()
        );
        before.ensure_holds(self)?;
        self.ensure_serves()
    }
}

/// What people set, out of a status.
fn settings(status: &Value) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let pick = |from: &Value, names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| ((*name).to_owned(), from[*name].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let services = list(&status["services"]).into_iter().map(|service| {
        let backends = list(&service["backends"]);
        let backends = backends
            .iter()
            .map(|one| pick(one, &["name", "address", "port", "weight", "admin", "state"]));
        let backends: Vec<_> = backends.collect();
        json!([
            pick(&service, &["name", "vips", "mode", "algorithm", "check"]),
            backends
        ])
    });
    json!([
        status["pid"],
        status["interfaces"],
        status["warnings"],
        services.collect::<Vec<_>>()
    ])
}
