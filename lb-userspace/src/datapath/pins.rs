//! What outlives the agent: the files of one balancer below its pin directory.
//!
//! Maps by name, the program as `program`, one `link-INTERFACE` for each interface, all in `v<LAYOUT_VERSION>`. Two balancers
//! on one host have two pin directories.
//!
//! A BPF file system takes no dot in a name (kernel/bpf/inode.c, `bpf_lookup`), so the dot of `eth0.100` becomes a colon,
//! which no interface name has.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use lb_common::LAYOUT_VERSION;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

const LINK_PREFIX: &str = "link-";

/// The pins of one balancer, held by this process alone.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    directory: PathBuf,
    /// An advisory lock on the directory itself: it ends with the process, also when that is killed.
    _lock: Flock<File>,
}

impl Pins {
    /// Takes the pin directory, making it if there is none.
    ///
    /// # Errors
    /// When another process holds it, when it has what is not xlb's or of another version, or when it cannot be made.
    pub fn take(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("make pin_dir {}", root.display()))?;
        let Some(lock) = lock(root)? else {
            bail!(
                "pin_dir {}: another xlb agent is running on it: stop that one, or give this one its own node.pin_dir, socket and state_dir",
                root.display()
            );
        };
        let versions = versions(root)?;
        // Not before: what others have there, others may have to reach.
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("set the mode of pin_dir {}", root.display()))?;
        let directory = root.join(format!("v{LAYOUT_VERSION}"));
        if let Some(other) = versions.into_iter().find(|path| *path != directory) {
            bail!(
                "{}: pins of another version of xlb: run that version's 'xlb detach', or 'xlb detach --pin-dir {}'",
                other.display(),
                root.display()
            );
        }
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        Ok(Self {
            root: root.to_owned(),
            directory,
            _lock: lock,
        })
    }

    /// Where a map is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the program is pinned.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.directory.join("program")
    }

    /// Where the link to an interface is pinned.
    #[must_use]
    pub fn link(&self, interface: &str) -> PathBuf {
        self.directory
            .join(format!("{LINK_PREFIX}{}", interface.replace('.', ":")))
    }

    /// The interfaces that have a pinned link.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn linked(&self) -> Result<Vec<String>> {
        linked_in(&self.directory)
    }

    /// Whether an earlier agent has left maps here.
    #[must_use]
    pub fn hold_maps(&self) -> bool {
        lb_common::maps::PINNED.iter().any(|name| self.map(name).exists())
    }

    /// Takes the program off all interfaces but these; gives those that it was on.
    ///
    /// # Errors
    /// When a link cannot be removed.
    pub fn unlink_all_but(&self, interfaces: &[String]) -> Result<Vec<String>> {
        let mut others = self.linked()?;
        others.retain(|name| !interfaces.contains(name));
        for name in &others {
            remove_file(&self.link(name))?;
        }
        Ok(others)
    }

    /// Removes everything: links first, so that no packet meets half a program.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(self) -> Result<()> {
        remove_all(&self.root)
    }
}

/// The interfaces that the balancer of `root` has pinned links to.
///
/// # Errors
/// When it is not xlb's alone, or cannot be read.
pub fn linked(root: &Path) -> Result<Vec<String>> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let names = versions(root)?
        .iter()
        .map(|version| linked_in(version))
        .collect::<Result<Vec<_>>>()?;
    Ok(names.concat())
}

/// Takes away what the balancer of `root` has left: links, program and maps.
///
/// Gives whether there was anything.
///
/// # Errors
/// When an agent is running on it, it is not xlb's alone, or a pin cannot be removed.
pub fn detach(root: &Path) -> Result<bool> {
    if !root.exists() {
        return Ok(false);
    }
    let Some(_lock) = lock(root)? else {
        bail!(
            "pin_dir {}: an xlb agent is running on it: stop it first",
            root.display()
        );
    };
    remove_all(root)?;
    Ok(true)
}

