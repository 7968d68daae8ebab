//! A network namespace by its name: running programs and code inside it. [`crate::scope::Scope`] makes and removes
//! them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::ip;

/// Where iproute2 keeps its named namespaces.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// A named network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    name: String,
}

impl Netns {
    pub(crate) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// The name that `ip netns` shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.name)
    }

    /// A command that will run inside, in a process group of its own, so that a Ctrl-C at the terminal reaches the
    /// lab's owner alone. Not by `ip netns exec`: that mounts a new /sys, and bpffs is gone.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command.process_group(0).stdin(Stdio::null());
        command
    }

    /// Runs a program inside to its end; its output, or an error when it fails.
    pub fn exec(&self, argv: &[&str]) -> Result<String> {
        let [program, args @ ..] = argv else {
            bail!("nothing to run in {}", self.name)
        };
        let output = self
            .command(program)
            .args(args)
            .output()
            .context("start nsenter")?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{} in {}: {}: {}",
                argv.join(" "),
                self.name,
                output.status,
                stderr.trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a closure inside, on a thread of its own. Sockets that it makes stay in the namespace wherever they are
    /// used later.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter().map(|()| inside()));
            inside.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> Result<()> {
        let file = File::open(self.path()).with_context(|| format!("open namespace {}", self.name))?;
        setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter namespace {}", self.name))
    }

    /// `ip ARGS` inside, for example `ip(&["link", "set", "eth0", "down"])`.
    pub fn ip(&self, args: &[&str]) -> Result<String> {
        ip::run(&[&["-n", self.name.as_str()], args].concat())
    }

    /// Many `ip` commands inside, one a line.
    pub fn ip_batch(&self, lines: &[String]) -> Result<()> {
        ip::batch(Some(self), lines)
    }

    /// Sets kernel parameters, named as in sysctl(8).
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (name, value) in settings {
                let path = Path::new("/proc/sys").join(name.replace('.', "/"));
                fs::write(&path, value).with_context(|| format!("set {name}={value} in {}", self.name))?;
            }
            Ok(())
        })?
    }
}
