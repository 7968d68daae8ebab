//! Removal of all that carries a scope's id, by the names alone: the same code serves a destructor, an end by
//! signal and the sweep after a kill. Each step goes on when another fails; what stays is found by the next sweep.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ip;
use crate::netns::NETNS_DIR;

/// What the names of a scope's namespaces begin with.
pub(crate) fn prefix(id: &str) -> String {
    format!("xlb-{id}-")
}

/// The bpffs directory of a scope.
pub(crate) fn pin_dir(id: &str) -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/xlb-lab-{id}"))
}

/// Kills the processes in the scope's namespaces, then removes its namespaces and pins.
pub(crate) fn remove(id: &str) {
    let names = namespaces(id);
    kill_inside(&names);
    remove_dir(&pin_dir(id));
    for name in &names {
        if let Err(e) = ip::run(&["netns", "del", name]) {
            report(&format!("remove namespace {name}: {e:#}"));
        }
    }
}

/// Removes a directory with all it holds, if it exists.
pub(crate) fn remove_dir(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            report(&format!("remove {}: {e}", dir.display()));
        }
        _ => {}
    }
}

fn namespaces(id: &str) -> Vec<String> {
    let prefix = prefix(id);
    let Ok(entries) = fs::read_dir(NETNS_DIR) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

/// A killed process leaves its namespace only when it is gone, and a dying one may still fork: look again until
/// nothing is found.
fn kill_inside(names: &[String]) {
    let inodes: Vec<(u64, u64)> = names
        .iter()
        .filter_map(|name| identity(&Path::new(NETNS_DIR).join(name)))
        .collect();
    for _ in 0..200 {
        let pids = processes_in(&inodes);
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // Gone already, or about to be: the next look tells.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(5));
    }
    report(&format!("processes in {} do not end", names.join(", ")));
}

/// The processes in namespaces of these [identities](identity), without our own.
pub(crate) fn processes_in(inodes: &[(u64, u64)]) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).ok();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| Some(*pid) != own)
        .filter(|pid| {
            identity(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|id| inodes.contains(&id))
        })
        .collect()
}

/// What tells a namespace from another: device and inode of its nsfs file.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[expect(
    clippy::print_stderr,
    reason = "destructors have no other way to say what they could not do"
)]
fn report(problem: &str) {
    eprintln!("lab: {problem}");
}
