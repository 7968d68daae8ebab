//! What the first process of a machine has to do before anything else can be done.

use std::{fs, os::unix::fs::symlink, path::Path, process, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    kmod::init_module,
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

use crate::host;

/// Where `cargo xtask` puts the kernel's modules, named so that they sort in the order in which they load.
const MODULES: &str = "/modules";

/// What is left of the console is written in this time.
const DRAINS: Duration = Duration::from_millis(200);

/// On no other machine is there anything for us to do.
pub fn expect_machine() -> Result<()> {
    ensure!(
        process::id() == 1 && Path::new(MODULES).exists(),
        "this is the first process of the virtual machine of `cargo xtask bench pktgen --vm`, and of no use elsewhere"
    );
    Ok(())
}

/// Mounts file systems, and gives the kernel its modules.
pub fn prepare() -> Result<()> {
    for directory in ["/dev", "/run", "/var", "/tmp"] {
        fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    }
    let none = None::<&str>;
    mount(
        Some("devtmpfs"),
        Path::new("/dev"),
        Some("devtmpfs"),
        MsFlags::empty(),
        none,
    )
    .context("mount devtmpfs on /dev")?;
    // Where iproute2 looks.
    symlink("/run", "/var/run").context("make /var/run")?;
    host::prepare()?;
    load_modules()?;
    let place = "/proc/sys/net/core/bpf_jit_enable";
    fs::write(place, "1").with_context(|| format!("turn the BPF JIT on in {place}"))
}

fn load_modules() -> Result<()> {
    let files = fs::read_dir(MODULES).with_context(|| format!("list {MODULES}"))?;
    let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
    paths.sort();
    for path in paths {
        let module = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        init_module(&module, c"").with_context(|| format!("load {}", path.display()))?;
    }
    Ok(())
}

/// Ends the machine. A first process that only ends is a panic, whose trace would hide what was said.
pub fn end() -> Result<()> {
    thread::sleep(DRAINS);
    match reboot(RebootMode::RB_AUTOBOOT).context("end the machine")? {}
}
