//! A virtual machine that boots a kernel and runs one program, whose lines on the console are followed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::directory;
use crate::{process, say};

/// Lines of a console that are shown when the program never got to its end.
const SHOWN: usize = 15;

/// How a guest computes.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As fast as this machine can.
    Fast,
    /// By the number of its instructions, one of which takes a nanosecond of the guest's time: what the guest measures is the same
    /// each time, whatever this machine does besides.
    Counted,
}

/// What a guest is booted with, besides its kernel and disk.
pub struct Setting<'a> {
    pub pace: Pace,
    /// As QEMU has it, such as `1G`.
    pub memory: &'a str,
    /// What is said to the kernel, and behind `--` to the program.
    pub command_line: &'a str,
}

/// What the program says, and how long it may take.
pub struct Script {
    /// What its first line begins with, before which the kernel may say things.
    pub first: &'static str,
    /// What its last line begins with.
    pub last: &'static str,
    pub longest: Duration,
}

/// Boots the kernel; `each` is given the program's lines as they come. Gives the last one.
pub fn boot(
    kernel: &Path,
    initramfs: &[u8],
    setting: &Setting<'_>,
    script: &Script,
    each: impl FnMut(&str) -> Result<()>,
) -> Result<String> {
    let disk = directory()?.join("initramfs.cpio");
    fs::write(&disk, initramfs).with_context(|| format!("write {}", disk.display()))?;
    let mut machine = Machine::start(kernel, &disk, setting)?;
    let console = machine.console()?;
    follow(&console, script, Instant::now() + script.longest, each)
}

fn follow(
    console: &Receiver<String>,
    script: &Script,
    deadline: Instant,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<String> {
    let (mut seen, mut is_on) = (Vec::new(), false);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = match console.recv_timeout(left) {
            Ok(line) => line,
            Err(problem) => {
                let from = seen.len().saturating_sub(SHOWN);
                say::line(&seen[from..].join("\n"));
                match problem {
                    RecvTimeoutError::Timeout => {
                        bail!("the guest has not ended after {} s", script.longest.as_secs())
                    }
                    RecvTimeoutError::Disconnected => bail!("the guest ended without a last word"),
                }
            }
        };
        if line.starts_with(script.last) {
            return Ok(line);
        }
        is_on = is_on || line.starts_with(script.first);
        if is_on {
            each(&line)?;
        }
        seen.push(line);
    }
}

/// A running machine; ends with the value.
struct Machine(Child);

impl Machine {
    fn start(kernel: &Path, disk: &Path, setting: &Setting<'_>) -> Result<Self> {
        // The kernel's word that the machine ends with us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args([
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-smp",
            "1",
            "-m",
            setting.memory,
        ]);
        match setting.pace {
            Pace::Fast => command.args(["-accel", accelerator()]),
            Pace::Counted => command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]),
        };
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        let command_line = format!("console=ttyS0 quiet panic=-1 {}", setting.command_line);
        command.args(["-serial", "stdio", "-append", &command_line]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(disk);
        let child = command
            .env("PATH", process::search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Ok(Self(child.context("run qemu-system-x86_64")?))
    }

    /// The lines of the console as they come, until the machine ends.
    fn console(&mut self) -> Result<Receiver<String>> {
        let console = self.0.stdout.take().context("read the guest's console")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut console = BufReader::new(console);
            let mut line = Vec::new();
            while console.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Ok(receiver)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `/dev/kvm` may be there where guests do not get far: only with the module is it real.
fn accelerator() -> &'static str {
    let loaded = |module: &str| Path::new("/sys/module").join(module).exists();
    if Path::new("/dev/kvm").exists() && (loaded("kvm_intel") || loaded("kvm_amd")) {
        "kvm"
    } else {
        "tcg"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: Script = Script {
        first: "Linux ",
        last: "verify: ",
        longest: Duration::from_secs(5),
    };

    /// The lines that are passed on, and the last one.
    fn followed(lines: &[&str]) -> (Vec<String>, Result<String>) {
        let (sender, receiver) = mpsc::channel();
        for line in lines {
            sender.send((*line).to_owned()).unwrap();
        }
        drop(sender);
        let mut passed = Vec::new();
        let last = follow(&receiver, &SCRIPT, Instant::now() + SCRIPT.longest, |line| {
            passed.push(line.to_owned());
            Ok(())
        });
        (passed, last)
    }

    #[test]
    fn lines_are_passed_on_from_the_first_to_before_the_last() {
        let (passed, last) = followed(&["noise", "Linux 6.1", "  xlb", "verify: FAILED", "panic"]);
        assert_eq!(passed, ["Linux 6.1", "  xlb"]);
        assert_eq!(last.unwrap(), "verify: FAILED");
    }

    #[test]
    fn a_guest_that_ends_early_or_says_nothing_is_an_error() {
        let (_, last) = followed(&["Linux 6.1", "Kernel panic"]);
        assert!(last.unwrap_err().to_string().contains("without a last word"));
        let (_sender, receiver) = mpsc::channel();
        let last = follow(&receiver, &SCRIPT, Instant::now(), |_| Ok(()));
        assert!(last.unwrap_err().to_string().contains("not ended after 5 s"));
    }
}
