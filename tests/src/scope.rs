//! Ownership of everything a lab puts on the host.
//!
//! A scope has an id, `PID-N`, and every trace it leaves carries it: namespaces `xlb-PID-N-…`, a directory
//! `/run/xlb-lab/PID-N`, pins in `/sys/fs/bpf/xlb-lab-PID-N`. A lock file in the directory is held with flock(2) for
//! as long as the owner lives. The kernel gives the lock back however the owner ends, so a lock that can be taken
//! tells a dead owner for certain, whatever became of its process id.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::netns::Netns;
use crate::{ip, remains};

/// Where every live scope has its directory.
pub const RUN_DIR: &str = "/run/xlb-lab";

const LOCK_FILE: &str = "lock";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Ids of the scopes this process holds, for an end by signal, when no destructor runs.
static OWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Namespaces, processes in them, a directory and pins, all removed when the value is dropped.
#[derive(Debug)]
pub struct Scope {
    id: String,
    dir: PathBuf,
    _lock: File,
}

impl Scope {
    /// Sweeps what dead owners left, then claims a new id.
    pub fn claim() -> Result<Self> {
        let _registry = Registry::lock()?;
        sweep_locked()?;
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(RUN_DIR).join(&id);
        fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        let lock = File::create(dir.join(LOCK_FILE)).context("create the scope's lock file")?;
        lock.try_lock().context("lock a scope just made")?;
        own().push(id.clone());
        Ok(Self { id, dir, _lock: lock })
    }

    /// The id that all names of this scope carry.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A directory for logs, sockets and served files; removed with the scope.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a balancer of this scope may pin its maps; not created, but removed with the scope.
    pub fn pin_dir(&self) -> PathBuf {
        remains::pin_dir(&self.id)
    }

    /// Makes one network namespace per name.
    pub fn namespaces(&self, names: &[&str]) -> Result<Vec<Netns>> {
        let made: Vec<Netns> = names
            .iter()
            .map(|name| Netns::of(&format!("{}{name}", remains::prefix(&self.id))))
            .collect();
        let lines: Vec<String> = made.iter().map(|ns| format!("netns add {}", ns.name())).collect();
        ip::batch(None, &lines).context("create network namespaces")?;
        Ok(made)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        remove(&self.id);
        own().retain(|id| *id != self.id);
    }
}

/// Removes what scopes of dead owners left; returns their ids. Scopes of live owners are not touched.
pub fn sweep() -> Result<Vec<String>> {
    let _registry = Registry::lock()?;
    sweep_locked()
}

/// Removes every scope of this process, for an end in which no destructor will run.
pub(crate) fn remove_own() {
    let ids: Vec<String> = own().drain(..).collect();
    for id in ids {
        remove(&id);
    }
}

fn own() -> std::sync::MutexGuard<'static, Vec<String>> {
    OWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn remove(id: &str) {
    remains::remove(id);
    // The directory goes last: as long as it is there, a sweep would find what is left.
    let _registry = Registry::lock();
    remains::remove_dir(&Path::new(RUN_DIR).join(id));
    // Fails while other scopes live.
    let _ = fs::remove_dir(RUN_DIR);
}

fn sweep_locked() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for entry in fs::read_dir(RUN_DIR).with_context(|| format!("list {RUN_DIR}"))? {
        let entry = entry?;
        let Some(id) = entry
            .file_name()
            .to_str()
            .filter(|name| is_id(name))
            .map(str::to_owned)
        else {
            continue;
        };
        // Held until the remains are gone.
        let _lock = match take(&entry.path().join(LOCK_FILE)) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => continue,
            // Killed between making the directory and the lock file.
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e).with_context(|| format!("lock {}", entry.path().display())),
        };
        remains::remove(&id);
        remains::remove_dir(&entry.path());
        swept.push(id);
    }
    Ok(swept)
}

/// The lock, or `None` when its owner lives.
fn take(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// `PID-N`, both decimal.
fn is_id(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('-')
        .is_some_and(|(pid, n)| number(pid) && number(n))
}

/// The lock on [`RUN_DIR`] itself: claims, sweeps and the removal of directories exclude each other.
struct Registry {
    _dir: File,
}

impl Registry {
    fn lock() -> Result<Self> {
        loop {
            fs::create_dir_all(RUN_DIR).with_context(|| format!("create {RUN_DIR}"))?;
            let dir = match File::open(RUN_DIR) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                other => other.with_context(|| format!("open {RUN_DIR}"))?,
            };
            dir.lock().with_context(|| format!("lock {RUN_DIR}"))?;
            // The last scope of another process may have removed the directory while we waited.
            if fs::metadata(RUN_DIR).is_ok_and(|now| dir.metadata().is_ok_and(|held| held.ino() == now.ino()))
            {
                return Ok(Self { _dir: dir });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn only_pid_and_number_make_an_id() {
        assert!(is_id("12-0"));
        for other in ["", "-", "12-", "-3", "12", "a-1", "1-b", "1-2-3", ".lock"] {
            assert!(!is_id(other), "{other}");
        }
    }
}
