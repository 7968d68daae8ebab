//! The state directory: what must outlive a reboot.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

const HASH_KEY: &str = "hash.key";

/// The state directory of one balancer, held by this process alone. Unless it is to be kept, dropping it takes away what has
/// been made in it: of a start that failed nothing is left.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Paths that were not there before, oldest first.
    made: Vec<PathBuf>,
    _lock: Flock<File>,
}

impl StateDir {
    /// Takes the directory, making it if there is none.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be made.
    pub fn take(path: &Path) -> Result<Self> {
        let useless = || {
            format!(
                "state_dir {}: cannot be used, set node.state_dir to a directory that can be made and written",
                path.display()
            )
        };
        let mut made = Vec::new();
        if !path.is_dir() {
            make_directory(path).with_context(useless)?;
            made.push(path.to_owned());
        }
        let directory = File::open(path).with_context(useless)?;
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self {
                path: path.to_owned(),
                made,
                _lock: lock,
            }),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "state_dir {}: another xlb agent keeps its changes there: set node.state_dir to another directory",
                path.display()
            ),
            Err((_, error)) => Err(error).with_context(useless),
        }
    }

    /// The key of the flow hash: read, or made at the first start. Whoever knows it can aim flows at one backend, so it is for
    /// the owner only; balancers that shall choose alike share a copy.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is not a key.
    pub fn hash_key(&mut self) -> Result<[u64; 2]> {
        let path = self.path.join(HASH_KEY);
        match fs::read(&path) {
            Ok(bytes) => parse(bytes.trim_ascii()).with_context(|| {
                format!(
                    "{}: not a key of 32 hexadecimal digits: mend or remove the file",
                    path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let next = path.with_extension("next");
                self.made.extend([next.clone(), path.clone()]);
                make_key(&path, &next).with_context(|| {
                    format!(
                        "{}: cannot be made, set node.state_dir to a directory that can be written",
                        path.display()
                    )
                })
            }
            Err(error) => {
                Err(error).with_context(|| format!("{}: cannot be read, mend or remove it", path.display()))
            }
        }
    }

    /// Leaves everything where it is at the end: the start has succeeded.
    pub fn keep(&mut self) {
        self.made.clear();
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            let removed = if *path == self.path {
                fs::remove_dir(path)
            } else {
                fs::remove_file(path)
            };
            if let Err(error) = removed {
                log::debug!("remove {}: {error}", path.display());
            }
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes the key in the file `next` and moves it.
fn make_key(path: &Path, next: &Path) -> Result<[u64; 2]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let text = format!("{:032x}", u128::from_be_bytes(bytes));
    // Whole or not at all: a half-written key would keep the agent from ever starting again.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(next)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(next, path)?;
    parse(text.as_bytes()).context("read back the key")
}

fn parse(text: &[u8]) -> Option<[u64; 2]> {
    if text.len() != 32 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    let half = |range| u64::from_str_radix(text.get(range)?, 16).ok();
    Some([half(0..16)?, half(16..32)?])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_made_once_and_kept_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lib/xlb");
        let mut state = StateDir::take(&path).unwrap();
        let key = state.hash_key().unwrap();
        state.keep();
        drop(state);
        assert_eq!(StateDir::take(&path).unwrap().hash_key().unwrap(), key);
        assert_ne!(key, [0, 0]);
        assert_eq!((mode(&path), mode(&path.join(HASH_KEY))), (0o700, 0o600));
    }

    #[test]
    fn what_is_no_key_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join(HASH_KEY);
        for text in [
            &b""[..],
            b"zz",
            b"+123456789012345+123456789012345",
            b"00",
            b"\xff\xfe",
        ] {
            fs::write(&key, text).unwrap();
            let refusal = StateDir::take(directory.path()).unwrap().hash_key().unwrap_err();
            assert!(refusal.to_string().contains("hash.key: not a key"), "{refusal}");
            assert_eq!(fs::read(&key).unwrap(), text);
        }
    }

    #[test]
    fn of_a_failed_start_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("xlb");
        StateDir::take(&path).unwrap().hash_key().unwrap();
        assert!(!path.exists());
        // What others have put there, and the directory's mode, stay.
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join("notes"), "").unwrap();
        StateDir::take(&path).unwrap().hash_key().unwrap();
        assert!(path.join("notes").exists() && !path.join(HASH_KEY).exists());
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn one_agent_for_a_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let _state = StateDir::take(directory.path()).unwrap();
        let refusal = StateDir::take(directory.path()).unwrap_err().to_string();
        assert!(
            refusal.contains("another xlb agent keeps its changes there"),
            "{refusal}"
        );
    }

    #[test]
    fn a_file_is_no_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        for path in [path.clone(), path.join("below")] {
            let refusal = StateDir::take(&path).unwrap_err().to_string();
            assert!(refusal.contains("set node.state_dir to a directory"), "{refusal}");
        }
    }
}
