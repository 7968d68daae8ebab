//! `cargo xtask bench pktgen --vm`: boots a virtual machine in which the suite measures, and has the suite make its report of what
//! that says.

use std::{
    io::Write as _,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    guest::{
        initramfs::{self, Contents},
        kernel::{self, Kernel},
        machine::{self, Pace, Script, Setting},
        modules,
    },
    process, say, setup, workspace,
};

/// Debian's kernel, which has what the one that runs may not have: pktgen and IPVS.
const SERIES: &str = "6.12";
const MODULES: [&str; 4] = ["veth", "pktgen", "ip_vs", "ip_vs_mh"];
/// What the suite runs in the guest.
const PROGRAMS: [&str; 3] = ["ip", "nsenter", "ipvsadm"];
/// Without the mitigations, which count for both sides and are not what is compared.
const SETTING: Setting<'_> = Setting {
    pace: Pace::Counted,
    memory: "2G",
    command_line: "mitigations=off -- guest",
};
/// As in `tests/examples/bench/pktgen/console.rs`. A minute is usual on a machine that does little else.
const SCRIPT: Script = Script {
    first: "guest: Linux ",
    last: "guest: end: ",
    longest: Duration::from_secs(900),
};

/// What is for this module among the suite's arguments: whether a guest is asked for, and whether what is missing is installed.
pub struct Asked {
    pub vm: bool,
    install: bool,
}

impl Asked {
    pub fn of(args: &[&str]) -> Self {
        let has = |option: &str| args.contains(&option);
        Self {
            vm: args.first() == Some(&"pktgen") && has("--vm") && !has("--help") && !has("-h"),
            install: has("--install"),
        }
    }
}

/// Measures; the arguments are those of the suite.
pub fn run(args: &[&str], asked: &Asked) -> Result<()> {
    let kernel = ready(asked)?;
    let bench = workspace::example("bench")?;
    let files = modules::ordered(&kernel.modules, &MODULES)?
        .into_iter()
        .enumerate()
        // Named so that they sort in the order in which they load.
        .map(|(place, module)| (format!("modules/{place:02}-{}.ko", module.name), module.content))
        .collect();
    let initramfs = initramfs::of(Contents {
        init: &bench,
        programs: PROGRAMS
            .iter()
            .map(|program| process::find(program).with_context(|| format!("find {program}")))
            .collect::<Result<_>>()?,
        files,
    })?;
    let mut report = Reporter::start(Command::new(&bench).args(args))?;
    let last = machine::boot(&kernel.image, &initramfs, &SETTING, &SCRIPT, |line| {
        if line.starts_with("guest: ") {
            say::line(line);
        }
        report.tell(line)
    })?;
    report.tell(&last)?;
    report.finish()
}

/// A kernel, and all else that is needed.
fn ready(asked: &Asked) -> Result<Kernel> {
    let there = kernel::there(SERIES)?;
    if !asked.install {
        let mut missing = setup::missing_for_guest_bench();
        let kernel = format!("linux-image-{SERIES}.*-cloud-amd64 (downloaded, not installed)");
        if there.is_none() {
            missing.push(&kernel);
        }
        ensure!(
            missing.is_empty(),
            "the virtual machine needs Debian's packages {}: run it again with --install, which gets them",
            missing.join(", ")
        );
    }
    let mut apt = setup::for_guest_bench()?;
    kernel::get(SERIES, &mut apt)
}

/// The suite, which reads the guest's console and makes the report.
struct Reporter {
    child: Child,
    /// Closed when all is said.
    console: Option<ChildStdin>,
}

impl Reporter {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .arg("--console")
            .stdin(Stdio::piped())
            .spawn()
            .context("run the suite")?;
        let console = child.stdin.take();
        Ok(Self { child, console })
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let console = self.console.as_mut().context("talk to the suite")?;
        // It may have ended by itself, and has said why then.
        writeln!(console, "{line}").context("the suite has ended early")
    }

    fn finish(mut self) -> Result<()> {
        self.console = None;
        let status = self.child.wait().context("wait for the suite")?;
        ensure!(status.success(), "the suite failed ({status})");
        Ok(())
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        // It has ended by itself unless something failed, which is said already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_asked_for_by_the_suite_that_has_one() {
        assert!(Asked::of(&["pktgen", "--json", "x", "--vm"]).vm);
        assert!(!Asked::of(&["pktgen", "--interface", "eth0"]).vm);
        assert!(!Asked::of(&["pktgen", "--vm", "--help"]).vm);
        assert!(!Asked::of(&["veth", "--vm"]).vm);
        assert!(Asked::of(&["pktgen", "--vm", "--install"]).install);
    }
}
