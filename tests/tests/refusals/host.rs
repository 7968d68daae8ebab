//! A host or a user that cannot run a balancer.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Result, ensure};
use xlb_tests::{Lab, preflight};

use crate::refused::{SMALL, Starts, bounded, ensure_says, line};

const GOOD: &str = "[[interface]]\nname = \"eth0\"\n";
const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const NO_PRIVILEGES: &str = "not enough privileges to load and attach an XDP program: run as root";

/// Runs what follows in a mount namespace of its own after `change`.
const fn mounting(change: &str) -> [&str; 5] {
    ["unshare", "--mount", "sh", "-c", change]
}

#[test]
fn a_host_that_cannot_run_it_is_told_what_is_missing() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let starts = Starts::new(&lab)?;
    starts.write(&starts.places, GOOD)?;
    let no_btf = mounting("mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"");
    let no_bpffs = mounting("mount -t tmpfs none /sys/fs/bpf && exec \"$0\" \"$@\"");
    let cases: [(&[&str], &[&str]); 5] = [
        (NOBODY, &[NO_PRIVILEGES]),
        (
            &["setpriv", "--bounding-set=-net_admin"],
            &[NO_PRIVILEGES, "CAP_NET_ADMIN"],
        ),
        (
            &["setarch", "--uname-2.6"],
            &["kernel 2.6.", "is too old: xlb needs 5.15 or newer"],
        ),
        (
            &no_btf,
            &[
                "/sys/kernel/btf/vmlinux: the kernel has no BPF type information",
                "CONFIG_DEBUG_INFO_BTF=y",
            ],
        ),
        (
            &no_bpffs,
            &[
                "pin_dir",
                "not on a BPF file system: run 'mount -t bpf bpf /sys/fs/bpf'",
            ],
        ),
    ];
    for (wrapper, words) in cases {
        starts.refused_by(wrapper, words)?;
    }
    Ok(())
}

#[test]
fn nobody_may_neither_talk_to_the_agent_nor_detach_it() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let agent = lab.agent(SMALL).start()?;
    let mode = fs::metadata(agent.socket())?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "the socket's mode is {mode:o}");
    let pins = agent.pin_dir().display().to_string();
    let detach = ["detach", "--pin-dir", &pins];
    let asks: [(&[&str], &str); 3] = [
        (&["status"], "may not talk to the agent at"),
        (
            &["service", "rm", "web"],
            "run as root or as a member of the socket's group",
        ),
        (&detach, "run as root"),
    ];
    for (arguments, said) in asks {
        let mut command = bounded(&lab.lb.ns, NOBODY, agent.binary());
        ensure_says(
            &command
                .args(arguments)
                .env("XLB_SOCKET", agent.socket())
                .output()?,
            &[said],
        )?;
    }
    agent.status().map(drop)
}

/// The one refusal that is no error of the one who asks.
#[test]
fn without_an_agent_every_command_ends_with_code_2() -> Result<()> {
    if !preflight::ready() {
        return Ok(());
    }
    let lab = Lab::new().backends(0).build()?;
    let agent = lab.agent("").prepare()?;
    let file = lab.dir().join("file");
    fs::write(&file, "")?;
    for arguments in [
        &["status"][..],
        &["service", "list"],
        &["service", "add", "web", "--vip", "192.0.2.10:80/tcp"],
        &["backend", "weight", "web/b1", "5", "-o", "json"],
    ] {
        for socket in [agent.socket(), &file] {
            let mut command = bounded(&lab.lb.ns, &[], agent.binary());
            let output = command.arg("--socket").arg(socket).args(arguments).output()?;
            let said = line(&output, 2)?;
            let start = format!("no agent answers at {} (", socket.display());
            let remedy = "start it with 'xlb run --config FILE' or name its socket with --socket";
            ensure!(said.starts_with(&start) && said.ends_with(remedy), "{said}");
        }
    }
    Ok(())
}
