//! xlb itself, in the balancer's namespace.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::Lab;
use crate::netns::Netns;
use crate::process::{self, Process};

/// A start waits for the kernel, and the kernel for two cores that may have other work.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the agent shall run.
#[derive(Debug)]
pub struct AgentBuilder {
    ns: Netns,
    binary: Option<PathBuf>,
    dir: PathBuf,
    pin_dir: PathBuf,
    node: String,
    config: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

/// A running (or killed) agent with a configuration, pins, socket and state of its own. Dropping it ends the agent
/// and detaches its program.
#[derive(Debug)]
pub struct Agent {
    ns: Netns,
    binary: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    pin_dir: PathBuf,
    log: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    process: Option<Process>,
}

impl AgentBuilder {
    pub(crate) fn new(lab: &Lab, services: &str) -> Self {
        let config = lab.interfaces_toml() + services;
        Self::outside_of_labs(&lab.lb.ns, &lab.lb.dir, &lab.pin_dir(), &config)
    }

    /// In a namespace that is no lab's, with directories for its files and its pins.
    pub fn outside_of_labs(ns: &Netns, dir: &Path, pin_dir: &Path, config: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            ns: ns.clone(),
            binary: None,
            dir: dir.join(format!("xlb-{n}")),
            pin_dir: pin_dir.join(format!("xlb-{n}")),
            node: String::new(),
            config: config.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Another xlb than `$XLB_BIN` or the workspace's, such as one of another version.
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// Replaces the configuration but for `[node]`; [`Lab::agent`] puts the lab's interfaces before the services.
    pub fn config(mut self, text: &str) -> Self {
        text.clone_into(&mut self.config);
        self
    }

    /// A line more in `[node]`, for example `log_packets = true`.
    pub fn node(mut self, line: &str) -> Self {
        self.node += line;
        self.node.push('\n');
        self
    }

    /// An argument more for `xlb run`.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// An environment variable, for example `RUST_LOG`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it answers `xlb status`. When it does not, the error has the end of its log.
    pub fn start(self) -> Result<Agent> {
        let mut agent = self.prepare()?;
        agent.start()?;
        Ok(agent)
    }

    /// Writes the configuration and starts nothing: for starts that are to fail.
    pub fn prepare(self) -> Result<Agent> {
        let binary = self.binary.map_or_else(binary, Ok)?;
        // The agent makes the rest of the path, as it does in /sys/fs/bpf.
        for dir in [Some(self.dir.as_path()), self.pin_dir.parent()]
            .into_iter()
            .flatten()
        {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let socket = self.dir.join("xlb.sock");
        let node = format!(
            "[node]\npin_dir = \"{}\"\nsocket = \"{}\"\nstate_dir = \"{}\"\n{}\n",
            self.pin_dir.display(),
            socket.display(),
            self.dir.join("state").display(),
            self.node
        );
        let config = self.dir.join("xlb.toml");
        fs::write(&config, node + &self.config).context("write xlb's configuration")?;
        let log = self.dir.join("xlb.log");
        let (ns, pin_dir, args, env) = (self.ns, self.pin_dir, self.args, self.env);
        Ok(Agent {
            ns,
            binary,
            config,
            socket,
            pin_dir,
            log,
            args,
            env,
            process: None,
        })
    }
}

impl Agent {
    /// Starts it and waits until it answers; nothing is left of an agent that was running.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        let mut process = self.process.take().context("xlb was not started")?;
        process.wait_ready(PATIENCE, || self.json(&["status"]).is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it and waits for nothing.
    pub fn launch(&mut self) -> Result<()> {
        self.kill9();
        let mut command = self.ns.command(&self.binary);
        command
            .arg("run")
            .arg("--config")
            .arg(&self.config)
            .args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::spawn("xlb", command, &self.log)?);
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("xlb does not run")?.signal(signal)
    }

    /// Waits until it has ended by itself, or by a signal sent before; killed, with an error, when it has not.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("xlb does not run")?;
        let deadline = Instant::now() + PATIENCE;
        while process.is_running() {
            ensure!(
                Instant::now() < deadline,
                "xlb has not ended within {PATIENCE:?}\n{}",
                self.log_tail()
            );
            thread::sleep(Duration::from_millis(5));
        }
        process.wait()
    }

    /// Ends it by SIGTERM, as systemd does; packets keep flowing.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let status = process.terminate(PATIENCE)?;
        ensure!(status.success(), "xlb ended with {status}\n{}", self.log_tail());
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// SIGTERM, then a new start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Runs `xlb ARGS` against this agent, whatever comes of it.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.ns.command(&self.binary);
        command
            .args(args)
            .env("XLB_SOCKET", &self.socket)
            .output()
            .context("start xlb")
    }

    /// Runs `xlb ARGS` and takes what it prints; an exit code other than 0 is an error.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.cli(args)?;
        if !output.status.success() {
            bail!(
                "xlb {}: {}: {}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `xlb ARGS -o json`. That a service is not ready (exit code 2) is no error as long as there is JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let output = self.cli(&[args, &["-o", "json"]].concat())?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("xlb {}: {}: {}", args.join(" "), output.status, stderr.trim())
        })
    }

    /// `xlb status` as JSON.
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// Polls `xlb status` until `done` likes it; an error with the last status after `patience`.
    pub fn wait_until(&self, what: &str, patience: Duration, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status()?;
            if done(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("not within {patience:?}: {what}\n{status:#}\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The xlb that it is.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where it pins.
    pub fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        process::log_text(&self.log)
    }

    /// The end of its log under a heading with the path.
    pub fn log_tail(&self) -> String {
        process::log_tail(&self.log)
    }
}

impl Drop for Agent {
    #[expect(
        clippy::print_stderr,
        reason = "a failing test shows the agent's side, and a drop cannot return errors"
    )]
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            eprintln!("{e:#}");
        }
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        let config = self.config.display().to_string();
        // Without pins there is nothing to detach; a lab that has gone before took them along.
        if self.pin_dir.exists()
            && let Err(e) = self.ok(&["detach", "--config", &config])
        {
            eprintln!("{e:#}");
        }
    }
}

/// `$XLB_BIN`, or the workspace's release build.
pub(crate) fn binary() -> Result<PathBuf> {
    let path = env::var_os("XLB_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
        target.join("release/xlb")
    });
    path.canonicalize()
        .with_context(|| format!("no xlb at {} (cargo xtask build, or set XLB_BIN)", path.display()))
}
