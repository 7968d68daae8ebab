//! `cargo xtask bench`: the suites of `tests/examples/bench`, one of which has a virtual machine to measure in (`vm`).

mod vm;

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{build, process, setup, workspace};

/// What `cargo xtask bench --help` says.
pub const SUITES: &str = "\
Suites:
  program   nanoseconds per packet of the XDP program, by mode, family and number of flows (default)
  scale     the same, and the memory of the maps, against services, backends and flows
  veth      packets per second through veth pairs, beside the limit, the kernel's routing and nftables
  pktgen    instructions per packet beside IPVS, in a virtual machine (--vm); or load on a network card (--interface)
  tcp       connections and requests per second and their latency, beside the router alone, nftables and HAProxy
  failover  how long packets go to a backend that has died, beside HAProxy (--install), and what ten thousand
            probes a second cost
  counts    what does not depend on the machine: instructions and lookups of a packet, sizes of the programs,
            what the verifier follows

Every suite takes --json FILE and --svg DIR.";

/// The suite that runs when none is named.
const DEFAULT: &str = "program";
/// Suites of a lab with real traffic, for which the agent must be there, and what they compare with.
const IN_A_LAB: [&str; 3] = ["veth", "tcp", FAILOVER];
/// Compares with what is there, unless it is told to install it.
const FAILOVER: &str = "failover";

/// Passes everything on to the suites.
pub fn run(args: &[String]) -> Result<()> {
    let args = with_suite(args);
    let asked = vm::Asked::of(&args);
    if asked.vm {
        return vm::run(&args, &asked);
    }
    let in_a_lab = args.first().is_some_and(|suite| IN_A_LAB.contains(suite));
    let takes_what_is_there = args.first() == Some(&FAILOVER) && !args.contains(&"--install");
    if takes_what_is_there {
        setup::for_lab()?;
    } else if in_a_lab {
        setup::for_comparing()?;
    } else {
        setup::for_verify(false)?;
    }
    let bench = workspace::example("bench")?;
    let mut command = Command::new(&bench);
    if in_a_lab {
        command.env("XLB_BIN", build::run()?);
    }
    // It takes xtask's place, so that Ctrl-C reaches the one process that must tidy up.
    let error = command.args(args).env("PATH", process::search_path()).exec();
    Err(error).with_context(|| format!("run {}", bench.display()))
}

/// With the default suite before options alone.
fn with_suite(args: &[String]) -> Vec<&str> {
    let args = args.iter().map(String::as_str);
    if args.clone().next().is_none_or(|first| first.starts_with('-')) {
        std::iter::once(DEFAULT).chain(args).collect()
    } else {
        args.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_alone_are_those_of_the_default_suite() {
        let with = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            with_suite(&args).join(" ")
        };
        assert_eq!(with(&[]), "program");
        assert_eq!(with(&["--json", "x"]), "program --json x");
        assert_eq!(with(&["scale", "--json", "x"]), "scale --json x");
    }
}
