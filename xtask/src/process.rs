//! Running other programs: in the open, silently with a sign of life, or for their output.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{say, workspace};

const HEARTBEAT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);
/// Lines of a failed program's output that are shown.
const TAIL: usize = 25;

/// Runs with xtask's own standard streams.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("run {}", describe(command)))?;
    ensure!(status.success(), "{} failed ({status})", describe(command));
    Ok(())
}

/// Runs with the output going to `target/setup.log`, and says every 15 seconds that `what` is still under way.
pub fn quietly(stage: &str, what: &str, command: &mut Command) -> Result<()> {
    let log = Log::begin(command)?;
    command
        .stdin(Stdio::null())
        .stdout(log.handle()?)
        .stderr(log.handle()?);
    let mut child = command
        .spawn()
        .with_context(|| format!("run {}", describe(command)))?;
    let start = Instant::now();
    let mut next_beat = HEARTBEAT;
    let status = loop {
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("wait for {}", describe(command)))?
        {
            break status;
        }
        if start.elapsed() >= next_beat {
            say::step(stage, what, format_args!("{} s", start.elapsed().as_secs()));
            next_beat += HEARTBEAT;
        }
        thread::sleep(POLL);
    };
    if !status.success() {
        say::line(&log.tail());
        bail!(
            "{} failed ({status}); its whole output is in {}",
            describe(command),
            log.path.display()
        );
    }
    Ok(())
}

/// What the program prints, if it can be run and succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is there, in PATH or where Debian keeps those for root.
pub fn installed(program: &str) -> bool {
    find(program).is_some()
}

/// Where it is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = search_path();
    let mut places = env::split_paths(&path).map(|dir| dir.join(program));
    places.find(|place| place.is_file())
}

/// PATH with the directories in which Debian keeps programs for root: `su` leaves them out.
pub fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    env::join_paths(dirs).unwrap_or(path)
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy();
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    let words: Vec<_> = std::iter::once(name).chain(args).take(6).collect();
    format!("`{}`", words.join(" "))
}

struct Log {
    path: PathBuf,
    /// Where this command's output begins.
    start: u64,
}

impl Log {
    fn begin(command: &Command) -> Result<Self> {
        let path = workspace::root().join("target/setup.log");
        let open = || -> std::io::Result<u64> {
            fs::create_dir_all(workspace::root().join("target"))?;
            let mut file = File::options().create(true).append(true).open(&path)?;
            writeln!(file, "\n$ {}", describe(command))?;
            Ok(file.metadata()?.len())
        };
        let start = open().with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path, start })
    }

    fn handle(&self) -> Result<File> {
        File::options()
            .append(true)
            .open(&self.path)
            .with_context(|| format!("write {}", self.path.display()))
    }

    fn tail(&self) -> String {
        let log = fs::read(&self.path).unwrap_or_default();
        let start = usize::try_from(self.start).unwrap_or(0).min(log.len());
        last_lines(&String::from_utf8_lossy(&log[start..]), TAIL)
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\n", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn output_of_a_failing_or_missing_program_is_none() {
        assert_eq!(
            output(Command::new("sh").args(["-c", "echo yes"])).as_deref(),
            Some("yes\n")
        );
        assert_eq!(output(Command::new("sh").args(["-c", "echo no; exit 3"])), None);
        assert_eq!(output(&mut Command::new("no-such-program")), None);
    }

    #[test]
    fn installed_looks_in_path() {
        assert!(installed("sh"));
        assert!(!installed("no-such-program"));
    }

    #[test]
    fn a_description_is_short_and_has_no_directories() {
        let mut command = Command::new("/a/very/long/cargo");
        command.args(["install", "bpf-linker"]);
        assert_eq!(describe(&command), "`cargo install bpf-linker`");
    }
}
