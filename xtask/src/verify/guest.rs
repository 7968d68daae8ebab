//! A virtual machine that boots a kernel, runs one program, and shows what that prints.

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

/// A minute is usual without the processor's help; the log of a program that is refused takes longer.
const LONGEST: Duration = Duration::from_secs(240);
/// What the program prints first and last. Before and after, the kernel may say things.
const FIRST: &str = "Linux ";
const LAST: &str = "verify: ";
const ACCEPTED: &str = "verify: all accepted";
/// Lines of a console that are shown when the program never got to its end.
const SHOWN: usize = 15;

/// Boots the kernel; whether its verdict is that all is well.
pub fn boot(kernel: &Path, initramfs: &[u8]) -> Result<bool> {
    let disk = directory()?.join("initramfs.cpio");
    fs::write(&disk, initramfs).with_context(|| format!("write {}", disk.display()))?;
    let mut machine = Machine::start(kernel, &disk)?;
    let console = machine.console()?;
    follow(&console, Instant::now() + LONGEST)
}

/// Shows the program's lines as they come, and returns its verdict.
fn follow(console: &Receiver<String>, deadline: Instant) -> Result<bool> {
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
                        bail!("the guest has no verdict after {} s", LONGEST.as_secs())
                    }
                    RecvTimeoutError::Disconnected => bail!("the guest ended without a verdict"),
                }
            }
        };
        if line.starts_with(LAST) {
            return Ok(line == ACCEPTED);
        }
        is_on = is_on || line.starts_with(FIRST);
        if is_on {
            say::line(&line);
        }
        seen.push(line);
    }
}

/// A running machine; ends with the value.
struct Machine(Child);

impl Machine {
    fn start(kernel: &Path, disk: &Path) -> Result<Self> {
        // The kernel's word that the machine ends with us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-machine", "q35", "-cpu", "max", "-smp", "1", "-m", "1G"]);
        command.args(["-accel", accelerator()]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        command.args(["-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1"]);
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

    fn verdict(lines: &[&str]) -> Result<bool> {
        let (sender, receiver) = mpsc::channel();
        for line in lines {
            sender.send((*line).to_owned()).unwrap();
        }
        drop(sender);
        follow(&receiver, Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        assert!(verdict(&["noise", "Linux 6.1", "  xlb", "verify: all accepted"]).unwrap());
        assert!(!verdict(&["Linux 6.1", "verify: FAILED", "panic"]).unwrap());
    }

    #[test]
    fn a_guest_that_ends_early_or_says_nothing_is_an_error() {
        assert!(verdict(&["Linux 6.1", "Kernel panic"]).is_err());
        let (_sender, receiver) = mpsc::channel();
        let error = follow(&receiver, Instant::now()).unwrap_err().to_string();
        assert!(error.contains("no verdict"), "{error}");
    }
}
