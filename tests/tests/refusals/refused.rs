//! Running xlb where it has to refuse, and how it does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use xlb_tests::{Lab, agent::Agent, netns::Netns, process::Process};

use crate::traces::Traces;

const PATIENCE: Duration = Duration::from_secs(10);

/// Large maps take the kernel long to make.
pub const SMALL: &str = "[limits]\nflows = 1024\nbackends = 8\nservices = 2\n";

/// Starts of agents that have to fail, with an agent's usual places, of which each start may name others.
pub struct Starts<'a> {
    pub lab: &'a Lab,
    /// Never started: names the binary and the places.
    agent: Agent,
    pub places: Places,
}

/// `[node]` of a configuration.
#[derive(Clone, Debug)]
pub struct Places {
    pub pin_dir: PathBuf,
    pub socket: PathBuf,
    pub state_dir: PathBuf,
}

impl Places {
    /// Those of an agent.
    pub fn of(agent: &Agent) -> Self {
        Self {
            pin_dir: agent.pin_dir().to_owned(),
            socket: agent.socket().to_owned(),
            state_dir: agent.config().with_file_name("state"),
        }
    }
}

impl<'a> Starts<'a> {
    pub fn new(lab: &'a Lab) -> Result<Self> {
        let agent = lab.agent("").prepare()?;
        let places = Places::of(&agent);
        Ok(Self { lab, agent, places })
    }

    /// The configuration file of the next start.
    pub fn config(&self) -> &Path {
        self.agent.config()
    }

    pub fn binary(&self) -> &Path {
        self.agent.binary()
    }

    /// Writes the configuration.
    pub fn write(&self, places: &Places, config: &str) -> Result<()> {
        let Places {
            pin_dir,
            socket,
            state_dir,
        } = places;
        let node = format!("[node]\npin_dir = {pin_dir:?}\nsocket = {socket:?}\nstate_dir = {state_dir:?}\n");
        fs::write(self.config(), node + SMALL + config).context("write a configuration")
    }

    /// `xlb run` with a configuration for the usual places has to say all of `words`, and to leave everything as it was.
    pub fn refused(&self, config: &str, words: &[&str]) -> Result<()> {
        self.refused_at(&self.places, config, words)
    }

    /// The same in other places.
    pub fn refused_at(&self, places: &Places, config: &str, words: &[&str]) -> Result<()> {
        self.write(places, config)?;
        self.refused_by(&[], words)
    }

    /// `xlb run` with this configuration answers `xlb status` and ends when it is told to; its pins are taken away.
    pub fn serves(&self, places: &Places, config: &str) -> Result<()> {
        self.write(places, config)?;
        let mut run = self.lab.lb.ns.command(self.binary());
        run.arg("run").arg("--config").arg(self.config());
        let mut process = Process::spawn("xlb", run, &self.config().with_extension("log"))?;
        let status = || {
            self.ask(&["status"], &places.socket)
                .is_ok_and(|output| output.status.success())
        };
        process.wait_ready(PATIENCE, status)?;
        ensure!(process.terminate(PATIENCE)?.success(), "{}", process.log_tail());
        let pins = places.pin_dir.display().to_string();
        let detached = self.ask(&["detach", "--pin-dir", &pins], &places.socket)?;
        ensure!(detached.status.success(), "{detached:?}");
        Ok(())
    }

    /// `xlb ARGUMENTS`, asking at `socket` where it asks.
    pub fn ask(&self, arguments: &[&str], socket: &Path) -> Result<Output> {
        let mut command = bounded(&self.lab.lb.ns, &[], self.binary());
        Ok(command.args(arguments).env("XLB_SOCKET", socket).output()?)
    }

    /// `wrapper xlb run` with the file as it is has to refuse like that.
    pub fn refused_by(&self, wrapper: &[&str], words: &[&str]) -> Result<()> {
        let before = Traces::of(self.lab)?;
        let mut command = bounded(&self.lab.lb.ns, wrapper, self.binary());
        let output = command.arg("run").arg("--config").arg(self.config()).output()?;
        ensure_says(&output, words).with_context(|| config_of(self.config()))?;
        before
            .ensure_stand(self.lab)
            .with_context(|| config_of(self.config()))
    }
}

/// `wrapper program` in a namespace, killed if it does not end within ten seconds.
pub fn bounded(ns: &Netns, wrapper: &[&str], program: &Path) -> Command {
    let mut command = ns.command("timeout");
    command.args(["--signal=KILL", "10"]).args(wrapper).arg(program);
    // What anyhow prints with it is not for users either.
    command.env("RUST_BACKTRACE", "1");
    command
}

/// It ended with code 1, no output, and one line that has all of `words`.
pub fn ensure_says(output: &Output, words: &[&str]) -> Result<()> {
    let line = line(output, 1)?;
    for word in words {
        ensure!(line.contains(word), "no {word:?} in {line:?}");
    }
    Ok(())
}

/// The one line that it ended with, without `xlb: `.
pub fn line(output: &Output, code: i32) -> Result<String> {
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let told = format!(
        "{}, printed {out:?}, and on standard error {error:?}",
        output.status
    );
    ensure!(output.status.code() == Some(code), "not code {code}: {told}");
    ensure!(out.is_empty(), "{told}");
    let line = error
        .strip_suffix('\n')
        .and_then(|line| line.strip_prefix("xlb: "));
    let line = line.with_context(|| format!("not one line of xlb: {told}"))?;
    ensure!(!line.contains(char::is_control), "more than one line: {told}");
    Ok(line.to_owned())
}

fn config_of(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    format!("with\n{}", String::from_utf8_lossy(&text).trim_end())
}