/// Replaces a pin without a moment in which there is none: the new one is renamed over the old.
///
/// # Errors
/// When the new one cannot be made or renamed.
pub fn replace(path: &Path, pin: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push("-next");
    let next = PathBuf::from(next);
    remove_file(&next)?;
    pin(&next)?;
    fs::rename(&next, path).with_context(|| format!("move {} to {}", next.display(), path.display()))
}

/// Removes a pin; one that is not there is fine.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The lock on a pin directory; `None` while an agent holds it.
fn lock(root: &Path) -> Result<Option<Flock<File>>> {
    let directory = File::open(root).with_context(|| format!("open pin_dir {}", root.display()))?;
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("lock pin_dir {}", root.display())),
    }
}

fn remove_all(root: &Path) -> Result<()> {
    for version in versions(root)? {
        let mut pins = entries(&version)?;
        pins.sort_by_key(|path| !is_link(path));
        for pin in pins {
            remove_file(&pin)?;
        }
        fs::remove_dir(&version).with_context(|| format!("remove {}", version.display()))?;
    }
    fs::remove_dir(root).with_context(|| format!("remove {}", root.display()))
}

/// The directories of versions in a pin directory. With anything else in it, it is shared with others, whose pins must not be
/// taken for ours.
fn versions(root: &Path) -> Result<Vec<PathBuf>> {
    let found = entries(root)?;
    if let Some(other) = found.iter().find(|path| !is_version(path)) {
        bail!(
            "pin_dir {}: {} is not xlb's: name a directory for this balancer alone",
            root.display(),
            other.display()
        );
    }
    Ok(found)
}

fn is_version(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = name.strip_prefix('v').unwrap_or_default();
    let numbered = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    numbered && path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

fn is_link(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(LINK_PREFIX))
}

fn linked_in(directory: &Path) -> Result<Vec<String>> {
    let names = entries(directory)?.into_iter().filter_map(|path| {
        Some(
            path.file_name()?
                .to_str()?
                .strip_prefix(LINK_PREFIX)?
                .replace(':', "."),
        )
    });
    Ok(names.collect())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()
    };
    read().with_context(|| format!("read {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_for_a_pin_directory() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::take(root.path()).unwrap();
        let refusal = Pins::take(root.path()).unwrap_err().to_string();
        assert!(refusal.contains("another xlb agent is running"), "{refusal}");
        let refusal = detach(root.path()).unwrap_err().to_string();
        assert!(refusal.ends_with("stop it first"), "{refusal}");
        drop(pins);
        Pins::take(root.path()).unwrap();
    }

    #[test]
    fn detach_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("xlb");
        let pins = Pins::take(&below).unwrap();
        for path in [pins.map("FLOWS"), pins.program(), pins.link("eth0.7")] {
            fs::write(path, "").unwrap();
        }
        assert_eq!(pins.linked().unwrap(), ["eth0.7"]);
        assert_eq!(linked(&below).unwrap(), ["eth0.7"]);
        drop(pins);
        assert!(detach(&below).unwrap());
        assert!(!below.exists());
        assert!(linked(&below).unwrap().is_empty());
        assert!(!detach(&below).unwrap());
    }

    #[test]
    fn pins_of_another_version_are_not_touched() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("v0")).unwrap();
        let refusal = Pins::take(root.path()).unwrap_err().to_string();
        assert!(refusal.contains("pins of another version"), "{refusal}");
        assert!(root.path().join("v0").exists());
    }

    #[test]
    fn a_directory_shared_with_others_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let theirs = root.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("map"), "").unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for refusal in [Pins::take(root.path()).map(drop), detach(root.path()).map(drop)] {
            let refusal = refusal.unwrap_err().to_string();
            assert!(refusal.contains("theirs is not xlb's"), "{refusal}");
        }
        assert!(theirs.join("map").exists());
        let mode = fs::metadata(root.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
