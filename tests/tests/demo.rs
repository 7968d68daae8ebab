//! The demo: shown to its end, and ended before it in every way that there is. Nothing may be left of any.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xlb_tests::preflight;
use xlb_tests::scope::{self, RUN_DIR};

/// For the whole of a fast run on a slow machine.
const WHOLE: Duration = Duration::from_secs(120);
/// From a signal to the end.
const END: Duration = Duration::from_secs(30);

#[test]
fn shows_everything_and_leaves_nothing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut run = Run::start()?;
    let (status, shown) = run.end(WHOLE)?;
    let said = run.errors();
    ensure!(status.success() && said.is_empty(), "{status}\n{shown}\n{said}");
    let titles: BTreeSet<_> = (1..=8).filter(|n| shown.contains(&format!("\n{n}. "))).collect();
    ensure!(titles.len() == 8, "steps {titles:?} of\n{shown}");
    // However wide the columns are.
    let words: Vec<&str> = shown.split_whitespace().collect();
    let words = words.join(" ");
    let facts = [
        "b3 10.20.0.13",
        "vip = \"192.0.2.10:80/tcp\"",
        "answered 48 of 48",
        "no new request failed from",
        "xlb took it out",
        "xlb had it back",
        "complete by its SHA-256",
        "without an agent",
        "BACKENDS UP",
        "network namespaces 6 -> none processes in them",
    ];
    for fact in facts {
        ensure!(words.contains(fact), "no {fact:?} in\n{shown}");
    }
    ensure!(!shown.contains('\x1b'), "control characters for a pipe");
    nothing_left(&run, &[])
}

#[test]
fn a_signal_ends_it_and_removes_everything() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    for (signal, step) in [(Signal::SIGTERM, 1), (Signal::SIGINT, 3), (Signal::SIGHUP, 5)] {
        let mut run = Run::start()?;
        run.read_to(&format!("{step}. "))?;
        thread::sleep(Duration::from_millis(300));
        let processes = run.processes()?;
        run.signal(signal)?;
        let (status, _) = run.end(END)?;
        let said = run.errors();
        ensure!(
            status.code() == Some(128 + signal as i32),
            "{signal}: {status}\n{said}"
        );
        ensure!(
            said.contains("removed") && said.lines().count() == 1,
            "{signal}: {said}"
        );
        nothing_left(&run, &processes).with_context(|| signal.to_string())?;
    }
    Ok(())
}

#[test]
fn what_a_killed_run_leaves_goes_with_the_next() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut killed = Run::start()?;
    killed.read_to("3. ")?;
    let processes = killed.processes()?;
    ensure!(!processes.is_empty(), "nothing runs in the third step");
    killed.signal(Signal::SIGKILL)?;
    let (status, _) = killed.end(END)?;
    ensure!(!status.success(), "{status}");
    // In the turn of the killed one.
    let mut next = Run::spawn(None)?;
    let (status, shown) = next.end(WHOLE)?;
    ensure!(status.success(), "{status}\n{shown}\n{}", next.errors());
    nothing_left(&next, &[])?;
    nothing_left(&killed, &processes)
}

#[test]
fn a_reader_that_leaves_ends_it() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let mut run = Run::start()?;
    run.read_to("2. ")?;
    let processes = run.processes()?;
    run.stop_reading();
    let (status, _) = run.end(END)?;
    ensure!(status.code() == Some(128 + Signal::SIGPIPE as i32), "{status}");
    ensure!(run.errors().is_empty(), "{}", run.errors());
    nothing_left(&run, &processes)
}

#[test]
fn the_command_line_is_checked() -> Result<()> {
    let run = |argument| -> Result<Output> { Ok(command().arg(argument).output()?) };
    let help = run("--help")?;
    ensure!(
        help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--fast"),
        "{help:?}"
    );
    let wrong = run("--fats")?;
    let said = String::from_utf8_lossy(&wrong.stderr);
    ensure!(
        wrong.status.code() == Some(1) && wrong.stdout.is_empty(),
        "{wrong:?}"
    );
    ensure!(said.lines().count() == 1 && said.contains("--fats"), "{said}");
    Ok(())
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_demo"))
}

/// A demo under way.
struct Run {
    child: Child,
    /// Lines as they come; none once nobody reads.
    lines: Option<Receiver<String>>,
    errors: Option<JoinHandle<String>>,
    said: String,
    // Demos measure: one at a time.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Run {
    fn start() -> Result<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self::spawn(Some(turn))
    }

    fn spawn(turn: Option<MutexGuard<'static, ()>>) -> Result<Self> {
        let mut command = command();
        command
            .arg("--fast")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start the demo")?;
        let out = BufReader::new(child.stdout.take().context("no output")?);
        let mut err = child.stderr.take().context("no errors")?;
        let (sender, lines) = mpsc::channel();
        // Ends with the demo, or with the first line that nobody takes: then the pipe closes.
        thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Ok(Self {
            child,
            lines: Some(lines),
            errors: Some(errors),
            said: String::new(),
            _turn: turn,
        })
    }

    /// Waits for a line that begins like this.
    fn read_to(&mut self, begin: &str) -> Result<()> {
        let deadline = Instant::now() + WHOLE;
        let lines = self.lines.as_ref().context("nobody reads")?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines
                .recv_timeout(left)
                .with_context(|| format!("no line begins with {begin:?}"))?;
            if line.starts_with(begin) {
                return Ok(());
            }
        }
    }

    fn stop_reading(&mut self) {
        self.lines = None;
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Waits for its end; the status and what it has shown that was not read before.
    fn end(&mut self, patience: Duration) -> Result<(ExitStatus, String)> {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "the demo has not ended after {patience:?}"
            );
            thread::sleep(Duration::from_millis(10));
        };
        let shown: Vec<String> = self.lines.iter().flatten().collect();
        Ok((status, shown.join("\n")))
    }

    /// What it has said on standard error, once it has ended.
    fn errors(&mut self) -> String {
        if let Some(errors) = self.errors.take() {
            self.said = errors.join().unwrap_or_default();
        }
        self.said.clone()
    }

    /// What the names of its traces on the host begin with.
    fn id(&self) -> String {
        format!("{}-", self.child.id())
    }

    /// The processes in its namespaces.
    fn processes(&self) -> Result<Vec<String>> {
        let mut pids = Vec::new();
        for namespace in names("/run/netns", &format!("xlb-{}", self.id())) {
            let output = Command::new("ip").args(["netns", "pids", &namespace]).output()?;
            pids.extend(
                String::from_utf8(output.stdout)?
                    .split_whitespace()
                    .map(str::to_owned),
            );
        }
        Ok(pids)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            // Nobody else would before the next lab.
            let _ = scope::sweep();
        }
    }
}

/// Looks at nothing but what carries this run's id: others may run labs too.
fn nothing_left(run: &Run, processes: &[String]) -> Result<()> {
    let id = run.id();
    let places = [
        ("/run/netns", format!("xlb-{id}")),
        (RUN_DIR, id.clone()),
        ("/sys/fs/bpf", format!("xlb-lab-{id}")),
    ];
    for (dir, prefix) in places {
        let left = names(dir, &prefix);
        ensure!(left.is_empty(), "left in {dir}: {left:?}");
    }
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // No process any more, or one that ends just now.
        let Ok(command) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&format!("{RUN_DIR}/{id}")) || (processes.contains(&name) && !command.is_empty())
        {
            bail!("process {name} is left: {command}");
        }
    }
    Ok(())
}

fn names(dir: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}
